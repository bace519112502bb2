from itertools import product

import numpy as np
import pytest
from scipy import stats

from train_scripts.reports.significance import (
    crossed_error,
    holm,
    pseudo_values,
    signed_rank_p,
    t_test,
    wilcoxon,
    with_crossed_interval,
    with_intervals,
)
from train_scripts.runs.intervals import (
    bootstrap_statistics,
    resample_speakers,
    speaker_interval,
    with_interval,
)
from train_scripts.runs.metrics import (
    STATISTICS,
    unweighted_average_recall,
    weighted_accuracy,
)

UAR = "unweighted_average_recall"


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


def planted_row(rng, skills: np.ndarray, seed_spread: float, *, seeds: int, folds: int = 1):
    """Confusions (K, S, 2, 2) of a row whose speakers have `skills`, (K,), of which some is the
    row's own; of seeds, one network a fold and seed; of both together; and of 28 turns each.
    """
    speakers = len(skills)
    own = 0.03 * rng.standard_normal((speakers, 1))
    networks = seed_spread * np.sqrt(folds) * rng.standard_normal((folds, seeds))
    both = 0.04 * rng.standard_normal((speakers, seeds))
    chances = skills[:, None] + own + networks[np.arange(speakers) % folds] + both
    right = rng.binomial([[[16, 12]]], np.clip(chances, 0.02, 0.98)[..., None])  # (K, S, 2)
    confusions = right[..., None] * np.eye(2) + ([16, 12] - right)[..., None] * (1 - np.eye(2))
    return confusions


def planted_trials(rng, *, rows: int, speakers: int, trials: int, spread: float, **options):
    """Confusions of one row, or of two that are equally good, and their figure, trial by trial."""
    for _ in range(trials):
        skills = 0.65 + 0.08 * rng.standard_normal(speakers)
        cells = [planted_row(rng, skills, spread, **options) for _ in range(rows)]
        first, *second = (STATISTICS[UAR](row.sum(axis=0)).mean() for row in cells)
        yield cells, first - sum(second)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("speakers", [5, 9, 24])
@pytest.mark.parametrize("rows", [1, 2])
def test_intervals_over_speakers_and_seeds_cover_the_planted_figure(rows, speakers, seeds):
    truth = 0.65 if rows == 1 else 0.0
    hits, false_positives, trials = 0, 0, 400
    # Seeds of networks that were run differ by .02 (standard deviation of their UAR).
    plan = {"rows": rows, "speakers": speakers, "seeds": seeds, "spread": 0.02}
    for cells, value in planted_trials(generator(7), trials=trials, **plan):
        estimate = with_crossed_interval(value, cells, STATISTICS[UAR])
        low, high = estimate["interval_95"]
        hits += low <= truth <= high
        false_positives += t_test(estimate) < 0.05
    # 95 % wanted; the standard error is 1.1 %. Few seeds err on the side of width.
    highest = 0.985 if seeds == 5 else 0.9975
    assert 0.93 <= hits / trials <= highest
    if rows == 2:
        assert 1 - highest <= false_positives / trials <= 0.07


@pytest.mark.parametrize("folds", [1, 5])
def test_where_seeds_differ_much_speakers_alone_promise_too_much(folds):
    """With 24 speakers and five seeds a row, where the same network does for all or one a fold."""
    hits, false_positives, trials = np.zeros(2), np.zeros(2), 300
    plan = {"rows": 2, "speakers": 24, "seeds": 5, "spread": 0.06, "folds": folds}
    for cells, value in planted_trials(generator(8), trials=trials, **plan):
        by_speaker = np.stack([row.mean(axis=1) for row in cells])
        crossed = with_crossed_interval(value, cells, STATISTICS[UAR])
        values = dict.fromkeys(STATISTICS, value)
        alone = with_intervals(values, by_speaker, None, num_resamples=500, seed=0)[UAR]
        hits += [low <= 0 <= high for low, high in (crossed["interval_95"], alone["interval_95"])]
        signed_ranks = wilcoxon(np.subtract(*STATISTICS[UAR](by_speaker)))["p"] or 0.0
        false_positives += [t_test(crossed) < 0.05, signed_ranks < 0.05]
    covered, rejected = hits / trials, false_positives / trials
    assert 0.93 <= covered[0] <= 0.985 and 0.015 <= rejected[0] <= 0.07
    assert covered[1] < 0.8 and rejected[1] > 0.2


def accuracies(values) -> np.ndarray:
    """Confusions (K, S, 2, 2) of 100 turns, all of the first class, with these accuracies."""
    right = 100 * np.asarray(values, dtype=float)
    return np.stack([right, 100 - right, 0 * right, 0 * right], -1).reshape(*right.shape, 2, 2)


def crossed_p(*rows: np.ndarray) -> float:
    value = rows[0].mean() - sum(row.mean() for row in rows[1:])
    cells = [accuracies(row) for row in rows]
    return t_test(with_crossed_interval(value, cells, STATISTICS["weighted_accuracy"]))


def test_the_crossed_test_has_known_tests_as_its_limits():
    rng = generator(12)
    first, second = 0.5 + 0.1 * rng.standard_normal((2, 9))
    paired = stats.ttest_rel(first, second)[1]
    assert crossed_p(first[:, None], second[:, None]) == pytest.approx(paired)
    # Speakers that are all alike: the seeds of two rows are two samples (Welch).
    first, second = 0.5 + 0.1 * rng.standard_normal(5), 0.4 + 0.02 * rng.standard_normal(3)
    welch = stats.ttest_ind(first, second, equal_var=False)[1]
    rows = [np.tile(row, (9, 1)) for row in (first, second)]
    assert crossed_p(*rows) == pytest.approx(welch)
    # Against a baseline without chance there is one sample.
    one = stats.ttest_1samp(first, 0.4)[1]
    assert crossed_p(rows[0], np.full((9, 1), 0.4)) == pytest.approx(one)


def test_the_crossed_error_is_that_of_a_table_of_variances():
    """Beside sums of squares as a textbook has them, of an unpaired difference."""
    rng = generator(13)
    rows = [0.5 + 0.1 * rng.standard_normal((4, 3)), 0.5 + 0.1 * rng.standard_normal((4, 2))]
    rows[0] += [[0.2, 0.0, -0.2]]
    speakers = rows[0].mean(1) - rows[1].mean(1)
    expected = sum((speakers - speakers.mean()) ** 2) / 3 / 4
    for row in rows:
        num_speakers, num_seeds = row.shape
        between = num_speakers * sum((row.mean(0) - row.mean()) ** 2)
        within = num_seeds * sum((row.mean(1) - row.mean()) ** 2)
        rest = ((row - row.mean()) ** 2).sum() - between - within
        rest /= (num_speakers - 1) * (num_seeds - 1)
        expected += (between / (num_seeds - 1) - rest) / row.size
    error, freedom = crossed_error(list(map(accuracies, rows)), STATISTICS["weighted_accuracy"])
    assert error == pytest.approx(np.sqrt(expected)) and 1 <= freedom <= 6


def test_seeds_never_narrow_an_interval():
    # Every seed has the same mean, so that the interaction would lower the variance.
    row = np.array([[0.7, 0.5], [0.5, 0.7], [0.6, 0.6], [0.8, 0.8]])
    error, _ = crossed_error([accuracies(row)], STATISTICS["weighted_accuracy"])
    assert error == pytest.approx(row.mean(1).std(ddof=1) / 2)


def test_a_crossed_interval_ends_where_the_figure_does():
    row = np.array([[1.0, 0.1], [0.9, 0.0], [1.0, 0.1]])
    for cells, value, ends in (
        ([accuracies(row)], row.mean(), [0.0, 1.0]),
        ([accuracies(row), accuracies(1 - row)], 2 * row.mean() - 1, [-1.0, 1.0]),
    ):
        estimate = with_crossed_interval(value, cells, STATISTICS["weighted_accuracy"])
        assert estimate["interval_95"] == ends


def test_rows_that_answer_alike_do_not_differ():
    row = accuracies(np.full((3, 2), 0.5))
    estimate = with_crossed_interval(1e-17, [row, row], STATISTICS[UAR])
    assert estimate["interval_95"] == [0.0, 0.0] and t_test(estimate) == 1.0


def test_a_pseudo_value_of_a_mean_is_what_the_speaker_has_itself():
    own = np.array([[0.9, 0.6], [0.7, 0.6], [0.8, 0.3]])  # with as many turns each
    assert pseudo_values(STATISTICS["weighted_accuracy"], accuracies(own)) == pytest.approx(own)


def test_intervals_of_two_rows_are_of_their_paired_difference():
    rng = generator(21)
    first, second = (planted_speakers(rng, 0.1, speakers=6) for _ in range(2))
    both = np.stack([first, second])
    values = dict.fromkeys(STATISTICS, 0.125)
    options = {"num_resamples": 200, "seed": 3}
    found = with_intervals(values, both, None, **options)
    samples = bootstrap_statistics(both, **options)
    for name, of_rows in samples.items():
        expected = speaker_interval(of_rows[0] - of_rows[1], 6)
        assert found[name] == {"value": 0.125, "interval_95": expected}
    alone = with_intervals(values, both[:1], None, **options)
    for name, of_rows in samples.items():
        assert alone[name]["interval_95"] == speaker_interval(of_rows[0], 6)
    with_itself = with_intervals(values, np.stack([first, first]), None, **options)
    assert all(entry["interval_95"] == [0.0, 0.0] for entry in with_itself.values())


def test_a_crossed_interval_is_student_s_around_the_figure():
    # three speakers of .8, .7 and .6 with one seed: .1 / sqrt(3) and t of two degrees, 4.3027
    row = np.array([[0.8], [0.7], [0.6]])
    estimate = with_crossed_interval(0.7, [accuracies(row)], STATISTICS["weighted_accuracy"])
    assert estimate["standard_error"] == pytest.approx(0.0577350)
    assert estimate["degrees_of_freedom"] == pytest.approx(2)
    assert estimate["interval_95"] == pytest.approx([0.4515862, 0.9484138])
    assert estimate["value"] == 0.7
    # t = 0.7 / 0.0577350 = 12.124, of which a table of two degrees gives p = .00673
    assert t_test(estimate) == pytest.approx(0.00673, abs=1e-5)


@pytest.mark.parametrize("pairs", [199, 200, 201])
def test_where_the_exact_test_ends_its_p_goes_on(pairs):
    ranks = np.arange(1.0, pairs + 1)
    positive = generator(11).random(pairs) < 0.56
    assert signed_rank_p(ranks, positive) == pytest.approx(
        float(stats.wilcoxon(np.where(positive, ranks, -ranks), method="exact").pvalue), rel=0.03
    )
    assert signed_rank_p(ranks, positive) == pytest.approx(signed_rank_p(ranks, ~positive))


def test_wilcoxon_names_mean_median_and_the_least_p_of_its_unequal_pairs():
    result = wilcoxon([0.4, -0.1, 0.2, 0.0, 0.0, 0.3])
    assert result["mean"] == pytest.approx(0.8 / 6) and result["median"] == pytest.approx(0.1)
    assert result["least_p"] == 2 / 2**4
    assert wilcoxon([0.0])["least_p"] == 1.0
    assert wilcoxon([])["mean"] is wilcoxon([])["median"] is None


def test_where_seeds_count_intervals_are_the_crossed_ones():
    cells = [accuracies(np.array([[0.9, 0.6], [0.7, 0.6], [0.8, 0.3]]))]
    values = {name: 0.1 * place for place, name in enumerate(STATISTICS, 6)}
    found = with_intervals(values, cells[0].mean(1)[None], cells, num_resamples=9, seed=0)
    for name, statistic in STATISTICS.items():
        assert found[name] == with_crossed_interval(values[name], cells, statistic)
