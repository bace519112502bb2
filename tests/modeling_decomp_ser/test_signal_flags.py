import numpy as np
import pytest
from support.tiny_pipeline import RATE

from modeling_decomp_ser.signal_flags import is_in_notes, signal_flags
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
