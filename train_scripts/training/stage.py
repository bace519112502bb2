"""What pre-training and fine-tuning share: the Trainer's arguments, its log, and going on after an
interruption.
"""

import json
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import typer
from transformers import ProgressCallback, TrainerCallback, TrainingArguments

from processing import DecompSerFeatureExtractor, DecompSerProcessor
from processing.text import ENGLISH_VOCABULARY, make_vocabulary
from train_scripts.runs.fold_data import FoldData, load_fold_data
from train_scripts.runs.results import summarize
from train_scripts.runs.run_folder import CHECKPOINTS, LOG
from train_scripts.runs.settings import RunSettings, build_feature_extractor
from train_scripts.training.checkpoints import last_whole_checkpoint

logger = logging.getLogger(__name__)


def training_arguments(folder: Path, settings: RunSettings, **arguments) -> TrainingArguments:
    """Arguments of the Trainer that both stages share.

    Args:
        folder: of the run.
        settings: of the run.
        **arguments: those of one stage.
    """
    return TrainingArguments(
        output_dir=str(folder / CHECKPOINTS),
        seed=settings.seed,
        # Adam: with a weight decay of 0 AdamW is Adam.
        optim="adamw_torch",
        remove_unused_columns=False,
        length_column_name="duration",
        save_total_limit=2,
        report_to=[] if settings.tracking == "none" else [settings.tracking],
        bf16=settings.precision == "bfloat16" and has_bfloat16(),
        # Every process scores the whole evaluation set by itself, see DecompSerTrainer.evaluate.
        per_device_eval_batch_size=8,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        **arguments,
    )


def has_bfloat16() -> bool:
    """Whether the device computes in bfloat16; warns where it would only emulate it."""
    if torch.cuda.is_available():
        found = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        found = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    if not found:
        logger.warning("precision=bfloat16: this device has none, float32 is used.")
    return found


def load_run_data(
    settings: RunSettings, folder: Path, data: str, protocol: str, fold: str, skip_bad: bool
) -> tuple[FoldData, DecompSerProcessor]:
    """Load the fold of a run, and build the processor that its training turns ask for."""
    extractor: DecompSerFeatureExtractor = build_feature_extractor(settings)
    fold_data = load_fold_data(
        data,
        protocol,
        fold,
        extractor,
        train_on_validation=settings.train_on_validation,
        skip_bad=skip_bad,
    )
    vocabulary = ENGLISH_VOCABULARY
    if settings.vocabulary == "training":
        vocabulary = make_vocabulary(fold_data.folds["train"]["text"])
    return fold_data, DecompSerProcessor.from_vocabulary(extractor, vocabulary, folder)


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


def logging_steps(total_steps: int) -> int:
    """Steps between log lines: about a hundred lines a run."""
    return max(1, total_steps // 100)


def report(results: dict, output: Path) -> None:
    """Print the summary of a run, once where there are several processes (torchrun sets RANK)."""
    if os.environ.get("RANK", "0") == "0":
        typer.echo(f"{summarize(results)}\nSaved to {output}")


def settings_summary(settings: RunSettings, overrides: Sequence[str]) -> dict:
    """Settings as stored in results.json, with what the command line changed."""
    return {**settings.as_dict(), "overrides": list(overrides)}
