"""Random resampling against a slow loop that states its definition once more."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from modeling_decomp_ser.keyed_random import uniform
from modeling_decomp_ser.random_resampling import draw_plan, plan_from_draws, resample

RANGES = {"segment_range": (19, 31), "scale_range": (0.5, 1.5)}


def resample_slowly(x, length, scales, segments, limit):
    """One utterance (T, D) of numpy float32, as SpeechSplit defines it, one frame at a time."""
    if length == 1:
        return x[:1]
    frames, begin = [], 0
    for scale, segment in zip(scales, segments, strict=True):
        for k in range(64):
            position = np.float32(k) / np.float32(scale)
            left = int(np.floor(position))
            if left < segment - 1 and begin + left < length - 1:
                weight = position - np.floor(position)
                frames.append((1 - weight) * x[begin + left] + weight * x[begin + left + 1])
        begin += segment
    return np.stack(frames[:limit])


def draw(lengths, seed, num_frames, max_length, limits=None):
    keys = torch.arange(len(lengths)) + 1000 * seed
    lengths = torch.tensor(lengths)
    limits = torch.full_like(lengths, num_frames) if limits is None else torch.tensor(limits)
    plan = draw_plan(
        lengths, keys, limits=limits, max_length=max_length, num_frames=num_frames, **RANGES
    )
    draws = uniform(keys, 2 * (max_length // 19 + 1)).numpy()
    return plan, 0.5 + draws[:, 0::2], 19 + (draws[:, 1::2] * 13).astype(int)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 150), min_size=1, max_size=4),
    limit=st.integers(1, 230),
    seed=st.integers(0, 10**6),
)
def test_resampling_equals_the_slow_loop(lengths, limit, seed):
    x = torch.randn(len(lengths), max(lengths), 3, generator=torch.Generator().manual_seed(seed))
    plan, scales, segments = draw(lengths, seed, limit, max(lengths))
    out = resample(x, plan)
    assert out.shape == (len(lengths), limit, 3)
    for i, length in enumerate(lengths):
        expected = resample_slowly(x[i].numpy(), length, scales[i], segments[i], limit)
        assert plan.lengths[i] == len(expected)
        assert_close(out[i, : len(expected)], torch.from_numpy(expected), atol=1e-6, rtol=0)
        assert (out[i, len(expected) :] == 0).all()


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=4), seed=st.integers(0, 10**6))
def test_positions_never_leave_the_utterance(lengths, seed):
    plan, _, _ = draw(lengths, seed, 460, max(lengths))
    for i, length in enumerate(lengths):
        read = plan.index[i, : plan.lengths[i]]
        assert read.min() >= 0 and (read + (plan.weight[i, : plan.lengths[i]] > 0)).max() < length
        assert (plan.weight >= 0).all() and (plan.weight < 1).all()


def test_a_stretch_of_one_keeps_all_but_the_last_frame_of_each_segment():
    lengths, segments = torch.tensor([50]), torch.tensor([[20, 20, 20]])
    plan = plan_from_draws(
        lengths,
        torch.ones(1, 3),
        segments,
        limits=lengths,
        num_frames=50,
        max_outputs=40,
    )
    kept = [*range(19), *range(20, 39), *range(40, 49)]
    assert plan.index[0, : plan.lengths[0]].tolist() == kept
    assert plan.weight.count_nonzero() == 0


def test_content_and_pitch_under_one_plan_stay_aligned():
    plan, _, _ = draw([120, 90], 3, 192, 120)
    x = torch.randn(2, 120, 5)
    both = resample(torch.cat([x, 2 * x + 1], dim=-1), plan)
    assert torch.equal(resample(x, plan), both[..., :5])
    assert_close(resample(2 * x + 1, plan), both[..., 5:])


def test_a_row_is_resampled_alike_alone_and_in_a_batch():
    plan, _, _ = draw([40, 300, 7], 5, 450, 300, limits=[60, 450, 12])
    keys = torch.arange(3) + 5000
    for i, (length, limit) in enumerate([(40, 60), (300, 450), (7, 12)]):
        alone = draw_plan(
            torch.tensor([length]),
            keys[i : i + 1],
            limits=torch.tensor([limit]),
            max_length=length,
            num_frames=limit,
            **RANGES,
        )
        n = int(alone.lengths[0])
        assert plan.lengths[i] == n
        assert torch.equal(plan.index[i, :n], alone.index[0, :n])
        assert torch.equal(plan.weight[i, :n], alone.weight[0, :n])


def test_lengths_have_the_published_distribution():
    # SPEC section 4: output over input length for 64 to 128 frames
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(64, 129, (4000,), generator=generator)
    plan = draw_plan(
        lengths,
        torch.arange(4000),
        limits=torch.full_like(lengths, 192),
        max_length=128,
        num_frames=192,
        **RANGES,
    )
    ratio = plan.lengths / lengths
    assert abs(ratio.mean() - 0.978) < 0.01
    assert abs(ratio.std() - 0.142) < 0.01
    assert 0.5 < ratio.min() < 0.62 and 1.35 < ratio.max() <= 1.5


@pytest.mark.parametrize("highest", [0.5, 3.0])
def test_no_segment_is_cut_at_extreme_stretches(highest):
    lengths = torch.tensor([100])
    plan = draw_plan(
        lengths,
        torch.tensor([1]),
        limits=torch.tensor([400]),
        max_length=100,
        num_frames=400,
        segment_range=(40, 60),
        scale_range=(highest, highest),
    )
    assert plan.lengths[0] == pytest.approx(highest * 98, abs=4)


def test_gradients_go_where_the_frames_came_from():
    x = torch.randn(1, 60, 2, requires_grad=True)
    plan, _, _ = draw([60], 2, 96, 60)
    resample(x, plan).sum().backward()
    weight = torch.zeros(61)
    n = int(plan.lengths[0])
    weight.index_add_(0, plan.index[0, :n], 1 - plan.weight[0, :n])
    weight.index_add_(0, plan.index[0, :n] + 1, plan.weight[0, :n])
    assert_close(x.grad[0, :, 0], weight[:60])


def test_nothing_is_drawn_from_the_global_generator():
    state = torch.get_rng_state()
    draw([50], 0, 75, 50)
    assert torch.equal(state, torch.get_rng_state())


def test_plans_are_made_where_the_keys_are():
    # the meta device refuses tensors of any other
    keys = torch.arange(2, device="meta")
    plan = draw_plan(keys + 9, keys, limits=keys + 9, max_length=40, num_frames=40, **RANGES)
    x = resample(torch.empty(2, 40, 3, device="meta"), plan)
    assert {tensor.device.type for tensor in (*plan, x)} == {"meta"}


def test_half_precision_is_resampled_in_its_type():
    plan, _, _ = draw([60], 2, 96, 60)
    x = torch.rand(1, 60, 2)
    half = resample(x.to(torch.bfloat16), plan)
    assert half.dtype == torch.bfloat16
    assert_close(half.float(), resample(x, plan), atol=0.01, rtol=0)
