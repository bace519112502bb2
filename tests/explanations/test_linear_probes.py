import numpy as np
import pytest

from train_scripts.explanations.linear_probes import (
    LEFT_OUT,
    RIDGES,
    TRAINS_ONLY,
    Outcome,
    choose_strength,
    probe,
    project,
    quotients,
    read,
)

SPEAKERS = np.repeat(np.arange(10), 12)
FOLDS = SPEAKERS % 5


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def run(features, factor, **options):
    options = {"folds": FOLDS, "groups": SPEAKERS, "seed": 0, "num_shuffles": 10} | options
    return probe(features, factor, options.pop("folds"), options.pop("groups"), **options)


def test_a_planted_class_is_read_and_a_shuffled_one_is_not():
    classes = np.random.default_rng(1).integers(0, 3, 120)
    features = np.concatenate([3 * np.eye(3)[classes] + noise(120, 3), noise(120, 20)], axis=1)
    outcome, shuffled = run(features, classes)
    assert outcome.score > 0.85
    assert shuffled.mean() == pytest.approx(1 / 3, abs=0.06)
    low, high = outcome.interval(SPEAKERS, 0)
    assert low < outcome.score < high and low > shuffled.max()


def test_a_planted_number_is_read_and_noise_is_not():
    features = noise(120, 12)
    number = features[:, 0] - 2 * features[:, 3] + 0.3 * noise(120, seed=2)
    outcome, shuffled = run(features, number)
    assert outcome.score > 0.9 and shuffled.max() < 0.15
    assert run(noise(120, 12, seed=3), number)[0].score < 0.1


def test_what_only_the_probes_own_speakers_have_does_not_pass_to_others():
    # features tell the speaker, and the factor is drawn for each speaker
    features = np.eye(10)[SPEAKERS] + 0.1 * noise(120, 10)
    classes = np.array([0, 1, 1, 0, 1, 0, 0, 1, 0, 1])[SPEAKERS]
    honest = run(features, classes)[0].score
    turns = np.arange(120)
    leaking = run(features, classes, folds=turns % 5, groups=turns)[0].score
    assert leaking > 0.99 and honest < 0.7


def test_only_the_tested_turns_count_and_the_others_train():
    classes = np.random.default_rng(1).integers(0, 2, 120)
    features = 4 * np.eye(2)[classes] + noise(120, 2)
    outcome, _ = run(features, classes, folds=np.where(SPEAKERS < 2, 0, TRAINS_ONLY))
    assert len(outcome.hits) == 24 and outcome.counts.sum() == 24 and outcome.score > 0.9


def test_turns_whose_factor_is_unknown_neither_train_nor_test():
    classes = np.random.default_rng(1).integers(0, 2, 120)
    features = 4 * np.eye(2)[classes] + noise(120, 2)
    known = np.arange(120) % 3 > 0
    wrong = np.where(known, classes, 1 - classes)
    found = run(features, wrong, folds=np.where(known, FOLDS, LEFT_OUT))
    kept = run(features[known], classes[known], folds=FOLDS[known], groups=SPEAKERS[known])
    assert found[0].score == kept[0].score and len(found[0].hits) == known.sum()


def test_the_score_is_the_unweighted_average_recall():
    hits, counts = np.eye(2)[[0, 0, 0, 1]], np.eye(2)[[0, 0, 0, 1]]
    hits[0] = 0  # two of three of the first class, one of one of the second
    assert Outcome(hits, counts).score == pytest.approx((2 / 3 + 1) / 2)
    assert quotients(np.array([1.0, 0.0]), np.array([2.0, 0.0])) == 0.5  # an absent class


def test_r_squared_is_measured_against_the_mean_of_the_training_turns():
    number = noise(120, seed=4) + 5.0
    outcome, _ = run(np.zeros((120, 3)), number)
    assert outcome.score == pytest.approx(0.0, abs=1e-9)  # constant features: that very mean


def test_intervals_draw_whole_speakers():
    # one speaker of ten is wrong throughout
    hits = (SPEAKERS > 0).astype(float)[:, None]
    low, high = Outcome(hits, np.ones((120, 1))).interval(SPEAKERS, 0)
    by_turn = Outcome(hits, np.ones((120, 1))).interval(np.arange(120), 0)
    assert high - low > 1.8 * (by_turn[1] - by_turn[0])
    assert Outcome(hits, np.ones((120, 1))).interval(np.zeros(120), 0) is None


@pytest.mark.parametrize("num_speakers", [5, 10])
def test_intervals_of_few_speakers_hold_the_true_score_as_often_as_they_say(num_speakers):
    rng = np.random.default_rng(0)
    speakers, held = np.repeat(np.arange(num_speakers), 12), []
    for seed in range(400):
        recalls = np.clip(rng.normal(0.7, 0.1, num_speakers), 0, 1)
        hits = (rng.random(12 * num_speakers) < recalls[speakers]).astype(float)[:, None]
        low, high = Outcome(hits, np.ones_like(hits)).interval(speakers, seed)
        held.append(low <= 0.7 <= high)
    assert 0.92 <= np.mean(held) <= 0.97  # of plain percentiles 0.85 and 0.91


def test_numbers_are_read_by_ridge_regression_of_a_strength_for_each_turn():
    x, y, new = noise(40, 4), noise(40, seed=5), noise(7, 4, seed=6)
    center = x - x.mean(0)
    for ridge in RIDGES:
        weights = np.linalg.solve(center.T @ center + 40 * ridge * np.eye(4), center.T @ y)
        expected = (new - x.mean(0)) @ weights + y.mean()
        np.testing.assert_allclose(read(x, y, new, ridge), expected, atol=1e-9)


def test_a_class_between_two_others_is_read():
    level = np.arange(120) % 3
    features = level[:, None] + 0.2 * noise(120, 1)
    answers = read(features[:90], level[:90], features[90:], 0.1)
    assert (answers == level[90:]).mean() > 0.9
    # a class that training lacks is never the answer, and one alone always is
    assert set(read(features, level // 2, features, 0.1)) == {0, 1}
    assert set(read(features, 0 * level + 2, features, 0.1)) == {2}


def test_rare_classes_are_as_likely_as_frequent_ones():
    rare = (np.arange(400) % 20 == 0).astype(int)
    features = 1.5 * rare[:, None] + noise(400, 1)
    answers = read(features, rare, features, 0.1)
    assert (answers[rare == 1] == 1).mean() > 0.6


def test_many_features_ask_for_a_strong_ridge_and_few_for_a_weak_one():
    groups, number = SPEAKERS, noise(120, seed=9)
    few = number[:, None] + 0.01 * noise(120, 1)
    many = np.concatenate([0.05 * number[:, None], 3 * noise(120, 100)], axis=1)
    weak = choose_strength(few, number, groups, 1)
    assert weak == RIDGES[0] < choose_strength(many, number, groups, 1)


def test_strengths_are_chosen_on_groups_that_were_not_fitted():
    # the features tell the speaker, of whom the number is drawn: nothing passes to other speakers
    number = noise(10, seed=2)[SPEAKERS]
    features = noise(10, 6, seed=22)[SPEAKERS] + 0.1 * noise(120, 6)
    assert choose_strength(features, number, np.arange(120), 1) < 1
    assert choose_strength(features, number, SPEAKERS, 1) > 1


@pytest.mark.parametrize("width", [10, 300])
def test_projection_is_of_the_training_turns_alone_and_keeps_their_distances(width):
    train, test = noise(60, width) * 5 + 3, noise(9, width, seed=1)
    train[:, 4], test[:, 4] = 2.0, 7.0  # constant in training
    reduced, others = project(train, test)
    assert np.abs(reduced.mean(0)).max() < 1e-8 and len(others) == 9
    assert reduced.shape[1] == others.shape[1] == min(width - 1, 59)
    standard = (train - train.mean(0)) / np.where(train.std(0) > 1e-9, train.std(0), np.inf)
    np.testing.assert_allclose(
        np.linalg.norm(reduced[0] - reduced[1]), np.linalg.norm(standard[0] - standard[1])
    )
    np.testing.assert_allclose(project(train, test[:1])[1][0], others[0], atol=1e-9)


def test_the_same_seed_gives_the_same_scores():
    classes = np.random.default_rng(1).integers(0, 2, 120)
    first, second = (run(noise(120, 5), classes) for _ in range(2))
    assert first[0].score == second[0].score and (first[1] == second[1]).all()
