import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processing.corpora.resynthesis import (
    F0_RANGE_HZ,
    VocodedSpeech,
    add_breath,
    analyze,
    change_rate,
    filter_spectrum,
    retime,
    scale_formants,
    set_log_f0,
    synthesize,
)

RATE = 16000
NUM_BINS = 513


def vocoded(num_frames=200, f0_hz=150.0, formant_hz=1000.0, noise=0.01):
    """A steady vowel with one formant; the last quarter is unvoiced."""
    frequencies = np.linspace(0, RATE / 2, NUM_BINS)
    envelope = -(((frequencies - formant_hz) / 400.0) ** 2) - 8.0
    f0 = np.full(num_frames, f0_hz)
    f0[num_frames * 3 // 4 :] = 0.0
    aperiodicity = np.full((num_frames, NUM_BINS), noise)
    aperiodicity[f0 == 0] = 1.0
    return VocodedSpeech(f0, np.tile(envelope, (num_frames, 1)), aperiodicity, RATE)


def measured_f0_hz(waveform, f0_min=70, f0_max=500):
    """F0 of a steady tone by the peak of its autocorrelation."""
    spectrum = np.fft.rfft(waveform, 4 * len(waveform))
    autocorrelation = np.fft.irfft(np.abs(spectrum) ** 2)
    lags = np.arange(RATE // f0_max, RATE // f0_min)
    is_peak = autocorrelation[lags] > 0.9 * autocorrelation[lags].max()
    first = np.argmax(is_peak)  # multiples of the period peak as well: take the first hill
    hill = lags[first : first + np.argmin(is_peak[first:])]
    peak = hill[np.argmax(autocorrelation[hill])]
    before, here, after = autocorrelation[peak - 1 : peak + 2]
    return RATE / (peak + 0.5 * (before - after) / (before - 2 * here + after))


def cents(ratio):
    return 1200 * np.log2(ratio)


@pytest.mark.parametrize("f0_hz", [90.0, 150.0, 310.0])
def test_the_pitch_that_is_set_is_the_pitch_that_sounds(f0_hz):
    speech = set_log_f0(vocoded(), np.full(200, np.log(f0_hz)))
    steady = synthesize(speech)[3200:9600]
    assert abs(cents(measured_f0_hz(steady) / f0_hz)) < 10


def test_analysis_finds_the_pitch_and_voicing_it_was_given():
    speech = analyze(synthesize(vocoded(f0_hz=180.0)), RATE)
    inner = slice(10, 140)  # of 150 voiced frames
    assert speech.voiced[inner].all()
    assert not speech.voiced[165:].any()
    assert np.abs(cents(speech.f0_hz[inner] / 180.0)).max() < 10


def test_pitch_stays_within_the_range_and_unvoiced_frames_stay_unvoiced():
    speech = vocoded()
    low, high = (set_log_f0(speech, np.full(200, value)) for value in (0.0, 20.0))
    assert set(low.f0_hz) == {0.0, F0_RANGE_HZ[0]}
    assert set(high.f0_hz) == {0.0, F0_RANGE_HZ[1]}
    np.testing.assert_array_equal(low.voiced, speech.voiced)


def test_formants_move_by_the_factor():
    peaks = [
        scale_formants(vocoded(formant_hz=1500.0), factor).log_envelope[0].argmax()
        for factor in (0.8, 1.0, 1.25)
    ]
    bin_hz = RATE / 2 / (NUM_BINS - 1)
    np.testing.assert_allclose(np.array(peaks) * bin_hz, [1200, 1500, 1875], atol=bin_hz)


def test_a_factor_of_one_leaves_formants_alone():
    speech = vocoded()
    np.testing.assert_allclose(scale_formants(speech, 1.0).log_envelope, speech.log_envelope)


def test_a_filter_of_six_decibels_is_heard_as_six_decibels():
    plain, louder = (
        synthesize(s) for s in (vocoded(), filter_spectrum(vocoded(), np.full(NUM_BINS, 6.0)))
    )
    level = 10 * np.log10(np.mean(louder**2) / np.mean(plain**2))
    assert abs(level - 6.0) < 0.01


def test_breath_turns_harmonics_into_noise_and_pressing_removes_noise():
    speech = vocoded(noise=0.2)
    top = -1  # the bin at 8 kHz, where the whole share holds
    assert add_breath(speech, 1.0).aperiodicity[0, top] == 1.0
    assert add_breath(speech, 0.5).aperiodicity[0, top] == pytest.approx(0.6)
    assert add_breath(speech, -1.0).aperiodicity[0, top] == 0.0
    assert add_breath(speech, 1.0).aperiodicity[0, 0] == 0.2  # nothing changes at 0 Hz


@given(amount=st.floats(-1, 1), noise=st.floats(0, 1))
def test_aperiodicity_stays_a_share_and_unvoiced_frames_keep_theirs(amount, noise):
    speech = vocoded(num_frames=8, noise=noise)
    changed = add_breath(speech, amount).aperiodicity
    assert ((changed >= 0) & (changed <= 1)).all()
    np.testing.assert_array_equal(changed[~speech.voiced], speech.aperiodicity[~speech.voiced])


@given(rate=st.floats(0.3, 3.0), num_frames=st.integers(2, 300))
def test_a_constant_rate_divides_the_duration(rate, num_frames):
    changed = change_rate(vocoded(num_frames), lambda time: np.full_like(time, rate))
    assert abs(len(changed.f0_hz) - ((num_frames - 1) / rate + 1)) <= 1


@given(start=st.floats(0.3, 3.0), end=st.floats(0.3, 3.0), num_frames=st.integers(2, 200))
def test_rhythm_changes_stay_within_the_utterance_and_keep_voicing(start, end, num_frames):
    speech = vocoded(num_frames)
    changed = change_rate(speech, lambda time: start + (end - start) * time)
    assert set(changed.f0_hz) <= set(speech.f0_hz)  # nothing between 150 Hz and unvoiced
    assert np.isfinite(changed.log_envelope).all()


def test_a_hurrying_rate_spends_its_time_at_the_start():
    ramp = VocodedSpeech(np.linspace(100, 200, 101), np.zeros((101, 3)), np.zeros((101, 3)), RATE)
    changed = change_rate(ramp, lambda time: 0.5 + time)
    # The position x obeys dx/du = 0.5 + x: it runs through T = ln(1.5 / 0.5) and half of that time
    # reaches x = 0.5 * (sqrt(3) - 1).
    middle = changed.f0_hz[len(changed.f0_hz) // 2]
    assert len(changed.f0_hz) == pytest.approx(100 * np.log(3), abs=2)
    assert middle == pytest.approx(100 + 50 * (np.sqrt(3) - 1), abs=1)


def test_reading_between_frames_interpolates_but_never_invents_voicing():
    speech = VocodedSpeech(
        np.array([100.0, 200.0, 0.0]), np.array([[0.0], [2.0], [4.0]]), np.zeros((3, 1)), RATE
    )
    read = retime(speech, np.array([0.5, 1.25, 1.75, 2.0]))
    np.testing.assert_allclose(read.f0_hz, [150.0, 200.0, 0.0, 0.0])
    np.testing.assert_allclose(read.log_envelope[:, 0], [1.0, 2.5, 3.5, 4.0])


def test_speech_without_a_voiced_frame_has_no_mean_pitch():
    silent = set_log_f0(vocoded(f0_hz=0.0), np.zeros(200))
    with pytest.raises(ValueError, match="No frame is voiced"):
        silent.mean_log_f0  # noqa: B018


def test_functions_leave_their_argument_alone():
    speech = vocoded()
    before = [array.copy() for array in (speech.f0_hz, speech.log_envelope, speech.aperiodicity)]
    changed = add_breath(filter_spectrum(scale_formants(speech, 1.1), np.ones(NUM_BINS)), 0.3)
    synthesize(set_log_f0(changed, np.full(200, 5.0)))
    for array, copy in zip(
        (speech.f0_hz, speech.log_envelope, speech.aperiodicity), before, strict=True
    ):
        np.testing.assert_array_equal(array, copy)
