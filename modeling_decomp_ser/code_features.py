"""The codes of speech as features, by part of the model: frame by frame with times, and pooled.

Axes: B batch, S samples, K frames or codes, D features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .component_shares import part_names


@dataclass
class PartFeatures:
    """What one part of a model says of an utterance.

    Attributes:
        frames: one vector a frame or code, (K, D).
        times: seconds from the beginning to the middle of each, (K,).
        pooled: what the emotion head reads of it, (D,), or (3 D,) by the configuration.
    """

    frames: Tensor
    times: Tensor
    pooled: Tensor


@dataclass
class EncodedSpeech:
    """The features of an utterance.

    Attributes:
        parts: by name: wav2vec2, rhythm, content, pitch, timbre, as far as the model has them.
        speaker_embedding: the pooled timbre codes, (D,); None in a model without them.
    """

    parts: dict[str, PartFeatures]
    speaker_embedding: Tensor | None


@torch.no_grad()
def encode_waveforms(
    model: Any,
    waveforms: Sequence[np.ndarray] | np.ndarray,
    feature_extractor: Any,
    sampling_rate: int | None = None,
) -> list[EncodedSpeech]:
    """Features of utterances that are heard together; see
    `DecompSerForAudioClassification.encode`.
    """
    features = feature_extractor(waveforms, sampling_rate=sampling_rate, return_tensors="pt")
    features = features.to(model.device)
    # of spectrogram and pitch the model rounds what it reads
    features["input_values"] = features["input_values"].to(model.dtype)
    was_training = model.training
    model.eval()
    seen: list[tuple[Tensor, Tensor, Tensor]] = []  # in the order of the parts
    if model.speech_encoder is not None:
        speech = model.encode_speech(features["input_values"], features["attention_mask"], None)
        seen.append((*speech, speech_times(model, speech[0].shape[1])))
    if model.decomposition is not None:
        signals = [features[name] for name in ("mel", "log_f0", "voiced", "frame_mask")]
        for codes in model.decompose(*signals, None).values():
            times = code_times(model, codes.values.shape[1], feature_extractor)
            seen.append((codes.values, codes.lengths, times))
    model.train(was_training)
    parts = {
        name: (*part, model.pool(*part[:2]))
        for name, part in zip(part_names(model.config), seen, strict=True)
    }
    return [encoded_row(parts, row) for row in range(len(features["input_values"]))]


def encoded_row(parts: Mapping[str, tuple[Tensor, ...]], row: int) -> EncodedSpeech:
    """The features of one utterance of a batch, without its padding, from the values, lengths,
    times and pooled values of each part.
    """
    features = {}
    for name, (values, lengths, times, pooled) in parts.items():
        valid = int(lengths[row])
        features[name] = PartFeatures(
            frames=values[row, :valid].float().cpu(),
            times=times[:valid],
            pooled=pooled[row].float().cpu(),
        )
    embedding = features["timbre"].pooled if "timbre" in features else None
    return EncodedSpeech(features, embedding)


def speech_times(model: Any, num_frames: int) -> Tensor:
    """Middles of what the frames of the speech encoder hear, in seconds at 16 kHz, (K,)."""
    field, stride = 1, 1
    config = model.config.speech_config
    for kernel, step in zip(config.conv_kernel, config.conv_stride, strict=True):
        field, stride = field + (kernel - 1) * stride, stride * step
    return (torch.arange(num_frames) * stride + field / 2) / 16000


def code_times(model: Any, num_codes: int, feature_extractor: Any) -> Tensor:
    """Middles of the spectrogram frames that codes stand for, in seconds, (K,)."""
    step = model.config.downsampling
    frames = torch.arange(num_codes) * step + (step - 1) / 2
    return frames * feature_extractor.hop_length / feature_extractor.sampling_rate
