"""Every model on a GPU that has no values: nothing in forward and backward asks for one, and
nothing is made in the memory of the host.
"""

import pytest
import torch
from support.fake_device import (
    DEVICE,
    fake_batch,
    fake_gpu,
    needs_quiet_layers,
    to_fake_gpu,
    walk_backward,
)
from support.tiny_networks import (
    FAMILIES,
    INPUTS,
    VARIANTS,
    for_pretraining,
    random_batch,
    tiny_autoencoder,
    tiny_classifier,
)
from torch.testing import assert_close

from modeling_decomp_ser import decomposition, modeling_decomp_ser

pytestmark = needs_quiet_layers

PRETRAINABLE = [name for name, fields in VARIANTS.items() if fields["components"]]
# fakes compute an LSTM step by step, in Python
SHALLOW = {"content_lstm_layers": 1, "timbre_lstm_layers": 1, "decoder_layers": 1}
UNUSED = "speech_encoder.feature_extractor.conv_layers.0.conv.bias"
"""Cancels in the norm of wav2vec2-base's first layer, and is left out."""


@pytest.fixture(autouse=True)
def ctc_that_is_not_computed(monkeypatch):
    """torch has no CTC loss for fakes. The true one copies both lengths to the host by itself, also
    where they come from there: the one wait of a step that is left.
    """

    def stand_in(log_probabilities, targets, lengths, target_lengths, **options):
        for x in (log_probabilities, targets, lengths, target_lengths):
            assert x.device.type == DEVICE
        return log_probabilities.sum((0, 2))

    monkeypatch.setattr(torch.nn.functional, "ctc_loss", stand_in)


@pytest.fixture(autouse=True)
def short_crops(monkeypatch):
    """Crops of the reference are padded to some hundred frames."""
    for module in (decomposition, modeling_decomp_ser):
        monkeypatch.setattr(module, "REFERENCE_FRAMES", 8)


def batch_of(**more) -> dict[str, torch.Tensor]:
    return {**random_batch([700, 500]), "resampling_keys": torch.arange(2), **more}


def train_on_fakes(model, batch) -> None:
    model.train()
    with fake_gpu():
        to_fake_gpu(model)
        output = model(**fake_batch(batch))
        walk_backward(output.loss)
    assert output.loss.shape == () and output.loss.device.type == DEVICE
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        if gradient is None:
            assert name == UNUSED
            continue
        assert (gradient.device.type, gradient.shape) == (DEVICE, parameter.shape), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_every_variant_waits_for_nothing(variant):
    model = tiny_classifier(variant, speech={"mask_time_prob": 0.3}, **SHALLOW)
    train_on_fakes(model, batch_of())


@pytest.mark.parametrize("variant", PRETRAINABLE)
def test_pretraining_every_variant_waits_for_nothing(variant):
    train_on_fakes(tiny_autoencoder(variant, **SHALLOW), for_pretraining(batch_of()))


@pytest.mark.parametrize("variant", ["table3_m2", "table3_ours", "undivided"])
def test_an_answer_waits_for_nothing(variant):
    model = tiny_classifier(variant, **SHALLOW).eval()
    batch = {k: v for k, v in batch_of().items() if k in INPUTS}
    with torch.no_grad(), fake_gpu():
        to_fake_gpu(model)
        output = model(**fake_batch(batch), output_component_shares=True)
    assert output.logits.shape == (2, 4) and output.logits.device.type == DEVICE


@pytest.mark.parametrize(
    ("variant", "fields"),
    [
        ("table2_pitch", {"pooling": "statistics", "pooled_normalization": "layer"}),
        ("table2_timbre", {"mel_normalization": "utterance", "timbre_pooling": "utterance"}),
        ("table2_rhythm", {"part_dropout": 0.3, "timbre_input": "raw"}),
        ("table3_m1", {"speech": {"mask_time_prob": 0.3, "mask_feature_prob": 0.2}}),
    ],
)
def test_settings_that_no_preset_has_wait_for_nothing(variant, fields):
    train_on_fakes(tiny_classifier(variant, **SHALLOW, **fields), batch_of())


def test_padding_as_in_the_reference_waits_for_nothing():
    model = tiny_autoencoder("table2_pitch", pretraining_padding="padded192")
    train_on_fakes(model, for_pretraining(batch_of()))


@pytest.mark.parametrize("family", FAMILIES)
def test_speech_encoders_of_every_family_wait_for_nothing(family):
    train_on_fakes(tiny_classifier("table3_m1", speech=FAMILIES[family]), batch_of())


def test_ratings_wait_for_nothing():
    model = tiny_classifier("table3_m1", dimensions_weight=0.3)
    train_on_fakes(model, batch_of(dimension_labels=torch.rand(2, 3)))


def test_votes_wait_for_nothing():
    train_on_fakes(tiny_classifier("table3_m1"), batch_of(label_distribution=torch.rand(2, 4)))


def test_keys_that_are_not_given_are_drawn_on_the_device():
    batch = batch_of()
    del batch["resampling_keys"]
    train_on_fakes(tiny_classifier("table2_pitch"), batch)


# What the tests above rest on.


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: torch.zeros(3),
        lambda x: torch.tensor(3.0).to(x.device),
        lambda x: x.cpu(),
    ],
    ids=["item", "truth", "mask", "host", "copied", "cpu"],
)
def test_what_waits_for_a_device_is_refused(wrong):
    with fake_gpu(), pytest.raises((AssertionError, RuntimeError)):
        wrong(torch.empty(4, device=DEVICE))


def test_what_does_not_wait_is_not_refused():
    with fake_gpu():
        x = torch.empty(4, device=DEVICE)
        x[x > 0] = 0  # a number is the kernel's argument
        assert torch.where(x > 0, x, 1.0).device.type == DEVICE


def test_the_walk_backward_gives_the_gradients_of_the_engine():
    engine, walked = (tiny_classifier("table3_m3", **SHALLOW).train() for _ in range(2))
    engine(**batch_of()).loss.backward()
    walk_backward(walked(**batch_of()).loss)
    for (name, a), b in zip(engine.named_parameters(), walked.parameters(), strict=True):
        assert_close(a.grad, b.grad, msg=lambda m, n=name: f"{n}: {m}")
