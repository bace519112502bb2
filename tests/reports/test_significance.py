from itertools import product

import numpy as np
import pytest
from scipy import stats

from train_scripts.reports.significance import (
    bootstrap_statistics,
    holm,
    signed_rank_p,
    wilcoxon,
    with_interval,
)
from train_scripts.runs.intervals import resample_speakers, speaker_interval
from train_scripts.runs.metrics import unweighted_average_recall, weighted_accuracy


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_resamples_are_sums_of_speakers_and_paired_by_the_seed():
    confusions = generator(1).integers(1, 9, (2, 3, 2, 2)).astype(float)
    samples = bootstrap_statistics(confusions, num_resamples=50, seed=7)
    counts = resample_speakers(3, 50, generator(7))
    for system in (0, 1):
        resampled = [np.repeat(confusions[system], times, axis=0).sum(axis=0) for times in counts]
        expected = [weighted_accuracy(c) for c in resampled]
        assert samples["weighted_accuracy"][system] == pytest.approx(expected)
        expected = [unweighted_average_recall(c) for c in resampled]
        assert samples["unweighted_average_recall"][system] == pytest.approx(expected)


def test_resamples_draw_as_many_speakers_and_follow_the_seed():
    counts = resample_speakers(7, 500, generator(3))
    assert counts.shape == (500, 7) and (counts.sum(1) == 7).all()
    assert counts.mean(0) == pytest.approx(np.ones(7), abs=0.15)
    assert (counts == resample_speakers(7, 500, generator(3))).all()
    assert (counts != resample_speakers(7, 500, generator(4))).any()


def planted_speakers(rng, spread: float, *, speakers: int = 24, turns: int = 30) -> np.ndarray:
    """Confusions of speakers whose accuracies scatter around 0.6."""
    skill = np.clip(0.6 + spread * rng.standard_normal(speakers), 0.05, 0.95)
    confusions = np.zeros((speakers, 2, 2))
    for label in range(2):
        correct = rng.binomial(turns // 2, skill)
        confusions[:, label, label] = correct
        confusions[:, label, 1 - label] = turns // 2 - correct
    return confusions


def interval_of(confusions: np.ndarray, rng) -> list[float]:
    seed = int(rng.integers(2**32))
    samples = bootstrap_statistics(confusions, num_resamples=1000, seed=seed)["weighted_accuracy"]
    return speaker_interval(samples, len(confusions))


@pytest.mark.parametrize("speakers", [9, 24])
def test_intervals_cover_the_planted_accuracy(speakers):
    rng = generator(5)
    hits = 0
    for _ in range(400):
        low, high = interval_of(planted_speakers(rng, 0.15, speakers=speakers), rng)
        hits += low <= 0.6 <= high
    # 95 % wanted; the standard error of 400 trials is 1.1 %.
    assert 0.925 <= hits / 400 <= 0.975


def test_speakers_that_differ_widen_the_interval():
    rng = generator(6)
    confusions = planted_speakers(rng, 0.2)
    low, high = interval_of(confusions, rng)
    # The same turns, each a speaker by itself.
    per_turn = [np.eye(4)[k].reshape(2, 2) for k in range(4)]
    counts = confusions.sum(0).astype(int).ravel()
    turns = np.concatenate([np.repeat(per_turn[k][None], counts[k], axis=0) for k in range(4)])
    naive_low, naive_high = interval_of(turns, rng)
    assert high - low > 1.5 * (naive_high - naive_low)
    # Where speakers do not differ, clustering costs next to nothing.
    alike = [interval_of(planted_speakers(rng, 0.0), rng) for _ in range(20)]
    width = np.mean([high - low for low, high in alike])
    assert width < 1.15 * (naive_high - naive_low)


def brute_force_p(differences: np.ndarray) -> float:
    """Two-sided p by writing out every sign."""
    unequal = differences[differences != 0]
    ranks = stats.rankdata(np.abs(unequal))
    observed = ranks[unequal > 0].sum()
    sums = [
        sum(r for r, s in zip(ranks, signs, strict=True) if s)
        for signs in product((0, 1), repeat=len(ranks))
    ]
    sums = np.array(sums)
    return min(1.0, 2 * min((sums <= observed + 1e-9).mean(), (sums >= observed - 1e-9).mean()))


def test_wilcoxon_is_exact_with_ties_and_equal_pairs():
    rng = generator(9)
    for _ in range(20):
        differences = rng.integers(-3, 4, 9) / 10
        assert wilcoxon(differences)["p"] == pytest.approx(brute_force_p(differences))


def test_wilcoxon_without_ties_is_that_of_scipy():
    for seed, n in ((1, 5), (2, 9), (3, 24)):
        differences = generator(seed).standard_normal(n) + 0.4
        expected = stats.wilcoxon(differences, method="exact").pvalue
        assert wilcoxon(differences)["p"] == pytest.approx(float(expected))


def test_wilcoxon_of_many_pairs_agrees_with_the_exact_one():
    ranks = np.arange(1.0, 202.0)
    positive = generator(11).random(201) < 0.56
    approximate = signed_rank_p(ranks, positive)
    exact = stats.wilcoxon(np.where(positive, ranks, -ranks), method="exact").pvalue
    assert 1e-4 < exact < 0.5 and approximate == pytest.approx(float(exact), rel=0.02)


def test_wilcoxon_says_what_it_rests_on():
    result = wilcoxon([0.1, 0.2, 0.0, -0.05, 0.3])
    assert (result["n"], result["positive"], result["negative"]) == (5, 3, 1)
    assert result["median"] == pytest.approx(0.1) and result["least_p"] == 0.125
    # Rounding of sums does not break a tie.
    assert wilcoxon([0.1 + 0.2, -0.3, 0.0])["p"] == 1.0
    assert wilcoxon([0.0, 0.0])["p"] == 1.0
    assert wilcoxon([])["p"] is None


def test_holm_by_hand():
    assert holm([0.04, 0.01, 0.03, 0.005]) == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert holm([0.7, None, 0.6]) == [1.0, None, 1.0]
    assert holm([]) == []


def test_one_speaker_gives_no_interval():
    assert with_interval(0.5, np.full(10, 0.5), 1) == {"value": 0.5, "interval_95": None}
    assert with_interval(0.5, np.full(10, 0.5), 2)["interval_95"] == [0.5, 0.5]
