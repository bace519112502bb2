"""Processes that answer at once, and their devices."""

import multiprocessing
import signal

import pytest
import torch
from support.tiny_pipeline import save_tiny_model

from train_scripts.answers import many_recordings
from train_scripts.answers.prediction import Listening, load_pipeline


@pytest.mark.parametrize(
    ("num_gpus", "expected"),
    [(2, ["cuda:0", "cuda:1", "cuda:0"]), (0, [None, None, None])],
)
def test_gpus_are_dealt_out_among_the_processes(monkeypatch, num_gpus, expected):
    devices = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(many_recordings, "load_pipeline", lambda *words: devices.append(words[3]))
    num_started = multiprocessing.get_context("spawn").Value("i", 0)
    for _ in expected:
        many_recordings.start_worker("a model", Listening(), 1, num_started)
    assert devices == expected


def test_a_pipeline_is_on_the_device_that_is_asked_for(tmp_path):
    save_tiny_model(tmp_path)
    recognize = load_pipeline(str(tmp_path), Listening(), 1, "meta")
    assert recognize.device.type == "meta"
    assert {p.device.type for p in recognize.model.parameters()} == {"meta"}
