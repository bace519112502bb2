import numpy as np
import pytest

from processing.errors import InputError
from train_scripts.baselines.vector_machine import (
    GRID,
    Setting,
    choose_setting,
    fit_and_decide,
    kernel_matrices,
)

LINEAR = Setting(None, "linear", None, 1.0)
RBF = Setting(3.0, "rbf", 0.5, 4.0)


def planted(generator, speakers=6, turns=16, labels=4, noise=1.0, features=12):
    """Features that carry the label, with an offset for each speaker: (N, D), (N,), N speakers."""
    ids = np.tile(np.arange(turns) % labels, speakers)
    names = np.repeat(np.arange(speakers), turns)
    centres = 3 * generator.standard_normal((labels, features))
    offsets = generator.standard_normal((speakers, features))
    values = centres[ids] + offsets[names] + noise * generator.standard_normal((len(ids), features))
    return values, ids, [f"s{n}" for n in names]


def test_kernels_are_those_of_their_definition():
    generator = np.random.default_rng(0)
    train, test = generator.standard_normal((9, 5)), 4 * generator.standard_normal((4, 5))
    train[:, 2] = 1.0  # a feature without spread
    scale = np.where(train.std(0) > 0, train.std(0), 1)
    a, b = ((x - train.mean(0)) / scale for x in (train, test))
    for clip in (None, 1.5):
        x, y = (z if clip is None else np.clip(z, -clip, clip) for z in (a, b))
        _, linear = kernel_matrices(train, test, clip, None)
        assert linear == pytest.approx(y @ x.T / 5)
        gram, radial = kernel_matrices(train, test, clip, 0.7)
        expected = [[np.exp(-0.7 * ((p - q) ** 2).mean()) for q in x] for p in y]
        assert radial == pytest.approx(np.array(expected))
        assert np.diag(gram) == pytest.approx(1.0)


def test_it_learns_planted_classes_on_unseen_speakers():
    generator = np.random.default_rng(1)
    features, labels, groups = planted(generator)
    chosen = choose_setting(features, labels, groups, 4)
    assert chosen.uar.max() > 0.9 and len(chosen.uar) == len(GRID)
    assert (chosen.values.argmax(1) == labels).mean() > 0.9
    permuted = generator.permutation(labels)
    assert choose_setting(features, permuted, groups, 4).uar.max() < 0.45


def test_no_speaker_is_on_both_sides_of_an_inner_fold():
    # Each speaker has labels of its own for the same features and says so in a feature: whoever
    # has seen the speaker is right, whoever has not is at chance.
    generator = np.random.default_rng(2)
    speakers, turns = 8, 40
    kind = np.tile(np.arange(turns) % 2, speakers)
    names = np.repeat(np.arange(speakers), turns)
    flip = generator.permutation(np.arange(speakers) % 2)
    labels = kind ^ flip[names]
    features = np.concatenate([np.eye(2)[kind], 3 * np.eye(speakers)[names]], axis=1)
    features += 0.01 * generator.standard_normal(features.shape)
    grid = [Setting(None, "rbf", 1.0, 16.0)]
    known = np.arange(len(labels)) % turns < turns // 2
    seen = fit_and_decide(features[known], labels[known], features[~known], 2, grid)[0]
    assert (seen.argmax(1) == labels[~known]).mean() == 1.0
    chosen = choose_setting(features, labels, [f"s{n}" for n in names], 2, grid=grid)
    assert chosen.uar[0] < 0.75


def test_two_classes_and_classes_that_training_lacks():
    generator = np.random.default_rng(3)
    features, labels, _ = planted(generator, labels=3)
    for present in ([1, 2], [2]):
        chosen = np.isin(labels, present)
        values = fit_and_decide(features[chosen], labels[chosen], features, 4, [LINEAR, RBF])
        assert values.shape == (2, len(labels), 4)
        for answers in values.argmax(2):
            assert set(answers) <= set(present)
            assert (answers[chosen] == labels[chosen]).mean() > 0.95


def test_clipping_takes_the_weight_from_outliers():
    generator = np.random.default_rng(4)
    features, labels, _ = planted(generator, noise=2.0, features=30)
    test, answers, _ = planted(np.random.default_rng(4), noise=2.0, features=30)
    test[:, :6] += 1000.0
    plain, clipped = fit_and_decide(
        features, labels, test, 4, [LINEAR, Setting(3.0, "linear", None, 1.0)]
    )
    right = [(v.argmax(1) == answers).mean() for v in (plain, clipped)]
    assert right[1] > right[0] + 0.2


def test_one_speaker_cannot_choose_settings():
    with pytest.raises(InputError, match="at least 2"):
        choose_setting(np.zeros((4, 2)), np.array([0, 1, 0, 1]), ["a"] * 4, 2)
