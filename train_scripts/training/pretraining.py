"""`decomp-ser pretrain`: the decomposition autoencoder and its speaker head (section 3.2, equation
7).
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets
from transformers import set_seed

from modeling_decomp_ser import DecompSerForPreTraining
from processing import DecompSerDataCollator
from processing.corpora.mixture import Mixture
from processing.errors import InputError
from processing.folder_locks import writes_alone
from train_scripts.runs.fold_data import FoldData, with_arrays
from train_scripts.runs.inference import predict_turns
from train_scripts.runs.record import Metrics, RunRecord, read_record, write_json
from train_scripts.runs.rows_in_memory import keep_in_memory, loader_processes
from train_scripts.runs.run_folder import RESULTS
from train_scripts.runs.sealed_folds import SealedFolds
from train_scripts.runs.settings import build_config, load_settings
from train_scripts.training.loss_plot import plot_omega
from train_scripts.training.random_crops import RandomCrops
from train_scripts.training.stage import (
    StageRun,
    check_sharding,
    gather,
    model_fields,
    open_run,
    train,
    training_arguments,
)
from train_scripts.training.trainer import DecompSerPreTrainer


@writes_alone
def pretrain(
    preset: str,
    *,
    data: str | Mixture,
    protocol: str,
    fold: str,
    output: str | Path,
    overrides: list[str] | None = None,
    skip_bad: bool = False,
    further: Sequence[str] = (),
) -> RunRecord:
    """Pre-train on the training turns of a fold; an interrupted run is resumed.

    Args:
        preset: name or path.
        data: one corpus or a mixture, see `load_corpus`.
        protocol: see `load_folds`.
        fold: see `load_folds`; its test and validation speakers are not trained on.
        output: folder of the run.
        overrides: "key=value" settings.
        skip_bad: leave out clips that cannot be used.
        further: other corpora, see `add_speech`.

    Returns:
        The record of the run. Its metrics are of the test turns (reconstruction) and of
        held-out turns of the training speakers (speaker accuracy); its validation_metrics of
        validation speakers instead of the test turns, for choices such as omega.
    """
    if not build_config(load_settings(preset, overrides or [])).components:
        raise InputError(
            f"preset '{preset}' has no decomposition, so there is nothing to pre-train. Fine-tune "
            "it directly."
        )
    run = open_run(
        preset,
        data=data,
        protocol=protocol,
        fold=fold,
        output=output,
        overrides=overrides,
        skip_bad=skip_bad,
        further=further,
    )
    if run.settings.pretraining.scope == "all":
        run.data = train_on_all(run.data)
    set_seed(run.settings.seed)
    model = build_autoencoder(run.settings, run.data, run.processor)
    trainer = build_pretrainer(model, run)
    check_sharding(trainer)
    seconds = train(trainer, run.folder)
    model = gather(trainer, model)
    collator = trainer.data_collator.collator  # of whole turns
    accuracy = heldout_accuracy(model, collator, run.data.folds["heldout_turns"])
    selection = measure(model, collator, selection_rows(run.data), accuracy)
    test = measure(model, collator, run.data.folds.open_test(model, run.processor), accuracy)
    record = RunRecord(
        **run.describe(model, trainer, seconds),
        selected_by="last",
        validation_metrics=selection,
        metrics=test,
    )
    if trainer.is_world_process_zero():
        record = run.save(model, record, title="Pre-training")
    return record


def build_pretrainer(model, run: StageRun) -> DecompSerPreTrainer:
    """Trainer of a run."""
    stage = run.settings.pretraining
    collator = DecompSerDataCollator(
        run.processor,
        labels=run.data.labels,
        speakers=run.data.speakers,
        with_waveform=False,
        with_text=False,
        with_row_keys=True,
    )
    rows = keep_in_memory(
        run.data.folds["train"],
        sampling_rate=run.processor.feature_extractor.sampling_rate,
        with_waveform=False,
    )
    chosen = {"dataloader_num_workers": loader_processes(rows), **stage.arguments}
    return DecompSerPreTrainer(
        model=model,
        args=training_arguments(run.folder, run.settings, chosen, model),
        train_dataset=rows,
        data_collator=RandomCrops(
            PreTrainingCollator(collator),
            shortest=stage.shortest_crop,
            longest=stage.longest_crop,
            seed=run.settings.seed,
            count_resampled_frames=model.count_resampled_frames,
        ),
        corpus_shares=run.data.mixture.shares if run.data.mixture else None,
    )


def train_on_all(data: FoldData) -> FoldData:
    """The same fold with every turn in its training set, which then leaks."""
    splits = data.folds.all_turns()
    folds = DatasetDict({**splits, "train": concatenate_datasets(list(splits.values()))})
    return replace(
        data,
        folds=SealedFolds(with_arrays(folds)),
        protocol={**data.protocol, "leaks": True},
        speakers=sorted(set(folds["train"]["speaker"]) - {None}),
    )


def build_autoencoder(settings, data: FoldData, processor) -> DecompSerForPreTraining:
    """Untrained autoencoder of a run; without speakers it learns to reconstruct only."""
    without = {"speaker_weight": 0.0} if "speaker" in data.missing else {}
    return DecompSerForPreTraining(
        build_config(settings, **model_fields(data, processor), **without)
    )


class PreTrainingCollator:
    """Batches without what only emotion recognition reads."""

    def __init__(self, collator: DecompSerDataCollator):
        self.collator = collator
        self.speakers = collator.speakers
        self.processor = collator.processor

    def __call__(self, rows) -> dict:
        """Collate rows."""
        batch = self.collator(rows)
        del batch["labels"]
        return batch


def selection_rows(data: FoldData) -> Dataset:
    """The turns that may choose settings: of validation speakers, else held-out ones of training
    speakers.
    """
    validation = data.folds["validation"]
    return validation if len(validation) else data.folds["heldout_turns"]


def heldout_accuracy(model, collator, rows: Dataset) -> float | None:
    """Share of held-out turns of training speakers whose speaker is recognised; None without a
    speaker head.
    """
    speakers = predict_turns(model, collator, rows).speakers
    if not speakers:
        return None
    return sum(a == b for a, b in zip(speakers, rows["speaker"], strict=True)) / len(speakers)


def measure(model, collator, rows: Dataset, accuracy: float | None) -> Metrics:
    """Reconstruction error of rows, beside the accuracy of `heldout_accuracy`."""
    turns = predict_turns(model, collator, rows)
    return Metrics(
        speaker_accuracy=accuracy,
        speech_mse=float(np.mean(np.asarray(turns.speech_mse))),
        speech_mse_padded=float(np.mean(np.asarray(turns.speech_mse_padded))),
    )


def sweep_omega(omegas: list[float], preset: str, *, output: str | Path, **options) -> list[dict]:
    """Pre-train once for each omega of equation (7); finished ones are not trained again.

    Args:
        omegas: weights of the speaker loss in [0, 1].
        preset: see `pretrain`.
        output: folder of the sweep; each run has a folder in it, beside omega.json and omega.png.
        **options: of `pretrain`.

    Returns:
        For each omega its metrics on turns that may choose it: test turns have no say.
    """
    rows = []
    overrides = options.pop("overrides", None) or []
    for omega in omegas:
        if not 0 <= omega <= 1:
            raise InputError(f"--sweep-omega {omega:g}: expected weights from 0 to 1.")
        folder = Path(output) / f"omega-{omega:g}"
        if (folder / RESULTS).is_file():
            record = read_record(folder)
        else:
            weight = f"model.pretraining_speaker_weight={omega}"
            record = pretrain(preset, output=folder, overrides=[*overrides, weight], **options)
        if record.validation_metrics is None:
            raise InputError(
                f"{folder}: was scored on test turns only, by which no omega may be chosen. Delete "
                "the folder to run again."
            )
        rows.append({"omega": omega, **asdict(record.validation_metrics)})
        write_json(Path(output) / "omega.json", {"runs": rows})
    plot_omega(rows, Path(output) / "omega.png")
    return rows
