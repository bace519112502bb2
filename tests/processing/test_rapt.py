import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solve_toeplitz, toeplitz

from processing.mel_spectrogram import num_frames
from processing.rapt import _add_noise, _seeded_normal, _sptk_normal, rapt, rapt_with_strength
from processing.rapt_candidates import (
    Candidates,
    _coarse_periods,
    _decimate,
    _fine_candidates,
    _nccf,
    _parabola,
    _peaks,
    _strongest,
)
from processing.rapt_path import best_path, local_costs
from processing.rapt_settings import make_settings
from processing.rapt_voicing import _levinson_durbin, voicing_change_costs

ASSETS = Path(__file__).parents[1] / "assets" / "rapt"
RATE, HOP = 16000, 256
UNIFIED = {"f0_min": 50, "f0_max": 600, "hop_length": HOP}


def load_reference():
    spec = importlib.util.spec_from_file_location("rapt_reference", ASSETS / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference():
    return load_reference()


@pytest.fixture(scope="module")
def golden(reference):
    """Pairs of a case and get_f0's contour."""
    return reference.golden()


def cents(f0_hz, expected):
    return 1200 * np.log2(f0_hz / expected)


def track(case, **keywords):
    return rapt(
        case.waveform,
        case.sampling_rate,
        f0_min=case.f0_range[0],
        f0_max=case.f0_range[1],
        hop_length=case.hop_length,
        **keywords,
    )


@pytest.mark.parametrize(
    "condition",
    [
        "clean",
        "10 dB",
        "telephone",
        "clipped",
        "quiet",
        "offset",
        "silence at the ends",
        "0.5 s",
        "80 ms",
        "other rates",
        "wide range",
    ],
)
def test_equals_get_f0_given_the_same_noise(reference, golden, condition):
    pairs = [
        (track(case, noise="sptk", tail="sptk"), contour)
        for case, contour in golden
        if case.condition == condition
    ]
    assert all(own.shape == contour.shape for own, contour in pairs)
    errors = reference.compare(pairs)
    assert errors.voicing <= 0.001
    assert errors.gross <= 0.0005
    assert errors.mean_cents <= 0.1


def test_own_noise_changes_little_of_clean_speech(reference, golden):
    errors = reference.compare(
        [
            (track(case, tail="sptk"), contour)
            for case, contour in golden
            if case.condition == "clean"
        ]
    )
    assert 0.01 < errors.mean_cents <= 3  # less would mean that the noise is not our own
    assert errors.voicing <= 0.01
    assert errors.gross <= 0.005


def tone(frequency, seconds=1.0, rate=RATE):
    return 0.3 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)


def times_spoken_of(f0_hz, rate=RATE, hop=HOP):
    """Middle between the two stretches of signal that a frame compares, in seconds."""
    return (np.arange(len(f0_hz)) * hop + 0.00375 * rate) / rate + 0.5 / f0_hz


@pytest.mark.parametrize("frequency", [60, 75.5, 100, 133, 180, 220, 307.3, 400, 500])
def test_tones_are_found_within_two_cents(frequency):
    f0_hz = rapt(tone(frequency), RATE, **UNIFIED)[:-3]
    assert (f0_hz > 0).all()
    assert np.abs(cents(f0_hz, frequency)).max() <= 2


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_tones_are_found_at_every_rate(rate):
    hop = round(0.016 * rate)
    f0_hz = rapt(tone(210, rate=rate), rate, f0_min=50, f0_max=600, hop_length=hop)[:-3]
    assert (f0_hz > 0).all()
    assert np.abs(cents(f0_hz, 210)).max() <= 2


@pytest.mark.parametrize(("start", "end"), [(80, 160), (300, 150), (200, 450)])
def test_chirps_are_followed_at_the_time_a_frame_speaks_of(start, end):
    time = np.arange(2 * RATE) / RATE
    phase = 2 * np.pi * (start * time + (end - start) * time**2 / 4)
    harmonics = sum(np.sin(k * phase) / k for k in range(1, 8))
    f0_hz = rapt(0.1 * harmonics, RATE, **UNIFIED)[:-3]
    assert (f0_hz > 0).all()
    expected = start + (end - start) * times_spoken_of(f0_hz) / 2
    assert np.abs(cents(f0_hz, expected)).mean() <= 10


@pytest.mark.parametrize("frequency", [70, 110, 165, 240, 380])
def test_pulse_trains_through_a_formant_are_found(frequency):
    phase = 2 * np.pi * frequency * np.arange(RATE) / RATE
    pulses = sum(np.cos(k * phase) for k in range(1, int(7500 / frequency)))
    time = np.arange(400) / RATE
    ringing = np.exp(-250 * time) * np.sin(2 * np.pi * 600 * time)
    f0_hz = rapt(0.01 * np.convolve(pulses, ringing)[:RATE], RATE, **UNIFIED)[:-3]
    assert (f0_hz > 0).all()
    assert np.abs(cents(f0_hz, frequency)).mean() <= 10


# Whole periods only: RAPT's lags are whole samples, and white pulses that lie between two of them
# match better after two or three periods (in get_f0 as well).
@pytest.mark.parametrize("period", [40, 64, 73, 100])
def test_white_pulse_trains_are_found(period):
    pulses = np.zeros(RATE)
    pulses[::period] = 0.9
    f0_hz = rapt(pulses, RATE, **UNIFIED)[:-3]
    assert (f0_hz > 0).all()
    assert np.abs(cents(f0_hz, RATE / period)).mean() <= 10


def test_octave_steps_are_found():
    samples = np.concatenate([tone(frequency, 0.5) for frequency in (110, 220, 440, 220, 110)])
    f0_hz = rapt(samples, RATE, **UNIFIED)
    segment = np.arange(len(f0_hz)) * HOP // (RATE // 2)
    for index, frequency in enumerate((110, 220, 440, 220, 110)):
        inner = f0_hz[np.flatnonzero(segment == index)[2:-3]]
        assert np.abs(cents(inner, frequency)).max() <= 10


def test_voicing_is_right_outside_two_frames_of_its_edges():
    silence = np.zeros(RATE // 2)
    f0_hz = rapt(np.concatenate([silence, tone(150, 0.5), silence]), RATE, **UNIFIED)
    start, end = RATE / 2 / HOP, RATE / HOP
    frames = np.arange(len(f0_hz))
    assert (f0_hz[(frames > start + 2) & (frames < end - 2)] > 0).all()
    assert (f0_hz[(frames < start - 2) | (frames > end + 2)] == 0).all()


@pytest.mark.parametrize(
    "waveform",
    [
        np.zeros(8000),
        np.full(8000, 0.5),
        0.1 * np.random.RandomState(0).standard_normal(8000),
    ],
    ids=["zeros", "constant", "white noise"],
)
def test_what_has_no_period_is_unvoiced(waveform):
    f0_hz, strength = rapt_with_strength(waveform, RATE, **UNIFIED)
    assert (f0_hz == 0).all()
    assert strength.max() < 0.7


def test_strength_tells_tones_from_noise():
    f0_hz, strength = rapt_with_strength(tone(200), RATE, **UNIFIED)
    np.testing.assert_array_equal(f0_hz, rapt(tone(200), RATE, **UNIFIED))
    assert (strength[:-3] > 0.99).all()
    noisy = tone(200) + 0.2 * np.random.RandomState(0).standard_normal(RATE)
    f0_hz, strength = rapt_with_strength(noisy, RATE, **UNIFIED)
    assert 0.2 < np.median(strength[f0_hz > 0]) < 0.9
    # in single precision the NCCF of a loud tone exceeds 1 by rounding
    loud = 10 * np.sin(2 * np.pi * np.arange(4000) / 40)
    assert rapt_with_strength(loud, RATE, **UNIFIED)[1].max() == 1


def test_extended_tail_voices_the_end_and_sptk_does_not():
    samples = tone(200, 0.512)  # 32 hops
    extended = rapt(samples, RATE, **UNIFIED)
    cut = rapt(samples, RATE, **UNIFIED, tail="sptk")
    assert (len(extended), len(cut)) == (33, 32)
    assert (extended[:31] > 0).all()
    assert (cut[:30] > 0).all()
    assert (cut[30:] == 0).all()
    # 255 samples more hold a window and a period of 400 Hz behind the last multiple of the hop.
    assert (rapt(tone(400, (32 * HOP + 255) / RATE), RATE, **UNIFIED) > 0).all()


def speechlike(num_samples, rate, seed=0):
    """Pulse train of wandering rate through a resonance, in bursts, with noise between."""
    random = np.random.RandomState(seed)
    wander = np.cumsum(random.standard_normal(num_samples)) / np.sqrt(rate)
    phase = np.cumsum(140 * 2 ** np.tanh(wander) / rate)
    pulses = np.diff(np.floor(phase), prepend=0)
    decay = np.exp(-np.arange(200) / (0.002 * rate))
    response = decay * np.sin(2 * np.pi * 600 / rate * np.arange(200))
    voiced = np.sin(2 * np.pi * 2 * np.arange(num_samples) / rate) > -0.5
    return np.convolve(pulses * voiced, response)[:num_samples] + 0.003 * random.standard_normal(
        num_samples
    )


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 20000), min_size=1, max_size=5),
    hop=st.integers(40, 700),
    rate=st.sampled_from([8000, 16000, 44100]),
    garbage=st.sampled_from([np.nan, 1e9, 0.3]),
)
def test_answer_does_not_depend_on_the_batch_or_the_padding(lengths, hop, rate, garbage):
    singles = [speechlike(length, rate, seed) for seed, length in enumerate(lengths)]
    batch = np.full((len(lengths), max(lengths)), garbage)
    for row, single in zip(batch, singles, strict=True):
        row[: len(single)] = single
    keywords = {"f0_min": 60, "f0_max": 400, "hop_length": hop}
    f0_hz, strength = rapt_with_strength(batch, rate, **keywords, lengths=np.array(lengths))
    assert f0_hz.shape == (len(lengths), num_frames(max(lengths), hop))
    for row, single in enumerate(singles):
        alone, strength_alone = rapt_with_strength(single, rate, **keywords)
        np.testing.assert_array_equal(f0_hz[row, : len(alone)], alone)
        np.testing.assert_array_equal(strength[row, : len(alone)], strength_alone)
        assert (f0_hz[row, len(alone) :] == 0).all()
        assert (strength[row, len(alone) :] == 0).all()


@settings(max_examples=200, deadline=None)
@given(
    num_samples=st.integers(1, 6000),
    hop=st.integers(1, 3000),
    rate=st.sampled_from([8000, 11025, 12345, 16000, 22050, 44100, 48000]),
    f0_range=st.sampled_from([(50, 250), (50, 600), (100, 600), (30, 1500)]),
    gain=st.sampled_from([0.0, 1e-4, 1.0, 10.0]),
    tail=st.sampled_from(["extend", "sptk"]),
)
def test_every_length_rate_and_hop_gives_finite_frames(
    num_samples, hop, rate, f0_range, gain, tail
):
    hop = max(hop, num_samples // 400)  # keeps the test fast
    waveform = gain * speechlike(num_samples, rate).clip(-1, 1)
    f0_hz, strength = rapt_with_strength(
        waveform, rate, f0_min=f0_range[0], f0_max=f0_range[1], hop_length=hop, tail=tail
    )
    expected = num_frames(num_samples, hop) if tail == "extend" else -(-num_samples // hop)
    assert f0_hz.shape == strength.shape == (expected,)
    assert f0_hz.dtype == strength.dtype == np.float32
    voiced = f0_hz > 0
    assert (f0_hz[~voiced] == 0).all()
    assert (f0_hz[voiced] >= f0_range[0]).all() and (f0_hz[voiced] <= f0_range[1]).all()
    assert (strength >= 0).all() and (strength <= 1).all()


@pytest.mark.parametrize("num_samples", [1, 120, 441 - 1])
def test_utterances_shorter_than_a_frame_are_unvoiced(num_samples):
    f0_hz, strength = rapt_with_strength(tone(200)[:num_samples], RATE, **UNIFIED)
    assert (f0_hz == 0).all() and (strength == 0).all()


def test_the_shortest_utterance_with_a_frame_is_one_window_and_the_longest_period():
    _, strength = rapt_with_strength(tone(200)[: 120 + 320 + 1], RATE, **UNIFIED)
    assert (strength > 0).all()


def test_a_hop_may_be_one_sample():
    keywords = {**UNIFIED, "hop_length": 1}
    assert rapt(np.zeros(100), RATE, **keywords).shape == (101,)
    # get_f0 has no frame where it cannot read ahead
    _, strength = rapt_with_strength(tone(200)[:200], RATE, **keywords, tail="sptk")
    assert strength.shape == (200,) and (strength == 0).all()


def test_samples_are_rounded_to_single_precision_and_lengths_may_be_of_any_size():
    samples = np.stack([tone(200, 0.2), tone(310, 0.2)])
    for tail in ("extend", "sptk"):
        lengths = np.array([300, 3200], np.uint16)
        expected = rapt_with_strength(samples, RATE, **UNIFIED, lengths=lengths, tail=tail)
        found = rapt_with_strength(
            samples.astype(np.float32), RATE, **UNIFIED, lengths=lengths.astype(np.int64), tail=tail
        )
        np.testing.assert_array_equal(found, expected)
        assert (found[0] > 0).any()


def test_the_noise_is_added_in_single_precision_to_16_bit_samples():
    batch, lengths = np.array([[0.5, 0.1, np.nan], [0.25, 0.0, 0.0]]), np.array([2, 1])
    signal = _add_noise(batch, lengths, 4, "seeded")
    noise = np.float32(50) * _seeded_normal(4)
    expected = np.stack([noise, noise])
    expected[0, :2] += np.float32([16384, 3276.8])
    expected[1, 0] += np.float32(8192)
    assert signal.dtype == np.float32
    np.testing.assert_array_equal(signal, expected)


@pytest.mark.parametrize(("num_samples", "voiced"), [(2 * 600 + 119, 0), (2 * 600 + 120, 1)])
def test_sptk_needs_two_hops_and_a_window(num_samples, voiced):
    keywords = {**UNIFIED, "hop_length": 600, "tail": "sptk"}
    assert (rapt(tone(200)[:num_samples], RATE, **keywords) > 0).sum() == voiced


def test_shape_follows_the_waveform():
    assert rapt(np.zeros(1000), RATE, **UNIFIED).shape == (4,)
    assert rapt(np.zeros((1, 1000)), RATE, **UNIFIED).shape == (1, 4)
    assert rapt(np.zeros((3, 1000), np.float32), RATE, **UNIFIED).shape == (3, 4)


def test_global_random_state_is_neither_read_nor_changed():
    np.random.seed(1)
    first = rapt(tone(200) * 1e-3, RATE, **UNIFIED)
    state = np.random.get_state()[1].copy()
    np.random.seed(2)
    np.testing.assert_array_equal(rapt(tone(200) * 1e-3, RATE, **UNIFIED), first)
    np.random.seed(1)
    rapt(tone(200), RATE, **UNIFIED)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


WRONG = [
    (np.zeros(0), {}, "waveform of 0 samples"),
    (np.zeros((2, 0)), {}, "utterance 0: waveform of 0 samples"),
    (np.zeros((1, 2, 100)), {}, r"shape \(1, 2, 100\), expected \(samples,\)"),
    (np.float64(1), {}, r"shape \(\), expected"),
    (np.array([0.0, np.nan]), {}, "NaN or infinity"),
    (np.array([0.0, -np.inf]), {}, "NaN or infinity"),
    (np.array([0.0, 12000.0]), {}, "peak of 12000.*32768"),
    (np.zeros((2, 50)), {"lengths": np.array([50])}, r"lengths of shape \(1,\)"),
    (np.zeros((2, 50)), {"lengths": np.array([50.0, 2.0])}, "one integer for each of 2"),
    (np.zeros((2, 50)), {"lengths": np.array([50, 51])}, "length 51 exceeds the 50"),
    (np.zeros((2, 50)), {"lengths": np.array([50, 0])}, "utterance 1: waveform of 0 samples"),
    (np.zeros((2, 50)), {"lengths": np.array([-1, 50])}, "utterance 0: waveform of 0 samples"),
    (np.zeros(50), {"hop_length": 0}, "hop of 0 samples"),
    (np.zeros(50), {"f0_min": 300, "f0_max": 300}, "300 to 300 Hz, expected an ascending"),
    (np.zeros(50), {"f0_max": 4001}, "50 to 4001 Hz.*4000 Hz"),
    (np.zeros(50), {"f0_min": 0}, "0 to 600 Hz.*1.6"),
    (np.zeros(50), {"f0_min": float("nan")}, "nan to 600 Hz"),
    (np.zeros(50), {"f0_min": 200, "f0_max": 210}, "holds 5 periods.*at least 24"),
    (np.zeros(50), {"noise": "none"}, "noise 'none'"),
    (np.zeros(50), {"tail": "cut"}, "tail 'cut'"),
]


@pytest.mark.parametrize(("waveform", "keywords", "message"), WRONG)
def test_wrong_input_is_named(waveform, keywords, message):
    with pytest.raises(ValueError, match=message):
        rapt(waveform, RATE, **{**UNIFIED, **keywords})


@pytest.mark.parametrize("rate", [7999, 48001])
def test_rates_outside_8_to_48_khz_are_refused(rate):
    with pytest.raises(ValueError, match="expected 8000 to 48000"):
        rapt(np.zeros(100), rate, **UNIFIED)


def test_sptk_noise_equals_its_definition():
    state, expected = 1, []
    while len(expected) < 500:
        pair = []
        for _ in range(2):
            state = (state * 1103515245 + 12345) % 2**32
            pair.append(2 * ((state >> 16) & 32767) / 32767 - 1)
        radius = pair[0] ** 2 + pair[1] ** 2
        if 0 < radius <= 1:
            expected += [value * np.sqrt(-2 * np.log(radius) / radius) for value in pair]
    np.testing.assert_allclose(_sptk_normal(499), expected[:499], rtol=1e-12)


def test_own_noise_is_what_it_was():
    expected = [1.117622, -1.3871249, -0.4265716, -0.80358726, 0.60142773]
    np.testing.assert_array_equal(_seeded_normal(5), np.float32(expected))


@pytest.mark.parametrize("count", [1, 2, 10, 1000, 100000])
def test_sptk_noise_is_long_enough(count):
    assert _sptk_normal(count).shape == (count,)


def test_the_strongest_19_peaks_of_crowded_frames_are_kept():
    frames = np.repeat([0, 1, 3], [5, 25, 19])
    scores = np.random.RandomState(0).rand(len(frames))
    kept = _strongest(frames, scores)
    assert np.bincount(frames[kept]).tolist() == [5, 19, 0, 19]
    np.testing.assert_array_equal(np.sort(scores[kept[5:24]]), np.sort(scores[5:30])[6:])
    np.testing.assert_array_equal(kept[:5], np.arange(5))
    np.testing.assert_array_equal(kept[24:], np.arange(30, 49))
    np.testing.assert_array_equal(np.diff(scores[kept[5:24]]) < 0, True)
    assert len(_strongest(np.zeros(0, int), np.zeros(0))) == 0


@pytest.mark.parametrize("rate", [16000, 44100])
def test_decimating_is_filtering_and_leaving_samples_out(rate):
    random, parameters = np.random.RandomState(0), make_settings(rate, 60, 400, 250)
    signal = (1000 * random.standard_normal((2, parameters.samples_read(90)))).astype(np.float32)
    decimated = _decimate(signal, parameters)
    stride, step = parameters.frames_per_read * 250, parameters.decimation
    count = parameters.decimated_per_read
    assert decimated.shape[0] == 2 and decimated.shape[1] > 1 and decimated.shape[2] == count
    for row, blocks in zip(signal, decimated, strict=True):
        # odd and symmetric: no delay
        filtered = np.convolve(row, parameters.decimation_filter, mode="same")
        filtered += np.where(filtered < 0, -0.5, 0.5)
        for place, block in enumerate(blocks[: 90 // parameters.frames_per_read]):
            expected = filtered[place * stride :][: count * step : step]
            np.testing.assert_allclose(block, expected, atol=0.02)


def test_the_nccf_is_what_talkin_defines():
    random = np.random.RandomState(0)
    reference, segment = random.standard_normal((3, 10)), random.standard_normal((3, 14))
    for added in (0.0, 25.0):
        found = _nccf(reference, segment, added)
        assert found.shape == (3, 5)
        for row, lag in itertools.product(range(3), range(5)):
            x, y = reference[row], segment[row, lag : lag + 10]
            expected = (x @ y) / np.sqrt(added + (x @ x) * (y @ y))
            assert found[row, lag] == pytest.approx(expected, rel=1e-12)
    # energies count as 1 at least
    assert _nccf(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0, 0.5]]), 0.0).tolist() == [[1, 0]]
    assert _nccf(np.zeros((1, 2)), np.array([[1.0, 2.0]]), 0.0).tolist() == [[0]]


def test_peaks_are_maxima_and_plateaus_above_the_threshold_but_for_the_last():
    nccf = np.array(
        [
            [0.2, 0.8, 0.8, 0.1, 0.3, 0.1, 0.5, 0.6, 0.4, 0.1],
            [0.9, 0.1, 0.2, 0.2, 0.7, 0.1, 0.1, 0.1, 0.9, 0.1],
        ]
    )
    frames, indices = _peaks(nccf, np.array([1.0, 0.6]))  # more than 0.3 and 0.18
    assert frames.tolist() == [0, 0, 0, 1, 1]
    assert indices.tolist() == [1, 2, 7, 2, 4]


def test_a_parabola_has_its_vertex():
    for centre, curvature, height in ((0.25, -0.5, 3.0), (-0.4, -2.0, 0.5), (0.0, -0.1, 1.0)):
        values = [height + curvature * (x - centre) ** 2 for x in (-1, 0, 1)]
        shift, found = _parabola(*(np.array([value]) for value in values))
        assert (shift[0], found[0]) == pytest.approx((centre, height), abs=1e-12)
    with np.errstate(all="raise"):  # nothing is divided by 0
        shift, found = _parabola(np.array([1.0]), np.array([2.0]), np.array([3.0]))
    assert (shift[0], found[0]) == (0.0, 2.0)


def test_coarse_periods_are_those_of_the_decimated_signal():
    parameters = make_settings(RATE, 50, 600, HOP)  # decimated by 8: lags of 3 to 40
    for period, expected in ((16.0, [128, 256]), (12.5, [100, 200, 300])):
        decimated = 1000 * np.cos(2 * np.pi * np.arange(100) / period)
        positions = np.array([0, 7])
        frames, periods = _coarse_periods(decimated.astype(np.float32), positions, parameters)
        assert frames.tolist() == np.repeat([0, 1], len(expected)).tolist()
        # the signal of one frame is no whole number of periods
        assert np.abs(periods - expected * 2).max() <= (0 if period == 16.0 else 4)


def test_of_too_many_coarse_periods_the_short_ones_are_kept():
    parameters = make_settings(48000, 30, 1500, HOP)  # decimated by 24
    decimated = np.tile(np.float32([100, -100]), 100)  # every second lag is as good
    frames, periods = _coarse_periods(decimated, np.zeros(1, int), parameters)
    assert frames.tolist() == [0] * 19
    assert periods.tolist() == [48 * k for k in range(1, 20)]


@pytest.mark.parametrize(("off", "found"), [(-4, 0), (-3, 1), (0, 1), (3, 1), (4, 0)])
def test_three_lags_to_either_side_of_a_coarse_period_are_searched(off, found):
    parameters, period = make_settings(RATE, 50, 600, HOP), 64
    signal = np.zeros(2000, np.float32)
    signal[::period] = 10000
    arguments = (np.array([100, 700]), np.array([1]), np.array([period + off]), parameters)
    candidates = _fine_candidates(signal, *arguments)
    assert not candidates.lags[0].any() and candidates.maxima[0] == 0
    assert (candidates.lags[1] == period).sum() == found
    if found:
        place = candidates.lags[1].tolist().index(period)
        assert candidates.heights[1, place] == pytest.approx(1, abs=1e-3)
        assert candidates.maxima[1] == candidates.heights[1, place]
        if abs(off) < 3:  # else the parabola goes through a lag that counts as 0
            assert candidates.f0_hz[1, place] == pytest.approx(RATE / period, rel=1e-3)


def test_patches_begin_at_the_shortest_period():
    parameters = make_settings(RATE, 50, 600, HOP)
    signal = np.zeros(2000, np.float32)
    signal[::29] = 10000
    # 27 samples are 600 Hz; the patch is 27 to 33
    candidates = _fine_candidates(signal, np.array([0]), np.array([0]), np.array([28]), parameters)
    assert candidates.lags.tolist() == [[29]]
    # whole samples, and the rest in single precision
    assert [values.dtype for values in candidates] == [np.int64, *[np.float32] * 3]
    assert candidates.f0_hz[0, 0] == pytest.approx(RATE / 29, rel=1e-3)


def test_levinson_durbin_solves_the_normal_equations():
    signal = np.random.RandomState(0).standard_normal((5, 200))
    lags = np.array([[row[: 200 - k] @ row[k:] for k in range(11)] for row in signal])
    lags = (lags / lags[:, :1]).astype(np.float32)
    predictor, error = _levinson_durbin(lags)
    lags = lags.astype(np.float64)
    for row in range(5):
        expected = solve_toeplitz(lags[row, :10], -lags[row, 1:])
        np.testing.assert_allclose(predictor[row], [1, *expected], atol=1e-12)
        np.testing.assert_allclose(error[row], predictor[row] @ lags[row], atol=1e-12)


def window_by_definition(samples):
    """Autocorrelation, predictor, prediction error and level of a 30 ms window at 16 kHz."""
    taper, shorter = (0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(n) + 0.5) / n) for n in (480, 479))
    emphasised = (samples[1:] - 0.4 * samples[:-1]) * shorter
    lags = np.array([emphasised[: 479 - k] @ emphasised[k:] for k in range(19)])
    lags /= lags[0]
    lags[1:] /= 1 + 10**-1.5
    predictor = np.array([1, *solve_toeplitz(lags[:-1], -lags[1:])])
    return lags, predictor, predictor @ lags, np.sqrt(np.mean((samples * taper) ** 2))


# 20 ms, 320 samples, lie between two windows, or as many whole hops as fit.
@pytest.mark.parametrize(("hop", "earlier"), [(HOP, HOP), (400, 320), (80, 320)])
def test_voicing_changes_cost_what_they_should(hop, earlier):
    random = np.random.RandomState(0)
    signal = np.cumsum(random.standard_normal((2, 2000)), axis=1) * 100 * random.rand(2000)
    count = 1 + 1200 // hop
    rows, frames = np.repeat([0, 1], count), np.tile(np.arange(count), 2)
    onset, offset = voicing_change_costs(
        signal.astype(np.float32), rows, frames, make_settings(RATE, 50, 600, hop)
    )
    for row, frame, up, down in zip(rows, frames, onset, offset, strict=True):
        start = frame * hop - 80
        stationarity, ratio = 0.002 if start < 0 else 0.02, 1
        if start >= 320:  # else a window begins before the utterance
            before, _, error, level_before = window_by_definition(
                signal[row, start - earlier :][:480]
            )
            _, predictor, _, level = window_by_definition(signal[row, start:][:480])
            distance = predictor @ toeplitz(before) @ predictor / error
            stationarity = 0.2 / (distance - 0.8)
            ratio = (0.001 + level) / level_before
        cost = 0.005 + 0.5 * stationarity
        assert up == pytest.approx(cost + 0.5 / ratio, rel=1e-4)
        assert down == pytest.approx(cost + 0.5 * ratio, rel=1e-4)


def path_cost(path, local, lags, onset, offset, weight):
    """Cost of one sequence of candidates, as Talkin defines it; 0 is unvoiced."""
    cost = local[0, path[0]]
    for frame in range(1, len(path)):
        before, now = path[frame - 1], path[frame]
        if before and now:
            change = np.log(lags[frame, now - 1] / lags[frame - 1, before - 1])
            octaves = [0.35 + abs(change - step * np.log(2)) for step in (-1, 1)]
            cost += weight * min(abs(change), *octaves)
        elif now:
            cost += onset[frame]
        elif before:
            cost += offset[frame]
        cost += local[frame, now]
    return cost


@settings(max_examples=100, deadline=None)
@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    seed=st.integers(0, 2**31 - 1),
)
def test_path_is_the_cheapest_of_all(counts, seed):
    random = np.random.RandomState(seed)
    rows = np.repeat(np.arange(len(counts)), counts)
    frames = np.concatenate([np.arange(count) for count in counts])
    lags = random.randint(27, 320, (len(rows), 3))
    lags[np.arange(3) >= random.randint(0, 4, (len(rows), 1))] = 0  # 0 to 3 candidates
    costs = random.rand(len(rows), 4)
    costs[:, 1:][lags == 0] = np.inf
    onset, offset = random.rand(2, len(rows))
    parameters = make_settings(RATE, 50, 600, HOP)
    path = best_path(costs, lags, onset, offset, rows, frames, parameters)
    for row in range(len(counts)):
        own = rows == row
        arguments = (costs[own], np.maximum(lags[own], 1), onset[own], offset[own], 1.25)
        cheapest = min(
            path_cost(candidate, *arguments)
            for candidate in itertools.product(range(4), repeat=counts[row])
        )
        assert path_cost(path[own], *arguments) == pytest.approx(cheapest, abs=1e-12)


def cheapest_cost(local, lags, onset, offset, weight):
    """Cost of the best path by Viterbi's algorithm, one frame after the other."""
    totals = local[0]
    for frame in range(1, len(local)):
        step = [
            [
                path_cost([before, now], *(x[frame - 1 : frame + 1] for x in (local, lags)),
                          onset[frame - 1 :], offset[frame - 1 :], weight)
                - local[frame - 1, before]
                for now in range(local.shape[1])
            ]
            for before in range(local.shape[1])
        ]  # fmt: skip
        totals = (totals[:, None] + step).min(0)
    return totals.min()


def test_long_paths_of_utterances_together_are_the_cheapest():
    random, counts = np.random.RandomState(0), [33, 100, 1]
    rows = np.repeat(np.arange(3), counts)
    frames = np.concatenate([np.arange(count) for count in counts])
    lags = random.randint(27, 320, (len(rows), 3))
    costs = random.rand(len(rows), 4)
    onset, offset = 0.3 * random.rand(2, len(rows))
    path = best_path(costs, lags, onset, offset, rows, frames, make_settings(RATE, 50, 600, HOP))
    for row in range(3):
        own = rows == row
        arguments = (costs[own], lags[own], onset[own], offset[own], 1.25)
        assert path_cost(path[own], *arguments) == pytest.approx(cheapest_cost(*arguments))


def test_high_peaks_at_short_lags_cost_little():
    candidates = Candidates(
        np.array([[100, 0], [160, 320]]),
        np.array([[0.9, 0.0], [0.8, 0.5]]),
        np.zeros((2, 2)),
        np.array([0.9, 0.8]),
    )
    # a peak at the longest period, 320 samples, counts for seven tenths
    expected = [
        [0.9, 1 - 0.9 * (1 - 0.3 * 100 / 320), np.inf],
        [0.8, 1 - 0.8 * 0.85, 1 - 0.5 * 0.7],
    ]
    np.testing.assert_allclose(local_costs(candidates, make_settings(RATE, 50, 600, HOP)), expected)
