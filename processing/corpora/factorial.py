"""A synthetic corpus whose factors are known and independent, to test measures of disentanglement.

Every combination of sentence, voice, pitch contour and rhythm occurs once and nothing else varies,
so a report on what a representation encodes has a right answer.
"""

import itertools
import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from datasets import Dataset
from tqdm.contrib.concurrent import thread_map

from processing.corpora import synthetic_voices as voices
from processing.corpora.resynthesis import VocodedSpeech, change_rate, set_log_f0
from processing.corpora.rows import Row, rows_to_dataset
from processing.corpora.synthetic import CORPUS as SYNTHETIC

CONTOURS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "falling": lambda time: 4.0 - 8.0 * time,
    "rising": lambda time: 8.0 * time - 4.0,
    "peak": lambda time: 4.0 - 16.0 * np.abs(time - 0.5),
    "flat": np.zeros_like,
}
"""Semitones from the voice's mean pitch, as functions of the time in the utterance from 0 to 1."""

RHYTHMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "slow": lambda time: np.full_like(time, 0.75),
    "fast": lambda time: np.full_like(time, 1.35),
    "slowing": lambda time: 1.5 - time,
    "hurrying": lambda time: 0.5 + time,
}
"""Factors on the speaking rate, as functions of the time in the sentence as spoken from 0 to 1."""

FACTORS = ("sentence", "voice", "contour", "rhythm")
"""The string columns that this corpus has beyond ROW_FEATURES."""


def synthesize_factorial(
    *,
    num_sentences: int = 4,
    num_voices: int = 4,
    num_contours: int = 4,
    num_rhythms: int = 4,
    num_workers: int | None = None,
    progress: bool = True,
) -> Dataset:
    """Synthesise every combination of sentence, voice, pitch contour and rhythm.

    All voices share one espeak-ng voice, so timing does not depend on the voice: a voice is
    formants, resonance and mean pitch. The contour replaces the intonation of the sentence. Level
    and voice quality are neutral, and so is the emotion in the rows.

    Args:
        num_sentences: 1 to 16.
        num_voices: 1 to 16. The odd ones are female, the even ones male.
        num_contours: 1 to 4, in the order of CONTOURS.
        num_rhythms: 1 to 4, in the order of RHYTHMS.
        num_workers: threads; by default one per core. The result does not depend on it.
        progress: show a bar on standard error.

    Returns:
        One row per combination: the columns of ROW_FEATURES, and those of FACTORS.

    Raises:
        InputError: if a number is out of range or espeakng-loader is not installed.
    """
    voices.check_count("num_sentences", num_sentences, len(voices.SENTENCES))
    voices.check_count("num_voices", num_voices, len(voices.VOICES))
    voices.check_count("num_contours", num_contours, len(CONTOURS))
    voices.check_count("num_rhythms", num_rhythms, len(RHYTHMS))
    spoken = [
        voices.speak_and_analyze(sentence, "en-us", "male") for sentence in range(num_sentences)
    ]
    contours, rhythms = list(CONTOURS)[:num_contours], list(RHYTHMS)[:num_rhythms]
    cells = list(itertools.product(range(num_sentences), range(num_voices), contours, rhythms))
    # Threads suffice: the vocoder, which takes most of the time, runs without the interpreter lock.
    turns = thread_map(
        lambda cell: _speak_cell(spoken[cell[0]], *cell),
        cells,
        max_workers=num_workers or os.cpu_count(),
        desc="synthetic corpus",
        disable=not progress,
    )
    dataset = rows_to_dataset(turns)
    levels = [_level_names(*cell) for cell in cells]
    for column, factor in enumerate(FACTORS):
        dataset = dataset.add_column(factor, [names[column] for names in levels])
    return dataset


def _level_names(sentence: int, voice: int, contour: str, rhythm: str) -> tuple[str, ...]:
    """Levels of a cell in the order of FACTORS."""
    return f"{sentence + 1:02d}", voices.speaker_name(voice), contour, rhythm


def _speak_cell(spoken: VocodedSpeech, sentence: int, voice: int, contour: str, rhythm: str) -> Row:
    speech = change_rate(voices.give_voice(spoken, voices.VOICES[voice]), RHYTHMS[rhythm])
    semitones = CONTOURS[contour](np.linspace(0, 1, len(speech.f0_hz)))
    speech = set_log_f0(
        speech, np.log(voices.VOICES[voice].f0_hz) + voices.semitones_to_log(semitones)
    )
    # One generator state for all cells: pauses are alike and noise tells no level.
    waveform = voices.record(speech, voices.NEUTRAL_LEVEL_DB, np.random.default_rng(0))
    turn_id = "_".join(_level_names(sentence, voice, contour, rhythm))
    return voices.make_turn(turn_id, waveform, sentence=sentence, voice=voice, emotion="neutral")


CORPUS = replace(
    SYNTHETIC,
    name="factorial",
    emotions={"neutral": "neutral"},
    synthesize=synthesize_factorial,
    settings=("num_sentences", "num_voices", "num_contours", "num_rhythms"),
)
"""Its rows are of the corpus "synthetic"."""
