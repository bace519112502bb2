import itertools

import numpy as np
import pytest

from processing.corpora.factorial import FACTORS
from train_scripts.explanations.disentanglement import (
    ideal_codes,
    informativeness,
    judge_codes,
    subject_matrix,
    subjects_of,
)
from train_scripts.explanations.probing import Scorer, Splits
from train_scripts.explanations.speech_factors import Factor, class_factor, number_factor

OWNER = {"rhythm": "rhythm", "content": "sentence", "pitch": "contour", "timbre": "voice"}


@pytest.fixture(scope="module")
def factorial():
    """Factors of the full design of 3 x 5 x 3 x 3 levels, and splits as `probe` makes them."""
    levels = [["s1", "s2", "s3"], ["v1", "v2", "v3", "v4", "v5"], ["up", "down", "flat"]]
    cells = list(itertools.product(*levels, ["slow", "fast", "hurrying"]))
    factors = [class_factor(n, [c[i] for c in cells]) for i, n in enumerate(FACTORS)]
    voices, sentences = factors[1].values, factors[0].values
    return factors, Splits(voices, sentences, "sentences", np.array([c[1] for c in cells]))


def noisy(codes, seed=0, scale=0.3):
    rng = np.random.default_rng(seed)
    return {name: x + scale * rng.standard_normal(x.shape) for name, x in codes.items()}


def matrix_of(codes, corpus):
    """What codes tell of subjects; ideal codes where none are given."""
    factors, splits = corpus
    subjects = subjects_of([f.name for f in factors])
    scorer = Scorer(factors, splits, seed=0, num_shuffles=10)
    return subject_matrix(scorer.score_all(codes or ideal_codes(factors, subjects)), subjects)


@pytest.fixture(scope="module")
def ideal(factorial):
    return matrix_of(None, factorial)


def verdict_on(codes, corpus, ideal):
    matrix = matrix_of(codes, corpus)
    return matrix, judge_codes(matrix, ideal)


def perfect(factorial):
    factors = factorial[0]
    return noisy(ideal_codes(factors, subjects_of([f.name for f in factors])))


def test_perfect_codes_are_disentangled(factorial, ideal):
    matrix, found = verdict_on(perfect(factorial), factorial, ideal)
    assert found["verdict"] == "disentangled"
    assert found["own"] > 0.95 and found["leak"] < 0.02 and found["distance"] < 0.03
    for code in OWNER:
        assert found["codes"][code]["verdict"] == "pure"
        assert found["codes"][code]["carries"] == [code]
        assert found["codes"][code]["modularity"] > 0.99 and found["compactness"][code] > 0.99
        assert list(matrix[code]) == list(OWNER)


def test_codes_that_each_mix_all_factors_are_entangled(factorial, ideal):
    own = perfect(factorial)
    everything = np.concatenate(list(own.values()), axis=1)
    rng = np.random.default_rng(3)
    codes = {name: everything @ rng.standard_normal((everything.shape[1],) * 2) for name in own}
    _, found = verdict_on(codes, factorial, ideal)
    assert found["verdict"] == "entangled"
    assert {c["verdict"] for c in found["codes"].values()} == {"mixed"}
    assert found["leak"] > 0.9 and found["distance"] > 0.7
    assert all(c["modularity"] < 0.2 for c in found["codes"].values())  # 1 for a pure code


def test_a_code_with_anothers_subject_is_misplaced(factorial, ideal):
    codes = perfect(factorial)
    codes["rhythm"], codes["pitch"] = codes["pitch"], codes["rhythm"]
    _, found = verdict_on(codes, factorial, ideal)
    assert found["verdict"] == "partly disentangled"
    assert found["codes"]["rhythm"] | {"modularity": None} == {
        "verdict": "misplaced", "carries": ["pitch"], "leaks": ["pitch"], "informativeness": 0.0,
        "modularity": None,
    }  # fmt: skip
    assert found["codes"]["content"]["verdict"] == "pure"


def test_one_leaking_code_is_named_and_the_others_stay_pure(factorial, ideal):
    codes = perfect(factorial)
    codes["content"] = np.concatenate([codes["content"], codes["rhythm"]], axis=1)
    _, found = verdict_on(codes, factorial, ideal)
    assert found["verdict"] == "partly disentangled"
    assert found["codes"]["content"]["verdict"] == "mixed"
    assert found["codes"]["content"]["leaks"] == ["rhythm"]
    assert found["compactness"]["rhythm"] < 0.8 < found["compactness"]["pitch"]


def test_noise_is_uninformative(factorial, ideal):
    codes = {name: np.random.default_rng(i).standard_normal((135, 6)) for i, name in
             enumerate(OWNER)}  # fmt: skip
    _, found = verdict_on(codes, factorial, ideal)
    assert found["verdict"] == "uninformative" and found["own"] < 0.1 and found["leak"] < 0.1


def test_a_code_is_forgiven_what_the_corpus_ties_together_and_no_more():
    # in this corpus pitch and gender go together
    gender = np.tile([0, 1], 60)
    factors = [
        number_factor("f0_mean", 6.0 * gender + 0.5 * np.random.default_rng(0).normal(size=120)),
        Factor("gender", "class", gender, np.ones(120, bool), "", ["female", "male"]),
        number_factor("speaking_rate", np.random.default_rng(1).normal(size=120)),
    ]
    speakers = np.repeat(np.arange(10), 12).astype(str)
    folds = np.repeat(np.arange(5), 24)
    splits = Splits(folds, folds, "turns", speakers)
    codes = noisy(ideal_codes(factors, subjects_of([f.name for f in factors])), scale=0.1)
    corpus = factors, splits
    ideal = matrix_of(None, corpus)
    matrix, found = verdict_on(codes, corpus, ideal)
    assert matrix["pitch"]["timbre"] > 0.9  # told by pitch, and rightly so
    assert found["verdict"] == "disentangled"
    codes["pitch"] = np.concatenate([codes["pitch"], codes["rhythm"]], axis=1)
    found = verdict_on(codes, corpus, ideal)[1]
    assert found["codes"]["pitch"]["leaks"] == ["rhythm"]
    assert found["verdict"] == "partly disentangled"


def test_informativeness_runs_from_chance_to_perfect_and_needs_evidence():
    score = {"score": 0.7, "chance": 0.4, "shuffled_95": 0.5, "interval": (0.6, 0.8)}
    assert informativeness(score) == pytest.approx(0.5)
    assert informativeness(score | {"interval": (0.45, 0.9)}) == 0
    assert informativeness(score | {"interval": None}) == pytest.approx(0.5)
    number = {"score": 0.6, "chance": -0.2, "shuffled_95": 0.0, "interval": (0.5, 0.7)}
    assert informativeness(number) == pytest.approx(0.6)  # R squared counts from 0
    assert informativeness(number | {"interval": (-0.1, 0.9), "shuffled_95": -0.3}) == 0


def test_subjects_are_those_that_the_corpus_has():
    assert subjects_of(["speaker", "gender", "f0_mean", "emotion"]) == {
        "pitch": ("f0_mean",),
        "timbre": ("speaker", "gender"),
    }
    assert subjects_of([*FACTORS, "f0_mean", "gender"]) == {k: (v,) for k, v in OWNER.items()}
