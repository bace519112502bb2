import numpy as np

from train_scripts.explanations.code_dependence import measure_dependence


def pair(a, b):
    (found,) = measure_dependence({"a": a, "b": b}, seed=0)
    return found


def noise(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def test_independent_codes_look_like_shuffled_ones():
    found = pair(noise(0, 200, 5), noise(1, 200, 5))
    for kind in ("cca", "hsic"):
        assert abs(found[kind]["value"] - found[kind]["shuffled"]) < 0.05
        assert found[kind]["p"] > 0.05


def test_a_rotated_code_is_the_same_code():
    a = noise(0, 200, 5)
    rotation = np.linalg.qr(noise(1, 5, 5))[0]
    found = pair(a, a @ rotation)
    assert found["cca"]["value"] > 0.999 and found["cca"]["p"] < 0.02
    assert found["hsic"]["value"] > 0.9 and found["hsic"]["p"] < 0.02


def test_dependence_that_is_not_linear_is_seen_by_hsic_alone():
    a = noise(0, 300, 1)
    found = pair(a, a**2 + 0.1 * noise(1, 300, 1))
    assert found["hsic"]["p"] < 0.02 and found["hsic"]["value"] > 5 * found["hsic"]["shuffled"]
    assert found["cca"]["value"] < 0.3


def test_every_pair_is_measured_on_the_same_drawn_turns(monkeypatch):
    monkeypatch.setattr("train_scripts.explanations.code_dependence.MOST_TURNS", 60)
    a = noise(0, 90, 2)
    found = measure_dependence({"a": a, "b": a + 0, "c": noise(1, 90, 2)}, seed=0)
    assert [p["codes"] for p in found] == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert {p["num_turns"] for p in found} == {60}
    assert found[0]["hsic"]["value"] > 0.999 > 0.5 > found[1]["hsic"]["value"]
