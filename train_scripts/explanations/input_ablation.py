"""Shapley values by ablated inputs: each part of the model hears its own input without the factor
that it is named after, and its encoder runs again.

Replacement by the training mean asks how far an utterance lies from the average one; ablation asks
what a part would have said, had it had nothing to hear. Axes: B batch, S samples, T frames, M mel
bands, L emotions.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from modeling_decomp_ser import DecompSerForAudioClassification
from modeling_decomp_ser.component_shares import component_shares
from modeling_decomp_ser.configuration_decomp_ser import SINGLE
from modeling_decomp_ser.decomposition import ResamplingPlans
from modeling_decomp_ser.masked_layers import masked_mean

FLAT_LOG_F0 = 0.5
"""The mean of normalised log-F0 (SpeechSplit's scale)."""

ABLATIONS = {
    "wav2vec2": "silence instead of the waveform",
    "rhythm": "every frame is the mean spectrum of the utterance, so that nothing has a time",
    "content": "silence instead of the spectrogram",
    "pitch": "a flat contour at the mean, voiced where the utterance is",
    "timbre": "the spectrum of every frame made flat, at its level",
    SINGLE: "silence instead of the spectrogram",
}
"""What is taken from each part. Rhythm is not resampled at random, since that puts another rhythm
in its place, which codes pooled over time hardly notice. Timbre is taken from every frame and not
from their mean, which some models take out of all they hear (`mel_normalization="utterance"`).
"""


def ablate(part: str, mel: Tensor, log_f0: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Mel (B, T, M) and normalised log-F0 (B, T), both in [0, 1], without the factor of a part."""
    if part == "pitch":
        return mel, torch.full_like(log_f0, FLAT_LOG_F0)
    if part in ("content", SINGLE):
        return torch.zeros_like(mel), log_f0
    if part == "timbre":
        return mel.mean(-1, keepdim=True).expand_as(mel), log_f0
    return masked_mean(mel, lengths)[:, None].expand_as(mel), log_f0  # rhythm


@torch.no_grad()
def ablated_shares(model: DecompSerForAudioClassification, inputs: Mapping[str, Tensor]) -> Tensor:
    """What each part adds to each logit over its answer to an ablated input.

    Every part has an encoder of its own, so two runs of each, with and without its factor, give the
    answers for all 32 subsets (`explain_prediction`).

    Returns:
        (B, 6, L) in the order of COMPONENTS: shares, then the logits with all inputs ablated.
    """
    pooled = model(**inputs, output_pooled_features=True).pooled_features
    return component_shares(
        pooled, ablated_features(model, inputs), model.emotion_head, model.part_sizes, model.config
    )


@torch.no_grad()
def ablated_features(
    model: DecompSerForAudioClassification, inputs: Mapping[str, Tensor]
) -> Tensor:
    """Pooled features with the input of every part ablated, (B, D)."""
    features = []
    if model.speech_encoder is not None:
        silence = torch.zeros_like(inputs["input_values"])
        speech = model.encode_speech(silence, inputs.get("attention_mask"), None)
        features.append(model.pool(*speech))
    if model.decomposition is not None:
        mel, log_f0, voiced = (inputs[name] for name in ("mel", "log_f0", "voiced"))
        lengths = model.lengths_of(mel, inputs.get("frame_mask"))
        for part in model.config.components:
            changed = ablate(part, mel, log_f0, lengths)
            codes = model.decomposition(*changed, voiced > 0, lengths, ResamplingPlans())
            features.append(model.pool(codes[part].values, codes[part].lengths))
    return torch.cat(features, dim=-1)
