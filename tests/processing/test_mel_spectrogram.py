import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, sosfiltfilt, sosfreqz

from processing.mel_spectrogram import (
    _mel_transform,
    check_waveform,
    high_pass,
    log_mel_spectrogram,
    num_frames,
)

ASSETS = Path(__file__).parents[1] / "assets" / "mel"
RATE, HOP = 16000, 256
SPEECHSPLIT = {
    "sampling_rate": RATE,
    "n_fft": 1024,
    "win_length": 1024,
    "hop_length": HOP,
    "num_mel_bins": 80,
    "f_min": 90.0,
    "f_max": 7600.0,
}


def load_signals():
    spec = importlib.util.spec_from_file_location("mel_reference", ASSETS / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.signals()


@pytest.fixture(scope="module")
def golden():
    """Name to waveform and log-mel spectrogram of an independent program."""
    stored = np.load(ASSETS / "reference.npz")
    return {name: (waveform, stored[name]) for name, waveform in load_signals().items()}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-4), (torch.float64, 1e-5)])
@pytest.mark.parametrize("name", ["speech", "tones", "short", "whole hops"])
def test_mel_equals_the_double_precision_reference(golden, name, dtype, tolerance):
    waveform, expected = golden[name]
    filtered = high_pass(waveform, RATE, hop_length=HOP)
    mel = log_mel_spectrogram(filtered, **SPEECHSPLIT, dtype=dtype)
    assert mel.shape == expected.shape
    assert mel.dtype == (np.float32 if dtype == torch.float32 else np.float64)
    assert np.abs(mel - expected).max() <= tolerance


def test_a_known_tone_has_its_known_level():
    # A sine of amplitude A has the magnitude A / 2 * sum of the window (512) in its bin, and a
    # Slaney band of width w Hz sums 15.625 Hz wide bins with height 2 / w.
    time = np.arange(RATE) / RATE
    amplitude = 0.1
    mel = log_mel_spectrogram(amplitude * np.sin(2 * np.pi * 1000 * time), **SPEECHSPLIT)
    levels = 100 * mel[30] + 16 - 100  # dB
    assert mel_centre(levels.argmax()) == pytest.approx(1000, abs=40)
    total = np.sum(10 ** (levels / 20) * mel_widths() / 2)
    # The Hann window spreads the line over three bins with the weights 1/2, 1, 1/2; overlapping
    # triangles of equal area sum to 1 at each frequency.
    assert 20 * np.log10(total / (2 * amplitude / 2 * 512)) == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_window_and_bands_have_the_precision_asked_for(dtype):
    transform = _mel_transform(*SPEECHSPLIT.values(), dtype)
    window, bands = transform.spectrogram.window, transform.mel_scale.fb
    assert window.dtype == bands.dtype == dtype
    expected = np.hanning(1025)[:-1].astype(str(dtype).removeprefix("torch."))
    np.testing.assert_allclose(window, expected, atol=4 * np.finfo(expected.dtype).eps, rtol=0)


def mel_points():
    """Edges and centres of Slaney's bands: linear to 1 kHz, then 27 steps for a factor of 6.4."""

    def to_mel(hertz):
        return hertz * 3 / 200 if hertz < 1000 else 15 + np.log(hertz / 1000) * 27 / np.log(6.4)

    mels = np.linspace(to_mel(90), to_mel(7600), 82)
    return np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))


def mel_centre(index):
    return mel_points()[index + 1]


def mel_widths():
    points = mel_points()
    return points[2:] - points[:-2]


def test_high_pass_removes_what_is_below_30_hz_and_nothing_else():
    time = np.arange(4 * RATE) / RATE
    middle = slice(RATE, 3 * RATE)
    for frequency in (5, 15, 30, 60, 200, 4000):
        samples = np.sin(2 * np.pi * frequency * time)
        filtered = high_pass(samples, RATE, hop_length=HOP)[middle]
        filter_response = np.abs(
            sosfreqz(butter(5, 30, "high", fs=RATE, output="sos"), [frequency], fs=RATE)[1][0]
        )
        # Forwards and backwards: the squared response and no delay.
        expected = 0.96 * filter_response**2 * samples[middle]
        assert np.abs(filtered - expected).max() <= 1e-4


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
# with 36 samples of reflection 2012 fill a product of blocks, and 28 a block
@pytest.mark.parametrize("num_samples", [1, 2, 19, 28, 29, 1023, 2012, 2013, 20000, 160001])
def test_high_pass_is_the_filter_of_scipy(rate, num_samples):
    samples = 0.3 + 0.1 * np.random.RandomState(0).standard_normal(num_samples)
    filtered = high_pass(samples, rate, hop_length=num_samples + 1)
    sections = butter(5, 30, "high", fs=rate, output="sos")
    expected = 0.96 * sosfiltfilt(sections, samples, padlen=min(18, num_samples - 1))
    assert np.abs(filtered - expected).max() <= 1e-9


@pytest.mark.parametrize("rate", [8000, 48000])
def test_high_pass_is_stable_at_every_rate(rate):
    samples = 0.5 + 0.1 * np.random.RandomState(0).standard_normal(20 * rate)
    filtered = high_pass(samples, rate, hop_length=HOP)
    inner = filtered[rate:-rate]
    assert abs(inner.mean()) < 1e-3
    assert inner.std() == pytest.approx(0.096, rel=0.02)


def test_one_sample_is_appended_where_the_hop_divides_the_length():
    for num_samples, expected in [(255, 255), (256, 257), (257, 257), (512, 513)]:
        filtered = high_pass(np.ones(num_samples), RATE, hop_length=HOP)
        assert filtered.shape == (expected,)
        assert num_frames(expected, HOP) == num_frames(num_samples, HOP)


@settings(max_examples=100, deadline=None)
@given(
    num_samples=st.integers(1, 5000),
    hop=st.sampled_from([2, 100, 256, 333, 800]),
    rate=st.sampled_from([8000, 16000, 22050, 44100, 48000]),
    level=st.sampled_from([0.0, 1e-6, 0.1, 10.0]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_every_length_gives_its_number_of_frames_in_range(num_samples, hop, rate, level, dtype):
    waveform = level * np.random.RandomState(num_samples).uniform(-1, 1, num_samples)
    filtered = high_pass(waveform.astype(dtype), rate, hop_length=hop)
    assert filtered.dtype == np.float64
    mel = log_mel_spectrogram(
        filtered,
        **{**SPEECHSPLIT, "sampling_rate": rate, "hop_length": hop, "f_max": min(7600.0, rate / 2)},
    )
    assert mel.shape == (num_frames(num_samples, hop), 80)
    assert mel.dtype == np.float32
    assert mel.min() >= 0 and mel.max() <= 1
    if level < 1e-3:
        assert (mel == 0).all()
    elif num_samples > 100:
        assert mel.max() > 0


def test_the_settings_are_those_asked_for():
    samples = 0.3 * np.random.RandomState(0).standard_normal(4000)
    usual = log_mel_spectrogram(samples, **SPEECHSPLIT)
    for name, value in {"win_length": 800, "num_mel_bins": 40, "f_min": 0.0, "f_max": 4e3}.items():
        other = log_mel_spectrogram(samples, **{**SPEECHSPLIT, name: value})
        assert other.shape != usual.shape or np.abs(other - usual).max() > 0.01
    np.testing.assert_array_equal(log_mel_spectrogram(samples, **SPEECHSPLIT), usual)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sampling_rate": 8000}, "^mel bands from 90 to 7600 Hz.*0 and 4000 Hz, half the"),
        ({"f_min": -1.0}, "from -1 to 7600 Hz"),
        ({"f_min": 500.0, "f_max": 500.0}, "from 500 to 500 Hz"),
        ({"f_max": 8000.5}, "to 8000.5 Hz.* 0 and 8000 Hz"),
    ],
)
def test_bands_that_do_not_ascend_within_half_the_sampling_rate_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        log_mel_spectrogram(np.zeros(3000), **SPEECHSPLIT | changed)


@pytest.mark.parametrize("num_samples", [1, 511, 512, 513, 1000])
def test_what_is_too_short_to_be_reflected_is_followed_by_zeros(num_samples):
    samples = 0.3 * np.random.RandomState(0).standard_normal(num_samples)
    # a frame hears 512 samples to either side of its middle
    if num_samples > 512:
        extended = np.pad(samples, 512, mode="reflect")
    else:
        before = np.concatenate([samples, np.zeros(1024 - num_samples)])[512:0:-1]
        extended = np.concatenate([before, samples, np.zeros(1024)])
    window = np.hanning(1025)[:-1]
    magnitudes = np.abs(np.fft.rfft(extended[:1024] * window))
    mel = log_mel_spectrogram(samples, **SPEECHSPLIT, dtype=torch.float64)
    # the bands of Slaney are triangles of area 1 on the frequencies of the transform
    points, frequencies = mel_points(), np.arange(513) * RATE / 1024
    for band in (0, 40, 79):
        low, centre, high = points[band : band + 3]
        rise, fall = (frequencies - low) / (centre - low), (high - frequencies) / (high - centre)
        weights = np.maximum(0, np.minimum(rise, fall)) * 2 / (high - low)
        level = (20 * np.log10(max(1e-5, weights @ magnitudes)) + 84) / 100
        assert mel[0, band] == pytest.approx(min(max(level, 0), 1), abs=1e-4)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros(0), "^waveform of 0 samples, expected at least 1.$"),
        (np.zeros((2, 100)), r"shape \(2, 100\), expected one channel"),
        (
            np.array([0.1, np.nan, 0.1]),
            "^waveform holds NaN or infinity, expected finite samples.$",
        ),
        (np.array([0.1, np.inf]), "NaN or infinity"),
        (np.array([0.1, -np.inf]), "NaN or infinity"),
        (np.array([3, -20000], np.int16), "peak of 20000.*32768"),
        (np.array([0.0, -32768.0]), "^waveform with a peak of 32768"),
        (np.array([16.1, 0.0]), "peak of 16.1, expected full scale 1.0. Divide 16-bit"),
    ],
)
def test_wrong_waveforms_are_named(waveform, message):
    with pytest.raises(ValueError, match=message):
        check_waveform(waveform)
    with pytest.raises(ValueError, match=message):
        high_pass(waveform, RATE, hop_length=HOP)


def test_a_little_overshoot_is_accepted():
    check_waveform(np.array([1.5, -1.5]))
    check_waveform(np.array([16.0, -16.0]))
