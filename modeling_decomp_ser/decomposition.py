"""The decomposition autoencoder of figure 2: encoders R, C, F and T (or M4's single one) and the
decoder.

Axes: B batch, T frames (62.5 a second at a hop of 16 ms), K codes (one every `downsampling`
frames), D features, H hidden.
"""

from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .configuration_decomp_ser import DECOMPOSED, SINGLE, DecompSerConfig
from .keyed_random import fold_in
from .masked_layers import (
    BiLSTM,
    MaskedGroupNorm,
    length_mask,
    masked_mean,
    pad_steps,
    select_steps,
)
from .random_resampling import ResamplingPlan, draw_plan, resample

UNVOICED = -1e10
"""Stands for an unvoiced frame in interpolation: any share of it stays unvoiced (SpeechSplit)."""

REFERENCE_FRAMES = 192
"""Frames to which the reference pads every crop: what its longest can become when resampled."""

REFERENCE_CROP = 128
"""Longest crop of the reference: sets how many segments it draws, also for padded frames."""


@dataclass
class Codes:
    """The codes of one component: (B, K, D), and how many of them are valid in each row (B,)."""

    values: Tensor
    lengths: Tensor


@dataclass
class ResamplingPlans:
    """One draw of resampling: for the inputs, and after each convolution of encoders C and F."""

    input: ResamplingPlan | None = None
    inner: tuple[ResamplingPlan, ...] = ()


def quantize_log_f0(log_f0: Tensor, num_bins: int) -> Tensor:
    """One-hot classes of normalised log-F0 (SpeechSplit): 0 unvoiced, 1 .. num_bins voiced.

    (B, T), in [0, 1] where voiced and at most 0 where unvoiced -> float32 (B, T, num_bins + 1).

    Examples:
        >>> quantize_log_f0(torch.tensor([[-1e10, 0.5, 1.0]]), 256).argmax(-1)
        tensor([[  0, 129, 256]])
    """
    # A voiced frame at exactly 0 (4 standard deviations below the mean) becomes unvoiced, as in the
    # reference.
    classes = torch.where(log_f0 <= 0, 0.0, 1.0 + (log_f0 * (num_bins - 1)).round())
    return (classes[..., None] == torch.arange(num_bins + 1, device=classes.device)).float()


class ConvOverTime(nn.Conv1d):
    """A type of its own, because weights are initialised by the type of their layer."""


class MelProjection(nn.Linear):
    """The decoder's last layer; a type of its own for its initialisation."""


class ConvBlock(nn.Module):
    """Convolution over time, group norm over valid frames, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, config: DecompSerConfig):
        super().__init__()
        kernel = config.conv_kernel_size
        groups = max(1, out_channels // config.conv_channels_per_group)
        self.stride = stride
        self.conv = ConvOverTime(in_channels, out_channels, kernel, stride, padding=kernel // 2)
        self.norm = MaskedGroupNorm(groups, out_channels)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D), zeros in the padding -> (B, ceil(T / stride), channels), and new lengths."""
        x = self.conv(x.transpose(1, 2))  # (B, channels, T')
        lengths = ceil_div(lengths, self.stride)
        mask = length_mask(lengths, x.shape[2])
        x = F.relu(self.norm(x, mask)).masked_fill(~mask[:, None], 0.0)
        return x.transpose(1, 2), lengths


class ComponentEncoder(nn.Module):
    """Convolutions, a bidirectional LSTM, and one code every `downsampling` frames."""

    def __init__(self, component: str, input_size: int, config: DecompSerConfig):
        super().__init__()
        layers, channels, lstm_layers, hidden = (
            getattr(config, f"{component}_{size}")
            for size in ("conv_layers", "conv_channels", "lstm_layers", "hidden_size")
        )
        sizes = [input_size] + [channels] * (layers - 1)
        strides = [config.conv_stride] + [1] * (layers - 1)
        self.blocks = nn.ModuleList(
            ConvBlock(size, channels, stride, config)
            for size, stride in zip(sizes, strides, strict=True)
        )
        self.lstm = BiLSTM(channels, hidden, lstm_layers)
        self.steps_per_code = config.downsampling // config.conv_stride

    def forward(self, x: Tensor, lengths: Tensor, plans: tuple[ResamplingPlan, ...] = ()) -> Codes:
        """Encode (B, T, D), zeros beyond `lengths` (B,); `plans` resample after each block. In half
        precision the input is rounded here and not before: between 0 and 1 there are few steps.
        """
        first: Any = self.blocks[0]
        x = x.to(first.conv.weight.dtype)
        for block, plan in zip_longest(self.blocks, plans[: len(self.blocks)]):
            x, lengths = block(x, lengths)
            if plan is not None:
                x, lengths = resample(x, plan), plan.lengths
        return self.downsample(self.lstm(x, lengths), lengths)

    def downsample(self, states: Tensor, lengths: Tensor) -> Codes:
        """Code k joins the forward state at the end of its block of steps and the backward state at
        its beginning. States (B, T, 2 H): forward ones, then backward ones; valid steps (B,).
        """
        n = self.steps_per_code
        num_codes = ceil_div(states.shape[1], n)
        begin = torch.arange(num_codes, device=states.device) * n  # (K,)
        # The last block of an utterance may be short: its forward state is the utterance's last.
        end = torch.minimum(begin + n - 1, (lengths - 1)[:, None])  # (B, K)
        ahead, back = states.chunk(2, dim=-1)
        values = torch.cat([select_steps(ahead, end), back[:, begin]], dim=-1)
        code_lengths = ceil_div(lengths, n)
        valid = length_mask(code_lengths, num_codes)
        return Codes(values.masked_fill(~valid[..., None], 0.0), code_lengths)


class SpectrogramDecoder(nn.Module):
    """Codes, repeated to the frame rate, to the mel spectrogram: BLSTM and a linear layer."""

    def __init__(self, config: DecompSerConfig):
        super().__init__()
        width = sum(config.code_size(c) for c in config.components)
        self.downsampling = config.downsampling
        self.lstm = BiLSTM(width, config.decoder_hidden_size, config.decoder_layers)
        self.linear = MelProjection(2 * config.decoder_hidden_size, config.num_mel_bins)

    def forward(self, codes: list[Codes], lengths: Tensor, num_frames: int) -> Tensor:
        """Reconstruct (B, T, num_mel_bins) from codes (B, K, D), one entry a component, of
        utterances with `lengths` (B,) valid frames; T is `num_frames`, and padding is undefined.
        """
        num_codes = ceil_div(num_frames, self.downsampling)
        joined = torch.cat([pad_steps(c.values, num_codes) for c in codes], dim=-1)  # (B, K, sum D)
        frames = joined.repeat_interleave(self.downsampling, dim=1)[:, :num_frames]
        return self.linear(self.lstm(frames, lengths))


class Decomposition(nn.Module):
    """Encoders and decoder (figure 2). Parts that the configuration does not name do not exist."""

    def __init__(self, config: DecompSerConfig, with_decoder: bool):
        super().__init__()
        self.config = config
        inputs: dict[str, int] = dict.fromkeys((*DECOMPOSED, SINGLE), config.num_mel_bins)
        inputs["pitch"] = config.f0_classes
        inputs[SINGLE] += config.f0_classes if config.single_reads_pitch else 0
        self.encoders = nn.ModuleDict(
            {c: ComponentEncoder(c, inputs[c], config) for c in config.components}
        )
        self.decoder = SpectrogramDecoder(config) if with_decoder else None

    def forward(
        self,
        mel: Tensor,
        log_f0: Tensor,
        voiced: Tensor,
        lengths: Tensor,
        plans: ResamplingPlans,
        padded: bool = False,
    ) -> dict[str, Codes]:
        """Encode an utterance into its components.

        Args:
            mel: log-mel spectrogram in [0, 1], (B, T, num_mel_bins).
            log_f0: normalised log-F0 in [0, 1], (B, T).
            voiced: bool, (B, T).
            lengths: valid frames, (B,).
            plans: random resampling, empty outside training.
            padded: count padding as signal, as the reference does.

        Returns:
            Codes by component. Content, pitch and timbre have the lengths of the resampled
            utterance.
        """
        mask = length_mask(lengths, mel.shape[1])
        if self.config.mel_normalization == "utterance":
            mel = mel - masked_mean(mel, lengths)[:, None]
        mel = mel.masked_fill(~mask[..., None], 0.0)
        # In full precision, or the stand-in for unvoiced frames would be infinite.
        contour = log_f0.float().masked_fill(~(voiced & mask), UNVOICED)[..., None]  # (B, T, 1)
        lengths = torch.full_like(lengths, mel.shape[1]) if padded else lengths

        resampled_mel, resampled_contour, resampled_lengths = mel, contour, lengths
        if plans.input is not None:
            resampled_mel = resample(mel, plans.input)
            resampled_contour = resample(contour, plans.input)
            resampled_lengths = plans.input.lengths

        raw, resampled = (mel, lengths), (resampled_mel, resampled_lengths)
        inputs: dict[str, tuple] = {
            "rhythm": raw,
            "content": (*resampled, plans.inner),
            "timbre": raw if self.config.timbre_input == "raw" else resampled,
            SINGLE: raw,
        }
        if "pitch" in self.encoders:
            one_hot = self.one_hot_pitch(resampled_contour, resampled_lengths, mel.dtype)
            inputs["pitch"] = (one_hot, resampled_lengths, plans.inner)
        if self.config.single_reads_pitch:
            one_hot = self.one_hot_pitch(contour, lengths, mel.dtype)
            inputs[SINGLE] = (torch.cat([mel, one_hot], dim=-1), lengths)
        codes = {name: encoder(*inputs[name]) for name, encoder in self.encoders.items()}
        if self.config.timbre_pooling == "utterance" and "timbre" in codes:
            codes["timbre"] = spread_mean(codes["timbre"])
        return codes

    def one_hot_pitch(self, contour: Tensor, lengths: Tensor, dtype: torch.dtype) -> Tensor:
        """Contour (B, T, 1) to classes (B, T, num_f0_bins + 1), all zero in the padding."""
        one_hot = quantize_log_f0(contour[..., 0], self.config.num_f0_bins).to(dtype)
        return one_hot.masked_fill(~length_mask(lengths, contour.shape[1])[..., None], 0.0)

    def reconstruct(self, codes: dict[str, Codes], lengths: Tensor, num_frames: int) -> Tensor:
        """Decode the codes to the spectrogram of the utterance, (B, T, num_mel_bins)."""
        assert self.decoder is not None  # callers ask only where the configuration has a decoder
        return self.decoder(list(codes.values()), lengths, num_frames)

    def draw_plans(
        self, lengths: Tensor, keys: Tensor, *, limits: Tensor, num_frames: int, padded: bool
    ) -> ResamplingPlans:
        """Draw one random resampling for a batch (section 2.1).

        Args:
            lengths: valid frames, (B,).
            keys: randomness of each row, (B,).
            limits: frames that a resampled utterance may have before its end is cut, whole codes,
                (B,).
            num_frames: padded length of the resampled batch, whole codes, no less than any limit.
            padded: count padding as signal, as the reference does.
        """
        config = self.config

        def draw(lengths: Tensor, stream: int, stride: int) -> ResamplingPlan:
            plan = draw_plan(
                lengths,
                fold_in(keys, stream),
                limits=limits // stride,
                max_length=REFERENCE_CROP if padded else num_frames // stride,
                num_frames=num_frames // stride,
                segment_range=(config.resampling_min_length, config.resampling_max_length),
                scale_range=(config.resampling_min_scale, config.resampling_max_scale),
            )
            return plan._replace(lengths=limits // stride) if padded else plan

        first = draw(lengths, 0, 1) if config.resampling_input else None
        if not config.resampling_inner:
            return ResamplingPlans(first)
        lengths = first.lengths if first is not None else limits if padded else lengths
        lengths = ceil_div(lengths, config.conv_stride)
        inner: list[ResamplingPlan] = []
        for layer in range(max(config.content_conv_layers, config.pitch_conv_layers)):
            inner.append(draw(lengths, layer + 1, config.conv_stride))
            lengths = inner[-1].lengths
        return ResamplingPlans(first, tuple(inner))

    def whole_codes(self, frames):
        """Round a number of frames (int or tensor) up to a multiple of the code's."""
        return ceil_div(frames, self.config.downsampling) * self.config.downsampling


def ceil_div(number, divisor: int):
    """Divide an int or an integer tensor, rounding up."""
    return (number + divisor - 1) // divisor


def spread_mean(codes: Codes) -> Codes:
    """Replace every code by the utterance's mean code, over the whole batch's time."""
    mean = masked_mean(codes.values, codes.lengths)[:, None]
    return Codes(mean.expand_as(codes.values), codes.lengths)
