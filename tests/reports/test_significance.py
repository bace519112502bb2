from itertools import product
from math import comb

import numpy as np
import pytest
from scipy import stats

from train_scripts.reports.significance import (
    accuracies,
    average_recalls,
    bootstrap_statistics,
    combine_p_values,
    holm,
    mcnemar,
    signed_rank_p,
    wilcoxon,
)
from train_scripts.runs.intervals import resample_speakers, speaker_interval
from train_scripts.runs.metrics import unweighted_average_recall, weighted_accuracy


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_many_matrices_score_as_one_by_one():
    confusions = generator().integers(0, 9, (20, 4, 4)).astype(float)
    confusions[0, 1] = 0.0  # a class that does not occur
    assert accuracies(confusions) == pytest.approx([weighted_accuracy(c) for c in confusions])
    expected = [unweighted_average_recall(c) for c in confusions]
    assert average_recalls(confusions) == pytest.approx(expected)


def test_a_resample_is_the_sum_of_its_speakers():
    confusions = generator(1).integers(1, 9, (3, 2, 2)).astype(float)
    counts = np.array([[2, 0, 1], [1, 1, 1]])
    samples = bootstrap_statistics(confusions, counts)
    first = 2 * confusions[0] + confusions[2]
    assert samples["weighted_accuracy"][0] == pytest.approx(weighted_accuracy(first))
    assert samples["unweighted_average_recall"][1] == pytest.approx(
        unweighted_average_recall(confusions.sum(0))
    )


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
    counts = resample_speakers(len(confusions), 1000, rng)
    samples = bootstrap_statistics(confusions, counts)["weighted_accuracy"]
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


@pytest.mark.parametrize(("first_only", "second_only"), [(0, 0), (1, 0), (5, 5), (9, 2), (40, 71)])
def test_mcnemar_is_the_binomial_sum(first_only, second_only):
    first = np.array([True] * first_only + [False] * second_only + [True] * 20 + [False] * 5)
    second = np.array([False] * first_only + [True] * second_only + [True] * 20 + [False] * 5)
    n, k = first_only + second_only, min(first_only, second_only)
    tail = sum(comb(n, i) for i in range(k + 1)) / 2**n
    result = mcnemar(first, second)
    assert (result["first_only"], result["second_only"]) == (first_only, second_only)
    assert result["p"] == pytest.approx(min(1.0, 2 * tail))


def test_p_values_of_seeds_are_combined_validly():
    assert combine_p_values([0.2]) == 0.2
    assert combine_p_values([0.01, 0.5]) == pytest.approx(0.02)
    assert combine_p_values([0.3, 0.01, 0.04]) == pytest.approx(0.06)
    assert combine_p_values([0.9, 0.9, 0.9]) == 1.0
    # Under no difference it is below 5 % at most 5 % of the time, dependent or not.
    rng = generator(8)
    for values in (rng.random((4000, 3)), np.repeat(rng.random((4000, 1)), 3, axis=1)):
        assert np.mean([combine_p_values(row) <= 0.05 for row in values]) <= 0.06


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
