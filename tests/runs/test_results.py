import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train_scripts.runs.inference import TurnPredictions
from train_scripts.runs.results import score_rows

LABELS = ["angry", "happy", "sad", "neutral"]
ROWS = {
    "emotion": ["angry", "angry", "happy", "happy", "sad", "sad"],
    "speaker": ["s1", "s1", "s2", "s2", "s3", None],
    "gender": ["female", "female", "male", "male", None, None],
    "text": ["a b", None, "", "c", "d", "e"],
}
"""Six turns of three speakers; no turn is neutral."""


def predictions(**changes):
    """Answers to ROWS: one angry turn is taken for neutral; every answer has probability 0.7."""
    shares = np.full((6, 4), 0.1) + 0.6 * np.eye(4)[[0, 3, 1, 1, 2, 2]]
    return TurnPredictions(**{"logits": np.log(shares), **changes})


def test_turns_with_everything_have_every_figure():
    turns = predictions(
        texts=["A", "X Y Z", "F", "C", "D", "E"],
        speech_mse=np.float32([1, 2, 3, 4, 5, 6]),
        speech_mse_padded=np.float32([2, 2, 2, 2, 2, 2]),
    )
    heldout = {"speaker": ["s8", "s9", "s9"]}, TurnPredictions(speakers=["s8", "s9", "s8"])
    scores = score_rows(ROWS, turns, LABELS, heldout=heldout)
    # of rows without votes and ratings
    others = ("vote_", "ccc_")
    found = {k: v for k, v in vars(scores.metrics).items() if not k.startswith(others)}
    assert all(vars(scores.metrics)[k] is None for k in vars(scores.metrics).keys() - found.keys())
    assert found == pytest.approx(
        {
            "weighted_accuracy": 5 / 6,
            "unweighted_average_recall": (0.5 + 1 + 1) / 3,
            "macro_f1": (2 / 3 + 1 + 1) / 3,
            "num_turns": 6,
            "absent_labels": 1,
            "word_error_rate": 2 / 5,  # one deletion, one insertion; the unknown text is left out
            "speaker_accuracy": 2 / 3,
            "speech_mse": 3.5,
            "speech_mse_padded": 2.0,
            "ece": 5 / 6 - 0.7,
        }
    )
    assert scores.confusion == [[1, 0, 0, 1], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0]]
    assert vars(scores.per_class["neutral"]) == {
        "recall": None,
        "precision": 0.0,
        "f1": None,
        "num_turns": 0,
    }
    assert {name: s.weighted_accuracy for name, s in scores.per_speaker.items()} == {
        "s1": 0.5,
        "s2": 1.0,
        "s3": 1.0,
    }
    assert {name: s.num_turns for name, s in scores.per_gender.items()} == {
        "female": 2,
        "male": 2,
    }


def test_what_a_variant_lacks_is_null():
    heldout = {"speaker": ["s8"]}, TurnPredictions()
    scores = score_rows({**ROWS, "gender": [None] * 6}, predictions(), LABELS, heldout=heldout)
    lacking = ("word_error_rate", "speaker_accuracy", "speech_mse", "speech_mse_padded")
    assert [getattr(scores.metrics, name) for name in lacking] == [None] * 4
    assert scores.per_gender == {}


def test_texts_that_are_all_unknown_or_empty_and_no_heldout_turns_are_null():
    rows = {**ROWS, "text": [None, None, "", "", None, ""]}
    heldout = {"speaker": []}, TurnPredictions(speakers=[])
    metrics = score_rows(rows, predictions(texts=["A"] * 6), LABELS, heldout=heldout).metrics
    assert metrics.word_error_rate is None
    assert metrics.speaker_accuracy is None


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_scores_are_json_without_nan(seed, num_turns):
    generator = np.random.default_rng(seed)
    rows = {
        "emotion": generator.choice(LABELS, size=num_turns).tolist(),
        "speaker": ["s1"] * num_turns,
        "gender": [None] * num_turns,
        "text": [None] * num_turns,
    }
    logits = generator.normal(scale=5, size=(num_turns, 4)).astype(np.float32)
    mse = generator.random(num_turns, dtype=np.float32)
    scores = score_rows(rows, TurnPredictions(logits=logits, speech_mse=mse), LABELS)
    assert json.loads(json.dumps(asdict(scores), allow_nan=False)) == asdict(scores)


@pytest.mark.parametrize(
    ("rows", "changes", "labels", "message"),
    [
        ({"speaker": ["s1"]}, {}, LABELS, "groups: 1 values for 6 turns"),
        ({}, {"texts": ["A"]}, LABELS, "texts: 1 values for 6 turns"),
        ({}, {}, LABELS[:3], "probabilities of 4 labels, expected 3: angry, happy, sad"),
        ({}, {"logits": np.full((6, 4), np.nan)}, LABELS, "probabilities of turn 0 are"),
        ({}, {"speech_mse": np.array([1, np.nan, 1, 1, 1, 1])}, LABELS, "speech_mse of turn 1 is"),
    ],
)
def test_wrong_columns_are_named(rows, changes, labels, message):
    with pytest.raises(ValueError, match=message):
        score_rows({**ROWS, **rows}, predictions(**changes), labels)
