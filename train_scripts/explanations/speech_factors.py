"""The factors of speech that a corpus knows or a recording shows, which probes look for in codes.

Axes: N turns, S samples, T frames.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset

from processing.audio_files import read_audio
from processing.corpora.factorial import FACTORS
from processing.mel_spectrogram import RANGE_DB
from processing.text import normalize_transcript

SEMITONES_PER_LOG = 12 / np.log(2)

MOST_SENTENCES = 50
"""Distinct transcripts up to which a sentence is a class to recognise; of more, its characters are
read."""

FEWEST_TURNS = 5
"""Of a class; turns of rarer ones are left out."""

DEFINITIONS = {
    "speaker": "who speaks; the speakers are known to the probe",
    "gender": "of the speaker, as the corpus has it",
    "transcript": "what is said: which of the corpus's few sentences",
    "characters": "what is said: characters read by CTC, 1 - CER",
    "speaking_rate": "",  # depends on the corpus, see `speaking_rates`
    "f0_mean": "mean of F0 over voiced frames, in semitones",
    "f0_range": "from the 5th to the 95th percentile of F0, in semitones",
    "f0_direction": "correlation of F0 in semitones with time: 1 rises, -1 falls",
    "energy": "RMS level of the turn in dB",
    "emotion": "the label of the turn",
    "sentence": "known by synthesis",
    "voice": "formants, resonance and mean pitch, known by synthesis",
    "contour": "course of the pitch, known by synthesis",
    "rhythm": "rate and its course, known by synthesis; timing that belongs to a sentence counts "
    "as the sentence's",
}
"""What each factor is, for the report."""

SPEECH_DB = 30.0
"""Below the loudest frame, in mean log-mel level, that speech is taken to begin and end. Voicing
would be no measure: trackers err most in what is quiet."""

FEWEST_VOICED = 10
"""Voiced frames without which a turn's F0 is not known."""

BY_LETTERS = "letters of the transcript a second"
BY_SEGMENTS = "voiced segments a second"
SPAN = f", from the first to the last frame within {SPEECH_DB:g} dB of the loudest"


@dataclass
class Factor:
    """A property of turns.

    Attributes:
        name: see DEFINITIONS.
        kind: "class", "number" or "text".
        values: (N,): class ids (int), numbers, or normalised transcripts; meaningless where
            unknown.
        known: bool, (N,).
        definition: in words.
        classes: names of the classes.
    """

    name: str
    kind: str
    values: np.ndarray
    known: np.ndarray
    definition: str
    classes: Sequence[str] = ()

    @property
    def varies(self) -> bool:
        """Whether there is anything to read: two classes, or numbers that are not all one."""
        if self.known.sum() < 2 * FEWEST_TURNS:
            return False
        return len(np.unique(self.values[self.known])) > 1


def find_factors(rows: Dataset, hop_length: int, sampling_rate: int) -> list[Factor]:
    """Every factor that the corpus knows or the signals show, those that vary.

    A corpus of `synthesize_factorial` is recognised by its columns; what they name is then not
    also taken from others.

    Args:
        rows: turns with signals as arrays.
        hop_length: samples between frames.
        sampling_rate: Hz.
    """
    known = [name for name in FACTORS if name in rows.column_names]
    factors = [class_factor(name, rows[name]) for name in known]
    if len(known) < len(FACTORS):
        factors += [class_factor("speaker", rows["speaker"]), transcript_factor(rows["text"])]
    factors.append(class_factor("gender", rows["gender"]))
    contours = list(rows["f0_hz"])
    seconds = hop_length / sampling_rate
    factors.append(speaking_rates(rows["text"], list(rows["mel"]), contours, seconds))
    factors += f0_factors(contours)
    factors.append(number_factor("energy", [level_db(a, sampling_rate) for a in rows["audio"]]))
    factors.append(class_factor("emotion", rows["emotion"]))
    return [factor for factor in factors if factor.varies]


def class_factor(name: str, words: Sequence[str | None]) -> Factor:
    """Classes in alphabetical order; those of fewer than FEWEST_TURNS turns count as unknown."""
    counts = Counter(word for word in words if word is not None)
    classes = sorted(word for word, count in counts.items() if count >= FEWEST_TURNS)
    ids = {word: i for i, word in enumerate(classes)}
    values = np.array([ids.get(word or "", 0) for word in words], dtype=np.int64)
    known = np.array([word in ids for word in words])
    return Factor(name, "class", values, known, DEFINITIONS[name], classes)


def number_factor(name: str, numbers: Sequence[float], definition: str | None = None) -> Factor:
    """Numbers; NaN is unknown."""
    values = np.asarray(numbers, dtype=np.float64)
    known = np.isfinite(values)
    return Factor(
        name, "number", np.where(known, values, 0.0), known, definition or DEFINITIONS[name]
    )


def transcript_factor(texts: Sequence[str | None]) -> Factor:
    """Which sentence of few, or the characters of many."""
    words = [normalize_transcript(text) if text else "" for text in texts]
    if len(set(words) - {""}) <= MOST_SENTENCES:
        return class_factor("transcript", [word or None for word in words])
    known = np.array([bool(word) for word in words])
    values = np.array(words, dtype=object)
    return Factor("characters", "text", values, known, DEFINITIONS["characters"])


def speaking_rates(
    texts: Sequence[str | None],
    mels: Sequence[np.ndarray],
    contours: Sequence[np.ndarray],
    seconds_per_frame: float,
) -> Factor:
    """Letters a second where every turn has a transcript, else voiced segments a second."""
    words = [normalize_transcript(text).replace(" ", "") if text else "" for text in texts]
    by_letters = all(words)
    rates = []
    for word, mel, f0_hz in zip(words, mels, contours, strict=True):
        levels = RANGE_DB * np.asarray(mel).mean(1)  # (T,)
        first, last = np.flatnonzero(levels >= levels.max() - SPEECH_DB)[[0, -1]]
        voiced = np.flatnonzero(f0_hz[first : last + 1] > 0)
        segments = 1 + np.count_nonzero(np.diff(voiced) > 1) if len(voiced) else 0
        seconds = (last - first + 1) * seconds_per_frame
        rates.append((len(word) if by_letters else segments) / seconds)
    return number_factor("speaking_rate", rates, (BY_LETTERS if by_letters else BY_SEGMENTS) + SPAN)


def f0_factors(contours: Sequence[np.ndarray]) -> list[Factor]:
    """Mean, range and direction of F0."""
    means, ranges, directions = [], [], []
    for f0_hz in contours:
        frames = np.flatnonzero(f0_hz > 0)
        if len(frames) < FEWEST_VOICED:
            found = (np.nan, np.nan, np.nan)
        else:
            semitones = SEMITONES_PER_LOG * np.log(f0_hz[frames])
            low, high = np.percentile(semitones, (5, 95))
            steady = semitones.std() < 1e-6
            slope = np.nan if steady else np.corrcoef(frames, semitones)[0, 1]
            found = (semitones.mean(), high - low, slope)
        for values, value in zip((means, ranges, directions), found, strict=True):
            values.append(value)
    names = ("f0_mean", "f0_range", "f0_direction")
    return [number_factor(n, v) for n, v in zip(names, (means, ranges, directions), strict=True)]


def level_db(audio: dict[str, Any], sampling_rate: int) -> float:
    """RMS level of a recording in dB relative to full scale; NaN for silence."""
    power = float(np.mean(np.square(read_audio(audio, sampling_rate=sampling_rate))))
    return 10 * np.log10(power) if power > 0 else float("nan")
