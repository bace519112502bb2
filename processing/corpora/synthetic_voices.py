"""Sentences and voices of the synthetic corpora, and the way from vocoded speech to a row.

Axes: S samples, T frames.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr

from processing.audio_files import encode_flac
from processing.corpora.espeak import speak
from processing.corpora.resynthesis import (
    VocodedSpeech,
    analyze,
    filter_spectrum,
    scale_formants,
    set_log_f0,
    synthesize,
)
from processing.corpora.rows import Row, make_row
from processing.corpora.schema import SAMPLING_RATE
from processing.errors import InputError

SENTENCES = (
    "The bus leaves at seven.",
    "Put the book on the table.",
    "We walk along the river.",
    "She opens the kitchen window.",
    "The keys are by the door.",
    "He drinks tea in the morning.",
    "The shop closes at noon.",
    "My brother paints the fence.",
    "Take the second street left.",
    "There is bread in the basket.",
    "The library has a new roof.",
    "I wrote the list on paper.",
    "The children wait outside.",
    "The train stops near the bridge.",
    "We meet after lunch on Monday.",
    "The coat hangs in the hall.",
)
"""Everyday sentences without an emotion of their own."""


@dataclass(frozen=True)
class Voice:
    """A speaker: what does not change with the emotion."""

    gender: str  # "female" or "male"
    espeak_voice: str  # who speaks the sentences
    f0_hz: float  # mean pitch when neutral
    formant_factor: float  # formant frequencies relative to those of the espeak voice
    resonance_hz: float  # centre of a peak of 6 dB in the spectrum of all that this speaker says


VOICES = (
    Voice("female", "en-us+f1", 196, 1.00, 3400),
    Voice("male", "en-us+m3", 112, 1.00, 2600),
    Voice("female", "en-us+f4", 232, 1.08, 5200),
    Voice("male", "en-us+m7", 92, 0.90, 4200),
    Voice("female", "en-us+Annie", 172, 0.94, 2500),
    Voice("male", "en-us+m1", 134, 1.08, 3500),
    Voice("female", "en-us+steph", 214, 1.00, 4300),
    Voice("male", "en-us+max", 102, 0.96, 5400),
    Voice("female", "en-us+belinda", 184, 1.10, 6200),
    Voice("male", "en-us+adam", 124, 0.88, 3000),
    Voice("female", "en-us+f5", 204, 0.92, 3000),
    Voice("male", "en-us+Gene", 142, 1.12, 4800),
    Voice("female", "en-us+linda", 246, 1.14, 4000),
    Voice("male", "en-us+m4", 86, 0.86, 6000),
    Voice("female", "en-us+f3", 164, 0.90, 5600),
    Voice("male", "en-us+john", 118, 0.94, 2200),
)
"""The speakers s01, s02 ... in order."""

ESPEAK_F0_RANGES_HZ = {"female": (110.0, 500.0), "male": (60.0, 300.0)}
"""Where the F0 of the espeak voices lies."""

NEUTRAL_LEVEL_DB = -32.0
"""RMS level of neutral speech relative to full scale. Low, so that the loudest turn has room."""

ROOM_LEVEL_DB = -75.0
"""RMS level of the noise of the room: pauses are quiet, but not digital silence."""


def speak_and_analyze(sentence: int, espeak_voice: str, gender: str) -> VocodedSpeech:
    """SENTENCES[sentence] as espeak-ng speaks it, without the silence at its ends."""
    waveform, sampling_rate = speak(SENTENCES[sentence], voice=espeak_voice)
    waveform = soxr.resample(waveform, sampling_rate, SAMPLING_RATE)
    return analyze(trim_silence(waveform), SAMPLING_RATE, ESPEAK_F0_RANGES_HZ[gender])


def trim_silence(waveform: np.ndarray, threshold_db: float = -45.0) -> np.ndarray:
    """Cut the ends that stay this far below the peak; (S,) -> (S',)."""
    magnitude = np.abs(waveform)
    loud = np.flatnonzero(magnitude > magnitude.max() * 10 ** (threshold_db / 20))
    return waveform[loud[0] : loud[-1] + 1]


def give_voice(speech: VocodedSpeech, voice: Voice) -> VocodedSpeech:
    """Speech with the vocal tract and the mean pitch of a voice."""
    speech = scale_formants(speech, voice.formant_factor)
    octaves = np.log2(np.maximum(speech.frequencies_hz, 1.0) / voice.resonance_hz)
    speech = filter_spectrum(speech, 6.0 * np.exp(-0.5 * (octaves / 0.2) ** 2))
    return set_log_f0(speech, speech.log_f0 - speech.mean_log_f0 + np.log(voice.f0_hz))


def semitones_to_log(semitones: np.ndarray) -> np.ndarray:
    """Semitones as differences of natural log-F0."""
    return semitones * (np.log(2) / 12)


def record(speech: VocodedSpeech, level_db: float, generator: np.random.Generator) -> np.ndarray:
    """Waveform at an RMS level in dB of full scale, after and before a pause of 50 to 150 ms."""
    waveform = synthesize(speech)
    waveform *= 10 ** (level_db / 20) / np.sqrt(np.mean(waveform**2))
    pauses = generator.integers(SAMPLING_RATE // 20, SAMPLING_RATE * 3 // 20, size=2)
    waveform = np.pad(waveform, pauses)
    return waveform + 10 ** (ROOM_LEVEL_DB / 20) * generator.standard_normal(len(waveform))


def speaker_name(voice: int) -> str:
    """Name of VOICES[voice] in the rows."""
    return f"s{voice + 1:02d}"


def make_turn(
    turn_id: str, waveform: np.ndarray, *, sentence: int, voice: int, **columns: Any
) -> Row:
    """A row of VOICES[voice] saying SENTENCES[sentence].

    Raises:
        ValueError: if a sample exceeds full scale. Loudness is a cue, so no turn is turned down.
    """
    if np.abs(waveform).max() >= 1.0:
        raise ValueError(
            f"Turn {turn_id!r} exceeds full scale: lower NEUTRAL_LEVEL_DB, which holds for all."
        )
    return make_row(
        id=turn_id,
        audio={"bytes": encode_flac(waveform), "path": f"{turn_id}.flac"},
        speaker=speaker_name(voice),
        gender=VOICES[voice].gender,
        text=SENTENCES[sentence].rstrip(".").upper(),
        corpus="synthetic",
        duration=len(waveform) / SAMPLING_RATE,
        **columns,
    )


def check_count(name: str, value: int, available: int) -> None:
    """Raise an InputError unless 1 <= value <= available."""
    if not 1 <= value <= available:
        raise InputError(
            f"{name}={value}: the synthetic corpus has {available}. Choose 1 to {available}."
        )
