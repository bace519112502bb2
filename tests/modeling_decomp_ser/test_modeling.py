import copy
import logging
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import slow_network
from support.tiny_networks import (
    FAMILIES,
    INPUTS,
    TINY_SPEECH_ENCODER,
    VARIANTS,
    for_pretraining,
    random_batch,
    row_of,
    tiny_autoencoder,
    tiny_classifier,
    tiny_config,
    unsealed,
)
from torch.testing import assert_close
from transformers import (
    AutoModelForAudioClassification,
    Wav2Vec2Config,
    Wav2Vec2ForPreTraining,
    Wav2Vec2Model,
)

import modeling_decomp_ser
from modeling_decomp_ser import (
    DecompSerConfig,
    DecompSerForAudioClassification,
    DecompSerForPreTraining,
)
from modeling_decomp_ser.keyed_random import draw_keys
from modeling_decomp_ser.multitask_losses import IGNORED
from train_scripts.runs.precision import convolves_right

SAMPLE_RATE = 16000
# 0.1 s to 30 s, and less than one frame of either kind
LENGTHS = [1600, 30 * SAMPLE_RATE, 1, 399, 40000, 72001]
SAMPLES = [24000, 16000, 40000, 9000]
PRETRAINABLE = [name for name, fields in VARIANTS.items() if fields["components"]]

ASKED = {
    "ctc_logits": "ctc_head",
    "speaker_logits": "speaker_head",
    "reconstruction": "decomposition.decoder",
}


def has_part(model, path: str) -> bool:
    for name in path.split("."):
        model = getattr(model, name, None)
    return model is not None


def asked_outputs(model) -> dict[str, bool]:
    """Every output that the model can give."""
    return {f"output_{name}": has_part(model, path) for name, path in ASKED.items()}


def comparable(output, i: int, frames: int, encoder_frames: int | None) -> dict[str, torch.Tensor]:
    """Everything of row i, cut to what is valid."""
    cut = {"reconstruction": frames, "ctc_logits": encoder_frames}
    values = {}
    for name in ("logits", "ctc_logits", "ctc_lengths", "speaker_logits", "reconstruction"):
        if (value := getattr(output, name)) is not None:
            values[name] = value[i, : cut[name]] if name in cut else value[i]
    for name in ("speech_mse", "speech_mse_padded", "component_shares", "ctc_impossible"):
        if (value := getattr(output, name)) is not None:
            values[name] = value[i]
    for name, task in (output.task_losses or {}).items():
        values[f"loss of {name}"] = task.per_row[i]
    return values


def check_batch_equals_single(model, batch, **asked):
    with torch.no_grad():
        together = model(**batch, **asked)
        for i in range(len(batch["frame_mask"])):
            row = row_of(batch, i)
            alone = model(**row, **asked)
            frames = row["mel"].shape[1]
            heard = int(alone.ctc_lengths[0]) if alone.ctc_lengths is not None else None
            expected = comparable(alone, 0, frames, heard)
            found = comparable(together, i, frames, heard)
            assert expected.keys() == found.keys()
            for name, value in expected.items():
                assert value.isfinite().all(), (name, i)
                message = f"{name} of row {i}"
                assert_close(
                    found[name], value, atol=1e-5, rtol=1e-5, msg=lambda m, t=message: f"{t}: {m}"
                )


# A prediction does not depend on its batch mates.


@pytest.mark.parametrize("variant", VARIANTS)
def test_batched_equals_single_for_every_output_of_every_variant(variant):
    model = tiny_classifier(variant).eval()
    batch = random_batch(LENGTHS, garbage=float("nan"))
    check_batch_equals_single(model, batch, **asked_outputs(model), output_component_shares=True)


@pytest.mark.parametrize(
    ("variant", "fields"),
    [
        ("table3_ours", {}),
        ("table3_m4", {}),
        ("table3_ours", {"conv_stride": 2, "pooling": "statistics"}),
        ("table3_ours", {"mel_normalization": "utterance", "timbre_pooling": "utterance"}),
        (
            "table3_ours",
            {"speech": {"mask_time_prob": 0.3, "mask_feature_prob": 0.2, "mask_feature_length": 3}},
        ),
    ],
)
def test_batched_equals_single_in_training_with_the_same_keys(variant, fields):
    model = tiny_classifier(variant, **fields).train()
    batch = random_batch([9600, 1600, 40000, 1, 24000], garbage=float("nan"))
    batch["resampling_keys"] = torch.arange(5) - 2
    check_batch_equals_single(model, batch)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("variant", PRETRAINABLE)
def test_pretraining_batched_equals_single(variant, training):
    model = tiny_autoencoder(variant).train(training)
    batch = random_batch([128 * 256 - 1, 64 * 256, 80 * 256, 1, 127 * 256], garbage=float("nan"))
    batch["resampling_keys"] = torch.arange(5) - 2
    check_batch_equals_single(model, for_pretraining(batch))


def test_other_keys_give_another_training_answer_and_evaluation_reads_none():
    model = tiny_classifier()
    batch = random_batch([40000])
    with torch.no_grad():
        first, same, other = (
            model.train()(**batch, resampling_keys=torch.tensor([k])).logits for k in (1, 1, 2)
        )
        assert torch.equal(first, same) and not torch.allclose(first, other, atol=1e-3)
        model.eval()
        with_keys = model(**batch, resampling_keys=torch.tensor([1])).logits
        assert torch.equal(with_keys, model(**batch).logits)


def test_resampling_in_finetuning_can_be_switched_off():
    model = tiny_classifier(resampling_in_finetuning=False)
    batch = random_batch([40000])
    with torch.no_grad():
        assert_close(model.train()(**batch).logits, model.eval()(**batch).logits)


@torch.no_grad()
def test_parts_are_dropped_whole_by_row_and_the_others_scaled():
    model = tiny_classifier(part_dropout=0.4).train()
    model.config.resampling_in_finetuning = False
    batch = random_batch(SAMPLES)
    asked = {"output_pooled_features": True}
    keys = draw_keys(len(SAMPLES), torch.Generator().manual_seed(3))
    dropped = model(**batch, **asked, resampling_keys=keys).pooled_features
    model.config.part_dropout = 0.0
    whole = model(**batch, **asked, resampling_keys=keys).pooled_features
    ratios = set()
    for part, full in zip(
        dropped.split(model.part_sizes, 1), whole.split(model.part_sizes, 1), strict=True
    ):
        for row, full_row in zip(part, full, strict=True):
            factor = 0.0 if not row.any() else 1 / 0.6
            torch.testing.assert_close(row, factor * full_row)
            ratios.add(factor)
    assert len(ratios) == 2
    model.config.part_dropout = 0.4
    alone = model(**row_of(batch, 1), **asked, resampling_keys=keys[1:2]).pooled_features
    torch.testing.assert_close(alone[0], dropped[1], rtol=0, atol=1e-5)
    evaluated = [model.eval()(**batch, **asked, resampling_keys=k).logits for k in (keys, keys + 1)]
    assert torch.equal(*evaluated)


@torch.no_grad()
@pytest.mark.parametrize("variant", ["table3_ours", "table3_m4", "table3_m1"])
def test_normalised_parts_have_unit_variance_and_shares_still_sum_to_the_logits(variant):
    model = tiny_classifier(variant, pooled_normalization="layer", pooling="statistics").eval()
    model.pooled_mean.normal_(generator=torch.Generator().manual_seed(0))
    output = model(
        **random_batch(SAMPLES, labelled=False),
        output_pooled_features=True,
        output_component_shares=True,
    )
    for part in output.pooled_features.split(model.part_sizes, 1):
        assert part.mean(1).abs().max() < 1e-5
        assert part.var(1, unbiased=False).max() == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(output.component_shares.sum(1), output.logits, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_batched_equals_single_at_real_size():
    torch.manual_seed(0)
    model = DecompSerForAudioClassification(DecompSerConfig(speakers=list("abcdefghi"))).eval()
    batch = random_batch([1600, 480000, 72000], garbage=5.0)
    check_batch_equals_single(model, batch, **asked_outputs(model))


# The forward against plain loops.


@pytest.mark.parametrize("variant", ["table3_ours", "table3_m4"])
def test_the_network_equals_its_restatement_in_plain_loops(variant):
    model = tiny_classifier(variant).eval().double()
    config = model.config
    batch = random_batch([5000])
    speech = Wav2Vec2Model(config.speech_config).eval().double()
    speech.load_state_dict(model.speech_encoder.state_dict())
    with torch.no_grad():
        doubles = {k: v.double() if v.is_floating_point() else v for k, v in batch.items()}
        output = model(**doubles)
        hidden = speech(doubles["input_values"]).last_hidden_state[0].numpy()

    weights = {k: v.numpy() for k, v in model.state_dict().items()}
    mel = batch["mel"][0].double().numpy()
    codes = slow_network.decompose(
        mel, batch["log_f0"][0].numpy(), batch["voiced"][0].numpy(), weights, config
    )
    pooled = np.concatenate([hidden.mean(0), *(c.mean(0) for c in codes.values())])
    emotion = slow_network.linear(pooled, weights, "emotion_head.")
    rebuilt = slow_network.reconstruct(codes, len(mel), weights, config)
    assert_close(output.logits[0].numpy(), emotion, atol=1e-5, rtol=1e-5)
    assert_close(output.reconstruction[0].numpy(), rebuilt, atol=1e-5, rtol=1e-5)
    assert_close(output.speech_mse.item(), ((rebuilt - mel) ** 2).mean(), atol=1e-6, rtol=1e-5)
    characters = slow_network.linear(hidden, weights, "ctc_head.")
    assert_close(output.ctc_logits[0].numpy(), characters, atol=1e-5, rtol=1e-5)
    if model.speaker_head is not None:
        speaker = slow_network.linear(codes["timbre"].mean(0), weights, "speaker_head.")
        assert_close(output.speaker_logits[0].numpy(), speaker, atol=1e-5, rtol=1e-5)


def test_the_first_model_is_the_stock_encoder_with_a_linear_head():
    model = tiny_classifier("table3_m1").eval()
    stock = Wav2Vec2Model(model.config.speech_config).eval()
    stock.load_state_dict(model.speech_encoder.state_dict())
    batch = random_batch([20000])
    with torch.no_grad():
        pooled = stock(batch["input_values"]).last_hidden_state.mean(1)
        assert_close(model(**batch).logits, model.emotion_head(pooled), atol=1e-5, rtol=1e-5)


# Losses.


def test_the_loss_is_the_weighted_sum_of_the_tasks():
    model = tiny_classifier().eval()
    output = model(**random_batch([20000, 30000]))
    expected = sum(
        weight * output.losses[name]
        for name, weight in (
            ("emotion", 0.45),
            ("reconstruction", 0.45),
            ("ctc", 0.05),
            ("speaker", 0.05),
        )
    )
    assert_close(output.loss, expected)
    autoencoder = tiny_autoencoder().eval()
    output = autoencoder(**for_pretraining(random_batch([20000, 30000])))
    losses = output.losses
    assert_close(output.loss, 0.1 * losses["speaker"] + 0.9 * losses["reconstruction"])


def test_dimensions_are_a_fifth_task_beside_the_four():
    model = tiny_classifier(dimensions_weight=0.3).eval()
    batch = random_batch(SAMPLES)
    ratings = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        four, five = model(**batch), model(**batch, dimension_labels=ratings)
        alone = model(**{k: v for k, v in batch.items() if k in INPUTS}, dimension_labels=ratings)
    assert five.dimensions.shape == (4, 3) and torch.equal(five.dimensions, four.dimensions)
    assert "dimensions" not in four.losses and set(alone.losses) == {"dimensions", "reconstruction"}
    # one minus the concordance: twice the covariance over both variances and the squared bias
    x, y = five.dimensions.double().numpy(), ratings.double().numpy()
    covariance = ((x - x.mean(0)) * (y - y.mean(0))).mean(0)
    concordance = 2 * covariance / (x.var(0) + y.var(0) + (x.mean(0) - y.mean(0)) ** 2)
    assert five.losses["dimensions"].item() == pytest.approx(1 - concordance.mean(), rel=1e-4)
    assert_close(five.loss, four.loss + 0.3 * five.losses["dimensions"])
    assert model.loss_weights == {**tiny_classifier().loss_weights, "dimensions": 0.3}
    # in training the head does not stand idle where no turn is rated
    model.train()(**batch).loss.backward()
    assert (model.dimensions_head.weight.grad == 0).all()


def test_shares_of_votes_are_learned_instead_of_labels():
    model = tiny_classifier().eval()
    batch, shares = random_batch(SAMPLES), torch.tensor([[0.5, 0.25, 0.25, 0.0]]).expand(4, -1)
    with torch.no_grad():
        output = model(**batch, label_distribution=shares)
        plain = model(**batch)
    expected = -(shares * output.logits.log_softmax(-1)).sum(1).mean()
    assert_close(output.losses["emotion"], expected)
    assert all(output.losses[k] == plain.losses[k] for k in ("ctc", "speaker", "reconstruction"))


def test_without_masks_everything_is_signal():
    model = tiny_classifier().eval()
    batch = random_batch([16000, 16000])
    bare = {k: v for k, v in batch.items() if k not in ("attention_mask", "frame_mask")}
    with torch.no_grad():
        masked, unmasked = model(**batch), model(**bare)
    assert torch.equal(masked.logits, unmasked.logits) and torch.equal(masked.loss, unmasked.loss)


def test_parts_that_do_not_exist_ask_for_no_input():
    batch = random_batch([16000])
    for variant, unread in (
        ("encoders_alone", ("input_values", "attention_mask")),
        ("table3_m1", ("mel", "log_f0", "voiced", "frame_mask")),
    ):
        model = tiny_classifier(variant).eval()
        read = {k: v for k, v in batch.items() if k in INPUTS and k not in unread}
        with torch.no_grad():
            assert torch.equal(model(**read).logits, model(**batch).logits)


def test_training_without_keys_draws_them_from_the_generator():
    model, batch = tiny_classifier().train(), random_batch(SAMPLES)
    losses = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        losses.append(model(**batch).loss.item())
    assert losses[0] == losses[1] != losses[2]


def test_masks_and_resampling_are_drawn_from_keys_of_their_own(monkeypatch):
    model = tiny_classifier().train()
    module, heard = sys.modules[type(model).__module__], []
    encode, draw = module.encode_speech, model.decomposition.draw_plans

    def encode_and_note(encoder, values, lengths, keys):
        heard.append(keys)
        return encode(encoder, values, lengths, keys)

    def draw_and_note(lengths, keys, **options):
        heard.append(keys)
        return draw(lengths, keys, **options)

    monkeypatch.setattr(module, "encode_speech", encode_and_note)
    monkeypatch.setattr(model.decomposition, "draw_plans", draw_and_note)
    given = torch.arange(4)
    model(**random_batch(SAMPLES), resampling_keys=given)
    assert len(torch.cat([given, *heard]).unique()) == 12


def test_saving_names_the_pipeline_and_pushes_what_is_sealed(tmp_path, monkeypatch):
    model, pushed = tiny_classifier(), []

    def push(repo_id, **options):
        pushed.append((repo_id, options))
        assert model.config.weights_digest is not None

    monkeypatch.setattr(model, "push_to_hub", push)
    model.save_pretrained(tmp_path / "mine")
    assert pushed == []
    model.save_pretrained(tmp_path / "mine", push_to_hub=True, private=True)
    model.save_pretrained(tmp_path / "mine", push_to_hub=True, repo_id="me/other", token="t")
    assert pushed == [("mine", {"private": True}), ("me/other", {"token": "t"})]
    model.save_pretrained(tmp_path / "variant", variant="half")  # which no digest stands for
    assert model.config.weights_digest is None
    assert model.config.custom_pipelines == {
        "audio-classification": {
            "impl": "pipeline_decomp_ser.DecompSerPipeline",
            "pt": ["AutoModelForAudioClassification"],
            "type": "audio",
        }
    }


def test_accumulated_batches_give_the_gradient_of_one_batch_with_missing_labels():
    batch = random_batch([20000, 9000, 16000, 30000])
    batch["labels"][1] = IGNORED
    batch["speaker_labels"][0] = IGNORED
    batch["ctc_labels"][2:] = IGNORED
    batch["resampling_keys"] = torch.arange(4)
    divisors = {"emotion": 3, "speaker": 3, "ctc": 2, "reconstruction": 4}
    whole, parts = tiny_classifier().train(), tiny_classifier().train()
    whole(**batch).loss.backward()
    for i in range(4):
        tasks = parts(**row_of(batch, i)).task_losses
        sum(
            parts.loss_weights[name] * task.mean(divisors[name]) for name, task in tasks.items()
        ).backward()
    for (name, a), b in zip(whole.named_parameters(), parts.parameters(), strict=True):
        scale = a.grad.abs().max().clamp(min=1e-3)
        assert ((a.grad - b.grad).abs().max() / scale) < 1e-3, name


def test_the_padded_error_counts_the_frames_of_the_reference():
    output = tiny_classifier().eval()(**random_batch([256 * 47, 256 * 300]))
    expected = output.speech_mse * torch.tensor([48 / 192, 1.0])
    assert_close(output.speech_mse_padded, expected)


def test_without_labels_no_head_but_the_emotion_runs():
    model = tiny_classifier().eval()
    ran = []
    for name, module in model.named_modules():
        if name in ("ctc_head", "speaker_head", "decomposition.decoder"):
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
    batch = random_batch([20000], labelled=False)
    output = model(**batch)
    assert ran == [] and output.loss is None and output.losses is None
    model(**batch, output_reconstruction=True)
    assert ran == ["decomposition.decoder"]


@pytest.mark.parametrize("name", ASKED)
def test_asking_for_an_output_without_its_head_is_an_error(name):
    model = tiny_classifier("table3_m1")
    with pytest.raises(ValueError, match=f"output_{name}=True"):
        model(**random_batch([16000]), **{f"output_{name}": True})


@pytest.mark.parametrize("name", ["input_values", "mel", "log_f0", "voiced"])
def test_a_missing_input_is_an_error(name):
    batch = random_batch([16000])
    del batch[name]
    with pytest.raises(ValueError, match=rf"needs \['{name}'\]"):
        tiny_classifier()(**batch)


# Gradients.


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_every_parameter_of_every_variant(variant):
    model = tiny_classifier(variant, speech={"mask_time_prob": 0.3}).train()
    model(**random_batch([20000, 30000])).loss.backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("variant", PRETRAINABLE)
def test_gradients_reach_every_parameter_in_pretraining(variant):
    model = tiny_autoencoder(variant).train()
    model(**for_pretraining(random_batch([20000, 30000]))).loss.backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_absent_labels_are_where_the_batch_is():
    model = tiny_classifier().train()
    labels = model.labels_of(None, 2, 1, device=torch.device("meta"))
    assert labels.shape == (2, 1) and labels.is_meta and not labels.is_floating_point()
    assert model.eval().labels_of(None, 2, device=torch.device("meta")) is None


def test_no_head_stands_idle_in_a_training_batch_without_its_labels():
    # distributed training waits for the gradient of every parameter
    batch = random_batch([20000])
    del batch["ctc_labels"], batch["speaker_labels"]
    model = tiny_classifier().train()
    output = model(**batch)
    output.loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    assert output.losses["ctc"] == 0 and not model.ctc_head.weight.grad.any()
    autoencoder = tiny_autoencoder().train()
    del batch["labels"]
    autoencoder(**for_pretraining(batch)).loss.backward()
    assert all(p.grad is not None for p in autoencoder.parameters())


@pytest.mark.parametrize(
    ("frozen", "still"),
    [
        ("none", ""),
        ("convolutions", "speech_encoder.feature_extractor."),
        ("all", "speech_encoder."),
    ],
)
def test_a_frozen_part_gets_no_gradient_and_the_rest_does(frozen, still):
    model = tiny_classifier(frozen_speech_encoder=frozen, speech={"mask_time_prob": 0.3}).train()
    model.freeze_speech_encoder()
    model(**random_batch([20000, 30000])).loss.backward()
    for name, parameter in model.named_parameters():
        if still and name.startswith(still):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None and parameter.grad.any(), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_parts_that_a_variant_does_not_use_do_not_exist(variant):
    fields, model = VARIANTS[variant], tiny_classifier(variant)
    present = {name.split(".")[0] for name, _ in model.named_parameters()}
    expected = {"emotion_head"}
    expected |= {"decomposition"} if fields["components"] else set()
    expected |= {"speech_encoder"} if fields.get("use_speech_encoder", True) else set()
    expected |= {"ctc_head"} if fields["ctc_weight"] else set()
    expected |= {"speaker_head"} if fields["speaker_weight"] else set()
    assert present == expected
    if fields["components"]:
        assert list(model.decomposition.encoders) == fields["components"]
        assert (model.decomposition.decoder is not None) == (fields["reconstruction_weight"] > 0)


# Degenerate turns.


@pytest.mark.parametrize("num_samples", [1, 255, 256, 399, 400, 5000])
@pytest.mark.parametrize("pooling", ["mean", "statistics"])
def test_the_shortest_turns_give_finite_losses_and_gradients(num_samples, pooling):
    model = tiny_classifier(pooling=pooling, speech={"mask_time_prob": 0.05}).train()
    output = model(**random_batch([num_samples]))
    output.loss.backward()
    assert output.loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    # four characters do not fit into one or two encoder frames
    assert output.ctc_impossible.item() == (num_samples < 1360)


def test_silence_without_a_voiced_frame_or_a_transcript_is_finite():
    batch = random_batch([20000, 8000])
    for name in ("input_values", "mel", "log_f0", "voiced"):
        batch[name] = torch.zeros_like(batch[name])
    batch["ctc_labels"] = torch.full((2, 1), IGNORED)
    model = tiny_classifier().train()
    output = model(**batch)
    output.loss.backward()
    assert output.loss.isfinite() and output.losses["ctc"] == 0
    assert all(p.grad.isfinite().all() for p in model.parameters())


# Training works.


def test_a_tiny_model_learns_eight_turns_on_all_four_tasks():
    start = time.process_time()
    batch = random_batch([6000 + 400 * i for i in range(8)], seed=3)
    spectra = torch.rand(4, 1, 80)[batch["labels"]] + torch.rand(3, 1, 80)[batch["speaker_labels"]]
    batch["mel"] = 0.1 * batch["mel"] + 0.45 * spectra
    small = {"conv_stride": 2, "content_lstm_layers": 1, "timbre_lstm_layers": 1}
    model = tiny_classifier(resampling_in_finetuning=False, decoder_layers=1, **small).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(90):
        output = model(**batch)
        optimizer.zero_grad()
        # the tasks in equal shares: only that each can be learned is asked
        sum(output.losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    with torch.no_grad():
        output = model(**batch)
    assert torch.equal(output.logits.argmax(-1), batch["labels"])
    assert torch.equal(output.speaker_logits.argmax(-1), batch["speaker_labels"])
    assert output.losses["reconstruction"] < 0.02  # the variance of the target is 0.08
    assert output.losses["ctc"] < 0.5  # about 10 at the start
    assert time.process_time() - start < 20


def test_autocast_to_bfloat16_trains_and_agrees_with_full_precision():
    model = tiny_classifier().train()
    batch = {**random_batch([20000, 9000]), "resampling_keys": torch.arange(2)}
    full = model(**batch)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(**batch)
    half.loss.backward()
    for name, expected in full.losses.items():
        assert_close(half.losses[name], expected, atol=0.05, rtol=0.05)
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_predict(dtype):
    model = tiny_classifier().eval()
    batch = {k: v for k, v in random_batch([20000, 9000]).items() if k in INPUTS}
    with torch.no_grad():
        expected = model(**batch).logits
        halves = {k: v.to(dtype) if v.is_floating_point() else v for k, v in batch.items()}
        # some processors compute the positional convolution wrongly, see `convolves_right`
        with torch.backends.mkldnn.flags(enabled=convolves_right(model)):
            found = model.to(dtype)(**halves)
    assert found.logits.dtype == dtype
    assert_close(found.logits.float(), expected, atol=0.1 * expected.std().item(), rtol=0.05)


def test_gradient_checkpointing_changes_no_gradient():
    batch = {**random_batch([20000, 9000]), "resampling_keys": torch.arange(2)}
    plain, checkpointed = tiny_classifier().train(), tiny_classifier().train()
    checkpointed.gradient_checkpointing_enable()
    assert checkpointed.speech_encoder.encoder.layers[0].gradient_checkpointing
    for model in (plain, checkpointed):
        model(**batch).loss.backward()
    for a, b in zip(plain.parameters(), checkpointed.parameters(), strict=True):
        assert_close(a.grad, b.grad)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_layers_of_every_encoder_are_units_of_sharding(family):
    model = tiny_classifier("table3_m1", speech=FAMILIES[family])
    layers = {type(layer).__name__ for layer in model.speech_encoder.encoder.layers}
    assert layers and layers <= set(model._no_split_modules)
    assert model.get_input_embeddings() is None  # FSDP asks


def test_attention_implementations_agree():
    batch = random_batch([20000, 9000])
    sdpa = tiny_classifier().eval()
    eager = copy.deepcopy(sdpa)
    eager.set_attn_implementation("eager")
    assert sdpa.speech_encoder.config._attn_implementation == "sdpa"
    assert eager.speech_encoder.config._attn_implementation == "eager"
    assert_close(sdpa(**batch).logits, eager(**batch).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_torch_compile_agrees_with_eager():
    model = tiny_classifier().eval()
    batch = random_batch([20000, 9000], labelled=False)
    with torch.no_grad():
        expected = model(**batch).logits
        assert_close(torch.compile(model)(**batch).logits, expected, atol=1e-5, rtol=1e-5)


# Pre-training on the reference's padding.


def test_padding_as_in_the_reference_counts_192_frames_as_signal():
    model = tiny_autoencoder(pretraining_padding="padded192").train()
    seen = {}
    for name, encoder in model.decomposition.encoders.items():
        encoder.lstm.register_forward_hook(
            lambda _, args, out, name=name: seen.update({name: (args[1], out.shape[1])})
        )
    batch = for_pretraining(random_batch([100 * 256 - 1, 70 * 256 - 1]))
    output = model(**batch)
    for lengths, frames in seen.values():
        assert lengths.tolist() == [192, 192] and frames == 192
    assert output.reconstruction.shape == (2, 192, 80)
    target = torch.zeros(2, 192, 80)
    target[:, :100] = batch["mel"]
    squared = (output.reconstruction - target).square().mean(-1)
    assert_close(output.losses["reconstruction"], squared.mean())
    assert_close(output.speech_mse_padded, squared.mean(1))
    assert_close(output.speech_mse[1], squared[1, :70].mean())


def test_pretraining_encodes_what_a_crop_may_be_stretched_into_and_decodes_the_crop():
    model = tiny_autoencoder().train()
    seen = {}
    parts = {
        "content": model.decomposition.encoders["content"],
        "decoder": model.decomposition.decoder,
    }
    for name, part in parts.items():
        part.lstm.register_forward_pre_hook(
            lambda _, args, name=name: seen.update({name: args[0].shape[1]})
        )
    model(**for_pretraining(random_batch([100 * 256 - 1, 70 * 256 - 1])))
    assert seen == {"content": 192, "decoder": 100}


def test_short_crops_may_be_stretched_as_far_as_the_reference_lets_them():
    model = tiny_autoencoder()
    lengths = torch.full((300,), 64)
    plans = model.draw_plans(lengths, 64, torch.arange(300), padded=False)
    assert plans.input.lengths.max() <= 96  # 1.5 times
    # each of the three inner stages may stretch once more, up to 192 frames
    assert 96 < plans.inner[-1].lengths.max() <= 192


@pytest.mark.parametrize("seed", range(5))
def test_counted_frames_hold_all_that_is_resampled_and_change_nothing(seed):
    model = tiny_autoencoder().train()
    lengths = torch.tensor([64, 80, 100])
    keys = torch.arange(3) + 100 * seed
    frames = model.count_resampled_frames(lengths, keys)
    plans = model.draw_plans(lengths, 100, keys, padded=False)
    needed = max(int(p.lengths.max()) * model.config.conv_stride for p in plans.inner)
    assert needed <= frames < 192 and frames % model.config.downsampling == 0
    batch = for_pretraining(random_batch([n * 256 - 1 for n in lengths.tolist()]))
    widths = []
    model.decomposition.encoders["content"].lstm.register_forward_pre_hook(
        lambda _, args: widths.append(args[0].shape[1])
    )
    expected = model(**batch, resampling_keys=keys)
    output = model(**batch, resampling_keys=keys, resampled_frames=frames)
    assert widths == [192 // model.config.conv_stride, frames // model.config.conv_stride]
    assert_close(output.reconstruction[2], expected.reconstruction[2], atol=1e-5, rtol=1e-5)
    for name, loss in expected.losses.items():
        assert_close(output.losses[name], loss, atol=1e-6, rtol=1e-5)


# Saving and loading.


def test_a_saved_model_answers_bit_for_bit(tmp_path):
    model = tiny_classifier().eval()
    model.config.emotion_head_trained = True
    model.save_pretrained(tmp_path)
    batch = random_batch([20000, 9000])
    for loader in (DecompSerForAudioClassification, AutoModelForAudioClassification):
        loaded = loader.from_pretrained(tmp_path)
        assert loaded.config.emotion_head_trained and not loaded.training
        assert torch.equal(loaded(**batch).logits, model(**batch).logits)
        for field in DecompSerConfig.__annotations__.keys() - {"speech_config"}:
            assert getattr(loaded.config, field) == getattr(model.config, field), field
    autoencoder = tiny_autoencoder().eval()
    autoencoder.save_pretrained(tmp_path / "b")
    again = DecompSerForPreTraining.from_pretrained(tmp_path / "b")
    inputs = for_pretraining(batch)
    assert torch.equal(again(**inputs).reconstruction, autoencoder(**inputs).reconstruction)


def drop(folder, name):
    path = folder / "model.safetensors"
    weights = {k: v for k, v in load_file(path).items() if not k.startswith(name)}
    save_file(weights, path, metadata={"format": "pt"})
    unsealed(folder)


@pytest.mark.parametrize(
    "loader", [DecompSerForAudioClassification, AutoModelForAudioClassification]
)
def test_a_checkpoint_without_its_head_loads_for_training_only(tmp_path, loader):
    model = tiny_classifier()
    model.config.emotion_head_trained = True
    model.save_pretrained(tmp_path)
    drop(tmp_path, "emotion_head")
    with pytest.raises(ValueError, match=r"no weights for \['emotion_head.bias', 'emotion_head.w"):
        loader.from_pretrained(tmp_path)
    loaded = loader.from_pretrained(tmp_path, for_training=True)
    assert not loaded.config.emotion_head_trained
    assert loaded.emotion_head.weight.isfinite().all()


@pytest.mark.parametrize("words", ["wxyz", "xy"])
def test_a_head_for_other_words_counts_as_untrained(tmp_path, words):
    model = tiny_classifier(emotion_head_trained=True, temperature=2.0, abstain_below=0.5)
    model.save_pretrained(tmp_path)
    id2label = dict(enumerate(words))
    loaded = DecompSerForAudioClassification.from_pretrained(
        tmp_path, for_training=True, id2label=id2label
    )
    config = loaded.config
    assert (config.id2label, config.num_labels) == (id2label, len(words))
    assert config.label2id == {word: i for i, word in enumerate(words)}
    assert (config.emotion_head_trained, config.temperature, config.abstain_below) == (False, 1, 0)
    # with the words of the checkpoint it is the trained one
    kept = DecompSerForAudioClassification.from_pretrained(tmp_path, for_training=True).config
    assert (kept.emotion_head_trained, kept.temperature, kept.abstain_below) == (True, 2.0, 0.5)


def test_a_head_for_other_labels_loads_for_training_only(tmp_path):
    tiny_classifier().save_pretrained(tmp_path)
    labels = {"id2label": {0: "a", 1: "b"}, "label2id": {"a": 0, "b": 1}}
    with pytest.raises(ValueError, match="emotion_head.weight"):
        DecompSerForAudioClassification.from_pretrained(tmp_path, **labels)
    loaded, report = DecompSerForAudioClassification.from_pretrained(
        tmp_path, **labels, for_training=True, output_loading_info=True
    )
    assert loaded.emotion_head.out_features == 2
    assert {key for key, *_ in report["mismatched_keys"]} == {
        "emotion_head.weight",
        "emotion_head.bias",
    }


LOAD_FOR_TRAINING = """
import sys
from transformers import AutoModelForAudioClassification
from transformers.utils import logging
from modeling_decomp_ser import DecompSerForAudioClassification
logging.disable_progress_bar()
classifier, encoder = sys.argv[1:]
labels = {"id2label": {0: "a", 1: "b"}, "label2id": {"a": 0, "b": 1}}
model = AutoModelForAudioClassification.from_pretrained(classifier, for_training=True, **labels)
DecompSerForAudioClassification.from_speech_encoder(encoder, model.config)
logging.get_logger("transformers.modeling_utils").warning("still heard")
"""


def test_new_labels_and_the_heads_of_an_encoder_are_loaded_without_a_word(tmp_path):
    tiny_classifier().save_pretrained(tmp_path / "classifier")
    config = Wav2Vec2Config(**TINY_SPEECH_ENCODER)
    config.codevector_dim = config.proj_codevector_dim = 8
    Wav2Vec2ForPreTraining(config).save_pretrained(tmp_path / "encoder")
    folders = [str(tmp_path / "classifier"), str(tmp_path / "encoder")]
    done = subprocess.run(
        [sys.executable, "-c", LOAD_FOR_TRAINING, *folders],
        cwd=Path(modeling_decomp_ser.__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "[transformers] still heard\n"), done.stderr


def test_weights_of_a_part_that_are_not_used_are_told(tmp_path, caplog, monkeypatch):
    model = tiny_classifier()
    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    save_file({**load_file(path), "decomposition.more": torch.zeros(1)}, path, {"format": "pt"})
    unsealed(tmp_path)
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    DecompSerForAudioClassification.from_pretrained(tmp_path)
    assert "1 weights are not used, such as decomposition.more" in caplog.text


def test_a_speech_encoder_with_weights_left_over_is_an_error(tmp_path):
    model = tiny_classifier()
    model.save_pretrained(tmp_path)
    config = copy.deepcopy(model.config)
    config.speech_config.num_hidden_layers = 1
    with pytest.raises(ValueError, match="does not have, such as speech_encoder.encoder.layers.1"):
        DecompSerForAudioClassification.from_pretrained(tmp_path, config=config)


@pytest.mark.parametrize("kind", [DecompSerForAudioClassification, DecompSerForPreTraining])
def test_loading_with_every_key_missing_leaves_no_uninitialised_memory(tmp_path, kind):
    torch.manual_seed(0)
    config = tiny_config(
        content_conv_channels=64, decoder_hidden_size=32, speech={"mask_time_prob": 0.1}
    )
    config.save_pretrained(tmp_path)
    save_file(
        {"nothing": torch.zeros(1)}, tmp_path / "model.safetensors", metadata={"format": "pt"}
    )
    model = kind.from_pretrained(tmp_path, for_training=True).requires_grad_(False)
    fresh = kind(config)
    for (name, value), expected in zip(
        model.state_dict().items(), fresh.state_dict().values(), strict=True
    ):
        assert value.isfinite().all(), name
        if expected.numel() > 200 and expected.std() > 0:
            assert value.std() / expected.std() == pytest.approx(1, abs=0.25), name
        if expected.numel() > 1 and expected.std() == 0 and "speech_encoder" not in name:
            assert torch.equal(value, expected), name
    encoder = model.decomposition.encoders["content"]
    # xavier-uniform with the gain of ReLU; torch's own LSTM
    assert encoder.blocks[1].conv.weight.std() == pytest.approx(
        (2 * 2 / (10 * 64)) ** 0.5, rel=0.05
    )
    bound = 1 / 32**0.5
    recurrent = model.decomposition.decoder.lstm.forward_layers[0].weight_hh_l0
    assert 0.9 * bound < recurrent.abs().max() <= bound
    if kind is DecompSerForAudioClassification:
        assert model.emotion_head.weight.std() == pytest.approx(0.02, rel=0.25)
        position = model.speech_encoder.encoder.pos_conv_embed.conv.weight
        assert position.std() == pytest.approx(2 / (16 * 16) ** 0.5, rel=0.1)
    projection = model.decomposition.decoder.linear.weight
    assert projection.std() == pytest.approx((2 / (64 + 80)) ** 0.5, rel=0.05)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_initialised_where_its_weights_are_missing(tmp_path, name):
    config = tiny_config(speech={**FAMILIES[name], "mask_time_prob": 0.1})
    config.save_pretrained(tmp_path)
    save_file(
        {"nothing": torch.zeros(1)}, tmp_path / "model.safetensors", metadata={"format": "pt"}
    )
    # memory that was in use before, so that what is left uninitialised shows
    junk = [torch.full((size,), 1e30) for size in (16, 64, 256, 1024, 4096) for _ in range(50)]
    del junk
    model = DecompSerForAudioClassification.from_pretrained(tmp_path, for_training=True)
    for key, value in model.state_dict().items():
        assert value.isfinite().all() and value.abs().max() < 10, key


def test_building_from_a_pretrained_speech_encoder_takes_its_weights_and_configuration(tmp_path):
    torch.manual_seed(1)
    stock = Wav2Vec2Model(Wav2Vec2Config(**{**TINY_SPEECH_ENCODER, "hidden_size": 24}))
    stock.save_pretrained(tmp_path)
    config = tiny_config()
    model = DecompSerForAudioClassification.from_speech_encoder(str(tmp_path), config)
    assert model.speech_encoder.config is model.config.speech_config
    assert model.emotion_head.in_features == 24 + sum(
        model.config.code_size(c) for c in model.config.components
    )
    for name, value in stock.state_dict().items():
        assert torch.equal(model.speech_encoder.state_dict()[name], value), name
    assert config.speech_config.hidden_size == 16  # the caller's stays as it was
    assert str(tmp_path) not in model.config.to_json_string()  # it may be published


def test_the_pretrained_decomposition_and_speaker_head_are_taken():
    autoencoder, model = tiny_autoencoder(seed=5), tiny_classifier()
    assert model.load_decomposition(autoencoder) == ["decomposition", "speaker_head"]
    batch = random_batch([20000])
    inputs = for_pretraining(batch)
    expected = autoencoder.eval()(**inputs)
    found = model.eval()(**batch)
    assert torch.equal(found.reconstruction, expected.reconstruction)
    assert torch.equal(found.speaker_logits, expected.speaker_logits)
    others = tiny_classifier(speakers=["a", "b", "x"])
    assert others.load_decomposition(autoencoder) == ["decomposition"]
    no_decoder = tiny_classifier(reconstruction_weight=0.0)
    assert no_decoder.load_decomposition(autoencoder) == ["decomposition", "speaker_head"]
    assert no_decoder.decomposition.decoder is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"components": ["rhythm", "timbre"]}, "has components="),
        ({"conv_stride": 2}, "has conv_stride=2, expected 1"),
        ({"content_conv_channels": 32}, "other sizes: .*encoders.content.blocks"),
    ],
)
def test_a_pretrained_decomposition_that_does_not_fit_is_an_error(fields, message):
    with pytest.raises(ValueError, match=message):
        tiny_classifier().load_decomposition(tiny_autoencoder(**fields))


def test_there_is_nothing_to_pretrain_without_components():
    with pytest.raises(ValueError, match="nothing|no decomposition"):
        DecompSerForPreTraining(tiny_config("table3_m1"))
