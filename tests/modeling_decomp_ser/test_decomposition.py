import copy

import pytest
import torch
from support.tiny_networks import TINY_SIZES, random_batch, row_of, tiny_autoencoder
from torch.testing import assert_close

from modeling_decomp_ser import DecompSerConfig, DecompSerForAudioClassification
from modeling_decomp_ser.decomposition import (
    ComponentEncoder,
    Decomposition,
    ResamplingPlans,
    quantize_log_f0,
)
from modeling_decomp_ser.random_resampling import ResamplingPlan


def count(module) -> int:
    return sum(p.numel() for p in module.parameters())


def real_size(**fields) -> Decomposition:
    with torch.device("meta"):
        return Decomposition(DecompSerConfig(**fields), with_decoder=True)


def test_parameter_counts_are_those_of_the_specification():
    full = real_size()
    assert {name: count(encoder) for name, encoder in full.encoders.items()} == {
        "rhythm": 52_632,
        "content": 2_865_920,
        "pitch": 1_060_864,
        "timbre": 2_865_920,
    }
    assert count(full.decoder) == 15_188_048
    assert count(full) == 22_033_384


@pytest.mark.parametrize(
    ("component", "decoder", "total"),
    [
        ("single", 15_188_048, 18_298_000),
        ("pitch", 15_048_784, 16_109_648),
        ("content", 14_852_176, 17_718_096),
        ("rhythm", 14_794_832, 14_847_464),
        ("timbre", 14_852_176, 17_718_096),
    ],
)
def test_parameter_counts_of_one_encoder_with_its_decoder(component, decoder, total):
    speaker = 0.05 if component == "timbre" else 0.0
    model = real_size(components=[component], speaker_weight=speaker)
    assert (count(model.decoder), count(model)) == (decoder, total)


def test_the_heads_have_the_sizes_of_the_specification():
    with torch.device("meta"):
        model = DecompSerForAudioClassification(DecompSerConfig(speakers=list("abcdefghi")))
    shapes = {n: tuple(p.shape) for n, p in model.named_parameters() if "_head.weight" in n}
    assert shapes == {
        "emotion_head.weight": (4, 768 + 98),
        "ctc_head.weight": (32, 768),
        "speaker_head.weight": (9, 16),
    }


def test_quantisation_is_speechsplits():
    values = torch.tensor([[-1e10, 0.0, 1e-6, 0.5 / 255, 1.5 / 255, 2.5 / 255, 0.5, 1.0]])
    one_hot = quantize_log_f0(values, 256)
    # half to even; a voiced frame at exactly 0 reads as unvoiced
    assert one_hot.argmax(-1).tolist() == [[0, 0, 1, 1, 3, 3, 129, 256]]
    assert (one_hot.sum(-1) == 1).all() and one_hot.shape == (1, 8, 257)


def test_codes_join_the_forward_state_at_the_end_of_a_block_and_the_backward_one_at_its_begin():
    encoder = ComponentEncoder("rhythm", 80, DecompSerConfig())
    t = torch.arange(19.0)
    states = torch.stack([t, 100 + t], dim=-1).expand(2, -1, -1)
    codes = encoder.downsample(states, torch.tensor([19, 10]))
    assert codes.values.tolist() == [
        [[7, 100], [15, 108], [18, 116]],
        [[7, 100], [9, 108], [0, 0]],
    ]
    assert codes.lengths.tolist() == [3, 2]


def tiny_decomposition(**fields) -> Decomposition:
    return tiny_autoencoder(**fields).decomposition.eval()


def encode(decomposition, batch, plans=None):
    lengths = batch["frame_mask"].sum(1)
    plans = plans if plans is not None else ResamplingPlans()
    return decomposition(batch["mel"], batch["log_f0"], batch["voiced"], lengths, plans)


def draw(decomposition, lengths, keys=None):
    keys = torch.arange(len(lengths)) if keys is None else keys
    whole = decomposition.whole_codes
    return decomposition.draw_plans(
        lengths, keys, limits=whole(lengths), num_frames=whole(int(lengths.max())), padded=False
    )


def test_content_and_pitch_share_every_plan_and_rhythm_and_timbre_have_no_inner_one():
    decomposition = tiny_decomposition()
    seen = {}
    for name, encoder in decomposition.encoders.items():
        encoder.register_forward_pre_hook(
            lambda _, args, name=name: seen.update({name: args[2] if len(args) > 2 else ()})
        )
    batch = random_batch([20000, 14000])
    plans = draw(decomposition, batch["frame_mask"].sum(1))
    encode(decomposition, batch, plans)
    assert seen["content"] is seen["pitch"] is plans.inner and len(plans.inner) == 3
    assert not seen["rhythm"] and not seen["timbre"]
    # output 1 reads position 1 / scale of the first segment: every layer has its own draw
    positions = torch.stack([(p.index + p.weight)[:, 1] for p in (plans.input, *plans.inner)])
    assert all(len(row.unique()) == 4 for row in positions.T)


def test_rhythm_sees_the_raw_spectrogram_and_the_others_the_resampled_one():
    decomposition = tiny_decomposition()
    batch = random_batch([20000])
    plain = encode(decomposition, batch)
    lengths = batch["frame_mask"].sum(1)
    resampled = encode(decomposition, batch, draw(decomposition, lengths))
    assert torch.equal(plain["rhythm"].values, resampled["rhythm"].values)
    for name in ("content", "pitch", "timbre"):
        n = min(plain[name].values.shape[1], resampled[name].values.shape[1])
        assert not torch.allclose(plain[name].values[:, :n], resampled[name].values[:, :n])


def test_switches_of_resampling_draw_nothing_and_raw_timbre_is_undisturbed():
    lengths = torch.tensor([79])
    assert draw(tiny_decomposition(resampling_input=False), lengths).input is None
    assert draw(tiny_decomposition(resampling_inner=False), lengths).inner == ()
    raw = tiny_decomposition(timbre_input="raw")
    batch = random_batch([20000])
    resampled = encode(raw, batch, draw(raw, batch["frame_mask"].sum(1)))
    assert torch.equal(encode(raw, batch)["timbre"].values, resampled["timbre"].values)


def test_mixing_voiced_and_unvoiced_frames_gives_unvoiced():
    decomposition = tiny_decomposition()
    seen = {}
    decomposition.encoders["pitch"].register_forward_pre_hook(
        lambda _, args: seen.update(one_hot=args[0])
    )
    # every output frame lies half way between two frames, one of them unvoiced
    index = torch.arange(8)[None]
    half = ResamplingPlan(index, torch.full((1, 8), 0.5), index >= 0, torch.tensor([8]))
    batch = random_batch([8 * 256])
    batch["voiced"] = torch.tensor([[True, False] * 4 + [True]])
    encode(decomposition, batch, ResamplingPlans(half))
    assert (seen["one_hot"][0].argmax(-1) == 0).all()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"conv_stride": 2},
        {"mel_normalization": "utterance"},
        {"timbre_pooling": "utterance"},
        {"downsampling": 4, "conv_stride": 4},
    ],
)
@pytest.mark.parametrize("resampled", [False, True])
def test_codes_and_reconstruction_do_not_depend_on_batch_mates_or_padding(fields, resampled):
    decomposition = tiny_decomposition(**fields)
    samples = [30000, 1, 256 * 63, 256 * 7 - 1, 256 * 8]
    batch = random_batch(samples, garbage=float("nan"))
    lengths = batch["frame_mask"].sum(1)
    keys = torch.arange(len(samples))
    plans = draw(decomposition, lengths, keys) if resampled else None
    codes = encode(decomposition, batch, plans)
    mel = decomposition.reconstruct(codes, lengths, batch["mel"].shape[1])
    for i, n in enumerate(lengths):
        own = lengths[i : i + 1]
        row = row_of(batch, i)
        alone = encode(
            decomposition, row, draw(decomposition, own, keys[i : i + 1]) if resampled else None
        )
        for name, expected in alone.items():
            size = int(codes[name].lengths[i])
            assert size == expected.lengths[0]
            assert_close(
                codes[name].values[i, :size], expected.values[0, :size], atol=1e-5, rtol=1e-5
            )
        expected = decomposition.reconstruct(alone, own, int(n))[0]
        assert_close(mel[i, :n], expected, atol=1e-5, rtol=1e-5)


def test_utterance_pooled_timbre_is_the_mean_code_at_every_step():
    frames, pooled = tiny_decomposition(), tiny_decomposition(timbre_pooling="utterance")
    batch = random_batch([20000])
    mean = encode(frames, batch)["timbre"].values.mean(1)
    assert_close(encode(pooled, batch)["timbre"].values[0], mean.expand(10, -1))


def test_band_means_do_not_reach_the_encoders_of_a_normalised_spectrogram():
    decomposition = tiny_decomposition(mel_normalization="utterance")
    batch = random_batch([20000])
    louder = {**batch, "mel": batch["mel"] + torch.rand(80)}
    for name, codes in encode(decomposition, batch).items():
        assert_close(codes.values, encode(decomposition, louder)[name].values, atol=1e-5, rtol=0)


def test_parts_that_are_not_named_do_not_exist():
    for component in ("rhythm", "content", "pitch", "timbre", "single"):
        config = DecompSerConfig(**TINY_SIZES, components=[component], speaker_weight=0.0)
        model = Decomposition(config, with_decoder=False)
        assert list(model.encoders) == [component]
        assert not any(name.startswith("decoder") for name, _ in model.named_parameters())


def test_half_precision_hears_the_same_pitch_and_the_spectrogram_without_its_mean():
    whole = tiny_decomposition(mel_normalization="utterance")
    half = copy.deepcopy(whole).to(torch.bfloat16)
    heard = []
    for decomposition in (whole, half):
        for name in ("rhythm", "pitch"):
            decomposition.encoders[name].blocks[0].register_forward_pre_hook(
                lambda _, args: heard.append(args[0].float())
            )
    batch = random_batch([20000])
    batch["mel"] = 0.9 + 0.01 * batch["mel"]  # rounded before, four steps would be left
    for decomposition in (whole, half):
        encode(decomposition, batch)
    spectrogram, classes, half_spectrogram, half_classes = heard
    assert torch.equal(classes, half_classes)
    assert_close(half_spectrogram, spectrogram, rtol=0.01, atol=1e-5)


def heard_by(decomposition, name, batch, plans=None):
    """What the first convolution of an encoder is given, and the lengths."""
    seen = []
    hook = decomposition.encoders[name].register_forward_pre_hook(lambda _, args: seen.append(args))
    encode(decomposition, batch, plans)
    hook.remove()
    return seen[0]


@pytest.mark.parametrize("with_pitch", [False, True])
def test_the_undivided_encoder_hears_the_raw_spectrogram_and_pitch_if_asked(with_pitch):
    decomposition = tiny_decomposition(
        components=["single"], single_reads_pitch=with_pitch, num_f0_bins=16, speaker_weight=0.0
    )
    batch = random_batch([20000, 9000])
    lengths = batch["frame_mask"].sum(1)
    heard, valid, *_ = heard_by(decomposition, "single", batch, draw(decomposition, lengths))
    assert torch.equal(valid, lengths) and torch.equal(heard[..., :80], batch["mel"])
    assert heard.shape[2] == (80 + 17 if with_pitch else 80)
    if with_pitch:
        contour = batch["log_f0"].masked_fill(~batch["voiced"], -1.0)
        classes = quantize_log_f0(contour, 16)
        classes[1, lengths[1] :] = 0
        assert torch.equal(heard[..., 80:], classes)


def test_the_reference_counts_padding_as_signal():
    decomposition = tiny_decomposition()
    batch = random_batch([20000, 9000], garbage=5.0)
    lengths, mask = batch["frame_mask"].sum(1), batch["frame_mask"].bool()
    signals = batch["mel"], batch["log_f0"], batch["voiced"]
    padded = decomposition(*signals, lengths, ResamplingPlans(), True)
    # as if silence without a voice had been heard
    silent = batch["mel"].masked_fill(~mask[..., None], 0.0)
    whole = torch.full_like(lengths, mask.shape[1])
    heard = decomposition(silent, batch["log_f0"], batch["voiced"] & mask, whole, ResamplingPlans())
    for name, codes in heard.items():
        assert_close(padded[name].values, codes.values)
        assert padded[name].lengths.tolist() == codes.lengths.tolist() == [10, 10]


def test_codes_of_an_utterance_are_one_for_each_block_begun():
    decomposition = tiny_decomposition()
    batch = random_batch([256 * 7, 256 * 8])  # 8 and 9 frames
    for codes in encode(decomposition, batch).values():
        assert codes.lengths.tolist() == [1, 2] and codes.values.shape[1] == 2
        assert not codes.values[0, 1].any()


@pytest.mark.parametrize("stride", [1, 2])
def test_plans_of_the_reference_fill_its_frames(stride):
    decomposition = tiny_decomposition(conv_stride=stride)
    lengths, limits = torch.tensor([64, 128]), torch.tensor([192, 192])
    plans = decomposition.draw_plans(
        lengths, torch.arange(2), limits=limits, num_frames=192, padded=True
    )
    assert plans.input.lengths.tolist() == [192, 192] and plans.input.index.shape == (2, 192)
    assert len(plans.inner) == 3
    for plan in plans.inner:
        assert plan.lengths.tolist() == [192 // stride] * 2
        assert plan.index.shape == (2, 192 // stride)
    # what lies beyond the stretched crop is zero, whatever counts as signal
    longest = plans.input.valid.sum(1)
    assert longest[0] <= 64 * 1.5 and longest[1] <= 128 * 1.5


def test_what_a_plan_counts_as_signal_is_what_it_reads_but_for_the_reference():
    decomposition = tiny_decomposition()
    plans = draw(decomposition, torch.tensor([79, 36]))
    for plan in (plans.input, *plans.inner):
        assert torch.equal(plan.valid.sum(1), plan.lengths)
    # without a first resampling, the later ones of the reference read its padding too
    lengths, limits = torch.tensor([64, 100]), torch.tensor([192, 192])
    plans = tiny_decomposition(resampling_input=False).draw_plans(
        lengths, torch.arange(2), limits=limits, num_frames=192, padded=True
    )
    assert plans.input is None and (plans.inner[0].index.amax(1) > 120).all()


def test_norms_have_groups_of_the_channels_that_are_asked_for():
    groups = [
        ComponentEncoder("content", 80, DecompSerConfig(content_conv_channels=n)).blocks[0].norm
        for n in (8, 16, 64)
    ]
    assert [norm.num_groups for norm in groups] == [1, 1, 4]


def test_segments_cover_an_utterance_of_any_length_and_128_frames_of_the_reference():
    decomposition = tiny_decomposition()
    plans = draw(decomposition, torch.tensor([600]))
    for plan, end in ((plans.input, 600), (plans.inner[0], int(plans.input.lengths))):
        assert plan.index.max() >= end - 3
    keys, whole = torch.arange(200), torch.full((200,), 192)
    options = {"limits": whole, "num_frames": 192, "padded": True}
    (first, *_) = decomposition.draw_plans(whole, keys, **options).inner
    # seven segments of 19 to 31 frames, which are 175 in the mean
    covered = first.index.amax(1)
    assert 140 < covered.min() < 160 and covered.max() > 185


def test_inner_plans_follow_the_lengths_that_the_stage_before_leaves():
    decomposition = tiny_decomposition(conv_stride=2)
    lengths = torch.tensor([79, 36])
    plans = draw(decomposition, lengths)
    before = (plans.input.lengths + 1) // 2
    for plan in plans.inner:
        assert (plan.index[:, 0] == 0).all() and (plan.index.amax(1) < before).all()
        assert (plan.lengths <= torch.tensor([40, 20])).all()
        before = plan.lengths
    without = tiny_decomposition(conv_stride=2, resampling_input=False)
    (first, *_) = draw(without, lengths).inner
    assert (first.index.amax(1) < torch.tensor([40, 18])).all()
    assert (first.index.amax(1) > torch.tensor([20, 9])).all()


def test_codes_and_classes_are_made_where_their_input_is():
    # the meta device refuses tensors of any other
    encoder = ComponentEncoder("rhythm", 80, DecompSerConfig())
    states, lengths = torch.empty(2, 19, 2, device="meta"), torch.ones(2, device="meta").long()
    codes = encoder.downsample(states, lengths)
    classes = quantize_log_f0(states[..., 0], 16)
    assert {x.device.type for x in (codes.values, codes.lengths, classes)} == {"meta"}
