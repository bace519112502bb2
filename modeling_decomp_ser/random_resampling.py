"""Random resampling (RR) along time: the perturbation that denies rhythm to an encoder (section
2.1).

An utterance is cut into segments of random length and each is stretched or squeezed by a random
factor (Polyak and Wolf, ICASSP 2019; SpeechSplit, ICML 2020). A plan holds the time positions of
one draw; applied to several tensors it keeps them aligned, which is how the content and pitch
encoders share their perturbation.

Axes: B batch, T input frames, T' output frames, S segments, D features.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .keyed_random import uniform
from .masked_layers import length_mask, select_steps


class ResamplingPlan(NamedTuple):
    """Where each output frame is read, as a pair of neighbours and the weight of the right one."""

    index: Tensor  # (B, T') int64, left neighbour
    weight: Tensor  # (B, T') float32 in [0, 1), weight of frame index + 1
    valid: Tensor  # (B, T') bool, False where the output is zero
    lengths: Tensor  # (B,) int64, output frames that count as signal


def plan_from_draws(
    lengths: Tensor,
    scales: Tensor,
    segment_lengths: Tensor,
    *,
    limits: Tensor,
    num_frames: int,
    max_outputs: int,
) -> ResamplingPlan:
    """Turn drawn segments into time positions.

    Within a segment of m frames that begins at o, output k reads position k / scale and is kept
    while its floor lies below m - 1 and o + floor below the utterance's last frame: the step into
    the next segment is skipped. An utterance of one frame stays as it is.

    Args:
        lengths: valid input frames, (B,), at least 1.
        scales: stretch of each segment, (B, S); above 1 is slower.
        segment_lengths: frames of each segment, (B, S) int64.
        limits: most output frames to keep, (B,); the rest is cut off.
        num_frames: T', padded length of the output; no less than any limit.
        max_outputs: no segment gives more frames than this.
    """
    starts = segment_lengths.cumsum(1) - segment_lengths  # (B, S)
    k = torch.arange(max_outputs, device=scales.device)
    floors = (k / scales[..., None]).floor().to(torch.int64)  # (B, S, max_outputs)
    kept = (floors < segment_lengths[..., None] - 1) & (
        floors + starts[..., None] < lengths[:, None, None] - 1
    )
    counts = kept.sum(-1)  # (B, S)
    ends = counts.cumsum(1)

    t = torch.arange(num_frames, device=scales.device).repeat(len(lengths), 1)  # (B, T')
    segment = torch.searchsorted(ends, t, right=True).clamp(max=ends.shape[1] - 1)
    within = t - (ends - counts).gather(1, segment)
    position = within / scales.gather(1, segment)
    floor = position.floor()
    new_lengths = torch.minimum(ends[:, -1].clamp(min=1), limits)
    valid = length_mask(new_lengths, num_frames)
    read = valid & (lengths > 1)[:, None]
    index = (floor.to(torch.int64) + starts.gather(1, segment)).masked_fill(~read, 0)
    return ResamplingPlan(index, (position - floor).masked_fill(~read, 0.0), valid, new_lengths)


def draw_plan(
    lengths: Tensor,
    keys: Tensor,
    *,
    limits: Tensor,
    max_length: int,
    num_frames: int,
    segment_range: tuple[int, int],
    scale_range: tuple[float, float],
) -> ResamplingPlan:
    """Draw the segments of each utterance from its key.

    Args:
        lengths: valid input frames, (B,).
        keys: int64 that decides what is drawn for each row, (B,).
        limits: most output frames to keep, (B,).
        max_length: input frames that the segments have to cover.
        num_frames: T', the padded output length.
        segment_range: shortest and longest segment in frames, both inclusive.
        scale_range: lowest and highest stretch.
    """
    shortest, longest = segment_range
    lowest, highest = scale_range
    segments = max_length // shortest + 1
    draws = uniform(keys, 2 * segments)
    # Even draws stretch and odd ones cut, so that a row's segments do not depend on the batch's
    # longest row.
    scales = lowest + (highest - lowest) * draws[:, 0::2]
    segment_lengths = shortest + (draws[:, 1::2] * (longest - shortest + 1)).to(torch.int64)
    return plan_from_draws(
        lengths,
        scales,
        segment_lengths,
        limits=limits,
        num_frames=num_frames,
        max_outputs=math.ceil(longest * highest) + 1,
    )


def resample(x: Tensor, plan: ResamplingPlan) -> Tensor:
    """Interpolate (B, T, D) at the plan's positions: (B, T', D), zeros where it reads nothing."""
    left = select_steps(x, plan.index)
    right = select_steps(x, (plan.index + 1).clamp(max=x.shape[1] - 1))
    mixed = torch.lerp(left, right, plan.weight[..., None].to(x.dtype))
    return mixed.masked_fill(~plan.valid[..., None], 0.0)
