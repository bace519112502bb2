from dataclasses import replace

import numpy as np
import pytest
import torch
from support.records import make_record

from processing import load_folds
from processing.corpora.loading import load_corpus
from processing.features import add_signals
from train_scripts.experiments import demonstration as quickstart
from train_scripts.runs.record import Metrics
from train_scripts.runs.settings import build_feature_extractor, load_settings

GOOD = make_record(
    metrics=Metrics(
        unweighted_average_recall=0.7, speaker_accuracy=0.9, word_error_rate=0.5, speech_mse=0.01
    ),
    constant_baselines={"word_error_rate": 0.8, "speech_mse": 0.03},
)


def test_a_healthy_run_passes():
    quickstart.check(GOOD)


@pytest.mark.parametrize(
    ("metric", "value", "message"),
    [
        ("unweighted_average_recall", 0.59, "UAR is 0.59, expected >= 0.6"),
        ("speaker_accuracy", 0.79, "speaker accuracy is 0.79"),
        ("word_error_rate", 0.8, "word error rate is 0.8, expected < 0.8"),
        ("speech_mse", 0.0151, "speech MSE is 0.0151, expected <= 0.015"),
    ],
)
def test_a_dead_head_fails_the_quickstart(metric, value, message):
    bad = replace(GOOD, metrics=replace(GOOD.metrics, **{metric: value}))
    with pytest.raises(RuntimeError, match=message):
        quickstart.check(bad)


def test_constant_baselines_are_the_best_that_do_not_listen(corpus_folder, monkeypatch, fold):
    monkeypatch.setattr(quickstart, "PROTOCOL", "speaker")
    monkeypatch.setattr(quickstart, "FOLD", fold)
    found = quickstart.constant_baselines(corpus_folder)
    extractor = build_feature_extractor(load_settings("base", quickstart.SETTINGS))
    folds = load_folds(add_signals(load_corpus(corpus_folder), extractor), "speaker", fold)
    texts = folds["test"]["text"]
    # every sentence is said equally often, so the right one is a third of the answers
    assert 0.5 < found["word_error_rate"] < 1
    assert len(set(texts)) == 3
    mels = [np.array(mel) for mel in folds["test"]["mel"]]

    def error(spectrum):
        return np.mean([np.square(mel - spectrum).mean() for mel in mels])

    best = np.mean([mel.mean(0) for mel in mels], axis=0)
    assert found["speech_mse"] == pytest.approx(error(best), rel=1e-5)
    shifts = np.random.default_rng(0).normal(0, 0.01, (20, best.size))
    assert all(error(best + shift) > found["speech_mse"] for shift in shifts)


@pytest.mark.slow
def test_the_whole_job_meets_its_bars(tmp_path):
    results = quickstart.quickstart(tmp_path)
    assert torch.get_num_threads() == 1
    assert results.metrics.num_turns >= 60
    clip = tmp_path / "clip.flac"
    quickstart.write_clip(tmp_path / "corpus", clip)
    lines = quickstart.pipeline_lines(tmp_path / "model", clip)
    answers = quickstart.predict_elsewhere(lines, tmp_path)
    assert sum(a["score"] for a in answers) == pytest.approx(1, abs=1e-4)
