import numpy as np
import pytest
from support.tiny_pipeline import RATE

from modeling_decomp_ser.signal_flags import (
    are_several,
    is_in_notes,
    is_narrow,
    is_steady,
    signal_flags,
)
from processing import DecompSerFeatureExtractor
from processing.audio_files import read_audio


def flags_of(waveform, extractor) -> tuple:
    features = extractor(waveform, sampling_rate=RATE, return_tensors="np")
    signals = (features[name][0] for name in ("mel", "log_f0", "voiced"))
    return signal_flags(waveform, *signals, seconds=len(waveform) / RATE)


@pytest.fixture(scope="module")
def no_speech():
    """Sounds of 3 s that nobody said."""
    random = np.random.default_rng(0)
    time = np.arange(3 * RATE) / RATE
    noise = [random.standard_normal(len(time)) * level for level in (0.003, 0.03, 0.2)]
    pink = [np.cumsum(x) - np.cumsum(x).mean() for x in noise]
    tones = [0.3 * np.sin(2 * np.pi * f * time) for f in (60, 100, 220, 440, 1000, 3000)]
    beeps = [tone * ((time * 2) % 1 < 0.5) for tone in tones[2:5]]
    return {
        "noise": noise + [0.3 * x / np.abs(x).max() for x in pink],
        "waves": [noise[1] * (1 + 0.9 * np.sin(2 * np.pi * f * time)) for f in (0.5, 1, 2, 4, 8)],
        "tones": tones + beeps + [0.3 * np.sin(2 * np.pi * (80 * time + 60 * time**2))],
        "hum": [
            a * sum(np.sin(100 * np.pi * k * time) / k for k in range(1, 10)) for a in (0.01, 0.1)
        ],
        "clicks": [(random.random(len(time)) < p) * 0.5 for p in (0.0001, 0.001)],
    }


@pytest.mark.parametrize("kind", ["noise", "waves", "tones", "hum", "clicks"])
def test_what_is_not_speech_is_flagged(no_speech, kind):
    extractor = DecompSerFeatureExtractor(f0_method="rapt")
    found = [flags_of(np.asarray(w, np.float32), extractor) for w in no_speech[kind]]
    assert found == [("not_speech_like",)] * len(found)


@pytest.mark.parametrize("f0_method", ["rapt", "dio"])
def test_speech_is_not_flagged(corpus, f0_method):
    extractor = DecompSerFeatureExtractor(f0_method=f0_method)
    turns = [read_audio(row["audio"]) for row in corpus.select(range(0, len(corpus), 3))]
    assert [flags_of(turn, extractor) for turn in turns] == [()] * len(turns)
    quiet = turns[0] * 10 ** (-20 / 20)
    assert flags_of(quiet, extractor) == ()
    assert flags_of(turns[0][: RATE * 2 // 5], extractor)[:1] == ("too_short",)


@pytest.mark.parametrize(("level", "flags"), [(-62, ("too_quiet",)), (-58, ("not_speech_like",))])
def test_too_quiet_is_below_60_db_of_full_scale(level, flags):
    noise = np.random.default_rng(0).standard_normal(RATE) * 10 ** (level / 20)
    assert flags_of(noise.astype(np.float32), DecompSerFeatureExtractor()) == flags
    silence = np.zeros(RATE, np.float32)
    assert flags_of(silence, DecompSerFeatureExtractor()) == ("too_quiet",)


def test_a_melody_of_held_notes_is_told_from_one_that_glides():
    voiced = np.ones(90, bool)
    notes = np.repeat([0.2, 0.5, 0.3], 30)
    assert is_in_notes(notes, voiced)
    assert is_in_notes(notes + 0.0005 * np.sin(np.arange(90)), voiced)
    glide = 0.5 + 0.2 * np.sin(np.arange(90) / 9)
    assert not is_in_notes(glide, voiced)
    # steps into and out of unvoiced frames do not count, and few say nothing
    voiced[::2] = False
    assert not is_in_notes(notes, voiced)
    assert not is_in_notes(notes[:9], np.ones(9, bool))


def test_chords_are_no_speech():
    time = np.arange(3 * RATE) / RATE
    notes = [(440, 550, 660), (330, 412, 495), (392, 490, 588)]
    sound = np.zeros(len(time))
    for start, chord in enumerate(notes):
        since = np.clip(time - start, 0, 1)
        envelope = (time >= start) * np.exp(-4 * since) * np.clip(since / 0.01, 0, 1)
        partials = [np.sin(2 * np.pi * f * k * since) / k for f in chord for k in range(1, 7)]
        sound += 0.05 * envelope * sum(partials)
    extractor = DecompSerFeatureExtractor(f0_method="rapt")
    assert flags_of(sound.astype(np.float32), extractor) == ("not_speech_like",)


def flags_by_rule(level=0.1, voiced=0.5, *, seconds=2.0, **options):
    """Flags of a sound of one level, 100 frames of a broad and gliding voice, some voiced."""
    waveform = np.full(int(RATE * seconds), level)
    signals = np.ones((100, 80)), np.sin(np.arange(100) / 9), np.arange(100) < 100 * voiced
    return signal_flags(waveform, *signals, seconds=seconds, **options)


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({}, ()),
        ({"seconds": 0.5}, ()),
        ({"seconds": 0.49}, ("too_short",)),
        ({"level": 0.001}, ()),  # -60 dB
        ({"level": 0.00099}, ("too_quiet",)),
        ({"level": 0.00099, "voiced": 0.0, "seconds": 0.4}, ("too_short", "too_quiet")),
        ({"voiced": 0.1}, ()),
        ({"voiced": 0.09}, ("not_speech_like",)),
        ({"voiced": 0.98}, ()),
        ({"voiced": 0.99}, ("not_speech_like",)),
        ({"voiced": 0.99, "seconds": 0.9}, ()),
        ({"voiced": 0.0, "seconds": 0.4}, ("too_short", "not_speech_like")),
    ],
)
def test_each_limit_is_where_it_is_said_to_be(options, flags):
    assert flags_by_rule(**options) == flags


@pytest.mark.parametrize(
    ("spoken", "frames", "flags"),
    [
        (8, 100, ()),
        (7, 100, ("not_speech_like",)),
        (0, 5, ("not_speech_like",)),
        (5, 5, ()),  # a sound of less than a quarter of a second that is speech throughout
        (4, 5, ("not_speech_like",)),
    ],
)
def test_a_detector_decides_instead_of_the_rules(spoken, frames, flags):
    speech = np.where(np.arange(frames) < spoken, 0.5, 0.49)
    for voiced in (0.0, 0.5, 1.0):
        assert flags_by_rule(voiced=voiced, speech=speech) == flags


def several_tones(band_decibels, *, level_deviation=0.0, seconds=2.0):
    """A tone in each of 15 bands, a third of a second loud and soft in turn, even bands against
    odd ones: deviation of the level of bands in dB, and of that of the whole over its mean.
    """
    time = np.arange(int(seconds * RATE)) / RATE
    turn = np.where((time * 3).astype(int) % 2, 1.0, -1.0)
    bands = [
        10 ** (turn * (-1) ** k * band_decibels / 20)
        * np.sin(2 * np.pi * (250 * k + 234.375) * time + k * k)
        for k in range(15)
    ]
    return 0.02 * (1 + level_deviation * turn) * sum(bands)


@pytest.mark.parametrize(
    ("sound", "several"),
    [
        (several_tones(7.0), True),
        (several_tones(5.0), False),  # as steady as noise
        (several_tones(7.0, level_deviation=0.45), True),
        (several_tones(7.0, level_deviation=0.65), False),  # with the pauses of one voice
        (several_tones(7.0, seconds=1.0), True),
        (several_tones(7.0, seconds=0.99), False),
        (0.1 * np.random.default_rng(0).standard_normal(2 * RATE), False),
    ],
)
def test_several_voices_are_even_as_a_whole_and_not_in_their_bands(sound, several):
    assert are_several(sound) is several
    signals = np.ones((100, 80)), np.sin(np.arange(100) / 9), np.ones(100, bool)
    for share, counts in ((0.51, True), (0.5, False)):  # of the frames are speech
        speech = (np.arange(100) < 100 * share).astype(float)
        flags = signal_flags(sound, *signals, seconds=len(sound) / RATE, speech=speech)
        assert flags == (("several_voices",) if several and counts else ())


def test_only_bands_of_speech_tell_several_voices():
    time = np.arange(2 * RATE) / RATE
    turn = np.where((time * 3).astype(int) % 2, 1.0, -1.0)
    steady = 0.1 * np.random.default_rng(0).standard_normal(len(time))
    for low, high in ((40, 90), (4200, 6000)):  # below 125 Hz and above 3875 Hz
        changing = [
            0.3 * (1 + sign * 0.9 * turn) * np.sin(2 * np.pi * frequency * time)
            for sign, frequency in ((1, low), (-1, high))
        ]
        assert not are_several(steady + sum(changing))


def test_a_steady_sound_is_voiced_in_more_than_98_percent_of_a_second():
    for voiced, seconds, steady in ((99, 1.0, True), (98, 1.0, False), (100, 0.99, False)):
        assert is_steady(np.arange(100) < voiced, seconds) is steady


def test_half_of_the_loud_frames_of_a_narrow_sound_fill_few_bands():
    def frames(*filled, peak=0.8, beside=0.5):
        """Frames whose first bands are within 30 dB of the peak and others just beyond."""
        mel = np.full((len(filled), 100), beside - 0.01)
        for row, number in zip(mel, filled, strict=True):
            row[:number], row[0] = beside, peak
        return mel

    assert is_narrow(frames(7, 7, 7)) and not is_narrow(frames(8, 8, 8))
    assert is_narrow(frames(7, 7, 50)) and not is_narrow(frames(7, 50, 50))
    # broad noise in the pauses changes nothing
    pauses = frames(90, 90, peak=0.3, beside=0.2)
    assert is_narrow(np.concatenate([frames(7, 7, 7), pauses]))


@pytest.mark.parametrize(
    ("size", "steps", "notes"),
    [(0.14, 10, True), (0.16, 10, False), (0.14, 9, False)],
)
def test_notes_step_by_less_than_15_percent_of_the_mean_in_the_median(size, steps, notes):
    # steps of one size but for the last, a jump that makes their mean 1
    heights = np.full(steps, size)
    heights[-1] = steps - size * (steps - 1)
    log_f0 = np.concatenate([[0.0], np.cumsum(heights)])
    assert is_in_notes(log_f0, np.ones(steps + 1, int)) is notes
    mixed = np.concatenate([log_f0, [99.0, -99.0]])  # unvoiced frames say nothing
    assert is_in_notes(mixed, np.arange(steps + 3) <= steps) is notes
