"""A support vector machine on functionals, with its settings chosen on speakers it has not seen.

Axes: N turns, D features, L labels, P settings, F inner folds.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product

import numpy as np

from processing.errors import InputError
from train_scripts.runs.metrics import confusion_matrix, unweighted_average_recall

INNER_FOLDS = 5


@dataclass(frozen=True)
class Setting:
    """One candidate.

    Attributes:
        clip: standard deviations that standardised features are limited to; None leaves them.
            Functionals have heavy tails.
        kernel: "linear", x.y / D, or "rbf", exp(-gamma |x - y|^2 / D).
        gamma: of "rbf"; None for "linear".
        cost: C, the weight of violated margins.
    """

    clip: float | None
    kernel: str
    gamma: float | None
    cost: float


KERNELS = (
    *(("linear", None, cost) for cost in (0.1, 1.0, 10.0)),
    *(("rbf", *pair) for pair in product((0.25, 1.0), (1.0, 4.0, 16.0))),
)
GRID = tuple(Setting(clip, *kernel) for clip in (None, 3.0) for kernel in KERNELS)


@dataclass
class Chosen:
    """The outcome of `choose_setting`.

    Attributes:
        setting: of the highest UAR.
        uar: of each setting over all inner test turns, (P,).
        values: decision values of the chosen setting for every turn, by models that have not seen
            its speaker, (N, L).
    """

    setting: Setting
    uar: np.ndarray
    values: np.ndarray


def choose_setting(
    features: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[str],
    num_labels: int,
    *,
    grid: Sequence[Setting] = GRID,
) -> Chosen:
    """Choose by UAR over inner folds in which no group is on both sides.

    Args:
        features: (N, D).
        labels: label ids, (N,).
        groups: speaker of each turn.
        num_labels: L.
        grid: candidates; the first of equals is chosen.

    Raises:
        InputError: if scikit-learn is missing, or there is one group only.
    """
    GroupKFold = load_sklearn().model_selection.GroupKFold  # noqa: N806
    num_folds = min(INNER_FOLDS, len(set(groups)))
    if num_folds < 2:
        raise InputError(
            f"the settings of the baseline are chosen on speakers left out, expected at least 2, "
            f"found {sorted(set(groups))}. Fill the speaker column."
        )
    values = np.zeros((len(grid), len(labels), num_labels))
    for train, test in GroupKFold(num_folds).split(features, groups=groups):
        values[:, test] = fit_and_decide(
            features[train], labels[train], features[test], num_labels, grid
        )
    uar = np.array(
        [
            unweighted_average_recall(
                confusion_matrix(labels, v.argmax(axis=1), num_labels=num_labels)
            )
            for v in values
        ]
    )
    best = int(uar.argmax())
    return Chosen(grid[best], uar, values[best])


def fit_and_decide(
    train: np.ndarray,
    labels: np.ndarray,
    test: np.ndarray,
    num_labels: int,
    grid: Sequence[Setting],
) -> np.ndarray:
    """Train on some turns with each setting, and decide on others.

    Classes are weighted by the inverse of their size, as UAR weighs them.

    Args:
        train: features, (N, D).
        labels: label ids, (N,).
        test: features, (M, D).
        num_labels: L.
        grid: P settings.

    Returns:
        Decision values, one class against the rest, (P, M, L); the largest is the answer.
    """
    classifier = load_sklearn().svm.SVC
    present = np.unique(labels)
    values = np.zeros((len(grid), len(test), num_labels))
    if len(present) == 1:
        values[:, :, present] = 1.0
        return values
    products = {clip: inner_products(train, test, clip) for clip in {s.clip for s in grid}}
    for place, setting in enumerate(grid):
        gram_train, gram_test = apply_kernel(setting, *products[setting.clip])
        machine = classifier(C=setting.cost, kernel="precomputed", class_weight="balanced")
        found = machine.fit(gram_train, labels).decision_function(gram_test)
        if found.ndim == 1:  # of two classes it tells the second from the first
            found = np.stack([-found, found], axis=1)
        values[place] = found.min() - 1.0  # a class that training lacks is never the answer
        values[place][:, present] = found
    return values


def inner_products(
    train: np.ndarray, test: np.ndarray, clip: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inner products x.y / D of features standardised by the training turns.

    Args:
        train: (N, D).
        test: (M, D).
        clip: see `Setting`.

    Returns:
        Of training turns with each other (N, N), of others with them (M, N), and of the others with
        themselves (M,).
    """
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    limit = np.inf if clip is None else clip
    a, b = (
        np.clip((x - mean) / scale, -limit, limit) / np.sqrt(train.shape[1]) for x in (train, test)
    )
    return a @ a.T, b @ a.T, (b**2).sum(axis=1)


def apply_kernel(
    setting: Setting, train: np.ndarray, test: np.ndarray, test_squares: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gram matrices (N, N) and (M, N) of a setting from `inner_products`."""
    if setting.gamma is None:
        return train, test
    squares = np.diag(train)
    distances = squares[:, None] + squares - 2 * train
    test_distances = test_squares[:, None] + squares - 2 * test
    return np.exp(-setting.gamma * distances), np.exp(-setting.gamma * test_distances)


def describe_grid(grid: Sequence[Setting] = GRID) -> list[dict]:
    """The candidates, for results.json."""
    return [asdict(setting) for setting in grid]


def load_sklearn():
    """The package scikit-learn, with its modules that are used here."""
    try:
        import sklearn.model_selection
        import sklearn.svm
    except ImportError as error:
        raise InputError(
            "the eGeMAPS and ComParE baselines need the extra `baselines`: "
            "pip install -e '.[baselines]'."
        ) from error
    return sklearn
