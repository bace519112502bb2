"""`decomp-ser explain`: why a recording got its answer, in words, numbers and a figure.

Three answers to one question: how much each part of the model moved the probability away from that
of the average training utterance, how much it moved it over an ablated input, and what the model
says when one property of the sound is changed.
"""

import json
import logging
from collections.abc import Mapping, Sequence
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
from processing.audio_files import encode_flac, read_audio
from processing.errors import InputError
from train_scripts.explanations.counterfactuals import UNCHANGED, Counterfactual, counterfactuals
from train_scripts.explanations.explanation_plot import plot_explanation, strongest_first
from train_scripts.explanations.input_ablation import ABLATIONS, ablated_shares
from train_scripts.runs.run_folder import load_model

logger = logging.getLogger(__name__)

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
    """What was found about one recording.

    Attributes:
        summary: what explanation.json holds.
        waveform: mono at the model's rate, (S,).
        mel: log-mel spectrogram in [0, 1], (T, M).
        f0_hz: 0 where unvoiced, (T,).
        sampling_rate: of all sounds, in Hz.
        hop_length: samples between frames.
        changed: the resynthesised utterances.
    """

    summary: dict[str, Any]
    waveform: np.ndarray
    mel: np.ndarray
    f0_hz: np.ndarray
    sampling_rate: int
    hop_length: int
    changed: list[Counterfactual]


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
                "emotion": best_of(c.probabilities),
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


def best_of(probabilities: Mapping[str, float]) -> str:
    """The most probable label."""
    return max(probabilities, key=probabilities.__getitem__)


@torch.no_grad()
def explain_parts(model, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    """Answer, exact shares, both kinds of Shapley values and their faithfulness, for one utterance.

    Faithfulness is the mean probability along the deletion curve over ablated inputs, in the order
    of the shares by training means, beside that of a random order. Replacing the training mean and
    ablating the input are independent, so an order can fail.

    Args:
        model: in evaluation mode.
        inputs: what the feature extractor returns, B = 1.
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
    probabilities, emotion = summary["probabilities"], summary["emotion"]
    others = sorted((p, name) for name, p in probabilities.items() if name != emotion)[::-1]
    means, ablated = summary["shapley_training_mean"], summary["shapley_ablated_input"]
    answer = (
        f"{emotion}, {percent(probabilities[emotion])} "
        f"({', '.join(f'{name} {percent(p)}' for p, name in others)})"
    )
    lines = [
        f"{Path(summary['file']).name}: {describe_flags(summary['flags'], answer)}",
        "",
        f"Why {emotion}: percentage points that each part adds",
        f"  {'':9}{'to the average':>16}{'to its input':>16}",
        f"  {'':9}{'utterance':>16}{'ablated':>16}",
        f"  {'starts at':9}{percent(means['base_probability']):>16}"
        f"{percent(ablated['base_probability']):>16}",
    ]
    for name in strongest_first(summary):
        first, second = (points(x["probability"][name]) for x in (means, ablated))
        lines.append(f"  {name:9}{first:>16}{second:>16}  {summary['parts'][name]}")
    lines += ["", *describe_counterfactuals(summary)]
    return "\n".join([*lines, *(f"\n{note}" for note in summary["notes"])])


def describe_flags(flags: Sequence[str], answer: str) -> str:
    """The headline of an explanation: reasons not to trust the answer come before it.

    Examples:
        >>> describe_flags([], "sad, 98 %")
        'sad, 98 %'
        >>> describe_flags(["too_quiet"], "sad, 98 %")
        'flagged too_quiet: it is too quiet to hear speech in it. The model would say sad, 98 %'
    """
    if not flags:
        return answer
    meanings = " and ".join(FLAG_MEANINGS[flag] for flag in flags)
    return f"flagged {', '.join(flags)}: {meanings}. The model would say {answer}"


def describe_counterfactuals(summary: Mapping[str, Any]) -> list[str]:
    """The counterfactuals of an explanation in words, a line each."""
    emotion = summary["emotion"]
    unchanged, *changed = summary["counterfactuals"]
    before = unchanged["probabilities"][emotion]
    lines = [f"What if: {emotion} after a change of the sound ({UNCHANGED}: {percent(before)})"]
    for answer in changed:
        now = answer["probabilities"][emotion]
        line = f"  {answer['change']:28}{percent(now):>6}{points(now - before):>7}"
        if answer["emotion"] != emotion:
            best = answer["probabilities"][answer["emotion"]]
            line += f"  {answer['emotion']} {percent(best)}"
        lines.append(line)
    return lines


def percent(probability: float) -> str:
    """A probability in words.

    Examples:
        >>> percent(0.834)
        '83 %'
    """
    return f"{100 * probability:.0f} %"


def points(difference: float) -> str:
    """A difference of probabilities in percentage points.

    Examples:
        >>> points(-0.206), points(0.001)
        ('-21', '0')
    """
    rounded = round(100 * difference)
    return f"{rounded:+d}" if rounded else "0"


def write_explanation(explanation: Explanation, folder: Path) -> None:
    """Write explanation.json, explanation.png and the changed utterances as FLAC."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(explanation.summary, indent=2, ensure_ascii=False)
    (folder / "explanation.json").write_text(text + "\n", encoding="utf-8")
    plot_explanation(
        explanation.summary,
        folder / "explanation.png",
        waveform=explanation.waveform,
        mel=explanation.mel,
        f0_hz=explanation.f0_hz,
        sampling_rate=explanation.sampling_rate,
        hop_length=explanation.hop_length,
    )
    for changed in explanation.changed:
        sound = encode_flac(changed.waveform, sampling_rate=explanation.sampling_rate)
        (folder / f"{changed.name.replace(' ', '_')}.flac").write_bytes(sound)
