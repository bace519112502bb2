"""How well a linear map reads a factor of speech from codes, on turns that it was not fitted on.

A number is read by ridge regression and a class by linear discriminant analysis with a ridge
(Friedman, "Regularized discriminant analysis", JASA 1989). Both have a closed form, so strengths
are compared within the training turns, and chance is measured by fitting shuffled factors too,
at little cost.

Axes: N turns, D features, R principal components, C classes, S shuffles.
"""

from dataclasses import dataclass

import numpy as np

RIDGES = tuple(10.0**k for k in range(-3, 4))
"""Strengths to choose from, in units of the mean variance of a standardised feature, which is 1."""

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

        Args:
            clusters: name of each turn's, (N,).
            seed: of the draws.

        Returns:
            None where there are fewer than two clusters.
        """
        names, index = np.unique(clusters, return_inverse=True)
        if len(names) < 2:
            return None
        hits, counts = (np.zeros((len(names), self.hits.shape[1])) for _ in range(2))
        np.add.at(hits, index, self.hits)
        np.add.at(counts, index, self.counts)
        rng = np.random.default_rng(seed)
        draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), NUM_DRAWS)
        scores = quotients(draws @ hits, draws @ counts)
        low, high = np.nanquantile(scores, (0.025, 0.975))
        return float(low), float(high)


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
    fit = discriminate if is_class else regress
    hits, counts = np.zeros((2, len(targets), len(factor), num_classes))
    for fold in np.unique(folds[folds >= 0]):
        test, train = folds == fold, (folds != fold) & (folds != LEFT_OUT)
        key = test.tobytes() + train.tobytes()
        if key not in projections:
            projections[key] = project(features[train], features[test])
        train_features, test_features = projections[key]
        ridge = choose_ridge(fit, train_features, factor[train], groups[train], num_classes)
        answers = fit(train_features, targets[:, train], test_features, (ridge,))
        for row, target in enumerate(targets):
            hits[row, test], counts[row, test] = judge(
                answers[row][0], target[test], target[train], num_classes
            )
    tested = folds >= 0
    outcomes = [Outcome(h[tested], c[tested]) for h, c in zip(hits, counts, strict=True)]
    return outcomes[0], np.array([outcome.score for outcome in outcomes[1:]])


def choose_ridge(fit, features, factor, groups, num_classes: int) -> float:
    """The strength that reads groups best which the others did not train on; the weaker of equals.

    Args:
        fit: `discriminate` or `regress`.
        features: (N, R).
        factor: (N,).
        groups: (N,).
        num_classes: 1 for numbers.
    """
    _, index = np.unique(groups, return_inverse=True)
    inner = index % min(INNER_FOLDS, index.max() + 1)
    hits, counts = np.zeros((2, len(RIDGES), len(factor), num_classes))
    for fold in np.unique(inner):
        test = inner == fold
        if test.all():
            return 1.0  # one group alone: there is nothing to choose by
        (answers,) = fit(features[~test], factor[None, ~test], features[test], RIDGES)
        for k, answer in enumerate(answers):
            hits[k, test], counts[k, test] = judge(answer, factor[test], factor[~test], num_classes)
    scores = [Outcome(h, c).score for h, c in zip(hits, counts, strict=True)]
    return RIDGES[int(np.argmax(scores))]


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
    mean, deviation = train.mean(0), train.std(0)
    varies = deviation > 1e-8 * (np.abs(mean) + 1e-8)
    if not varies.any():
        return np.zeros((len(train), 1)), np.zeros((len(test), 1))
    train, test = ((x[:, varies] - mean[varies]) / deviation[varies] for x in (train, test))
    if train.shape[0] < train.shape[1]:  # the smaller of two matrices that have the same axes
        values, vectors = np.linalg.eigh(train @ train.T)
        values, vectors = values[::-1][:MOST_COMPONENTS], vectors[:, ::-1][:, :MOST_COMPONENTS]
        kept = values > 1e-9 * values[0]
        axes = train.T @ (vectors[:, kept] / np.sqrt(values[kept]))
    else:
        values, vectors = np.linalg.eigh(train.T @ train)
        kept = values[::-1][:MOST_COMPONENTS] > 1e-9 * values[-1]
        axes = vectors[:, ::-1][:, :MOST_COMPONENTS][:, kept]
    return train @ axes, test @ axes


def regress(features, factors, test_features, ridges) -> list[list[np.ndarray]]:
    """Ridge regression: numbers of the test turns.

    Args:
        features: (N, R).
        factors: several to read from the same features, (S, N).
        test_features: (N', R).
        ridges: strengths.

    Returns:
        For each factor and each strength, (N',).
    """
    center, means = features.mean(0), factors.mean(1)
    x = features - center
    values, axes = np.linalg.eigh(x.T @ x / len(x))
    correlations = axes.T @ (x.T @ (factors - means[:, None]).T) / len(x)  # (R, S)
    turned = (test_features - center) @ axes
    return [
        [turned @ (correlation / (values + ridge)) + mean for ridge in ridges]
        for correlation, mean in zip(correlations.T, means, strict=True)
    ]


def discriminate(features, factors, test_features, ridges) -> list[list[np.ndarray]]:
    """Linear discriminant analysis, all classes alike likely: ids of the test turns.

    Args:
        features: (N, R).
        factors: ids, several to read from the same features, (S, N).
        test_features: (N', R).
        ridges: strengths, added to the variances within the classes.

    Returns:
        For each factor and each strength, (N',).
    """
    moments, found = features.T @ features, []
    for factor in factors:
        present, index = np.unique(factor, return_inverse=True)
        members = np.eye(len(present))[index]  # (N, C)
        sizes = members.sum(0)[:, None]
        means = (members.T @ features) / sizes  # (C, R)
        within = (moments - means.T @ (sizes * means)) / len(features)
        answers = []
        for ridge in ridges:
            weights = np.linalg.solve(within + ridge * np.eye(len(within)), means.T)  # (R, C)
            scores = test_features @ weights - 0.5 * (means.T * weights).sum(0)
            answers.append(present[scores.argmax(1)])
        found.append(answers)
    return found
