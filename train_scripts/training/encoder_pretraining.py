"""`decomp-ser pretrain-encoder`: wav2vec2 by its own objective, on unlabelled speech."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, concatenate_datasets
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForPreTraining,
    set_seed,
)

from modeling_decomp_ser.speech_encoder import encoder_lengths, init_position_weights
from processing.collation import row_key
from processing.corpora.unlabelled import load_speech
from processing.errors import InputError
from processing.folder_locks import writes_alone
from train_scripts.runs.encoder_record import ENCODER
from train_scripts.runs.record import git_commit, package_versions, write_json
from train_scripts.runs.results import name_corpora
from train_scripts.runs.rows_in_memory import LARGEST_BYTES, RowsInMemory
from train_scripts.runs.run_folder import TRAINING_ROWS, full_path, open_folder, require_packages
from train_scripts.runs.settings import (
    ENCODER_STAGE,
    FROM_SCRATCH,
    RunSettings,
    build_config,
    build_feature_extractor,
    load_settings,
)
from train_scripts.training.contrastive_trainer import EncoderPreTrainer, SpeechCrops, measure
from train_scripts.training.left_out_turns import leave_out_fold, leave_out_speakers
from train_scripts.training.loss_plot import plot_losses
from train_scripts.training.stage import read_log, train, training_arguments, used_precision

logger = logging.getLogger(__name__)

HELDOUT_OF = 20
"""One turn in so many, told by its id, is not trained on but measured at the end."""


@dataclass
class EncoderRun:
    """Pre-training of a speech encoder.

    Attributes:
        settings: of the run.
        folder: of the run.
        sampling_rate: of the waveforms, in Hz.
        chosen: data and what is left out of them, as stored with the run.
        rows: turns that are trained on.
        heldout: turns of the same corpora that are measured at the end.
    """

    settings: RunSettings
    folder: Path
    sampling_rate: int
    chosen: dict[str, Any]
    rows: Dataset
    heldout: Dataset


@writes_alone
def pretrain_encoder(
    preset: str,
    *,
    data: Sequence[str],
    output: str | Path,
    protocol: str | None = None,
    fold: str | None = None,
    left_out: Sequence[str] = (),
    overrides: list[str] | None = None,
    skip_bad: bool = False,
) -> dict[str, Any]:
    """Pre-train the speech encoder of a preset; an interrupted run is resumed.

    Args:
        preset: name or path.
        data: each of them see `load_speech`.
        output: folder of the run; the saved encoder is in it, for `speech_encoder=FOLDER`.
        protocol: see `load_folds`; test and validation speakers of `fold` are not trained on.
        fold: see `load_folds`.
        left_out: speakers that are not trained on either.
        overrides: "key=value" settings.
        skip_bad: leave out clips that cannot be used.

    Returns:
        The record of the run, as in encoder.json.
    """
    settings = load_settings(preset, overrides or [])
    config = encoder_config(settings)
    chosen = {
        "data": [full_path(name) for name in data],
        "protocol": protocol,
        "fold": fold,
        "left_out": sorted(left_out),
    }
    require_packages(settings)
    folder = open_folder(Path(output), chosen, stored_settings(settings), finished=ENCODER)
    corpora = {name: load_speech(name, skip_bad=skip_bad) for name in data}
    if protocol is not None and fold is not None:
        corpora = leave_out_fold(
            corpora, protocol, fold, train_on_validation=settings.train_on_validation
        )
    if left_out:
        corpora = leave_out_speakers(corpora, left_out)
    rate = build_feature_extractor(settings).sampling_rate
    rows, heldout = divide(long_enough(concatenate(corpora), config, rate))
    run = EncoderRun(settings, folder, rate, chosen, rows, heldout)
    set_seed(settings.seed)
    model = Wav2Vec2ForPreTraining(config)
    init_position_weights(model.wav2vec2)
    trainer = build_trainer(model, run)
    seconds = train(trainer, folder)
    record = describe(model, trainer, run, seconds)
    if trainer.is_world_process_zero():
        save(model, run, record)
    return record


def stored_settings(settings: RunSettings) -> dict[str, Any]:
    """Settings that decide the pre-training of a speech encoder."""
    names = ("preset", "size", "seed", "tracking", "train_on_validation")
    plain = {name: getattr(settings, name) for name in names}
    return {
        **plain,
        "speech_config": dict(settings.model.get("speech_config") or {}),
        ENCODER_STAGE: settings.encoder_pretraining.as_dict(),
    }


def encoder_config(settings: RunSettings) -> Wav2Vec2Config:
    """Configuration of the encoder as it is trained here.

    Raises:
        InputError: if the preset has no wav2vec2, begins from pretrained weights, or masks nothing.
    """
    own = build_config(settings)
    if not own.use_speech_encoder or not isinstance(own.speech_config, Wav2Vec2Config):
        kind = getattr(own.speech_config, "model_type", None) if own.use_speech_encoder else None
        raise InputError(
            f"preset '{settings.preset}': its speech encoder is {kind or 'none'}, expected "
            "wav2vec2. Choose a preset with one, such as table3_ours."
        )
    if settings.speech_encoder != FROM_SCRATCH:
        raise InputError(
            f"speech_encoder={settings.speech_encoder}: this verb trains from random weights. Give "
            "speech_encoder=scratch, or a size that has it, such as size=small."
        )
    fields = settings.encoder_pretraining.speech_config
    unknown = sorted(set(fields) - set(own.speech_config.to_dict()))
    if unknown:
        raise InputError(
            f"setting '{ENCODER_STAGE}.speech_config.{unknown[0]}' does not exist. Expected fields "
            "of Wav2Vec2Config, such as mask_time_prob or num_negatives."
        )
    try:
        config = Wav2Vec2Config(**{**own.speech_config.to_dict(), **fields})
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{ENCODER_STAGE}.speech_config: {' '.join(str(error).split())}"
        ) from error
    if not config.mask_time_prob > 0:
        raise InputError(
            f"{ENCODER_STAGE}.speech_config.mask_time_prob={config.mask_time_prob}: expected a "
            "share above 0, as what is not masked is not learned from."
        )
    return config


def concatenate(corpora: dict[str, Dataset]) -> Dataset:
    """One data set of all corpora, in the columns that a run reads."""
    if not corpora:
        raise InputError("every turn of the data is left out. Leave fewer speakers out.")
    columns = ["id", "audio", "speaker", "corpus", "duration"]
    return concatenate_datasets([corpus.select_columns(columns) for corpus in corpora.values()])


def long_enough(corpus: Dataset, config: Wav2Vec2Config, sampling_rate: int) -> Dataset:
    """Turns of two encoder frames and one masked span at least; the others are counted in a
    warning.
    """
    samples = torch.tensor(corpus["duration"]).mul(sampling_rate).long()
    wanted = max(2, config.mask_time_length)
    enough = (encoder_lengths(config, samples) >= wanted).tolist()
    if not all(enough):
        logger.warning(
            "left out %d of %d turns: shorter than the %d encoder frames of a masked span.",
            len(enough) - sum(enough),
            len(enough),
            wanted,
        )
    if not any(enough):
        raise InputError(
            f"all {len(enough)} turns are shorter than {wanted} encoder frames, one masked span. "
            f"Give longer speech, or lower {ENCODER_STAGE}.speech_config.mask_time_length."
        )
    return corpus.select([i for i, good in enumerate(enough) if good])


def divide(corpus: Dataset) -> tuple[Dataset, Dataset]:
    """Turns to train on, and one in HELDOUT_OF to measure, one at least, told by their ids alone.

    Raises:
        InputError: if there are fewer than two turns.
    """
    keys = [row_key(turn) for turn in corpus["id"]]
    held = {i for i, key in enumerate(keys) if key % HELDOUT_OF == 0}
    if not 0 < len(held) < len(keys):
        held = {keys.index(min(keys))}
    if len(keys) < 2:
        raise InputError("one turn is left of the data, expected two or more. Give more speech.")
    others = [i for i in range(len(keys)) if i not in held]
    return corpus.select(others), corpus.select(sorted(held))


def build_trainer(model: Wav2Vec2ForPreTraining, run: EncoderRun) -> EncoderPreTrainer:
    """Trainer of a run."""
    stage = run.settings.encoder_pretraining
    for name in ("crop_seconds", "gumbel_start", "gumbel_end"):
        if getattr(stage, name) <= 0:
            raise InputError(
                f"{ENCODER_STAGE}.{name}={getattr(stage, name)}: expected a number above 0."
            )
    return EncoderPreTrainer(
        model=model,
        args=training_arguments(run.folder, run.settings, stage.arguments, model),
        train_dataset=in_memory(run.rows, run.sampling_rate),
        data_collator=SpeechCrops(
            run.sampling_rate, round(stage.crop_seconds * run.sampling_rate), run.settings.seed
        ),
        gumbel=(stage.gumbel_start, stage.gumbel_end),
    )


def in_memory(rows: Dataset, sampling_rate: int) -> Dataset | RowsInMemory:
    """Decoded rows if they fit, else as they are."""
    fits = 4 * sampling_rate * sum(rows["duration"]) <= LARGEST_BYTES
    return RowsInMemory(rows, sampling_rate) if fits else rows


def describe(
    model: Wav2Vec2ForPreTraining, trainer: EncoderPreTrainer, run: EncoderRun, seconds: float
) -> dict[str, Any]:
    """The record of a run: what it heard, and what it has learned of it."""
    stage = run.settings.encoder_pretraining
    collator = SpeechCrops(run.sampling_rate, trainer.data_collator.crop_samples, run.settings.seed)
    size = trainer.args.train_batch_size
    names = ("loss_contrastive", "loss_diversity", "contrastive_accuracy", "codevector_perplexity")
    last = [line for line in read_log(run.folder) if "contrastive_accuracy" in line][-1:]
    config = model.config
    return {
        "preset": run.settings.preset,
        "size": run.settings.size,
        "seed": run.settings.seed,
        "trained_on": name_corpora(set(run.rows["corpus"])),
        "protocol": run.chosen["protocol"],
        "fold": run.chosen["fold"],
        "left_out_speakers": run.chosen["left_out"],
        "num_turns": len(run.rows),
        "num_heldout_turns": len(run.heldout),
        "num_speakers": len(set(run.rows["speaker"]) - {None}),
        "hours": round(sum(run.rows["duration"]) / 3600, 3),
        "steps": trainer.state.global_step,
        "epochs": trainer.state.epoch,
        "precision": used_precision(trainer.args),
        "n_parameters": sum(p.numel() for p in model.wav2vec2.parameters()),
        "training": {name: last[0][name] for name in names} if last else None,
        "heldout": measure(model, collator, run.heldout, batch_size=size),
        "guessing": 1 / (1 + config.num_negatives),
        "num_codes": config.num_codevector_groups * config.num_codevectors_per_group,
        "crop_seconds": stage.crop_seconds,
        "settings": stored_settings(run.settings),
        "seconds": seconds,
        "versions": package_versions(),
        "commit": git_commit(),
    }


def save(model: Wav2Vec2ForPreTraining, run: EncoderRun, record: dict[str, Any]) -> None:
    """Save the encoder, which turns and speakers it has heard, the figure of its losses and, last
    of all, the record.
    """
    restore_config(model, run.settings)
    model.save_pretrained(run.folder)
    Wav2Vec2FeatureExtractor(
        sampling_rate=run.sampling_rate, do_normalize=True, return_attention_mask=True
    ).save_pretrained(run.folder)
    heard = {
        "protocol": run.chosen["protocol"],
        "fold": run.chosen["fold"],
        "speakers": sorted(set(run.rows["speaker"]) - {None}),
        "ids": sorted(set(run.rows["id"])),
    }
    (run.folder / TRAINING_ROWS).write_text(json.dumps(heard, indent=1), encoding="utf-8")
    plot_losses(read_log(run.folder), run.folder / "losses.png", title="Speech encoder")
    write_json(run.folder / ENCODER, record)


def restore_config(model: Wav2Vec2ForPreTraining, settings: RunSettings) -> None:
    """Give the encoder the masks and the dropout that fine-tuning shall find in it. The vector that
    stood for masked frames goes where fine-tuning masks none.
    """
    own: Any = build_config(settings).speech_config
    for name in settings.encoder_pretraining.speech_config:
        if name.startswith("mask_") or "drop" in name:
            setattr(model.config, name, getattr(own, name))
    if not (own.mask_time_prob > 0 or own.mask_feature_prob > 0):
        del model.wav2vec2.masked_spec_embed


def summarize(record: dict[str, Any]) -> str:
    """Short summary of a record for standard output."""
    lines = [
        f"{'Heard':34} {record['num_turns']} turns, {record['hours']:.2f} h of "
        f"{record['trained_on']}"
    ]
    for title, values in (("training", record["training"]), ("held-out turns", record["heldout"])):
        if values is None:
            continue
        lines += [
            f"{f'contrastive loss, {title}':34} {values['loss_contrastive']:.4g}",
            f"{f'accuracy, {title}':34} {values['contrastive_accuracy']:.3f} (guessing "
            f"{record['guessing']:.3f})",
            f"{f'perplexity of codes, {title}':34} {values['codevector_perplexity']:.1f} of "
            f"{record['num_codes']}",
        ]
    return "\n".join(lines)
