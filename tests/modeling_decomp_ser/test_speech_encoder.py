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
    load_speech_encoder,
    receptive_field,
    span_mask,
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


# SpecAugment


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
            "1 missing, such as encoder.layers.1.attention.k_proj.weight",
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
