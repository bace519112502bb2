"""Networks of a few thousand parameters, and batches of random signals, for the tests."""

import json
from pathlib import Path

import torch

from modeling_decomp_ser import (
    DecompSerConfig,
    DecompSerForAudioClassification,
    DecompSerForPreTraining,
)

HOP = 256

# Every random part off, so that train mode is a function of the keys alone.
TINY_SPEECH_ENCODER = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    "layerdrop": 0.0,
    "mask_time_prob": 0.0,
}

# stock encoders of each family; "stable" is the layout of the large models
FAMILIES = {
    "wav2vec2": {"model_type": "wav2vec2"},
    "wav2vec2-large": {
        "model_type": "wav2vec2",
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
        "conv_bias": True,
    },
    "wav2vec2-bias": {"model_type": "wav2vec2", "conv_bias": True},
    "hubert": {"model_type": "hubert"},
    "hubert-batch-norm": {"model_type": "hubert", "conv_pos_batch_norm": True},
    "wavlm": {"model_type": "wavlm"},
    "data2vec-audio": {
        "model_type": "data2vec-audio",
        "num_conv_pos_embeddings": 3,
        "conv_pos_kernel_size": 5,
    },
}

TINY_SIZES = {
    "conv_channels_per_group": 4,
    "rhythm_conv_channels": 8,
    "content_conv_channels": 16,
    "content_hidden_size": 4,
    "pitch_conv_channels": 12,
    "pitch_hidden_size": 6,
    "timbre_conv_channels": 16,
    "timbre_hidden_size": 4,
    "single_conv_channels": 16,
    "single_hidden_size": 9,
    "decoder_layers": 2,
    "decoder_hidden_size": 16,
    "speakers": ["a", "b", "c"],
}


def weights(emotion=0.0, reconstruction=0.0, speaker=0.0, ctc=0.0) -> dict:
    return {
        "emotion_weight": emotion,
        "reconstruction_weight": reconstruction,
        "speaker_weight": speaker,
        "ctc_weight": ctc,
    }


# The rows of Tables 2 and 3 (SPEC 5.6 and 5.7), stated without the presets.
THIRDS = weights(emotion=0.45 / 0.95, reconstruction=0.45 / 0.95, speaker=0.05 / 0.95)
HALVES = weights(emotion=0.5, reconstruction=0.5)
FOUR = ("rhythm", "content", "pitch", "timbre")
VARIANTS = {
    "table2_pitch": {"components": ["pitch"], **HALVES},
    "table2_content": {"components": ["content"], **HALVES},
    "table2_rhythm": {"components": ["rhythm"], **HALVES},
    "table2_timbre": {"components": ["timbre"], **THIRDS},
    "table3_m1": {"components": [], **weights(emotion=1.0)},
    "table3_m2": {"components": [], **weights(emotion=0.9, ctc=0.1)},
    "table3_m3": {"components": list(FOUR), **THIRDS},
    "table3_m4": {
        "components": ["single"],
        **weights(emotion=0.4, reconstruction=0.4, ctc=0.2),
    },
    "table3_ours": {
        "components": list(FOUR),
        **weights(emotion=0.45, reconstruction=0.45, ctc=0.05, speaker=0.05),
    },
    "undivided": {
        "components": ["single"],
        "single_reads_pitch": True,
        **weights(emotion=0.45, reconstruction=0.45, ctc=0.05, speaker=0.05),
    },
    "encoders_alone": {"components": list(FOUR), "use_speech_encoder": False, **THIRDS},
}


def tiny_config(variant: str = "table3_ours", *, speech=None, **fields) -> DecompSerConfig:
    speech_config = {**TINY_SPEECH_ENCODER, **(speech or {})}
    return DecompSerConfig(
        **{**TINY_SIZES, "speech_config": speech_config, **VARIANTS[variant], **fields}
    )


@torch.no_grad()
def with_large_weights(model):
    """Spread heads and norms, so that an output is of order 1 and an error can be seen."""
    for name, parameter in model.named_parameters():
        if "_head." in name or "linear." in name:
            parameter.normal_(std=parameter.shape[-1] ** -0.5)
        elif "norm" in name:
            parameter.add_(0.3 * torch.randn_like(parameter))
    if getattr(model, "pooled_mean", None) is not None:
        model.pooled_mean.normal_()
    return model


def tiny_classifier(variant: str = "table3_ours", *, seed=0, speech=None, **fields):
    torch.manual_seed(seed)
    config = tiny_config(variant, speech=speech, **fields)
    return with_large_weights(DecompSerForAudioClassification(config))


def tiny_autoencoder(variant: str = "table3_ours", *, seed=0, **fields):
    torch.manual_seed(seed)
    return with_large_weights(DecompSerForPreTraining(tiny_config(variant, **fields)))


def random_batch(num_samples, *, seed=0, garbage=None, labelled=True) -> dict[str, torch.Tensor]:
    """Features and labels of turns of these lengths, padded with zeros or with `garbage`."""
    generator = torch.Generator().manual_seed(seed)
    frames = [n // HOP + 1 for n in num_samples]
    fill = 0.0 if garbage is None else garbage
    batch_size, samples, steps = len(num_samples), max(num_samples), max(frames)
    batch = {
        "input_values": torch.full((batch_size, samples), fill),
        "attention_mask": torch.zeros(batch_size, samples, dtype=torch.int64),
        "mel": torch.full((batch_size, steps, 80), fill),
        "log_f0": torch.full((batch_size, steps), fill),
        "voiced": torch.full((batch_size, steps), garbage is not None),
        "frame_mask": torch.zeros(batch_size, steps, dtype=torch.int64),
    }
    for i, (n, t) in enumerate(zip(num_samples, frames, strict=True)):
        batch["input_values"][i, :n] = torch.randn(n, generator=generator)
        batch["attention_mask"][i, :n] = 1
        batch["mel"][i, :t] = torch.rand(t, 80, generator=generator)
        batch["log_f0"][i, :t] = torch.rand(t, generator=generator)
        batch["voiced"][i, :t] = torch.rand(t, generator=generator) > 0.3
        batch["frame_mask"][i, :t] = 1
    if labelled:
        batch["labels"] = torch.arange(batch_size) % 4
        batch["speaker_labels"] = torch.arange(batch_size) % 3
        batch["ctc_labels"] = torch.randint(1, 32, (batch_size, 4), generator=generator)
    return batch


INPUTS = ("input_values", "attention_mask", "mel", "log_f0", "voiced", "frame_mask")
PRETRAINING_INPUTS = ("mel", "log_f0", "voiced", "frame_mask", "speaker_labels", "resampling_keys")


def row_of(batch: dict, i: int) -> dict:
    """Row i alone, cut to its own length."""
    masks = {
        "attention_mask": ("input_values", "attention_mask"),
        "frame_mask": ("mel", "log_f0", "voiced", "frame_mask"),
    }
    cut = {
        name: int(batch[mask][i].sum())
        for mask, names in masks.items()
        if mask in batch
        for name in names
    }
    return {k: v[i : i + 1, : cut[k]] if k in cut else v[i : i + 1] for k, v in batch.items()}


def for_pretraining(batch: dict) -> dict:
    return {k: v for k, v in batch.items() if k in PRETRAINING_INPUTS}


def unsealed(folder: Path) -> None:
    """Make the folder of a model one of an earlier version, without digests."""
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["settings_digest"], content["weights_digest"]
    path.write_text(json.dumps(content), encoding="utf-8")
