"""Statistics of resampled speakers, and paired tests for turns that come from a few speakers.

Turns of one speaker resemble each other, so that a test over turns takes far too much for granted:
the unit of the interval (`runs.intervals`) and of the primary test is the speaker.

Axes: K speakers, L labels, R resamples.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

EXACT_PAIRS = 200
"""Up to as many pairs the Wilcoxon test is exact; beyond, the normal approximation is as good."""


def accuracies(confusions: np.ndarray) -> np.ndarray:
    """WA of each of many confusion matrices, (..., L, L) -> (...); see `metrics`."""
    correct = np.trace(confusions, axis1=-2, axis2=-1)
    return correct / confusions.sum(axis=(-2, -1))


def average_recalls(confusions: np.ndarray) -> np.ndarray:
    """UAR over the classes that occur, of each of many matrices, (..., L, L) -> (...)."""
    turns = confusions.sum(axis=-1)  # (..., L)
    correct = np.diagonal(confusions, axis1=-2, axis2=-1)
    recalls = np.divide(correct, turns, out=np.zeros(turns.shape), where=turns > 0)
    return recalls.sum(axis=-1) / (turns > 0).sum(axis=-1)


STATISTICS = {"weighted_accuracy": accuracies, "unweighted_average_recall": average_recalls}


def bootstrap_statistics(confusions: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """WA and UAR of each resample of the speakers.

    Args:
        confusions: of each speaker, averaged over the seeds; (K, L, L).
        counts: of `resample_speakers`; the same for two systems makes a paired bootstrap.

    Returns:
        For each of STATISTICS, (R,).
    """
    labels = confusions.shape[-1]
    sums = counts @ confusions.reshape(len(confusions), -1)  # (R, L * L)
    sums = sums.reshape(-1, labels, labels)
    return {name: statistic(sums) for name, statistic in STATISTICS.items()}


def mcnemar(first_correct: np.ndarray, second_correct: np.ndarray) -> dict[str, float | int]:
    """Exact McNemar test of two systems on the same turns.

    Of the n turns that exactly one system recognises, the number that the first recognises is
    binomial(n, 1/2) if both are equally good (McNemar, Psychometrika 12, 1947). It takes turns for
    independent, which those of one speaker are not.

    Args:
        first_correct: whether each turn is right, (N,) bool.
        second_correct: likewise.

    Returns:
        {"first_only", "second_only", "p"}: turns that one alone recognises, two-sided p.

    Examples:
        >>> mcnemar(np.array([True] * 5 + [False]), np.array([False] * 5 + [False]))
        {'first_only': 5, 'second_only': 0, 'p': 0.0625}
    """
    first_only = int(np.count_nonzero(first_correct & ~second_correct))
    second_only = int(np.count_nonzero(second_correct & ~first_correct))
    discordant = first_only + second_only
    p = stats.binomtest(first_only, discordant).pvalue if discordant else 1.0
    return {"first_only": first_only, "second_only": second_only, "p": float(p)}


def combine_p_values(values: Sequence[float]) -> float:
    """One p-value from those of several seeds, valid however they depend on each other.

    With the k-th smallest of K, k the lower middle, n / k times it is a p-value (Ruger, Metrika 25,
    1978): for one seed itself, for three 1.5 times the median.

    Examples:
        >>> combine_p_values([0.04, 0.01, 0.02])
        0.03
    """
    middle = math.ceil(len(values) / 2)
    return min(1.0, len(values) / middle * sorted(values)[middle - 1])


def wilcoxon(differences: Sequence[float] | np.ndarray) -> dict[str, float | int | None]:
    """Wilcoxon signed-rank test, two-sided, exact up to EXACT_PAIRS with ties too.

    Equal pairs are left out and equal sizes share the mean of their ranks (Wilcoxon, Biometrics
    Bulletin 1, 1945); the null distribution is that of the ranks at hand under all 2^n signs.

    Args:
        differences: first minus second system of each pair, such as each speaker's accuracies.

    Returns:
        {"n", "positive", "negative", "median", "mean", "p", "least_p"}: pairs; pairs that differ up
        and down; of the differences; p (None without a pair); and the least p that so many unequal
        pairs can give.

    Examples:
        >>> wilcoxon([0.1, 0.2, 0.3, 0.4, 0.5])["p"]
        0.0625
    """
    # A difference of two means of the same turns is 0 or far from it, never 1e-17.
    values = np.round(np.asarray(differences, dtype=np.float64), 12)
    unequal = values[values != 0]
    ranks = stats.rankdata(np.abs(unequal))
    return {
        "n": len(values),
        "positive": int(np.count_nonzero(values > 0)),
        "negative": int(np.count_nonzero(values < 0)),
        "median": float(np.median(values)) if len(values) else None,
        "mean": float(values.mean()) if len(values) else None,
        "p": signed_rank_p(ranks, unequal > 0) if len(values) else None,
        "least_p": min(1.0, 2.0 ** (1 - len(unequal))),
    }


def signed_rank_p(ranks: np.ndarray, positive: np.ndarray) -> float:
    """Two-sided p of the sum of the positive ranks, under random signs of the same ranks."""
    if not len(ranks):
        return 1.0
    if len(ranks) > EXACT_PAIRS:
        signed = np.where(positive, ranks, -ranks)
        return float(2 * stats.norm.sf(abs(signed.sum()) / np.sqrt((ranks**2).sum())))
    # Twice the ranks are integers even where they are shared.
    doubled = np.round(2 * ranks).astype(int)
    chances = np.zeros(doubled.sum() + 1)  # of each sum of positive ranks
    chances[0] = 1.0
    for rank in doubled:
        chances[rank:] = (chances[rank:] + chances[:-rank]) / 2
        chances[:rank] /= 2
    observed = doubled[positive].sum()
    lower, upper = chances[: observed + 1].sum(), chances[observed:].sum()
    return float(min(1.0, 2 * min(lower, upper)))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values adjusted for their number (Holm, Scandinavian Journal of Statistics 6, 1979).

    Args:
        p_values: of one family; None is no test and counts for none.

    Examples:
        >>> holm([0.01, None, 0.04, 0.03])
        [0.03, None, 0.06, 0.06]
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for place, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - place) * p))
        adjusted[index] = highest
    return adjusted
