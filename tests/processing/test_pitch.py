import importlib.util
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processing.mel_spectrogram import high_pass, num_frames
from processing.pitch import (
    F0_RANGES,
    METHODS,
    RAPT_BATCH_SIZE,
    f0_contours,
    f0_deviation_within,
    f0_statistics,
    normalize_log_f0,
)
from processing.rapt import rapt

RATE, HOP = 16000, 256
needs_pyworld = pytest.mark.skipif(
    importlib.util.find_spec("pyworld") is None, reason="pyworld is not installed"
)
every_method = pytest.mark.parametrize(
    "method", ["rapt", *(pytest.param(name, marks=needs_pyworld) for name in ("harvest", "dio"))]
)


def voice(frequency, num_samples=RATE, rate=RATE):
    """Harmonics of one frequency, high-passed."""
    time = np.arange(num_samples) / rate
    samples = sum(np.sin(2 * np.pi * k * frequency * time) / k for k in range(1, 6))
    return high_pass(0.2 * samples, rate, hop_length=HOP)


def test_every_method_is_tested():
    assert set(METHODS) == {"rapt", "harvest", "dio"}


@every_method
@pytest.mark.parametrize("frequency", [90, 180, 300])
def test_every_method_finds_the_f0(method, frequency):
    (f0_hz,) = f0_contours(
        [voice(frequency, RATE // 2)],
        RATE,
        method=method,
        f0_range=F0_RANGES["unified"],
        hop_length=HOP,
    )
    assert f0_hz.dtype == np.float32
    inner = f0_hz[4:-4]
    assert np.median(np.abs(1200 * np.log2(inner / frequency))) <= 10


@every_method
def test_frames_are_at_multiples_of_the_hop(method):
    # 0.5 s of silence, then a voice: the first voiced frame speaks of about 0.5 s.
    samples = np.concatenate([np.zeros(RATE // 2), voice(150, RATE // 2)])
    for hop in (100, 256, 333):
        (f0_hz,) = f0_contours([samples], RATE, method=method, f0_range=(50, 600), hop_length=hop)
        onset = np.flatnonzero(f0_hz)[0] * hop / RATE
        assert onset == pytest.approx(0.5, abs=0.035)


@every_method
@settings(max_examples=40, deadline=None)
@given(
    num_samples=st.integers(1, 6000),
    hop=st.integers(20, 900),
    rate=st.sampled_from([8000, RATE, 44100]),
)
def test_frame_counts_equal_those_of_the_mel(method, num_samples, hop, rate):
    waveform = 0.2 * np.sin(2 * np.pi * 150 * np.arange(num_samples) / rate)
    filtered = high_pass(waveform, rate, hop_length=hop)
    (f0_hz,) = f0_contours([filtered], rate, method=method, f0_range=(50, 600), hop_length=hop)
    assert f0_hz.shape == (num_frames(num_samples, hop),)
    assert np.isfinite(f0_hz).all() and (f0_hz >= 0).all()


def test_each_utterance_is_tracked_in_its_own_range_and_place():
    frequencies = [90, 300, 110, 330, 100]
    lengths = [9000, 20000, 5000, 16000, 12345]
    voices = [voice(f, n) for f, n in zip(frequencies, lengths, strict=True)]
    ranges = [F0_RANGES["male" if f < 150 else "female"] for f in frequencies]
    together = f0_contours(voices, RATE, f0_range=ranges, hop_length=HOP)
    for samples, (f0_min, f0_max), f0_hz, frequency in zip(
        voices, ranges, together, frequencies, strict=True
    ):
        alone = rapt(samples, RATE, f0_min=f0_min, f0_max=f0_max, hop_length=HOP)
        np.testing.assert_array_equal(f0_hz, alone)
        assert np.median(f0_hz) == pytest.approx(frequency, rel=0.01)


def test_more_utterances_than_a_batch_keep_their_order():
    voices = [voice(100 + 7 * i, 4000 + 997 * (i * 7 % 5)) for i in range(RAPT_BATCH_SIZE + 3)]
    contours = f0_contours(voices, RATE, f0_range=(50, 600), hop_length=HOP)
    medians = [np.median(f0_hz[f0_hz > 0]) for f0_hz in contours]
    np.testing.assert_allclose(medians, 100 + 7 * np.arange(RAPT_BATCH_SIZE + 3), rtol=0.01)
    assert f0_contours([], RATE, f0_range=(50, 600), hop_length=HOP) == []


def test_a_wrong_range_folds_the_f0():
    (f0_hz,) = f0_contours([voice(300)], RATE, f0_range=F0_RANGES["male"], hop_length=HOP)
    assert np.median(f0_hz[f0_hz > 0]) == pytest.approx(150, rel=0.01)


@pytest.mark.parametrize(
    ("waveforms", "keywords", "message"),
    [
        ([np.zeros(100)], {"method": "yin"}, "method 'yin', expected one of rapt, harvest, dio"),
        ([np.zeros(9), np.zeros(0)], {}, "utterance 1: waveform of 0 samples"),
        ([np.zeros((2, 9))], {}, r"utterance 0: waveform of shape \(2, 9\)"),
        ([np.array([np.nan])], {}, "utterance 0: waveform holds NaN"),
        ([np.zeros(9)] * 3, {"f0_range": [(50, 600)] * 2}, "2 F0 ranges for 3 utterances"),
        ([np.zeros(9)] * 2, {"f0_range": [(50, 600), (9, 5)]}, "utterance 1: F0 range of 9 to 5"),
        ([np.zeros(9)], {"f0_range": (50, 5000)}, "50 to 5000 Hz"),
    ],
)
def test_wrong_input_is_named(waveforms, keywords, message):
    with pytest.raises(ValueError, match=message):
        f0_contours(waveforms, RATE, **{"f0_range": (50, 600), "hop_length": HOP, **keywords})


def test_missing_pyworld_is_explained_and_rapt_needs_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyworld", None)
    with pytest.raises(ImportError, match="need pyworld.*or choose the method rapt"):
        f0_contours([voice(100)], RATE, method="dio", f0_range=(50, 600), hop_length=HOP)
    f0_contours([voice(100)], RATE, f0_range=(50, 600), hop_length=HOP)


@pytest.mark.filterwarnings("error")
def test_of_the_warnings_of_pyworld_one_is_hidden(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    keywords = {"method": "dio", "f0_range": (50, 600), "hop_length": HOP}
    for words, hidden in (("pkg_resources is deprecated as an API", True), ("it is old", False)):
        (tmp_path / "pyworld.py").write_text(f"import warnings; warnings.warn('{words}')")
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, "pyworld", raising=False)
        if hidden:
            f0_contours([np.zeros(9)], RATE, **keywords)
        else:
            with pytest.raises(UserWarning, match=words):
                f0_contours([np.zeros(9)], RATE, **keywords)
        (tmp_path / "pyworld.py").unlink()


@every_method
def test_the_f0_of_single_precision_is_that_of_double(method):
    samples = voice(150, RATE // 2).astype(np.float32)
    keywords = {"method": method, "f0_range": (50, 600), "hop_length": HOP}
    (single,), (double,) = (
        f0_contours([x], RATE, **keywords) for x in (samples, samples.astype(np.float64))
    )
    np.testing.assert_array_equal(single, double)


@needs_pyworld
@pytest.mark.parametrize("method", ["harvest", "dio"])
def test_world_never_sees_what_is_too_short_for_it(method, monkeypatch):
    import pyworld

    monkeypatch.setattr(pyworld, method, None)
    keywords = {"method": method, "f0_range": (50, 600), "hop_length": HOP}
    (f0_hz,) = f0_contours([voice(100, 319)], RATE, **keywords)
    np.testing.assert_array_equal(f0_hz, np.zeros(2, np.float32))
    with pytest.raises(TypeError):
        f0_contours([voice(100, 320)], RATE, **keywords)


contour = st.lists(st.one_of(st.just(0.0), st.floats(50, 600)), min_size=1, max_size=40)


def test_statistics_pool_the_voiced_frames_of_all_contours():
    contours = [np.array([0, 100.0, 200.0]), np.zeros(3), np.array([400.0])]
    mean, deviation = f0_statistics(contours)
    assert mean == pytest.approx(np.log(200))
    assert deviation == pytest.approx(np.log(2) * np.sqrt(2 / 3))  # of the population
    assert f0_statistics([np.zeros(5)]) is None
    assert f0_statistics([]) is None


def test_the_deviation_within_contours_is_about_the_mean_of_each():
    # two frames an octave apart, ln 2 / 2 from their mean; then two and three frames at one height
    contours = [[100.0, 0, 200.0], [400.0, 400.0, 0], [0.0], [150.0, 150.0, 150.0]]
    expected = np.sqrt(2 * (np.log(2) / 2) ** 2 / 7)
    assert f0_deviation_within(contours) == pytest.approx(expected)
    assert f0_deviation_within([np.array([0.0, 2.0, 1.0])]) == pytest.approx(np.log(2) / 2)
    assert f0_deviation_within([np.zeros(5)]) is None
    assert f0_deviation_within([]) is None


@given(contour)
def test_normalised_f0_lies_in_range_and_keeps_the_order(f0_hz):
    f0_hz = np.array(f0_hz)
    log_f0, voiced = normalize_log_f0(f0_hz)
    assert log_f0.dtype == np.float32 and voiced.dtype == bool
    np.testing.assert_array_equal(voiced, f0_hz > 0)
    assert (log_f0[~voiced] == 0).all()
    assert (log_f0 >= 0).all() and (log_f0 <= 1).all()
    order = np.argsort(f0_hz[voiced])
    assert (np.diff(log_f0[voiced][order]) >= 0).all()


@given(contour.filter(lambda values: len(set(values) - {0.0}) > 1), st.floats(0.25, 4))
def test_statistics_of_the_utterance_remove_its_level(f0_hz, factor):
    f0_hz = np.array(f0_hz)
    own, _ = normalize_log_f0(f0_hz)
    shifted, _ = normalize_log_f0(factor * f0_hz)
    np.testing.assert_allclose(shifted, own, atol=1e-4)


def test_a_contour_of_single_precision_is_normalised_in_double():
    f0_hz = np.random.default_rng(0).uniform(50, 600, 200).astype(np.float32)
    for statistics in (None, (5.0, 0.2)):
        single, _ = normalize_log_f0(f0_hz, statistics)
        double, _ = normalize_log_f0(f0_hz.astype(np.float64), statistics)
        np.testing.assert_array_equal(single, double)
    assert normalize_log_f0([100, 0, 200], (np.log(100), 0.2))[0][0] == 0.5


def test_statistics_of_others_keep_the_level():
    f0_hz = np.array([0.0, 200.0, 100.0, 1e4, 1.0])
    log_f0, voiced = normalize_log_f0(f0_hz, (np.log(100), np.log(2) - 1e-6))
    # one deviation above the mean is 1/8 above 0.5; four deviations are the limit
    np.testing.assert_allclose(log_f0, [0, 0.625, 0.5, 1, 0], atol=1e-6)
    np.testing.assert_array_equal(voiced, [False, True, True, True, True])


def test_one_voiced_frame_is_in_the_middle():
    log_f0, voiced = normalize_log_f0(np.array([0, 123.0, 0]))
    np.testing.assert_array_equal(log_f0, np.array([0, 0.5, 0], np.float32))
    assert voiced.sum() == 1


@pytest.mark.parametrize("statistics", [None, (5.0, 0.2)])
def test_unvoiced_utterances_need_no_statistics(statistics):
    log_f0, voiced = normalize_log_f0(np.zeros(4), statistics)
    np.testing.assert_array_equal(log_f0, np.zeros(4, np.float32))
    assert not voiced.any()
