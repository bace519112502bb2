"""Why a recording got its answer, as numbers and in words."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modeling_decomp_ser.component_shares import (
    PARTS,
    ShapleyValues,
    chance_deletion_curve,
    deletion_curve,
    explain_prediction,
    part_names,
)
from modeling_decomp_ser.configuration_decomp_ser import COMPONENTS, SINGLE
from modeling_decomp_ser.signal_flags import (
    NOT_SPEECH_LIKE,
    TOO_QUIET,
    TOO_SHORT,
    UNSURE,
    signal_flags,
)
from processing.audio_files import read_audio
from processing.errors import InputError
from train_scripts.explanations.counterfactuals import Counterfactual, counterfactuals
from train_scripts.explanations.input_ablation import ABLATIONS, ablated_shares
from train_scripts.runs.run_folder import load_model
from train_scripts.runs.templates import fill_template

logger = logging.getLogger(__name__)

TEMPLATE = Path(__file__).with_name("explanation.txt.jinja")

LONGEST_SECONDS = 30.0
"""An answer is about one utterance; a longer recording has several emotions to explain."""

MONOTONE_NOTE = (
    "This model measures F0 by its spread within the utterance, so it hears what little is left of "
    "a flat pitch as a full melody."
)
"""Why pitch can matter and its flattening hardly move the answer."""

FLAG_MEANINGS = {
    TOO_SHORT: "it is shorter than half a second",
    TOO_QUIET: "it is too quiet to hear speech in it",
    NOT_SPEECH_LIKE: "it does not sound like speech",
    UNSURE: "no emotion is probable enough to be answered",
}

PART_MEANINGS = {
    "wav2vec2": "the waveform as a whole: words, voice and prosody",
    "rhythm": "timing, pauses and the course of loudness",
    "content": "the sounds that are spoken",
    "pitch": "the melody",
    "timbre": "the colour of the voice",
    SINGLE: "the spectrogram as a whole, not decomposed",
}


@dataclass
class Explanation:
    """What was found about one recording."""

    summary: dict[str, Any]  # what explanation.json holds
    waveform: np.ndarray  # mono at the model's rate, (S,)
    mel: np.ndarray  # log-mel spectrogram in [0, 1], (T, M)
    f0_hz: np.ndarray  # 0 where unvoiced, (T,)
    sampling_rate: int  # of all sounds, in Hz
    hop_length: int  # samples between frames
    changed: list[Counterfactual]  # the resynthesised utterances


def explain(model_name: str, file: str | Path, *, voice: str | Path | None = None) -> Explanation:
    """Explain the answer for a recording.

    Args:
        model_name: folder of a run, or a repository id.
        file: WAV, FLAC, OGG or MP3 file of any rate and channels.
        voice: recording of another speaker, whose spectrum is tried on.

    Raises:
        InputError: if the model or a file cannot be used, or the recording is too long.
    """
    model, processor = load_model(model_name)
    if not model.pooled_mean.any():
        logger.warning(
            "model '%s' has no training mean: its shares are deviations from codes of 0.",
            model_name,
        )
    extractor = processor.feature_extractor
    waveform = read_utterance(file, extractor.sampling_rate)
    other = read_utterance(voice, extractor.sampling_rate) if voice is not None else None
    signals = extractor.extract([waveform])[0]
    inputs = dict(extractor.pad_utterances([extractor.assemble(waveform, **signals)], "pt"))
    changed = counterfactuals(model, extractor, waveform, other)
    seconds = len(waveform) / extractor.sampling_rate
    parts = explain_parts(model, inputs)
    summary = {
        "file": str(file),
        "seconds": round(seconds, 3),
        "flags": find_flags(model, waveform, inputs, parts["probabilities"], seconds),
        **parts,
        "counterfactuals": [
            {
                "change": c.name,
                "emotion": max(c.probabilities, key=c.probabilities.__getitem__),
                "probabilities": c.probabilities,
            }
            for c in changed
        ],
        "notes": [MONOTONE_NOTE] if extractor.f0_stats == "utterance" else [],
    }
    return Explanation(
        summary,
        waveform,
        **signals,
        sampling_rate=extractor.sampling_rate,
        hop_length=extractor.hop_length,
        changed=changed,
    )


def find_flags(
    model,
    waveform: np.ndarray,
    inputs: Mapping[str, Tensor],
    probabilities: Mapping[str, float],
    seconds: float,
) -> list[str]:
    """Reasons not to trust an answer, as `DecompSerPipeline` gives them."""
    heard = (inputs[name][0].numpy() for name in ("mel", "log_f0", "voiced"))
    flags = list(signal_flags(waveform, *heard, seconds=seconds))
    return flags + [UNSURE] * (max(probabilities.values()) < model.config.abstain_below)


def read_utterance(file: str | Path, sampling_rate: int) -> np.ndarray:
    """Read a recording that is short enough to be explained, (S,)."""
    waveform = read_audio(file, sampling_rate=sampling_rate)
    seconds = len(waveform) / sampling_rate
    if seconds > LONGEST_SECONDS:
        raise InputError(
            f"{file}: {seconds:.1f} s, expected one utterance of at most {LONGEST_SECONDS:g} s. "
            "Cut out the part to be explained."
        )
    return waveform


@torch.no_grad()
def explain_parts(model, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    """Answer, exact shares, both kinds of Shapley values and their faithfulness, for one utterance.

    Faithfulness is the mean probability along the deletion curve over ablated inputs, in the order
    of the shares by training means, beside that of a random order. Replacing the training mean and
    ablating the input are independent, so an order can fail.
    """
    labels = model.config.id2label
    output = model(**inputs, output_component_shares=True)
    temperature = model.config.temperature
    probabilities = (output.logits[0] / temperature).softmax(-1).tolist()
    by_means = explain_prediction(output.component_shares, temperature)
    by_ablation = explain_prediction(ablated_shares(model, inputs), temperature)
    curve = deletion_curve(by_ablation.subset_probability, by_means.probability)
    chance = chance_deletion_curve(by_ablation.subset_probability)
    names = part_names(model.config)
    return {
        "emotion": labels[int(by_means.predicted)],
        "probabilities": {labels[i]: p for i, p in enumerate(probabilities)},
        "parts": {name: PART_MEANINGS[own_name(model, name)] for name in names},
        "logit_shares": {
            name: {labels[i]: s for i, s in enumerate(output.component_shares[0, row].tolist())}
            for row, name in enumerate(COMPONENTS)
            if name in (*names, "bias")
        },
        "shapley_training_mean": describe_values(by_means, names),
        "shapley_ablated_input": {
            **describe_values(by_ablation, names),
            "ablations": {name: ABLATIONS[own_name(model, name)] for name in names},
        },
        "faithfulness": {
            "mean_probability_while_deleting": curve.mean().item(),
            "mean_probability_in_random_order": chance.mean().item(),
        },
    }


def own_name(model, part: str) -> str:
    """Name of a part in the configuration: M4's single code is reported as "content"."""
    return SINGLE if part == "content" and SINGLE in model.config.components else part


def describe_values(values: ShapleyValues, names: list[str]) -> dict[str, Any]:
    """Shapley values of one utterance as JSON."""

    def by_part(row: Tensor) -> dict[str, float]:
        return {name: row[PARTS.index(name)].item() for name in names}

    return {
        "base_probability": values.base_probability.item(),
        "probability": by_part(values.probability[0]),
        "base_log_odds": values.base_log_odds.item(),
        "log_odds": by_part(values.log_odds[0]),
    }


def describe(summary: Mapping[str, Any]) -> str:
    """An explanation in words."""
    others = [(p, label) for label, p in summary["probabilities"].items()]
    return fill_template(
        TEMPLATE,
        summary=summary,
        name=Path(summary["file"]).name,
        others=[(label, p) for p, label in sorted(others)[::-1] if label != summary["emotion"]],
        parts=strongest_first(summary),
        flag_meanings=FLAG_MEANINGS,
        percent=percent,
        points=points,
    ).rstrip("\n")


def strongest_first(summary: Mapping[str, Any]) -> list[str]:
    """Names of the parts by how far each moved the probability from the average utterance's."""
    values = summary["shapley_training_mean"]["probability"]
    return sorted(values, key=lambda name: -abs(values[name]))


def percent(probability: float) -> str:
    """A probability in words, such as "83 %"."""
    return f"{100 * probability:.0f} %"


def points(difference: float) -> str:
    """A difference of probabilities in percentage points.

    Examples:
        >>> points(-0.206), points(0.001)
        ('-21', '0')
    """
    rounded = round(100 * difference)
    return f"{rounded:+d}" if rounded else "0"
