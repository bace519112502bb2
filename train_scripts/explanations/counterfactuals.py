"""What the model would have said, had the utterance been spoken otherwise: one property of the
audio is changed by a vocoder and the answer is asked again.

Unlike shares, which speak of codes, this speaks of sound, and depends on no assumption about what a
code holds. Axes: S samples, T vocoder frames, K frequency bins, L emotions.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from processing import DecompSerFeatureExtractor
from processing.corpora.resynthesis import (
    VocodedSpeech,
    analyze,
    change_rate,
    scale_formants,
    set_log_f0,
    synthesize,
)

Change = Callable[[VocodedSpeech], VocodedSpeech]

SEMITONES = 4.0
"""A clear change of pitch level within the range of one speaker."""

FASTER, SLOWER = 1.25, 0.8
"""Factors on the speaking rate, as far as hurried and careful speech lie from usual speech."""

SHORTER_TRACT, LONGER_TRACT = 1.15, 0.87
"""Factors on the formants, about the step between the average woman and the average man."""

UNCHANGED = "resynthesised only"
"""The answer that the others are compared with, so that no effect of the vocoder is counted."""

ANOTHER_VOICE = "spectrum of another speaker"


@dataclass
class Counterfactual:
    """An utterance with one change: its waveform, float32 (S,), and the answer to it, by label."""

    name: str
    waveform: np.ndarray
    probabilities: dict[str, float]


def flatten_pitch(speech: VocodedSpeech) -> VocodedSpeech:
    """Hold F0 at its mean: a monotone.

    A feature extractor that normalises F0 by the utterance (`f0_stats="utterance"`) makes of it a
    contour as lively as any, from what the tracker errs.
    """
    return set_log_f0(speech, np.full(len(speech.f0_hz), speech.mean_log_f0))


def shift_pitch(speech: VocodedSpeech, semitones: float) -> VocodedSpeech:
    """Move the level of F0 and keep its contour."""
    return set_log_f0(speech, speech.log_f0 + semitones * np.log(2) / 12)


def change_tempo(speech: VocodedSpeech, factor: float) -> VocodedSpeech:
    """Speak evenly faster or slower."""
    return change_rate(speech, lambda times: np.full_like(times, factor))


def take_spectrum(speech: VocodedSpeech, voice: VocodedSpeech) -> VocodedSpeech:
    """Give speech the mean log envelope of voiced frames of another speaker, whose speech has the
    same sampling rate: the same sounds from another throat.
    """
    difference = mean_spectrum(voice) - mean_spectrum(speech)  # (K,)
    return replace(speech, log_envelope=speech.log_envelope + difference)


def mean_spectrum(speech: VocodedSpeech) -> np.ndarray:
    """Mean log envelope of the voiced frames, or of all where none is voiced, (K,)."""
    frames = speech.voiced if speech.voiced.any() else slice(None)
    return speech.log_envelope[frames].mean(0)


def list_changes(speech: VocodedSpeech, voice: VocodedSpeech | None = None) -> dict[str, Change]:
    """The changes that make sense for an utterance: those of pitch need a voiced frame, and
    `ANOTHER_VOICE` the speech of another speaker.
    """
    changes: dict[str, Change] = {UNCHANGED: lambda speech: speech}
    if speech.voiced.any():
        changes |= {
            "flat pitch": flatten_pitch,
            f"pitch {SEMITONES:g} semitones up": partial(shift_pitch, semitones=SEMITONES),
            f"pitch {SEMITONES:g} semitones down": partial(shift_pitch, semitones=-SEMITONES),
        }
    changes |= {
        f"{FASTER:g} times as fast": partial(change_tempo, factor=FASTER),
        f"{SLOWER:g} times as fast": partial(change_tempo, factor=SLOWER),
        "shorter vocal tract": partial(scale_formants, factor=SHORTER_TRACT),
        "longer vocal tract": partial(scale_formants, factor=LONGER_TRACT),
    }
    if voice is not None:
        changes[ANOTHER_VOICE] = partial(take_spectrum, voice=voice)
    return changes


def resynthesize(waveform: np.ndarray, speech: VocodedSpeech) -> np.ndarray:
    """Changed speech at the level of the original (S,), so that loudness tells nothing; float32
    (S',).
    """
    changed = synthesize(speech)
    level = np.sqrt(np.mean(np.square(changed)))
    if level > 0:
        changed *= np.sqrt(np.mean(np.square(waveform, dtype=np.float64))) / level
    return changed.astype(np.float32)


def counterfactuals(
    model,
    feature_extractor: DecompSerFeatureExtractor,
    waveform: np.ndarray,
    voice: np.ndarray | None = None,
) -> list[Counterfactual]:
    """Change an utterance in every way and ask the model each time.

    Args:
        model: `DecompSerForAudioClassification` in evaluation mode.
        feature_extractor: of the model.
        waveform: mono at the model's rate, full scale 1.0, (S,).
        voice: speech of another speaker at the same rate, (S',).

    Returns:
        `UNCHANGED` first.
    """
    rate = feature_extractor.sampling_rate
    speech = analyze(waveform, rate)
    other = analyze(voice, rate) if voice is not None else None
    sounds = {
        name: resynthesize(waveform, change(speech))
        for name, change in list_changes(speech, other).items()
    }
    return [Counterfactual(n, x, ask(model, feature_extractor, x)) for n, x in sounds.items()]


@torch.no_grad()
def ask(
    model, feature_extractor: DecompSerFeatureExtractor, waveform: np.ndarray
) -> dict[str, float]:
    """Calibrated probability of each label for a waveform at the model's rate."""
    features = feature_extractor(
        waveform, sampling_rate=feature_extractor.sampling_rate, return_tensors="pt"
    )
    logits = model(**features.to(model.device)).logits[0] / model.config.temperature  # (L,)
    probabilities = logits.softmax(-1).tolist()
    return {model.config.id2label[i]: p for i, p in enumerate(probabilities)}
