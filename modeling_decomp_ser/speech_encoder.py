"""Run a wav2vec2-like encoder so that no utterance depends on its batch mates.

wav2vec2-base normalises its first layer over time, padding included, and so gives other answers in
a padded batch; it was trained without padding at batch 1. Here the same parameters are used with
statistics over the valid frames only, and the attention mask inside, which gives the answer of
batch 1 in any batch. SpecAugment is drawn from keys instead of the global generator. Works for
wav2vec2, HuBERT, WavLM and data2vec-audio, whose modules share their names.

Host synchronisation on a GPU: the library's transformer asks once a batch whether anything is
padded, and layerdrop draws on the host; nothing here waits for the device.

Axes: B batch, S samples, T encoder frames (50 a second), C channels, D features.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

from .keyed_random import fold_in, uniform
from .masked_layers import full_precision, length_mask


class MaskedPositionLayers(nn.Module):
    """data2vec-audio's convolutional positions with zeros in the padding before every layer.

    The library puts zeros there only before the first, and the layers after it would read what the
    earlier ones left. `layers` are the library's own, so that weights keep their names.
    """

    def __init__(self, layers: nn.ModuleList):
        super().__init__()
        self.layers = layers

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, D), all zero in the padding -> positions, (B, T, D)."""
        # The encoder has just zeroed the padding; no frame of speech is zero in every feature.
        x = hidden.transpose(1, 2)  # (B, D, T)
        padding = (x == 0).all(1, keepdim=True)
        for layer in self.layers:
            x = layer(x.masked_fill(padding, 0.0))
        return x.transpose(1, 2)


class RunningBatchNorm(nn.BatchNorm1d):
    """HuBERT's optional batch norm by its running statistics: no padding or batch mate counts."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, D, T), all zero in the padding -> likewise."""
        padding = (input == 0).all(1, keepdim=True)
        normal = F.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )
        return normal.masked_fill(padding, 0.0)


def build_speech_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """Build an encoder with random weights, without what would read padding."""
    encoder = AutoModel.from_config(config)
    positions = encoder.encoder.pos_conv_embed
    if hasattr(positions, "layers"):
        encoder.encoder.pos_conv_embed = MaskedPositionLayers(positions.layers)
    if getattr(positions, "batch_norm", None) is not None:
        positions.batch_norm = RunningBatchNorm(config.hidden_size)
    # units of sharding, which the library names for HuBERT alone; without, each step of FSDP would
    # gather the whole model
    layers = {type(layer).__name__ for layer in encoder.encoder.layers}
    encoder._no_split_modules = layers | set(encoder._no_split_modules or ())
    return encoder


@torch.no_grad()
def init_position_weights(encoder: Any) -> None:
    """Draw the weight-normalised convolution of the positions, unless it was loaded.

    The library draws the product of its direction and its length, which leaves the two parameters
    themselves as the memory was.
    """
    for module in encoder.modules():
        if isinstance(module, nn.Conv1d) and is_parametrized(module, "weight"):
            parametrization: Any = module.parametrizations
            length, direction = parametrization.weight.parameters()
            fan_in = module.kernel_size[0] * module.in_channels
            init.normal_(direction, std=2 / fan_in**0.5)
            init.copy_(length, torch.linalg.vector_norm(direction, dim=(0, 1), keepdim=True))


@contextmanager
def report_in_hand() -> Iterator[None]:
    """Keep transformers from printing its table of weights where the caller judges them itself.

    Asked for the report, transformers prints it all the same: heads of a checkpoint's own task, and
    new heads for other labels, then look like faults. Everything else that it logs is shown.
    """

    def other(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)


def load_speech_encoder(name_or_path: str, **kwargs) -> PreTrainedModel:
    """Load a pretrained encoder from a repository such as "facebook/wav2vec2-base" or from a
    folder, with the arguments of `AutoModel.from_pretrained`, and check its weights key by key.

    Raises:
        OSError: if it cannot be found or reached.
        ValueError: if a weight of the encoder is missing, has another shape, or is left over.
    """
    with report_in_hand():
        encoder, report = AutoModel.from_pretrained(
            name_or_path, output_loading_info=True, ignore_mismatched_sizes=True, **kwargs
        )
    own_parts = tuple(f"{name}." for name, _ in encoder.named_children()) + ("masked_spec_embed",)
    prefix = f"{encoder.base_model_prefix}."
    # Heads and quantisers of a checkpoint's own task are not part of the encoder and may be left
    # over.
    left_over = [
        k for k in report["unexpected_keys"] if k.removeprefix(prefix).startswith(own_parts)
    ]
    problems = {
        "missing": sorted(report["missing_keys"]),
        "left over": sorted(left_over),
        "of another shape": sorted(key for key, *_ in report["mismatched_keys"]),
    }
    if any(problems.values()):
        found = "; ".join(f"{len(v)} {k}, such as {v[0]}" for k, v in problems.items() if v)
        raise ValueError(
            f"Speech encoder '{name_or_path}': weights {found}. Expected a complete "
            f"{type(encoder).__name__} checkpoint; "
            "train from scratch explicitly if that is what you want."
        )
    return encoder


def receptive_field(config) -> int:
    """Samples that the first encoder frame reads (400 for wav2vec2-base, 25 ms)."""
    field = 1
    for kernel, stride in reversed(list(zip(config.conv_kernel, config.conv_stride, strict=True))):
        field = (field - 1) * stride + kernel
    return field


def encoder_lengths(config, num_samples: Tensor, layers: int | None = None) -> Tensor:
    """Valid frames (B,), at least 1, of samples (B,) after all or `layers` convolutions."""
    lengths = num_samples
    for kernel, stride in list(zip(config.conv_kernel, config.conv_stride, strict=True))[:layers]:
        lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
    return lengths.clamp(min=1)


def span_mask(
    keys: Tensor, lengths: Tensor, size: int, *, probability: float, span: int, min_spans: int
) -> Tensor:
    """Draw the spans of SpecAugment as transformers draws them for each row alone, but by key (B,).

    Spans of `span` steps would cover a share `probability` of the `lengths` (B,) valid ones without
    overlap, and are `min_spans` or more; a row shorter than one span is left whole. Returns bool
    (B, size), True where masked.
    """
    rounding = uniform(fold_in(keys, 0), 1)[:, 0]
    spans = (probability * lengths / span + rounding).floor().clamp(min=min_spans)
    spans = torch.minimum(spans, torch.div(lengths, span, rounding_mode="floor"))
    possible = length_mask(lengths - span + 1, size)
    scores = uniform(fold_in(keys, 1), size).masked_fill(~possible, 2.0)
    rank = scores.argsort(dim=1, stable=True).argsort(dim=1)
    starts = (rank < spans[:, None]) & possible
    return F.max_pool1d(F.pad(starts.float(), (span - 1, 0))[:, None], span, 1)[:, 0] > 0


def spec_augment(encoder: Any, hidden: Tensor, lengths: Tensor, keys: Tensor) -> Tensor:
    """SpecAugment of projected frames (B, T, D), `lengths` (B,) of them valid, along time and
    features, as the encoder's configuration asks for it; keys (B,).
    """
    config = encoder.config
    if not getattr(config, "apply_spec_augment", True):
        return hidden
    if config.mask_time_prob > 0:
        frames = span_mask(
            fold_in(keys, 0),
            lengths,
            hidden.shape[1],
            probability=config.mask_time_prob,
            span=config.mask_time_length,
            min_spans=config.mask_time_min_masks,
        )
        hidden = torch.where(frames[..., None], encoder.masked_spec_embed.to(hidden.dtype), hidden)
    if config.mask_feature_prob > 0:
        features = span_mask(
            fold_in(keys, 1),
            torch.full_like(lengths, hidden.shape[2]),
            hidden.shape[2],
            probability=config.mask_feature_prob,
            span=config.mask_feature_length,
            min_spans=config.mask_feature_min_masks,
        )
        hidden = hidden.masked_fill(features[:, None], 0.0)
    return hidden


def encode_speech(
    encoder: Any, input_values: Tensor, num_samples: Tensor, keys: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Waveform (B, S), normalised, of `num_samples` (B,) valid samples, to contextual frames (B, T,
    D) and the valid ones of each row (B,): convolutions, projection, SpecAugment (in training,
    where there are keys (B,)), transformer. Less than one receptive field gives one frame.
    """
    config = encoder.config
    padding = ~length_mask(num_samples, input_values.shape[1])
    waveform = input_values.masked_fill(padding, 0.0)
    waveform = F.pad(waveform, (0, max(0, receptive_field(config) - waveform.shape[1])))
    local = convolve(encoder, waveform, num_samples)  # (B, C, T)

    lengths = encoder_lengths(config, num_samples)
    projected = encoder.feature_projection(local.transpose(1, 2))
    hidden = projected if isinstance(projected, Tensor) else projected[0]  # (B, T, D)
    if keys is not None:
        hidden = spec_augment(encoder, hidden, lengths, keys)
    states = encoder.encoder(hidden, attention_mask=length_mask(lengths, hidden.shape[1]))
    return states[0], lengths


def convolve(encoder: Any, waveform: Tensor, num_samples: Tensor) -> Tensor:
    """Waveform (B, S), zeros in the padding, to local features (B, C, T)."""
    x = waveform[:, None]
    for layer in encoder.feature_extractor.conv_layers:
        if isinstance(getattr(layer, "layer_norm", None), nn.GroupNorm):  # wav2vec2-base's first
            lengths = encoder_lengths(encoder.config, num_samples, 1)
            x = layer.activation(normalized_convolution(layer.conv, layer.layer_norm, x, lengths))
        else:
            x = layer(x)
    return x


def normalized_convolution(
    conv: nn.Conv1d, norm: nn.GroupNorm, waveform: Tensor, lengths: Tensor
) -> Tensor:
    """wav2vec2-base's first layer, each channel normalised over its valid frames only.

    At 3200 frames a second of 512 channels, a pass over them all is felt. So nothing is masked: the
    padding of the waveform is zero, hence its frames are, but for the few that still reach into the
    speech, which are taken out of the sums; and mean and variance come from sums of one pass, which
    is exact enough because a channel of a waveform without mean has hardly any.

    Waveform (B, 1, S), zeros in the padding, of `lengths` (B,) valid frames -> (B, C, T), undefined
    in the padding. The convolution's bias would cancel in the norm, of one channel a group, and is
    left out.
    """
    x = F.conv1d(waveform, conv.weight, None, conv.stride)  # (B, C, T)
    reach = -(-conv.kernel_size[0] // conv.stride[0])
    after = (lengths[:, None] + torch.arange(reach, device=x.device))[:, None]  # (B, 1, reach)
    full = full_precision(x)
    edge = x.gather(2, after.clamp(max=x.shape[2] - 1).expand(-1, x.shape[1], -1)).to(full)
    edge = edge.masked_fill(after >= x.shape[2], 0.0)  # (B, C, reach)
    total = x.sum(2, dtype=full) - edge.sum(2)  # (B, C)
    squares = torch.linalg.vector_norm(x, dim=2, dtype=full).square()
    squares = squares - edge.square().sum(2)

    mean = total / lengths[:, None]
    variance = (squares / lengths[:, None] - mean.square()).clamp(min=0.0)
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    shift = norm.bias - mean * scale
    # in place where no gradient asks for x
    out = None if torch.is_grad_enabled() else x
    scale, shift = (v.to(x.dtype)[..., None] for v in (scale, shift))
    return torch.addcmul(shift, x, scale, out=out)
