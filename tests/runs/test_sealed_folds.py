import pytest
from datasets import Dataset, DatasetDict
from support.tiny_networks import tiny_classifier

from train_scripts.runs.sealed_folds import SealedFolds


@pytest.fixture
def folds():
    def rows(*ids):
        return Dataset.from_dict(
            {"id": ids, "speaker": [i[0] for i in ids], "corpus": ["c"] * len(ids)}
        )

    return SealedFolds(DatasetDict(train=rows("a1", "a2"), test=rows("b1")))


def test_test_turns_are_not_handed_out_before_the_model_is_final(folds):
    with pytest.raises(RuntimeError, match="before the model is final"):
        folds["test"]
    assert folds["train"]["id"] == ["a1", "a2"]
    assert folds.open_test()["id"] == ["b1"] and folds["test"]["id"] == ["b1"]


def test_who_is_tested_is_no_secret(folds):
    assert folds.test_ids == ["b1"] and folds.test_speakers == ["b"]
    assert folds.test_corpora == {"c"}


def test_another_format_is_sealed_too(folds):
    with pytest.raises(RuntimeError, match="before the model is final"):
        folds.with_format("numpy")["test"]


@pytest.mark.parametrize("change", ["weight", "buffer", "temperature", None])
def test_what_changes_after_the_test_turns_were_opened_is_refused(folds, change):
    model = tiny_classifier()
    folds.open_test(model)
    if change == "weight":
        model.emotion_head.bias.data[0] += 1e-6
    elif change == "buffer":
        model.pooled_mean[0] += 1.0
    elif change == "temperature":
        model.config.temperature = 1.5
    if change is None:
        folds.check_final(model, None)
    else:
        with pytest.raises(RuntimeError, match="changed after the test turns were opened"):
            folds.check_final(model, None)
