"""Intervals and tests over speakers and seeds.

Turns of one speaker resemble each other, and so do the answers of one trained network: a test over
turns takes far too much for granted. Where networks were trained with several seeds, speakers and
seeds are crossed random effects; otherwise the unit is the speaker alone.

Axes: K speakers, S seeds, L labels, R resamples.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from train_scripts.runs.intervals import bootstrap_statistics, with_interval
from train_scripts.runs.metrics import STATISTICS

SPEAKERS, SPEAKERS_AND_SEEDS = "speakers", "speakers and seeds"
"""What an interval and a test count as left to chance."""

EXACT_PAIRS = 200
"""Up to as many pairs the Wilcoxon test is exact; beyond, the normal approximation is as good."""


def with_intervals(
    values: Mapping[str, float],
    by_speaker: np.ndarray,
    cells: Sequence[np.ndarray] | None,
    *,
    num_resamples: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """WA and UAR of a row, or the differences of two rows, with their intervals.

    Args:
        values: for each of STATISTICS.
        by_speaker: confusions of each speaker, averaged over the seeds, of the one row, or of both,
            (1 or 2, K, L, L).
        cells: see `crossed_error`; None where seeds cannot be counted.
        num_resamples: of the bootstrap over speakers, which takes the place then.
        seed: of the bootstrap.
    """
    if cells is not None:
        return {
            name: with_crossed_interval(values[name], cells, statistic)
            for name, statistic in STATISTICS.items()
        }
    samples = bootstrap_statistics(by_speaker, num_resamples=num_resamples, seed=seed)
    return {
        name: with_interval(values[name], first - sum(second), by_speaker.shape[1])
        for name, (first, *second) in samples.items()
    }


def with_crossed_interval(
    value: float, cells: Sequence[np.ndarray], statistic: Callable[[np.ndarray], np.ndarray]
) -> dict[str, Any]:
    """A value with the interval of Student's t over speakers and seeds, which ends where WA and UAR
    or their differences do; see `crossed_error`.
    """
    error, freedom = crossed_error(cells, statistic)
    half = stats.t.isf(0.025, freedom) * error
    bounds = np.clip([value - half, value + half], 1 - len(cells), 1)
    return {
        "value": float(value),
        "interval_95": [round(float(bound), 10) for bound in bounds],
        "standard_error": error,
        "degrees_of_freedom": freedom,
    }


def crossed_error(
    cells: Sequence[np.ndarray], statistic: Callable[[np.ndarray], np.ndarray]
) -> tuple[float, float]:
    """Standard error of WA or UAR, averaged over seeds, with speakers and seeds as crossed random
    effects; or of the difference of two rows.

    With the pseudo-values of the jackknife over speakers, (K, S), which make a ratio of sums a mean
    (Tukey, Annals of Mathematical Statistics 29, 1958), the variance is that of the two-way layout
    by the method of moments,

        V = V_speakers + max(0, V_seeds - V_rest),

    V_speakers from the means of the speakers, V_seeds from those of the seeds, and V_rest what both
    of them hold of the interaction; the degrees of freedom are those of Satterthwaite (Biometrics
    Bulletin 2, 1946) for V_speakers and V_seeds, and no fewer than the fewest of them. As V is at
    least V_speakers, seeds never narrow an interval.

    Speakers of two rows are the same and are paired. Seeds are not: networks of two rows have
    weights of other shapes, so that the same number draws other weights for them, and over 61 pairs
    of rows in `model_cards/experiments` the UAR of equal seeds correlated by -.07 on average, over
    three seeds each. Each row adds its own V_seeds - V_rest. Where two rows are one network with a
    setting changed and their equal seeds do agree, that errs on the side of width. With one network
    a fold, a seed's effect is the mean of its networks', which V_seeds holds as well.

    In simulations of planted effects, for 5, 9 and 24 speakers, nominal 95 % became 94 to 98 % with
    five seeds, 94 to 99 % with three and 93 to 99 % with two, but 89 % for a row of two seeds that
    outweigh the speakers by far. Over speakers alone it was 31 to 97 %. The bootstrap of speakers
    and seeds at once (Owen, Annals of Applied Statistics 1, 2007) gave 67 to 98 %, and 70 to 99 %
    with expanded percentiles.

    Args:
        cells: confusions of each speaker and seed, of the one row or of both, each (K, S, L, L)
            with two speakers or more. A row with S = 1, a baseline without chance, adds no seeds.
        statistic: from confusions (..., L, L) to values (...).

    Returns:
        The standard error, and its degrees of freedom.

    Examples:
        >>> right = np.array([[9, 6], [7, 6], [8, 3]])  # of ten turns, by speaker and seed
        >>> confusions = np.stack([right, 10 - right, 0 * right, 0 * right], axis=-1)
        >>> accuracies = lambda sums: sums[..., 0, 0] / sums.sum((-2, -1))
        >>> error, freedom = crossed_error([confusions.reshape(3, 2, 2, 2)], accuracies)
        >>> round(error, 4), round(freedom, 2)
        (0.15, 1.0)
    """
    rows = [pseudo_values(statistic, of_row) for of_row in cells]
    num_speakers = len(rows[0])
    by_speaker = rows[0].mean(axis=1) - sum(row.mean(axis=1) for row in rows[1:])
    variances = [by_speaker.var(ddof=1) / num_speakers]
    freedoms = [num_speakers - 1]
    excess = 0.0
    for row in (row for row in rows if row.shape[1] > 1):
        num_seeds = row.shape[1]
        rest = row - row.mean(axis=0) - row.mean(axis=1, keepdims=True) + row.mean()
        of_rest = (rest**2).sum() / ((num_speakers - 1) * (num_seeds - 1)) / row.size
        variances.append(row.mean(axis=0).var(ddof=1) / num_seeds)
        freedoms.append(num_seeds - 1)
        excess += variances[-1] - of_rest
    total = variances[0] + max(0.0, excess)
    parts = np.square(variances) / freedoms
    freedom = total**2 / parts.sum() if parts.any() else 0.0
    return float(np.sqrt(total)), float(max(freedom, min(freedoms)))


def pseudo_values(statistic: Callable[[np.ndarray], np.ndarray], cells: np.ndarray) -> np.ndarray:
    """What each speaker adds to the figure of each seed, so that their mean is that figure without
    its bias, (K, S); from confusions (K, S, L, L).
    """
    total = cells.sum(axis=0)  # (S, L, L)
    return len(cells) * statistic(total) - (len(cells) - 1) * statistic(total - cells)


def t_test(difference: Mapping[str, Any]) -> float:
    """Two-sided p that a difference of `with_crossed_interval` is none: below .05 just where the
    interval leaves out 0.

    Examples:
        >>> t_test({"value": 0.1, "standard_error": 0.04, "degrees_of_freedom": 4.0})
        0.0667...
    """
    value = round(difference["value"], 12)  # as in `wilcoxon`
    t = abs(value) / max(difference["standard_error"], 1e-12)  # rows may answer all alike
    return float(2 * stats.t.sf(t, difference["degrees_of_freedom"]))


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
