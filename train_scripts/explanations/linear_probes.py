"""How well a linear map reads a factor of speech from codes, on turns that it was not fitted on.

A number is read by ridge regression and a class by linear discriminant analysis with a shrunk
covariance (Friedman, "Regularized discriminant analysis", JASA 1989), with strengths that are
chosen within the training turns. Chance is what the same answers get for shuffled factors.

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
    """

    hits: np.ndarray  # (N, C)
    counts: np.ndarray  # (N, C), 0 where a turn does not count in a column

    @property
    def score(self) -> float:
        """1 is perfect."""
        return float(quotients(self.hits.sum(0), self.counts.sum(0)))

    def interval(self, clusters: np.ndarray, seed: int) -> tuple[float, float] | None:
        """95 % bootstrap interval of the score that draws whole clusters, such as speakers, by the
        name of each turn's, (N,). None for fewer than two; expanded for few (`speaker_interval`).
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
        groups: turns of one group are on one side of every split that chooses the strength, (N,).
        seed: of the shuffles.
        num_shuffles: S.
        projections: what `project` gave for a split of these features; to be shared by factors.

    Returns:
        Outcome on the tested turns in their order, and scores of the same answers for factors
        shuffled over the tested turns, (S,): what they get by chance.
    """
    rng = np.random.default_rng(seed)
    projections = {} if projections is None else projections
    num_classes = int(factor.max()) + 1 if np.issubdtype(factor.dtype, np.integer) else 1
    answers, without = np.zeros_like(factor), np.zeros(len(factor))
    for fold in np.unique(folds[folds >= 0]):
        test, train = folds == fold, (folds != fold) & (folds != LEFT_OUT)
        key = test.tobytes() + train.tobytes()
        if key not in projections:
            projections[key] = project(features[train], features[test])
        known, new = projections[key]
        strength = choose_strength(known, factor[train], groups[train], num_classes)
        answers[test] = read(known, factor[train], new, strength)
        without[test] = factor[train].mean()
    tested = folds >= 0
    given = (answers[tested], without[tested], num_classes)
    shuffled = [judge(rng.permutation(factor[tested]), *given).score for _ in range(num_shuffles)]
    return judge(factor[tested], *given), np.array(shuffled)


def project(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standardise features (N, D) and (N', D) and turn them to the principal axes of the training
    turns: (N, R) and (N', R), R at most MOST_COMPONENTS. What is constant is left out.
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
    """Strength that reads groups best which the others did not train on; the weaker of equals."""
    strengths: Sequence[float] = RIDGES if num_classes == 1 else SHRINKAGES
    number = len(np.unique(groups))
    if number < 2:
        return strengths[len(strengths) // 2]  # there is nothing to choose by
    scores = []
    for strength in strengths:
        answers = np.zeros_like(factor)
        for train, test in GroupKFold(min(INNER_FOLDS, number)).split(features, groups=groups):
            answers[test] = read(features[train], factor[train], features[test], strength)
        scores.append(judge(factor, answers, factor.mean(), num_classes).score)
    return strengths[int(np.argmax(scores))]


def read(
    features: np.ndarray, factor: np.ndarray, test_features: np.ndarray, strength: float
) -> np.ndarray:
    """Numbers or, for a factor of integers, class ids of the test turns, all classes alike likely:
    (N, R), (N,) and (N', R) -> (N',), by one of RIDGES for numbers, of SHRINKAGES for classes.
    """
    if not np.issubdtype(factor.dtype, np.integer):
        return Ridge(strength * len(features)).fit(features, factor).predict(test_features)
    present = np.unique(factor)
    if len(present) == 1:
        return np.full(len(test_features), present[0])
    discriminant = LinearDiscriminantAnalysis(
        solver="lsqr",
        priors=np.full(len(present), 1 / len(present)),
        covariance_estimator=ShrunkCovariance(store_precision=False, shrinkage=strength),
    )
    # Of thousands of small fits, most of the time would go into checks of their arguments.
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        return np.asarray(discriminant.fit(features, factor).predict(test_features))


def judge(truth, answers, without, num_classes: int) -> Outcome:
    """Outcome of answers, (N,); errors of numbers are compared with those of answers without the
    probe, the mean of the training turns.
    """
    if num_classes == 1:
        saved = (truth - without) ** 2 - (truth - answers) ** 2
        return Outcome(saved[:, None], ((truth - without) ** 2)[:, None])
    counts = np.eye(num_classes)[truth]
    return Outcome(counts * (answers == truth)[:, None], counts)
