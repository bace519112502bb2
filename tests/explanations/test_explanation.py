import json
import logging

import numpy as np
import pytest
import soundfile
import torch
from support.tiny_networks import VARIANTS, random_batch, tiny_classifier
from typer.testing import CliRunner

from processing.audio_files import read_audio
from processing.errors import InputError
from train_scripts.explain import app
from train_scripts.explanations.counterfactuals import ANOTHER_VOICE
from train_scripts.explanations.explanation import (
    PART_MEANINGS,
    describe,
    explain,
    explain_parts,
    points,
)
from train_scripts.explanations.explanation_plot import write_explanation
from train_scripts.runs.run_folder import load_model


@pytest.fixture(scope="module")
def recordings(corpus_folder):
    return sorted((corpus_folder / "audio").glob("*.flac"))[:2]


@pytest.fixture(scope="module")
def explained(trained_run, recordings):
    return explain(str(trained_run[1]), recordings[0], voice=recordings[1])


def test_the_answer_is_the_models_own(explained, trained_run, recordings):
    model, processor = load_model(str(trained_run[1]))
    features = processor.feature_extractor(
        read_audio(recordings[0]), sampling_rate=16000, return_tensors="pt"
    )
    with torch.no_grad():
        expected = (model(**features).logits[0] / model.config.temperature).softmax(-1)
    found = explained.summary["probabilities"]
    assert list(found) == list(model.config.id2label.values())
    np.testing.assert_allclose(list(found.values()), expected.numpy(), atol=1e-5)
    assert explained.summary["emotion"] == max(found, key=found.__getitem__)


def test_each_kind_of_values_sums_to_the_probability(explained):
    summary = explained.summary
    probability = summary["probabilities"][summary["emotion"]]
    for kind in ("shapley_training_mean", "shapley_ablated_input"):
        values = summary[kind]
        total = values["base_probability"] + sum(values["probability"].values())
        assert total == pytest.approx(probability, abs=1e-5)
        odds = values["base_log_odds"] + sum(values["log_odds"].values())
        assert odds == pytest.approx(np.log(probability / (1 - probability)), abs=1e-4)


def test_exact_shares_sum_to_the_logits(explained, trained_run):
    summary, shares = explained.summary, explained.summary["logit_shares"].values()
    model, _ = load_model(str(trained_run[1]))
    logits = np.array([sum(share[label] for share in shares) for label in summary["probabilities"]])
    scores = np.exp(logits / model.config.temperature)
    found = list(summary["probabilities"].values())
    np.testing.assert_allclose(found, scores / scores.sum(), atol=1e-5)


def test_every_change_of_the_sound_has_an_answer_and_a_sound(explained):
    answers = explained.summary["counterfactuals"]
    assert [a["change"] for a in answers] == [c.name for c in explained.changed]
    assert len(answers) == 9 and answers[-1]["change"] == ANOTHER_VOICE
    for answer in answers:
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_the_words_name_the_answer_every_part_and_every_change(explained):
    text, summary = describe(explained.summary), explained.summary
    best = summary["probabilities"][summary["emotion"]]
    assert f"{summary['emotion']}, {100 * best:.0f} %" in text.splitlines()[0]
    for part, meaning in summary["parts"].items():
        line = next(line for line in text.splitlines() if line.startswith(f"  {part} "))
        assert points(summary["shapley_training_mean"]["probability"][part]) in line.split()
        assert line.endswith(meaning)
    unchanged, *changed = (answer["change"] for answer in summary["counterfactuals"])
    assert f"({unchanged}: " in text
    assert all(f"  {name} " in text for name in changed)


def test_a_model_that_stretches_what_is_left_of_a_flat_pitch_says_so(explained, trained_run):
    _, processor = load_model(str(trained_run[1]))
    assert processor.feature_extractor.f0_stats == "utterance"
    assert describe(explained.summary).splitlines()[-1].startswith("This model measures F0 by its")


@pytest.mark.parametrize(
    ("sound", "flag", "meaning"),
    [
        (np.zeros(16000), "too_quiet", "it is too quiet to hear speech in it"),
        (
            np.random.default_rng(0).normal(0, 0.1, 16000),
            "not_speech_like",
            "it does not sound like speech",
        ),
    ],
)
def test_the_headline_of_no_speech_says_so_before_any_emotion(
    trained_run, tmp_path, sound, flag, meaning
):
    soundfile.write(tmp_path / "sound.wav", sound, 16000)
    summary = explain(str(trained_run[1]), tmp_path / "sound.wav").summary
    assert summary["flags"] == [flag]
    headline = describe(summary).splitlines()[0]
    assert headline.startswith(f"sound.wav: flagged {flag}: {meaning}. The model would say ")
    assert headline.index(meaning) < headline.index(summary["emotion"])


def test_an_answer_below_the_models_own_bar_is_flagged(trained_run, recordings, monkeypatch):
    model, processor = load_model(str(trained_run[1]))
    model.config.abstain_below = 1.0
    monkeypatch.setattr(
        "train_scripts.explanations.explanation.load_model", lambda name: (model, processor)
    )
    assert "unsure" in explain("any", recordings[0]).summary["flags"]


def test_parts_are_listed_from_the_strongest():
    zero = {"rhythm": 0.0, "pitch": 0.0}
    summary = {
        "file": "clip.wav",
        "flags": [],
        "emotion": "sad",
        "probabilities": {"happy": 0.3, "sad": 0.7},
        "parts": {"rhythm": "timing", "pitch": "melody"},
        "shapley_training_mean": {
            "base_probability": 0.4,
            "probability": {"rhythm": 0.1, "pitch": -0.2},
        },
        "shapley_ablated_input": {"base_probability": 0.5, "probability": zero},
        "counterfactuals": [
            {"change": "x", "emotion": "sad", "probabilities": {"happy": 0.2, "sad": 0.8}},
            {"change": "y", "emotion": "happy", "probabilities": {"happy": 0.9, "sad": 0.1}},
        ],
        "notes": [],
    }
    lines = [" ".join(line.split()) for line in describe(summary).splitlines()]
    assert lines[0] == "clip.wav: sad, 70 % (happy 30 %)"
    assert lines.index("pitch -20 0 melody") == lines.index("rhythm +10 0 timing") - 1
    assert lines[-1] == "y 10 % -70 happy 90 %"


def test_probabilities_are_calibrated_as_those_of_the_pipeline():
    model, batch = tiny_classifier(temperature=3.0).eval(), random_batch([9000], labelled=False)
    with torch.no_grad():
        expected = (model(**batch).logits[0] / 3).softmax(-1)
    found = explain_parts(model, batch)
    np.testing.assert_allclose(list(found["probabilities"].values()), expected, atol=1e-6)
    values = found["shapley_ablated_input"]
    total = values["base_probability"] + sum(values["probability"].values())
    assert total == pytest.approx(float(expected.max()), abs=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_explained_by_the_parts_that_it_has(variant):
    found = explain_parts(tiny_classifier(variant).eval(), random_batch([9000], labelled=False))
    components = VARIANTS[variant]["components"]
    expected = ["content" if c == "single" else c for c in components]
    expected = ["wav2vec2", *expected] if variant != "encoders_alone" else expected
    assert list(found["parts"]) == expected
    assert list(found["logit_shares"]) == [*expected, "bias"]
    if variant == "table3_m4":
        assert found["parts"]["content"] == PART_MEANINGS["single"]


def test_the_command_prints_words_and_writes_numbers_figure_and_sounds(
    trained_run, recordings, tmp_path
):
    folder = tmp_path / "why"
    arguments = [str(trained_run[1]), str(recordings[0]), "--output", str(folder)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "percentage points that each part adds" in result.stdout
    summary = json.loads((folder / "explanation.json").read_text(encoding="utf-8"))
    assert summary["emotion"] in result.stdout
    assert (folder / "explanation.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    sounds = {p.stem for p in folder.glob("*.flac")}
    assert sounds == {a["change"].replace(" ", "_") for a in summary["counterfactuals"]}
    fast, same = (
        soundfile.info(folder / f"{name}.flac").duration
        for name in ("1.25_times_as_fast", "resynthesised_only")
    )
    assert same / fast == pytest.approx(1.25, rel=0.05)


def test_what_cannot_be_explained_is_named(trained_run, recordings, tmp_path):
    long = tmp_path / "long.wav"
    soundfile.write(long, np.zeros(31 * 16000), 16000)
    with pytest.raises(InputError, match="long.wav: 31.0 s, expected one utterance of at most 30"):
        explain(str(trained_run[1]), long)
    with pytest.raises(InputError, match="no such audio file"):
        explain(str(trained_run[1]), tmp_path / "missing.wav")
    with pytest.raises(InputError, match="model"):
        explain(str(tmp_path), recordings[0])


def test_silence_is_explained_too(trained_run, tmp_path):
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, np.zeros(8000), 16000)
    explanation = explain(str(trained_run[1]), silence)
    assert len(explanation.changed) == 5 and "What if" in describe(explanation.summary)
    write_explanation(explanation, tmp_path / "why")
    assert (tmp_path / "why" / "explanation.png").is_file()


def test_a_model_without_training_mean_is_warned_of(trained_run, recordings, monkeypatch, caplog):
    model, processor = load_model(str(trained_run[1]))
    monkeypatch.setattr(
        "train_scripts.explanations.explanation.load_model", lambda name: (model, processor)
    )
    monkeypatch.setattr("train_scripts.explanations.explanation.counterfactuals", lambda *args: [])
    for mean, warned in ((0.0, True), (1.0, False)):
        model.pooled_mean.fill_(mean)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            explain("run", recordings[0])
        assert ("no training mean" in caplog.text) is warned
