"""How well a linear map reads a factor of speech from codes, on turns that it was not fitted on.

A number is read by ridge regression and a class by linear discriminant analysis with a shrunk
covariance (Friedman, "Regularized discriminant analysis", JASA 1989): both have a closed form,
since chance is measured by fitting shuffled factors too. Strengths are chosen within the training
turns.

Axes: N turns, D features, R principal components, C classes, S shuffles.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sklearn
from sklearn.covariance import ShrunkCovariance
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from train_scripts.runs.intervals import resample_speakers, speaker_interval

RIDGES = tuple(10.0**k for k in range(-3, 4))
"""Strengths of ridge regression, in units of the mean variance of a standardised feature."""

SHRINKAGES = (0.001, 0.01, 0.1, 0.5)
"""Of the covariance within the classes towards equal variances."""

MOST_COMPONENTS = 128
"""Principal components that a probe reads, so that a code is not better read for being wide."""

TRAINS_ONLY, LEFT_OUT = -1, -2
"""In the place of a fold: a turn that no fold tests, and one that is not used at all."""

INNER_FOLDS = 3
NUM_SHUFFLES = 20
NUM_DRAWS = 1000


@dataclass
class Outcome:
    """What a probe got right, as a score that is a mean over columns of quotients of sums.

    Such is the unweighted average recall (a column for each class), R squared (one column of
    squared errors saved and squared errors without the probe) and 1 - CER (characters right and
    characters).

    Attributes:
        hits: (N, C).
        counts: (N, C), 0 where a turn does not count in a column.
    """

    hits: np.ndarray
    counts: np.ndarray

    @property
    def score(self) -> float:
        """1 is perfect."""
        return float(quotients(self.hits.sum(0), self.counts.sum(0)))

    def interval(self, clusters: np.ndarray, seed: int) -> tuple[float, float] | None:
        """95 % bootstrap interval of the score that draws whole clusters, such as speakers.

        It is expanded for few clusters; see `speaker_interval`.

        Args:
            clusters: name of each turn's, (N,).
            seed: of the draws.

        Returns:
            None where there are fewer than two clusters.
        """
        names, index = np.unique(clusters, return_inverse=True)
        if len(names) < 2:
            return None
        members = np.eye(len(names))[:, index]  # (clusters, N)
        draws = resample_speakers(len(names), NUM_DRAWS, np.random.default_rng(seed)) @ members
        scores = quotients(draws @ self.hits, draws @ self.counts)
        low, high = speaker_interval(scores[np.isfinite(scores)], len(names))
        return low, high


def quotients(hits: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean over the last axis of the quotients whose denominator is not 0; NaN if there is none."""
    known = counts > 0
    ratios = np.where(known, hits, 0.0) / np.where(known, counts, 1.0)
    number = known.sum(-1)
    return np.where(number > 0, ratios.sum(-1) / np.maximum(number, 1), np.nan)


def probe(
    features: np.ndarray,
    factor: np.ndarray,
    folds: np.ndarray,
    groups: np.ndarray,
    *,
    seed: int,
    num_shuffles: int = NUM_SHUFFLES,
    projections: dict[bytes, tuple[np.ndarray, np.ndarray]] | None = None,
) -> tuple[Outcome, np.ndarray]:
    """Read a factor from features by a linear map, fold by fold.

    Args:
        features: (N, D).
        factor: int class ids or float numbers, (N,).
        folds: which fold tests a turn, (N,); TRAINS_ONLY for none, LEFT_OUT for a turn whose factor
            is unknown.
        groups: turns of one group are on one side of every split that chooses the ridge, (N,).
        seed: of the shuffles.
        num_shuffles: S.
        projections: what `project` gave for a split of these features; to be shared by factors.

    Returns:
        Outcome on the tested turns in their order, and scores of the shuffled factors, (S,): what
        the same probe gets by chance.
    """
    rng = np.random.default_rng(seed)
    projections = {} if projections is None else projections
    used = np.flatnonzero(folds != LEFT_OUT)
    targets = np.stack([factor] * (num_shuffles + 1))  # the factor itself, then shuffled ones
    for row in range(1, num_shuffles + 1):
        targets[row, used] = factor[rng.permutation(used)]
    is_class = np.issubdtype(factor.dtype, np.integer)
    num_classes = int(factor.max()) + 1 if is_class else 1
    hits, counts = np.zeros((2, len(targets), len(factor), num_classes))
    for fold in np.unique(folds[folds >= 0]):
        test, train = folds == fold, (folds != fold) & (folds != LEFT_OUT)
        key = test.tobytes() + train.tobytes()
        if key not in projections:
            projections[key] = project(features[train], features[test])
        known, new = projections[key]
        strength = choose_strength(known, factor[train], groups[train], num_classes)
        answers = read(known, targets[:, train], new, strength)
        for row, target in enumerate(targets):
            hits[row, test], counts[row, test] = judge(
                answers[row], target[test], target[train], num_classes
            )
    tested = folds >= 0
    outcomes = [Outcome(h[tested], c[tested]) for h, c in zip(hits, counts, strict=True)]
    return outcomes[0], np.array([outcome.score for outcome in outcomes[1:]])


def judge(answers, truth, trained, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Hits and counts of answers, (N, C) each: see `Outcome`.

    A number's errors are compared with those of the mean of the training turns.
    """
    if num_classes == 1:
        without = (truth - trained.mean()) ** 2
        return (without - (truth - answers) ** 2)[:, None], without[:, None]
    counts = np.eye(num_classes)[truth]
    return counts * (answers == truth)[:, None], counts


def project(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standardise features and turn them to the principal axes of the training turns.

    Args:
        train: (N, D).
        test: (N', D).

    Returns:
        (N, R) and (N', R), R at most MOST_COMPONENTS; features that are constant are left out.
    """
    varies = train.std(0) > 1e-8 * (np.abs(train.mean(0)) + 1e-8)
    if not varies.any():
        return np.zeros((len(train), 1)), np.zeros((len(test), 1))
    number = min(MOST_COMPONENTS, len(train) - 1, int(varies.sum()))
    turn = make_pipeline(StandardScaler(), PCA(number, svd_solver="full"))
    return turn.fit_transform(train[:, varies]), turn.transform(test[:, varies])


def choose_strength(
    features: np.ndarray, factor: np.ndarray, groups: np.ndarray, num_classes: int
) -> float:
    """Strength that reads groups best which the others did not train on; the weaker of equals.

    Args:
        features: (N, R).
        factor: ids or numbers, (N,).
        groups: (N,).
        num_classes: 1 for numbers.
    """
    strengths: Sequence[float] = RIDGES if num_classes == 1 else SHRINKAGES
    number = len(np.unique(groups))
    if number < 2:
        return strengths[len(strengths) // 2]  # there is nothing to choose by
    scores = []
    for strength in strengths:
        hits, counts = np.zeros((2, len(factor), num_classes))
        for train, test in GroupKFold(min(INNER_FOLDS, number)).split(features, groups=groups):
            answers = read(features[train], factor[None, train], features[test], strength)[0]
            hits[test], counts[test] = judge(answers, factor[test], factor[train], num_classes)
        scores.append(Outcome(hits, counts).score)
    return strengths[int(np.argmax(scores))]


def read(
    features: np.ndarray, factors: np.ndarray, test_features: np.ndarray, strength: float
) -> np.ndarray:
    """Numbers or, for factors of integers, class ids of the test turns, all classes alike likely.

    Args:
        features: (N, R).
        factors: several to read from the same features, (S, N).
        test_features: (N', R).
        strength: one of RIDGES for numbers, of SHRINKAGES for classes.

    Returns:
        (S, N').
    """
    if not np.issubdtype(factors.dtype, np.integer):
        ridge = Ridge(strength * len(features))
        return ridge.fit(features, factors.T).predict(test_features).T.reshape(len(factors), -1)
    answers = np.empty((len(factors), len(test_features)), dtype=np.int64)
    covariance = ShrunkCovariance(store_precision=False, shrinkage=strength)
    for row, factor in enumerate(factors):
        present = np.unique(factor)
        if len(present) == 1:
            answers[row] = present[0]
            continue
        priors = np.full(len(present), 1 / len(present))
        machine = LinearDiscriminantAnalysis("lsqr", priors=priors, covariance_estimator=covariance)
        # Of thousands of small fits, most of the time would go into checks of their arguments.
        with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
            answers[row] = machine.fit(features, factor).predict(test_features)
    return answers
