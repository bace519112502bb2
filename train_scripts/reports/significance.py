"""Statistics of resampled speakers, and the paired test over speakers.

Turns of one speaker resemble each other, so that a test over turns takes far too much for granted:
the unit of the interval and of the test is the speaker.

Axes: K speakers, L labels, R resamples.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from train_scripts.runs.intervals import resample_speakers, speaker_interval
from train_scripts.runs.metrics import STATISTICS

EXACT_PAIRS = 200
"""Up to as many pairs the Wilcoxon test is exact; beyond, the normal approximation is as good."""


def bootstrap_statistics(
    confusions: np.ndarray, *, num_resamples: int, seed: int
) -> dict[str, np.ndarray]:
    """WA and UAR of each resample of the speakers.

    Args:
        confusions: of each speaker, averaged over the seeds; (..., K, L, L).
        num_resamples: R.
        seed: of the draws; the same for two systems makes a paired bootstrap.

    Returns:
        For each of STATISTICS, (..., R).
    """
    *_, num_speakers, num_labels, _ = confusions.shape
    generator = np.random.default_rng(seed)
    counts = resample_speakers(num_speakers, num_resamples, generator)  # (R, K)
    sums = counts @ confusions.reshape(*confusions.shape[:-2], -1)  # (..., R, L * L)
    sums = sums.reshape(*sums.shape[:-1], num_labels, num_labels)
    return {name: statistic(sums) for name, statistic in STATISTICS.items()}


def with_interval(value: float, resampled: np.ndarray, num_speakers: int) -> dict[str, Any]:
    """A value with its interval over resampled speakers, null for a single speaker."""
    interval = speaker_interval(resampled, num_speakers) if num_speakers > 1 else None
    return {"value": float(value), "interval_95": interval}


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
    """p-values of one family adjusted for their number (Holm, Scandinavian Journal of Statistics 6,
    1979); None is no test and counts for none.

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
