import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from processing.feature_extraction_decomp_ser import (
    DecompSerFeatureExtractor,
    normalize_waveform,
    resample_waveform,
)

EXTRACTOR = DecompSerFeatureExtractor(f0_method="dio")
RATE = 16000


def tone(seconds: float, rate: int = RATE, hertz: float = 200.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(
        np.float32
    )


@pytest.mark.parametrize("samples", [1, 255, 256, 257, 400, 512, 1023, 1024, 16001])
def test_mel_and_f0_have_as_many_frames_for_every_length(samples):
    batch = EXTRACTOR(tone(2)[:samples], sampling_rate=RATE, return_tensors="np")
    frames = samples // 256 + 1
    assert batch["mel"].shape == (1, frames, 80)
    assert (
        batch["log_f0"].shape == batch["voiced"].shape == batch["frame_mask"].shape == (1, frames)
    )
    assert batch["input_values"].shape == (1, samples)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 6000), min_size=1, max_size=4))
def test_padding_stands_at_the_end_only_and_changes_nothing_before_it(lengths):
    waveforms = [tone(1)[:n] for n in lengths]
    batch = EXTRACTOR(waveforms, sampling_rate=RATE, return_tensors="np")
    for row, waveform in enumerate(waveforms):
        alone = EXTRACTOR(waveform, sampling_rate=RATE, return_tensors="np")
        for name, value in alone.items():
            size = value.shape[1]
            np.testing.assert_array_equal(batch[name][row, :size], value[0])
            assert not batch[name][row, size:].any()


def test_a_tone_gives_its_pitch_and_its_mel_band():
    signals = EXTRACTOR.extract([tone(1, hertz=220.0)])[0]
    inner = signals["f0_hz"][5:-5]
    assert np.abs(1200 * np.log2(inner / 220.0)).max() < 5  # cents
    loudest = signals["mel"][5:-5].argmax(1)
    assert set(loudest) == {loudest[0]} and loudest[0] < 8


def test_waveform_has_zero_mean_and_unit_variance_and_silence_stays_silent():
    values = EXTRACTOR(tone(0.5) + 0.2, sampling_rate=RATE, return_tensors="np")["input_values"]
    assert abs(values.mean()) < 1e-5
    assert abs(values.std() - 1) < 1e-3
    assert not normalize_waveform(np.zeros(100, np.float32)).any()


def test_other_rates_are_resampled():
    high = EXTRACTOR(tone(1, 44100), sampling_rate=44100, return_tensors="np")
    assert high["input_values"].shape == (1, 16000)
    same = EXTRACTOR(tone(1), sampling_rate=RATE, return_tensors="np")
    inner = slice(1000, -1000)
    difference = high["input_values"][0, inner] - same["input_values"][0, inner]
    assert np.abs(difference).max() < 0.01


def test_resampling_without_soxr_agrees_with_it(monkeypatch):
    wave = tone(0.5, 8000)
    with_soxr = resample_waveform(wave, 8000, RATE)
    monkeypatch.setattr("processing.feature_extraction_decomp_ser.soxr", None)
    without = resample_waveform(wave, 8000, RATE)
    assert without.shape == with_soxr.shape
    assert np.abs(without - with_soxr)[800:-800].max() < 3e-3


def test_integers_are_scaled_and_channels_averaged():
    floats = EXTRACTOR(tone(0.3), sampling_rate=RATE, return_tensors="np")
    integers = np.round(tone(0.3) * 32768).astype(np.int16)
    scaled = EXTRACTOR(integers, sampling_rate=RATE, return_tensors="np")
    np.testing.assert_allclose(scaled["mel"], floats["mel"], atol=0.02)
    stereo = np.stack([tone(0.3), np.zeros_like(tone(0.3))], axis=1)  # (S, 2)
    halved = EXTRACTOR([stereo], sampling_rate=RATE, return_tensors="np")
    quieter = EXTRACTOR(0.5 * tone(0.3), sampling_rate=RATE, return_tensors="np")
    np.testing.assert_array_equal(halved["mel"], quieter["mel"])


@pytest.mark.parametrize(
    ("speech", "message"),
    [
        (np.zeros(0, np.float32), "utterance 0: .*0 samples"),
        ([tone(0.1), np.array([0.1, np.nan, 0.2])], "utterance 1: .*NaN"),
        (tone(0.1) * 32768, "utterance 0: .*full scale"),
        (np.zeros((16000, 2), np.float32), r"\(samples, channels\)"),
        ([], "0 samples|no utterance"),
        (np.zeros(100, np.uint8), "uint8"),
    ],
)
def test_bad_speech_is_refused_with_its_place(speech, message):
    with pytest.raises(ValueError, match=message):
        EXTRACTOR(speech, sampling_rate=RATE)


def test_global_statistics_keep_the_level_of_pitch_and_utterance_ones_remove_it():
    high, low = tone(0.5, hertz=300.0), tone(0.5, hertz=150.0)
    own = EXTRACTOR([high, low], sampling_rate=RATE, return_tensors="pt")
    means = [own["log_f0"][i][own["voiced"][i]].mean() for i in range(2)]
    assert abs(means[0] - means[1]) < 0.02
    shared = DecompSerFeatureExtractor(
        f0_method="dio", f0_stats="global", f0_global_stats=[np.log(212.0), 0.35]
    )([high, low], sampling_rate=RATE, return_tensors="pt")
    means = [shared["log_f0"][i][shared["voiced"][i]].mean() for i in range(2)]
    # an octave is ln 2 = 0.693 of 8 standard deviations
    assert means[0] - means[1] == pytest.approx(0.693 / (8 * 0.35), abs=0.01)


def test_utterance_means_keep_the_range_of_pitch_and_remove_its_level():
    flat, lively = glide(300.0, 303.0), glide(100.0, 200.0)
    extractor = DecompSerFeatureExtractor(
        f0_method="dio", f0_stats="utterance-mean", f0_deviation=0.2
    )
    features = extractor([flat, lively, np.zeros(RATE)], sampling_rate=RATE, return_tensors="pt")
    contours = [row[mask] for row, mask in zip(features["log_f0"], features["voiced"], strict=True)]
    for contour in contours[:2]:
        assert contour.mean() == pytest.approx(0.5, abs=1e-3)
    # 4 deviations reach from the middle to the edge
    assert contours[0].std() < 0.02
    assert contours[1].std() == pytest.approx(0.693 / 12**0.5 / (8 * 0.2), rel=0.1)
    assert len(contours[2]) == 0
    own = EXTRACTOR(flat, sampling_rate=RATE, return_tensors="pt")
    assert own["log_f0"][own["voiced"]].std() == pytest.approx(1 / 8, rel=0.01)


def glide(start: float, end: float) -> np.ndarray:
    """A second of a harmonic sound whose pitch goes evenly, on a logarithmic scale."""
    hertz = np.geomspace(start, end, RATE)
    phase = 2 * np.pi * np.cumsum(hertz) / RATE
    return (0.1 * sum(np.sin(n * phase) / n for n in range(1, 6))).astype(np.float32)


def test_speaker_statistics_apply_to_known_speakers_only():
    extractor = DecompSerFeatureExtractor(
        f0_method="dio", f0_stats="speaker", f0_speaker_stats={"a": [np.log(100.0), 0.2]}
    )
    known, unknown = extractor(
        [tone(0.5), tone(0.5)], sampling_rate=RATE, speakers=["a", "b"], return_tensors="pt"
    )["log_f0"]
    assert known.max() > 0.85
    assert abs(unknown[unknown > 0].mean() - 0.5) < 0.05


def test_gender_chooses_the_range_of_f0():
    extractor = DecompSerFeatureExtractor(f0_method="dio", f0_range="gender")
    high = tone(0.5, hertz=400.0)
    male, female = extractor.extract([high, high], ["male", "female"])
    assert (male["f0_hz"] < 300).all()
    assert np.median(female["f0_hz"]) == pytest.approx(400, abs=2)


def test_settings_survive_saving(tmp_path):
    extractor = DecompSerFeatureExtractor(f0_stats="global", f0_global_stats=[5.0, 0.3])
    extractor.save_pretrained(tmp_path)
    assert DecompSerFeatureExtractor.from_pretrained(tmp_path).to_dict() == extractor.to_dict()


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="f0_method='yin'"):
        DecompSerFeatureExtractor(f0_method="yin")
    extractor = DecompSerFeatureExtractor(f0_method="dio", f0_stats="global")
    with pytest.raises(ValueError, match="without f0_global_stats"):
        extractor(tone(0.1), sampling_rate=RATE)
    extractor = DecompSerFeatureExtractor(f0_method="dio", f0_stats="utterance-mean")
    with pytest.raises(ValueError, match="without f0_deviation"):
        extractor(tone(0.1), sampling_rate=RATE)


def test_batches_are_tensors_of_the_model_s_types():
    batch = EXTRACTOR([tone(0.2), tone(0.1)], sampling_rate=RATE, return_tensors="pt")
    assert {name: value.dtype for name, value in batch.items()} == {
        "input_values": torch.float32,
        "attention_mask": torch.int64,
        "mel": torch.float32,
        "log_f0": torch.float32,
        "voiced": torch.bool,
        "frame_mask": torch.int64,
    }
