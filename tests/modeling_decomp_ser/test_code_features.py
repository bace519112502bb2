from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.tiny_networks import VARIANTS, tiny_classifier
from support.tiny_pipeline import save_tiny_model, voice
from torch.testing import assert_close
from transformers import AutoModelForAudioClassification

from modeling_decomp_ser import modeling_decomp_ser
from modeling_decomp_ser.component_shares import part_names
from processing import DecompSerFeatureExtractor

EXTRACTOR = DecompSerFeatureExtractor(f0_method="dio")


@pytest.mark.parametrize("variant", VARIANTS)
def test_pooled_codes_are_what_the_emotion_head_reads(variant):
    model = tiny_classifier(variant).eval()
    waveform = voice(1.3)
    [speech] = model.encode(waveform, EXTRACTOR, 16000)
    assert list(speech.parts) == part_names(model.config)
    features = EXTRACTOR(waveform, sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        pooled = model(**features, output_pooled_features=True).pooled_features[0]
    assert_close(torch.cat([part.pooled for part in speech.parts.values()]), pooled)
    if "timbre" in speech.parts:
        assert torch.equal(speech.speaker_embedding, speech.parts["timbre"].pooled)
    else:
        assert speech.speaker_embedding is None


def test_codes_do_not_depend_on_batch_mates_or_mode():
    model = tiny_classifier().train()
    waveforms = [voice(0.7), voice(2.1, seed=1)]
    together = model.encode(waveforms, EXTRACTOR, 16000)
    assert model.training
    for waveform, speech in zip(waveforms, together, strict=True):
        [alone] = model.encode(waveform, EXTRACTOR, 16000)
        for name, part in speech.parts.items():
            assert_close(part.frames, alone.parts[name].frames, atol=1e-5, rtol=1e-4)
            assert_close(part.times, alone.parts[name].times)
            assert part.frames.shape[0] == len(part.times)


def test_times_run_through_the_utterance():
    model = tiny_classifier()
    [speech] = model.encode(voice(2.0), EXTRACTOR, 16000)
    for name, part in speech.parts.items():
        steps = part.times.diff()
        assert_close(steps, torch.full_like(steps, float(steps[0])))
        assert 0 <= part.times[0] < 0.1 and 1.8 < part.times[-1] < 2.1, name
    # wav2vec2 hears 25 ms every 20 ms
    times = speech.parts["wav2vec2"].times
    assert times[:2].tolist() == pytest.approx([0.0125, 0.0325])


def test_a_code_stands_for_the_middle_of_its_frames():
    # 8 frames of 16 ms: the middle of the first eight lies 3.5 frames after that of the first
    [speech] = tiny_classifier().encode(voice(1.0), EXTRACTOR, 16000)
    for name in ("rhythm", "content", "pitch", "timbre"):
        assert speech.parts[name].times[:3].tolist() == pytest.approx([0.056, 0.184, 0.312])


@pytest.mark.parametrize("training", [True, False])
def test_encoding_knows_the_rate_and_leaves_the_mode_and_no_gradients(training):
    model = tiny_classifier().train(training)
    [speech] = model.encode(voice(1.0), EXTRACTOR, 16000)
    assert model.training is training and model.decomposition.training is training
    for part in speech.parts.values():
        assert not part.frames.requires_grad and not part.pooled.requires_grad
    [slow] = model.encode(voice(1.0), EXTRACTOR, 8000)  # the same samples last twice as long
    assert len(slow.parts["rhythm"].frames) == pytest.approx(
        2 * len(speech.parts["rhythm"].frames), abs=1
    )


def test_features_of_half_precision_are_given_in_full():
    [speech] = tiny_classifier().to(torch.bfloat16).encode(voice(1.0), EXTRACTOR, 16000)
    for part in speech.parts.values():
        assert part.frames.dtype == part.pooled.dtype == torch.float32


def test_a_click_is_heard_at_its_time():
    """The codes that change most are those whose time is that of the change."""
    model = tiny_classifier()
    quiet = 0.01 * np.random.default_rng(0).standard_normal(32000).astype(np.float32)
    clicked = quiet.copy()
    clicked[16000:16400] += 0.5
    (before,), (after,) = (model.encode(w, EXTRACTOR, 16000) for w in (quiet, clicked))
    for name in ("rhythm", "content"):
        change = (after.parts[name].frames - before.parts[name].frames).norm(dim=1)
        assert float(before.parts[name].times[change.argmax()]) == pytest.approx(1.0, abs=0.2)


def test_a_loaded_model_brings_its_extractor(tmp_path):
    save_tiny_model(tmp_path)
    model = AutoModelForAudioClassification.from_pretrained(tmp_path)
    [speech] = model.encode(voice(1.0), sampling_rate=16000)
    [same] = model.encode(voice(1.0), EXTRACTOR, 16000)
    assert_close(speech.speaker_embedding, same.speaker_embedding)
    with pytest.raises(ValueError, match="pass feature_extractor="):
        tiny_classifier().encode(voice(1.0))


@pytest.mark.parametrize(("commit", "revision"), [(None, "main"), ("abc", "abc")])
@pytest.mark.parametrize(
    ("module", "trusted"),
    [("modeling_decomp_ser.modeling_decomp_ser", False), ("transformers_modules.me.model", True)],
)
def test_the_extractor_is_of_the_commit_of_the_model_and_trusted_as_it_was(
    monkeypatch, commit, revision, module, trusted
):
    asked, extractor = [], DecompSerFeatureExtractor()
    loader = SimpleNamespace(from_pretrained=lambda *a, **k: asked.append((a, k)) or extractor)
    monkeypatch.setattr(modeling_decomp_ser, "AutoFeatureExtractor", loader)
    model = tiny_classifier().eval()
    monkeypatch.setattr(type(model), "__module__", module)
    model.name_or_path, model.config._commit_hash = "me/speech", commit
    assert len(model.encode(voice(0.3))) == 1
    assert asked == [(("me/speech",), {"revision": revision, "trust_remote_code": trusted})]
