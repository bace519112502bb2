import logging

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny_networks import FAMILIES, TINY_SPEECH_ENCODER, random_batch
from torch.testing import assert_close
from transformers import (
    AutoConfig,
    AutoModel,
    Wav2Vec2Config,
    Wav2Vec2ForPreTraining,
    Wav2Vec2Model,
)
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

from modeling_decomp_ser.masked_layers import length_mask
from modeling_decomp_ser.speech_encoder import (
    build_speech_encoder,
    encode_speech,
    encoder_lengths,
    init_position_weights,
    load_speech_encoder,
    receptive_field,
    report_in_hand,
    span_mask,
    spec_augment,
)


def family_config(name):
    return AutoConfig.for_model(**{**TINY_SPEECH_ENCODER, **FAMILIES[name]})


def stock_and_own(name):
    torch.manual_seed(0)
    config = family_config(name)
    stock = AutoModel.from_config(config).eval()
    for part, value in stock.named_buffers():
        if "running_mean" in part:
            value.normal_()
    own = build_speech_encoder(config).eval()
    own.load_state_dict(stock.state_dict())
    return stock, own


@pytest.mark.parametrize("name", FAMILIES)
def test_any_batch_gives_the_stock_answers_of_batch_1(name):
    stock, own = stock_and_own(name)
    samples = [1600, 400, 24000, 16001, 719]
    batch = random_batch(samples, garbage=50.0)
    with torch.no_grad():
        states, lengths = encode_speech(own, batch["input_values"], torch.tensor(samples), None)
        for i, n in enumerate(samples):
            expected = stock(batch["input_values"][i : i + 1, :n]).last_hidden_state[0]
            assert lengths[i] == len(expected)
            assert_close(states[i, : lengths[i]], expected, atol=1e-5, rtol=1e-5)


def test_lengths_are_the_librarys():
    config = Wav2Vec2Config()
    stock = Wav2Vec2Model(Wav2Vec2Config(**TINY_SPEECH_ENCODER))
    samples = torch.tensor([400, 719, 720, 721, 16000, 480000])
    expected = stock._get_feat_extract_output_lengths(samples)
    assert encoder_lengths(config, samples).tolist() == expected.tolist()
    assert encoder_lengths(config, samples).tolist() == ((samples - 400) // 320 + 1).tolist()
    assert encoder_lengths(config, torch.tensor([1, 399])).tolist() == [1, 1]
    assert receptive_field(config) == 400


def test_less_than_a_receptive_field_gives_one_finite_frame_alone_or_in_a_batch():
    _, own = stock_and_own("wav2vec2")
    samples = [1, 9, 399, 5000]
    batch = random_batch(samples, garbage=float("nan"))
    with torch.no_grad():
        states, lengths = encode_speech(own, batch["input_values"], torch.tensor(samples), None)
        assert lengths.tolist() == [1, 1, 1, 15]
        for i, n in enumerate(samples):
            alone, _ = encode_speech(
                own, batch["input_values"][i : i + 1, :n], lengths.new_tensor([n]), None
            )
            assert alone.isfinite().all()
            assert_close(states[i, : lengths[i]], alone[0], atol=1e-5, rtol=1e-5)


def test_lengths_after_some_convolutions_are_those_of_the_library():
    config, samples = Wav2Vec2Config(), torch.tensor([400, 401, 16000])
    # kernels of 10 and 3, steps of 5 and 2
    first = (samples - 10) // 5 + 1
    assert encoder_lengths(config, samples, 1).tolist() == first.tolist()
    assert encoder_lengths(config, samples, 2).tolist() == ((first - 3) // 2 + 1).tolist()


@pytest.mark.parametrize("name", ["wav2vec2", "wav2vec2-large"])
def test_gradients_are_those_of_the_stock_encoder(name):
    stock, own = stock_and_own(name)
    waveform = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    states, _ = encode_speech(own, waveform, torch.tensor([4000]), None)
    weight = torch.arange(states[0].numel()).reshape(states.shape).remainder(7.0)
    (states * weight).sum().backward()
    (stock(waveform).last_hidden_state * weight).sum().backward()
    expected = dict(stock.named_parameters())
    for part, parameter in own.named_parameters():
        if expected[part].grad is not None:
            assert_close(parameter.grad, expected[part].grad, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["wav2vec2", "wav2vec2-large"])
def test_double_precision_stays_double(name):
    _, own = stock_and_own(name)
    waveform = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        full, _ = encode_speech(own, waveform, torch.tensor([16000]), None)
        double, _ = encode_speech(
            own.to(torch.float64), waveform.double(), torch.tensor([16000]), None
        )
    assert double.dtype == torch.float64
    assert_close(double.float(), full, atol=1e-4, rtol=1e-4)


def test_the_weights_of_positions_are_drawn_with_their_length():
    torch.manual_seed(0)
    encoder = build_speech_encoder(family_config("wav2vec2"))
    conv = encoder.encoder.pos_conv_embed.conv
    length, direction = (p.detach() for p in conv.parametrizations.weight.parameters())
    others = {k: v.clone() for k, v in encoder.state_dict().items() if "pos_conv" not in k}
    with torch.no_grad():
        length.fill_(torch.nan)
        direction.fill_(torch.nan)
    init_position_weights(encoder)
    fan_in = conv.kernel_size[0] * conv.in_channels
    assert float(direction.std()) == pytest.approx(2 / fan_in**0.5, rel=0.1)
    assert abs(float(direction.mean())) < 0.02
    squares = direction.square().sum((0, 1), keepdim=True)
    assert_close(length, squares.sqrt())
    # so the product is the direction itself, and nothing else was drawn
    assert_close(conv.weight, direction)
    assert all(torch.equal(encoder.state_dict()[k], v) for k, v in others.items())


# SpecAugment


def masked_share(**fields):
    """Frames and features of (2, 60, 16) ones that SpecAugment changes, by row."""
    off = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}
    config = Wav2Vec2Config(**{**TINY_SPEECH_ENCODER, **off, **fields})
    encoder = build_speech_encoder(config)
    hidden, keys = torch.ones(2, 60, 16), torch.tensor([3, 4])
    found = spec_augment(encoder, hidden, torch.tensor([60, 30]), keys)
    time = (found == encoder.masked_spec_embed).all(2)
    features = (found == 0).all(1)
    return time, features, found


def test_time_and_features_are_masked_apart_and_as_configured():
    spans = {"mask_time_length": 5, "mask_feature_length": 4}
    time, features, found = masked_share(mask_time_prob=0.5, **spans)
    assert time[0].sum() >= 10 and not time[1, 30:].any() and not features.any()
    assert time[0].tolist() != time[1].tolist()
    assert (found[~time] == 1).all()
    time, features, found = masked_share(mask_feature_prob=0.5, **spans)
    assert not time.any() and (features.sum(1) >= 4).all() and (features.sum(1) < 16).all()
    assert (found.transpose(1, 2)[~features] == 1).all()
    time, _, _ = masked_share(mask_time_prob=1e-6, mask_time_min_masks=3, **spans)
    assert (time.sum(1) >= 7).all()  # three spans of five, which may overlap
    _, features, _ = masked_share(mask_feature_prob=1e-6, mask_feature_min_masks=2, **spans)
    assert (features.sum(1) >= 5).all()
    _, _, found = masked_share(apply_spec_augment=False, mask_time_prob=0.5, **spans)
    assert (found == 1).all()


@pytest.mark.parametrize(
    ("length", "probability", "span", "fewest"),
    [(200, 0.05, 10, 2), (200, 0.065, 10, 0), (60, 0.3, 7, 1), (12, 0.05, 10, 2), (10, 0.5, 10, 2)],
)
def test_spans_are_distributed_as_the_librarys(length, probability, span, fewest):
    draws = 3000
    np.random.seed(0)
    theirs = np.concatenate(
        [_compute_mask_indices((1, length), probability, span, None, fewest) for _ in range(draws)]
    )
    keys, lengths = torch.arange(draws), torch.full((draws,), length)
    ours = span_mask(
        keys, lengths, length, probability=probability, span=span, min_spans=fewest
    ).numpy()
    # share of masked frames, its spread over utterances, and the profile along time
    counts, expected = ours.sum(1), theirs.sum(1)
    error = expected.std() / np.sqrt(draws) + 1e-9
    assert abs(counts.mean() - expected.mean()) < 6 * error
    assert abs(counts.std() - expected.std()) < 0.1 * expected.std() + 1e-6
    assert np.abs(ours.mean(0) - theirs.mean(0)).max() < 0.06


def test_a_turn_shorter_than_a_span_is_left_whole_and_padding_is_never_masked():
    lengths = torch.tensor([3, 9, 10, 40])
    masked = span_mask(torch.arange(4), lengths, 60, probability=0.9, span=10, min_spans=2)
    assert masked.any(1).tolist() == [False, False, True, True]
    assert not (masked & ~length_mask(lengths, 60)).any()


def test_spans_do_not_depend_on_the_batch():
    lengths, keys = torch.tensor([50, 120, 80]), torch.tensor([5, -6, 7])
    options = {"probability": 0.2, "span": 5, "min_spans": 1}
    together = span_mask(keys, lengths, 120, **options)
    for i, n in enumerate(lengths):
        alone = span_mask(keys[i : i + 1], lengths[i : i + 1], int(n), **options)
        assert torch.equal(together[i, :n], alone[0])


def test_spec_augment_puts_the_learned_frame_and_zero_features():
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        **{
            **TINY_SPEECH_ENCODER,
            "mask_time_prob": 0.3,
            "mask_time_length": 4,
            "mask_feature_prob": 0.3,
            "mask_feature_length": 2,
        }
    )
    encoder = build_speech_encoder(config)
    seen = []
    encoder.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    samples = torch.tensor([32000])
    encode_speech(encoder, torch.randn(1, 32000), samples, None)
    encode_speech(encoder, torch.randn(1, 32000), samples, torch.tensor([1]))
    plain, augmented = seen
    zero = (augmented[0] == 0).all(0)
    frames = (augmented[0][:, ~zero] == encoder.masked_spec_embed[~zero]).all(1)
    assert 0 < zero.sum() < 16 and 0 < frames.sum() < len(frames)
    assert not (plain == 0).any()


# loading


def test_the_report_of_weights_is_kept_back_and_nothing_else(caplog):
    logger = logging.getLogger("transformers.modeling_utils")
    logger.addHandler(caplog.handler)
    try:
        with pytest.raises(KeyError), report_in_hand():
            logger.warning("a LOAD REPORT of weights")
            logger.warning("something else")
            raise KeyError
        logger.warning("another LOAD REPORT")
    finally:
        logger.removeHandler(caplog.handler)
    heard = [record.getMessage() for record in caplog.records]
    assert sorted(set(heard)) == ["another LOAD REPORT", "something else"]


@pytest.fixture
def checkpoint(tmp_path):
    """The layout of facebook/wav2vec2-base: saved for its own pre-training, with its quantiser."""
    torch.manual_seed(1)
    config = Wav2Vec2Config(**TINY_SPEECH_ENCODER)
    config.codevector_dim = config.proj_codevector_dim = 8
    model = Wav2Vec2ForPreTraining(config)
    model.save_pretrained(tmp_path)
    return tmp_path, model


def rewrite(folder, change):
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def test_a_pretraining_checkpoint_loads_every_weight_of_the_encoder(checkpoint):
    folder, model = checkpoint
    encoder = load_speech_encoder(str(folder))
    expected = model.wav2vec2.state_dict()
    assert encoder.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[k]) for k, value in encoder.state_dict().items())


def test_the_old_names_of_weight_norm_load(checkpoint):
    folder, model = checkpoint
    names = {"original0": "weight_g", "original1": "weight_v"}

    def rename(weights):
        for k in list(weights):
            last = k.rsplit(".", 1)[-1]
            if last in names:
                weights[k.replace(f"parametrizations.weight.{last}", names[last])] = weights.pop(k)

    rewrite(folder, rename)
    weight = load_speech_encoder(str(folder)).encoder.pos_conv_embed.conv.weight
    assert_close(weight, model.wav2vec2.encoder.pos_conv_embed.conv.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.pop("wav2vec2.encoder.layers.1.attention.k_proj.weight"),
            "^Speech encoder '.*': weights 1 missing, such as "
            "encoder.layers.1.attention.k_proj.weight. Expected a complete Wav2Vec2Model "
            "checkpoint; train from scratch",
        ),
        (
            lambda w: w.update(
                {"wav2vec2.encoder.layers.2.final_layer_norm.bias": torch.zeros(16)}
            ),
            "1 left over, such as .*encoder.layers.2.final_layer_norm.bias",
        ),
    ],
)
def test_a_weight_missing_or_left_over_in_the_encoder_is_an_error(checkpoint, change, message):
    folder, _ = checkpoint
    rewrite(folder, change)
    with pytest.raises(ValueError, match=message):
        load_speech_encoder(str(folder))


def test_a_weight_of_another_shape_is_an_error(checkpoint):
    folder, _ = checkpoint
    rewrite(folder, lambda w: w.update({"wav2vec2.encoder.layer_norm.weight": torch.zeros(17)}))
    with pytest.raises(ValueError, match="1 of another shape, such as .*encoder.layer_norm.weight"):
        load_speech_encoder(str(folder))


@pytest.mark.parametrize("name", ["hubert", "wavlm", "data2vec-audio"])
def test_every_family_loads_key_by_key(name, tmp_path):
    torch.manual_seed(0)
    stock = AutoModel.from_config(family_config(name))
    stock.save_pretrained(tmp_path)
    loaded = load_speech_encoder(str(tmp_path))
    own = build_speech_encoder(loaded.config)
    own.load_state_dict(loaded.state_dict())
    assert all(torch.equal(own.state_dict()[k], v) for k, v in stock.state_dict().items())
