"""A demonstration corpus that needs no download: synthetic voices that act four emotions.

espeak-ng speaks every sentence once in every voice, WORLD takes it apart, and the prosody of each
emotion is put on it. The design is a full factorial, speaker x emotion x sentence, so neither the
text nor the speaker tells the emotion; nor does the id or the order of the rows.

The emotions are caricatures of the acoustic correlates of vocal emotion (Scherer, "Vocal
communication of emotion: a review of research paradigms", Speech Communication, 2003). A seeded
variation from turn to turn and from speaker to speaker makes every single cue overlap.
"""

import itertools
import os
from dataclasses import astuple, dataclass

import numpy as np
from datasets import Dataset
from tqdm.contrib.concurrent import thread_map

from processing.corpora import synthetic_voices as voices
from processing.corpora.registry import Corpus
from processing.corpora.resynthesis import (
    VocodedSpeech,
    add_breath,
    change_rate,
    filter_spectrum,
    set_log_f0,
)
from processing.corpora.rows import Row, rows_to_dataset
from processing.corpora.schema import EMOTIONS


@dataclass(frozen=True)
class Prosody:
    """How a turn is spoken, as offsets that add up: from emotion, speaker and chance."""

    pitch: float = 0.0  # level in semitones
    pitch_range: float = 0.0  # natural log of the factor on the excursions of pitch from its mean
    pitch_slope: float = 0.0  # semitones from the first frame to the last
    rate: float = 0.0  # natural log of the factor on the speaking rate
    level: float = 0.0  # loudness in dB
    tilt: float = 0.0  # spectral tilt in dB per octave
    breath: float = 0.0  # voice quality in [-1, 1], see resynthesis.add_breath

    def plus(self, other: "Prosody", factor: float = 1.0) -> "Prosody":
        """This prosody and `factor` times another."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Prosody(*(own + factor * added for own, added in pairs))

    def draw(self, generator: np.random.Generator) -> "Prosody":
        """A prosody with every field drawn evenly between plus and minus this one's."""
        return Prosody(*generator.uniform(-1, 1, size=len(astuple(self))) * astuple(self))


EMOTION_PROSODY = {
    "angry": Prosody(+3.0, +0.30, -3.5, +0.14, +4.5, +2.8, -0.50),
    "happy": Prosody(+5.0, +0.50, +6.0, +0.08, +2.5, +1.0, +0.10),
    "sad": Prosody(-2.0, -0.55, -1.0, -0.20, -5.0, -2.2, +0.40),
    "neutral": Prosody(),
}
"""Mean prosody of each emotion, relative to the speaker's neutral."""

TURN_SPREAD = Prosody(2.0, 0.20, 2.0, 0.08, 2.5, 1.0, 0.15)
"""A turn differs from the mean of its emotion by up to this."""

SPEAKER_SPREAD = Prosody(0.0, 0.12, 1.0, 0.05, 1.5, 0.5, 0.10)
"""A speaker's neutral differs from the mean by up to this. Pitch levels are in voices.VOICES."""

EXPRESSIVENESS = (0.75, 1.15)
"""Range of the factor by which a speaker under- or overacts every emotion."""


def describe_corpus() -> str:
    """What the corpus is and is not, for cards and read-me files."""
    return (
        "Synthetic speech: sentences spoken by the rule-based synthesiser espeak-ng, with four "
        "emotions put on them by rules for pitch, rate, loudness, spectral tilt and voice quality. "
        "It is a demonstration, not evidence about people: a score on it shows that the software "
        "works and says nothing about human emotion."
    )


def synthesize_corpus(
    *,
    num_speakers: int = 10,
    num_sentences: int = 12,
    seed: int = 0,
    num_workers: int | None = None,
    progress: bool = True,
) -> Dataset:
    """Synthesise the emotional corpus: every speaker says every sentence in every emotion.

    Equal arguments give equal bytes, and a smaller corpus is a part of a larger one of its seed.

    Args:
        num_speakers: 1 to 16. The odd ones are female, the even ones male.
        num_sentences: 1 to 16.
        seed: of the variation between turns and between speakers.
        num_workers: threads; by default one per core. The result does not depend on it.
        progress: show a bar on standard error.

    Returns:
        Rows of ROW_FEATURES, num_speakers * num_sentences * 4, with embedded FLAC of 1 to 2.6 s.

    Raises:
        InputError: if a number is out of range or espeakng-loader is not installed.
    """
    voices.check_count("num_speakers", num_speakers, len(voices.VOICES))
    voices.check_count("num_sentences", num_sentences, len(voices.SENTENCES))
    cells = list(itertools.product(range(num_speakers), range(num_sentences)))
    # Threads suffice: the vocoder, which takes most of the time, runs without the interpreter lock.
    turns = thread_map(
        lambda cell: _act_sentence(*cell, seed=seed),
        cells,
        max_workers=num_workers or os.cpu_count(),
        desc="synthetic corpus",
        disable=not progress,
    )
    return rows_to_dataset(list(itertools.chain.from_iterable(turns)))


def _act_sentence(voice: int, sentence: int, *, seed: int) -> list[Row]:
    """One voice says one sentence in every emotion, in an order that hides the emotion."""
    neutral = voices.speak_and_analyze(
        sentence, voices.VOICES[voice].espeak_voice, voices.VOICES[voice].gender
    )
    neutral = voices.give_voice(neutral, voices.VOICES[voice])
    speaker_generator = np.random.default_rng([seed, voice])
    habit = SPEAKER_SPREAD.draw(speaker_generator)
    expressiveness = speaker_generator.uniform(*EXPRESSIVENESS)
    # Sentences count from 1: to numpy, [seed, voice, 0] is the seed [seed, voice].
    generator = np.random.default_rng([seed, voice, sentence + 1])
    turns = []
    for take, label in enumerate(generator.permutation(len(EMOTIONS)), start=1):
        prosody = habit.plus(EMOTION_PROSODY[EMOTIONS[label]], expressiveness)
        prosody = prosody.plus(TURN_SPREAD.draw(generator))
        waveform = voices.record(
            give_prosody(neutral, prosody), voices.NEUTRAL_LEVEL_DB + prosody.level, generator
        )
        turn_id = f"{voices.speaker_name(voice)}_{sentence + 1:02d}_{take}"
        turns.append(
            voices.make_turn(
                turn_id, waveform, sentence=sentence, voice=voice, emotion=EMOTIONS[label]
            )
        )
    return turns


def give_prosody(neutral: VocodedSpeech, prosody: Prosody) -> VocodedSpeech:
    """Neutral speech with another prosody, except its level, which belongs to the waveform."""
    speech = change_rate(neutral, lambda time: np.full_like(time, np.exp(prosody.rate)))
    time = np.linspace(-0.5, 0.5, len(speech.f0_hz))
    excursion = (speech.log_f0 - speech.mean_log_f0) * np.exp(prosody.pitch_range)
    shift = voices.semitones_to_log(prosody.pitch + prosody.pitch_slope * time)
    speech = set_log_f0(speech, speech.mean_log_f0 + excursion + shift)
    octaves_from_1khz = np.log2(np.maximum(speech.frequencies_hz, 100.0) / 1000.0)
    speech = filter_spectrum(speech, prosody.tilt * octaves_from_1khz)
    return add_breath(speech, prosody.breath)


CORPUS = Corpus(
    name="synthetic",
    title="synthetic speech of this project",
    terms="made by the rule-based synthesiser espeak-ng; nobody's voice",
    citation="Morise, Yokomori and Ozawa, WORLD: a vocoder-based high-quality speech synthesis "
    "system for real-time applications, IEICE Transactions, 2016",
    emotions={emotion: emotion for emotion in EMOTIONS},
    synthesize=synthesize_corpus,
    settings=("num_speakers", "num_sentences", "seed"),
    language="en",
    licence="apache-2.0",
    may_publish=True,
)
