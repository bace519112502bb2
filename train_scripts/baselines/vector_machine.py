"""A support vector machine on functionals, with its settings chosen on speakers it has not seen.

Axes: N turns, D features, L labels, P settings, F inner folds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from processing.errors import InputError
from train_scripts.runs.metrics import confusion_matrix, unweighted_average_recall

INNER_FOLDS = 5


@dataclass(frozen=True)
class Setting:
    """One candidate."""

    # standard deviations that standardised features are limited to; None leaves them. Functionals
    # have heavy tails.
    clip: float | None
    kernel: str  # "linear", x.y / D, or "rbf", exp(-gamma |x - y|^2 / D)
    gamma: float | None  # of "rbf"; None for "linear"
    cost: float  # C, the weight of violated margins


KERNELS = (
    *(("linear", None, cost) for cost in (0.1, 1.0, 10.0)),
    *(("rbf", *pair) for pair in product((0.25, 1.0), (1.0, 4.0, 16.0))),
)
GRID = tuple(Setting(clip, *kernel) for clip in (None, 3.0) for kernel in KERNELS)


@dataclass
class Chosen:
    """The setting of the highest UAR, the UAR of each over all inner test turns (P,), and decision
    values of the chosen one for every turn by models that have not seen its speaker (N, L).
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
    """Choose by UAR over inner folds in which no group, the speaker of a turn, is on both sides.

    Features are (N, D), labels their ids (N,); of equal settings the first is chosen.

    Raises:
        InputError: if there is one group only.
    """
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
    confusions = [confusion_matrix(labels, v.argmax(1), num_labels=num_labels) for v in values]
    uar = np.array([unweighted_average_recall(confusion) for confusion in confusions])
    best = int(uar.argmax())
    return Chosen(grid[best], uar, values[best])


def fit_and_decide(
    train: np.ndarray,
    labels: np.ndarray,
    test: np.ndarray,
    num_labels: int,
    grid: Sequence[Setting],
) -> np.ndarray:
    """Train on some turns with each setting, and decide on others: features (N, D) with label ids
    (N,), and (M, D) -> decision values, one class against the rest, (P, M, L).

    The largest value is the answer. Classes are weighted by the inverse of their size, as UAR
    weighs them.
    """
    present = np.unique(labels)
    values = np.zeros((len(grid), len(test), num_labels))
    if len(present) == 1:
        values[:, :, present] = 1.0
        return values
    # The kernel of many features takes longer than the machine, so that costs share it.
    kernels = {
        key: kernel_matrices(train, test, *key)
        for key in {(setting.clip, setting.gamma) for setting in grid}
    }
    for place, setting in enumerate(grid):
        of_train, of_test = kernels[setting.clip, setting.gamma]
        machine = SVC(C=setting.cost, kernel="precomputed", class_weight="balanced")
        found = machine.fit(of_train, labels).decision_function(of_test)
        if found.ndim == 1:  # of two classes it tells the second from the first
            found = np.stack([-found, found], axis=1)
        values[place] = found.min() - 1.0  # a class that training lacks is never the answer
        values[place][:, present] = found
    return values


def kernel_matrices(
    train: np.ndarray, test: np.ndarray, clip: float | None, gamma: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel of training turns with each other (N, N), and of others with them (M, N); features are
    standardised by the training turns.
    """
    scaler, limit = StandardScaler().fit(train), np.inf if clip is None else clip
    known, new = (
        np.clip(scaler.transform(x), -limit, limit) / np.sqrt(train.shape[1]) for x in (train, test)
    )
    if gamma is None:
        return linear_kernel(known), linear_kernel(new, known)
    return rbf_kernel(known, gamma=gamma), rbf_kernel(new, known, gamma=gamma)
