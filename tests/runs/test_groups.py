import numpy as np
import pytest
from datasets import Dataset

from train_scripts.runs.groups import age_group, compare_groups, group_columns, simulate_spreads
from train_scripts.runs.inference import TurnPredictions
from train_scripts.runs.metrics import confusion_matrix, recalls_by_group
from train_scripts.runs.results import score_rows

LABELS = ["angry", "happy"]


def answers(rights, each=200):
    """References, predictions and groups; each group's turns are right in its own share."""
    references = np.tile([0, 1], each * len(rights) // 2)
    groups = np.repeat([f"g{k}" for k in range(len(rights))], each)
    generator = np.random.default_rng(0)
    share = np.repeat(rights, each)
    wrong = generator.random(len(references)) >= share
    return references, np.where(wrong, 1 - references, references), groups


def compared(rights, each=200):
    references, predictions, groups = answers(rights, each)
    scores = recalls_by_group(references, predictions, list(groups), num_labels=2)
    confusion = confusion_matrix(references, predictions, num_labels=2)
    return compare_groups(scores, list(groups), references, confusion)


def test_groups_that_are_treated_unlike_are_found_and_equal_ones_are_not():
    uneven = compared([0.9, 0.9, 0.6])
    assert uneven.uneven and uneven.worst == "g2"
    assert uneven.spread == pytest.approx(0.3, abs=0.08)
    assert uneven.mean == pytest.approx(0.8, abs=0.05)
    assert not compared([0.8, 0.8, 0.8]).uneven


def test_the_threshold_grows_with_fewer_turns_and_more_groups():
    thresholds = [compared([0.8] * count, each).threshold for count, each in ((2, 200), (2, 20))]
    assert thresholds[1] > 2 * thresholds[0]
    assert compared([0.8] * 8).threshold > thresholds[0]


def test_one_in_twenty_even_handed_models_exceeds_the_threshold():
    references, predictions, groups = answers([0.7, 0.7], 100)
    places = (groups == "g1").astype(int)
    confusion = confusion_matrix(references, predictions, num_labels=2)
    spreads = simulate_spreads(places, references, confusion, num_groups=2)
    threshold = np.quantile(spreads, 0.95)
    generator = np.random.default_rng(1)
    exceed = []
    for _ in range(300):
        right = generator.random(len(references)) < 0.7
        recalls = [
            np.mean([right[(places == g) & (references == c)].mean() for c in (0, 1)])
            for g in (0, 1)
        ]
        exceed.append(max(recalls) - min(recalls) > threshold)
    assert np.mean(exceed) < 0.1


def test_small_and_lopsided_groups_are_not_compared():
    assert compared([0.9, 0.5], each=8) is None
    references, predictions, groups = answers([0.9, 0.5])
    groups[(groups == "g1") & (references == 1)] = "g0"  # g1 is left with one emotion
    scores = recalls_by_group(references, predictions, list(groups), num_labels=2)
    confusion = confusion_matrix(references, predictions, num_labels=2)
    assert compare_groups(scores, list(groups), references, confusion) is None


def rows_of(count=40):
    return Dataset.from_dict(
        {
            "id": [str(i) for i in range(count)],
            "emotion": LABELS * (count // 2),
            "speaker": [f"s{i // 20}" for i in range(count)],
            "gender": ["female"] * 20 + ["male"] * (count - 20),
            "age": ["23"] * 20 + ["child"] * (count - 20),
            "corpus": ["nemo"] * 20 + ["ravdess"] * (count - 20),
            "text": [None] * count,
        }
    )


def test_scores_tell_every_kind_of_group_that_is_known():
    rows = rows_of()
    # the first 20 turns are right, the others wrong, all with confidence 0.88
    logits = np.array(
        [
            [2.0, 0.0] if (e == "angry") == (i < 20) else [0.0, 2.0]
            for i, e in enumerate(rows["emotion"])
        ]
    )
    scores = score_rows(rows, TurnPredictions(logits=logits), LABELS)
    assert set(scores.per_age) == {"20 to 29", "child"}
    assert set(scores.per_language) == {"en", "pl"} and set(scores.per_corpus) == {
        "nemo",
        "ravdess",
    }
    confidence = 1 / (1 + np.exp(-2))
    assert scores.per_gender["female"].overconfidence == pytest.approx(confidence - 1)
    assert scores.per_gender["male"].overconfidence == pytest.approx(confidence)
    assert scores.fairness["gender"].worst == "male" and scores.fairness["gender"].uneven
    assert set(scores.fairness) == {"speaker", "gender", "age", "language", "corpus"}


def test_columns_that_a_corpus_lacks_make_no_groups():
    rows = rows_of().remove_columns(["age"]).map(lambda row: {"gender": None})
    assert set(group_columns(rows)) == {"speaker", "language", "corpus"}
    assert age_group("40.5") == "40 to 49"
