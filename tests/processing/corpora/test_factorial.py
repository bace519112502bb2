import io
import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
import pyworld
import soundfile

from processing.corpora.factorial import CONTOURS, FACTORS, RHYTHMS, synthesize_factorial
from processing.corpora.schema import ROW_FEATURES, SAMPLING_RATE
from processing.corpora.synthetic_voices import VOICES
from processing.errors import InputError

pytest.importorskip("espeakng_loader")


@pytest.fixture(scope="module")
def corpus():
    return synthesize_factorial(num_sentences=2, num_voices=2, progress=False)


@pytest.fixture(scope="module")
def pitches(corpus):
    """For each row, times from 0 to 1 and log-F0 of the voiced frames."""
    return [_pitch(audio["bytes"]) for audio in corpus["audio"]]


def _pitch(encoded):
    waveform, _ = soundfile.read(io.BytesIO(encoded))
    f0_hz, times = pyworld.dio(waveform, SAMPLING_RATE, 60.0, 600.0)
    f0_hz = pyworld.stonemask(waveform, f0_hz, times, SAMPLING_RATE)
    log_f0 = np.log(np.where(f0_hz > 0, f0_hz, 1.0))
    # Contours span 4 semitones to both sides; what lies beyond 7 is a mistake of the tracker.
    near = np.abs(log_f0 - np.median(log_f0[f0_hz > 0])) < 7 / 12 * np.log(2)
    return np.flatnonzero(near) / len(f0_hz), log_f0[near]


def test_every_combination_occurs_once(corpus):
    assert len(corpus) == 2 * 2 * 4 * 4
    assert len(set(zip(*(corpus[factor] for factor in FACTORS), strict=True))) == len(corpus)
    for one, other in itertools.combinations(FACTORS, 2):
        assert len(set(Counter(zip(corpus[one], corpus[other], strict=True)).values())) == 1


def test_rows_have_the_schema_and_the_factors(corpus):
    assert list(corpus.features) == [*ROW_FEATURES, *FACTORS]
    assert corpus["speaker"] == corpus["voice"]
    assert set(corpus["emotion"]) == {"neutral"}
    assert set(corpus["contour"]) == set(CONTOURS) and set(corpus["rhythm"]) == set(RHYTHMS)


def test_timing_depends_on_sentence_and_rhythm_alone(corpus):
    durations = defaultdict(set)
    for row in corpus:
        durations[row["sentence"], row["rhythm"]].add(row["duration"])
    assert all(len(values) == 1 for values in durations.values())
    pause = 0.2  # seconds, the mean of two pauses of 50 to 150 ms
    for sentence in set(corpus["sentence"]):
        (slow,), (fast,) = durations[sentence, "slow"], durations[sentence, "fast"]
        assert (slow - pause) / (fast - pause) == pytest.approx(1.35 / 0.75, rel=0.1)


def test_contours_sound_as_named_in_every_voice(corpus, pitches):
    for row, (time, log_f0) in zip(corpus, pitches, strict=True):
        semitones = 12 / np.log(2) * (log_f0 - np.log(VOICES[int(row["voice"][1:]) - 1].f0_hz))
        speech_time = (time - time[0]) / (time[-1] - time[0])  # without the pauses at both ends
        error = {
            name: np.median(np.abs(semitones - contour(speech_time)))
            for name, contour in CONTOURS.items()
        }
        assert error[row["contour"]] < 1.0, row["id"]
        assert sorted(error, key=error.__getitem__)[0] == row["contour"], row["id"]


def test_the_flat_contour_sounds_at_the_pitch_of_the_voice(corpus, pitches):
    for row, (_, log_f0) in zip(corpus, pitches, strict=True):
        if row["contour"] == "flat":
            expected = VOICES[int(row["voice"][1:]) - 1].f0_hz
            assert abs(1200 / np.log(2) * (np.median(log_f0) - np.log(expected))) < 30  # cents


def test_the_same_call_makes_the_same_rows_with_any_number_of_threads(corpus):
    again = synthesize_factorial(num_sentences=2, num_voices=1, num_workers=1, progress=False)
    part = corpus.filter(lambda voice: voice == "s01", input_columns="voice")
    assert again.to_list() == part.to_list()


def test_counts_beyond_what_there_is_are_refused():
    with pytest.raises(InputError, match="num_contours=5: the synthetic corpus has 4"):
        synthesize_factorial(num_contours=5)
