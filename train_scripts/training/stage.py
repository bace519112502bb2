"""What pre-training and fine-tuning share: the run, the Trainer's arguments, its log, and resuming
after an interruption.
"""

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import typer
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule
from transformers import ProgressCallback, Trainer, TrainerCallback, TrainingArguments

from processing import DecompSerProcessor
from processing.corpora.mixture import Mixture
from processing.errors import InputError
from processing.text import ENGLISH_VOCABULARY, make_vocabulary
from train_scripts.runs.fold_data import FoldData, load_fold_data
from train_scripts.runs.precision import can_use_bfloat16
from train_scripts.runs.record import RunRecord, write_record
from train_scripts.runs.results import describe_fold, summarize
from train_scripts.runs.run_folder import CHECKPOINTS, LOG, open_run_folder, save_model
from train_scripts.runs.settings import RunSettings, build_feature_extractor, load_settings
from train_scripts.training.checkpoints import last_whole_checkpoint
from train_scripts.training.further_speech import add_speech
from train_scripts.training.loss_plot import plot_losses

logger = logging.getLogger(__name__)


def training_arguments(
    folder: Path, settings: RunSettings, chosen: Mapping[str, Any], model: nn.Module, **managed
) -> TrainingArguments:
    """Arguments of the Trainer of a stage.

    Args:
        folder: of the run.
        settings: of the run.
        chosen: fields of TrainingArguments that the settings of the stage give.
        model: what is trained.
        **managed: fields that the stage sets itself.

    Raises:
        InputError: if transformers refuses a value.
    """
    defaults = {
        # about a hundred log lines a run
        "logging_steps": 0.01,
        "save_total_limit": 2,
        # Every process scores the whole evaluation set by itself, see DecompSerTrainer.evaluate.
        "per_device_eval_batch_size": 8,
        "optim": "adamw_torch",
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
    fields = {**defaults, **chosen, **managed}
    if fields.get("bf16"):
        fields["bf16"] = can_use_bfloat16(model, "bf16=true")
    try:
        return TrainingArguments(
            output_dir=str(folder / CHECKPOINTS),
            seed=settings.seed,
            remove_unused_columns=False,
            length_column_name="duration",
            report_to=[] if settings.tracking == "none" else [settings.tracking],
            **fields,
        )
    except ValueError as error:
        raise InputError(f"settings of training: {' '.join(str(error).split())}") from error


def used_precision(arguments: TrainingArguments) -> str:
    """What training computes in, which may be other than the settings ask for."""
    return "bfloat16" if arguments.bf16 else "float32"


@dataclass
class StageRun:
    """One stage of training in one fold.

    Attributes:
        settings: of the run.
        overrides: what the command line changed.
        folder: of the run.
        data: the fold; its test turns are sealed until the model is final.
        processor: that the training turns ask for.
    """

    settings: RunSettings
    overrides: Sequence[str]
    folder: Path
    data: FoldData
    processor: DecompSerProcessor

    def describe(self, model, trainer: Trainer, seconds: float) -> dict[str, Any]:
        """The entries of the record that both stages have alike."""
        return {
            **describe_fold(self.data),
            "preset": self.settings.preset,
            "size": self.settings.size,
            "seed": self.settings.seed,
            "precision": used_precision(trainer.args),
            "n_parameters": sum(p.numel() for p in model.parameters()),
            "settings": {**self.settings.as_dict(), "overrides": list(self.overrides)},
            "seconds": seconds,
        }

    def save(
        self,
        model,
        record: RunRecord,
        *,
        title: str,
        base: str | None = None,
        encoder: str | None = None,
    ) -> RunRecord:
        """Save the model, the figure of its losses and, last of all, the record.

        Args:
            model: that was scored; refused if it changed since.
            record: of the run.
            title: of the figure.
            base: what training started from, see `save_model`.
            encoder: speech encoder that it started from, likewise.

        Returns:
            The record with versions and commit.
        """
        self.data.folds.check_final(model, self.processor)
        save_model(
            self.folder,
            model,
            self.processor,
            self.data.folds["train"],
            protocol=self.data.protocol,
            fold=self.data.fold,
            base=base,
            encoder=encoder,
            corpora=self.data.mixture.corpora if self.data.mixture else (),
        )
        plot_losses(read_log(self.folder), self.folder / "losses.png", title=title)
        return write_record(self.folder, record)


def open_run(
    preset: str,
    *,
    data: str | Mixture,
    protocol: str,
    fold: str,
    output: str | Path,
    overrides: Sequence[str] | None,
    skip_bad: bool,
    further: Sequence[str] = (),
) -> StageRun:
    """Open the folder of a run and load its fold; see `finetune` and `pretrain` for the
    arguments.
    """
    settings = load_settings(preset, overrides or [])
    of_fold: dict[str, Any] = {"data": data, "protocol": protocol, "fold": fold}
    folder = open_run_folder(output, settings, **of_fold, further=further)
    extractor = build_feature_extractor(settings)
    fold_data = load_fold_data(
        data,
        protocol,
        fold,
        extractor,
        train_on_validation=settings.train_on_validation,
        skip_bad=skip_bad,
    )
    if further:
        fold_data = add_speech(fold_data, further, extractor, skip_bad=skip_bad)
    vocabulary = ENGLISH_VOCABULARY
    if settings.vocabulary == "training":
        vocabulary = make_vocabulary(fold_data.folds["train"]["text"])
    processor = DecompSerProcessor.from_vocabulary(extractor, vocabulary, folder)
    return StageRun(settings, overrides or [], folder, fold_data, processor)


class JsonLog(TrainerCallback):
    """Write each line of the Trainer's log to a file, as it comes."""

    def __init__(self, path: Path):
        self.path = path
        # what was being written when its process was killed gets no other line appended
        if path.is_file() and not path.read_bytes().endswith(b"\n"):
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Append one line of JSON."""
        if state.is_world_process_zero and logs:
            line = {"step": state.global_step, **logs}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


class LossProgress(ProgressCallback):
    """Progress bar that shows the latest losses beside it; standard output is for results."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Show the terms of the loss."""
        if self.training_bar is not None and logs:
            losses = {k.removeprefix("loss_"): v for k, v in logs.items() if k.startswith("loss")}
            self.training_bar.set_postfix({k: f"{v:.3g}" for k, v in losses.items()}, refresh=False)


def train(trainer, folder: Path) -> float:
    """Train, from the last whole checkpoint if there is one. Afterwards the model answers in the
    precision of its weights again, as it will when it is loaded.

    Args:
        trainer: of the stage.
        folder: of the run.

    Returns:
        Seconds that it took this time.
    """
    with trainer.args.main_process_first(desc="checkpoints"):
        last = last_whole_checkpoint(folder / CHECKPOINTS)
    trainer.add_callback(JsonLog(folder / LOG))
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(LossProgress)
    begin = time.monotonic()
    trainer.train(resume_from_checkpoint=last)
    seconds = time.monotonic() - begin
    # accelerate has put its autocast around the very model, not a wrapper of it
    trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    return seconds


def check_sharding(trainer: Any, lora_rank: int = 0) -> None:
    """Raise InputError where FSDP was asked for, and accelerate would train without it, or by its
    first version, which transformers is about to drop; or where the model has adapters, which
    `gather` does not know.
    """
    if trainer.is_fsdp_enabled and not trainer.accelerator.is_fsdp2:
        raise InputError("FSDP version 1 is not supported. Give accelerate --fsdp_version 2.")
    if trainer.is_fsdp_enabled and lora_rank:
        raise InputError(
            f"finetuning.lora_rank={lora_rank}: adapters are not trained with FSDP. Set it to 0, "
            "or leave --use_fsdp out: adapters need little memory."
        )
    asked = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    if asked and not trainer.is_fsdp_enabled:
        raise InputError(
            "FSDP was asked for (ACCELERATE_USE_FSDP), but accelerate shards a model over GPUs "
            "alone, several of them. Leave it out: without it each process holds the whole model."
        )


def gather(trainer, model) -> Any:
    """The trained model in one piece, on every process, as it is scored and saved; where FSDP has
    sharded it, a new one.

    Args:
        trainer: that has trained.
        model: that it was given.
    """
    if not trainer.is_fsdp_enabled:
        return model
    options = StateDictOptions(full_state_dict=True)
    weights = get_model_state_dict(trainer.model, options=options)
    # sharding has given the model a class of torch's, whose code would be saved with it
    kind = next(c for c in type(model).__mro__ if not issubclass(c, FSDPModule))
    whole: Any = kind(model.config)
    whole.load_state_dict(weights)
    return whole.to(trainer.args.device)


def read_log(folder: Path) -> list[dict]:
    """Lines of a run's log, one a step: after an interruption the later of two with the same
    step, and none that was cut off.
    """
    path = folder / LOG
    if not path.is_file():
        return []
    merged: dict[tuple, dict] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        merged[(line["step"], *sorted(line))] = line
    return sorted(merged.values(), key=lambda line: line["step"])


def model_fields(data: FoldData, processor: DecompSerProcessor) -> dict:
    """Fields of the configuration that depend on the data."""
    vocabulary = processor.tokenizer.get_vocab()
    return {
        "speakers": data.speakers,
        "id2label": dict(enumerate(data.labels)),
        "label2id": {name: i for i, name in enumerate(data.labels)},
        "vocab_size": len(vocabulary),
        "pad_token_id": processor.tokenizer.pad_token_id,
    }


def report(record: RunRecord, output: Path) -> None:
    """Print the summary of a run, once where there are several processes (torchrun sets RANK)."""
    if os.environ.get("RANK", "0") == "0":
        typer.echo(f"{summarize(record)}\nSaved to {output}")
