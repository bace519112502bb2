import json

import pytest
import torch
from support.tiny_pipeline import encode, save_tiny_model, voice

from processing.errors import InputError
from processing.folder_locks import sole_writer
from train_scripts.answers.prediction import Listening, load_pipeline
from train_scripts.answers.prediction_call import predict
from train_scripts.runs.precision import convolves_right


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_tiny_model(folder)
    return str(folder)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.wav"
    path.write_bytes(encode(voice(1.0)))
    return str(path)


def pretend(monkeypatch, found):
    """That this machine has bfloat16, and computes it right; or that it has none."""
    monkeypatch.setattr("train_scripts.runs.precision.has_bfloat16", lambda: found)
    monkeypatch.setattr("train_scripts.runs.precision.convolves_right", lambda model: True)


@pytest.mark.parametrize("name", ["answers", "answers.csv"])
def test_the_second_of_two_calls_with_one_output_is_told(model, clip, tmp_path, name):
    output = tmp_path / name
    with sole_writer(output), pytest.raises(InputError, match="another process .* is writing"):
        predict(model, [clip], output=output)
    assert not output.exists()
    predict(model, [clip], output=output)  # when the first has ended
    assert output.exists() and not output.with_name(f"{name}.writing").exists()


def test_fast_computes_in_bfloat16_and_answers_nearly_the_same(model, clip, monkeypatch):
    pretend(monkeypatch, True)
    assert load_pipeline(model, Listening(fast=True).checked(), 1).model.dtype == torch.bfloat16
    (whole,), (fast,) = (
        json.loads(predict(model, [clip], fast=wanted).lines[0]) for wanted in (False, True)
    )
    assert fast["probabilities"] != whole["probabilities"]
    if convolves_right(load_pipeline(model, Listening(), 1).model):  # else 0.05 and more
        assert fast["probabilities"] == pytest.approx(whole["probabilities"], abs=0.02)


def test_where_there_is_no_bfloat16_fast_is_told_and_answers_the_same(
    model, clip, monkeypatch, caplog
):
    pretend(monkeypatch, False)
    whole, fast = (predict(model, [clip], fast=wanted).lines for wanted in (False, True))
    assert fast == whole and "--fast: this machine has no bfloat16" in caplog.text


def test_fast_answers_are_not_taken_for_others(model, clip, monkeypatch, tmp_path):
    pretend(monkeypatch, True)
    for fast, known in ((False, False), (True, False), (True, True), (False, True)):
        call = predict(model, [clip], fast=fast, output=tmp_path / "answers")
        assert ("answered before" in call.lines[0]) == known
