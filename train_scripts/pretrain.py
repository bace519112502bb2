"""`decomp-ser pretrain`: the decomposition autoencoder and its speaker head (section 3.2, equation
7).
"""

from pathlib import Path

import typer
from transformers import set_seed

from modeling_decomp_ser import DecompSerForPreTraining
from processing import DecompSerDataCollator
from processing.errors import InputError
from train_scripts.arguments import build_config, load_settings
from train_scripts.cli import run
from train_scripts.fold_data import FoldData
from train_scripts.inference import predict_turns
from train_scripts.loss_plot import plot_losses
from train_scripts.options import (
    Data,
    FoldName,
    Overrides,
    PresetName,
    ProtocolName,
    RunFolder,
    SkipBad,
)
from train_scripts.results import describe_fold, write_results
from train_scripts.run_folder import open_run_folder, save_model
from train_scripts.trainer import DecompSerPreTrainer
from train_scripts.training import (
    load_run_data,
    logging_steps,
    model_fields,
    read_log,
    report,
    settings_summary,
    train,
    training_arguments,
)

app = typer.Typer(add_completion=False)


def pretrain(
    preset: str,
    *,
    data: str,
    protocol: str,
    fold: str,
    output: str | Path,
    overrides: list[str] | None = None,
    skip_bad: bool = False,
) -> dict:
    """Pre-train on the training turns of a fold; an interrupted run goes on where it stopped.

    Args:
        preset: name or path.
        data: see `load_corpus`.
        protocol: see `load_folds`.
        fold: see `load_folds`; its test and validation speakers are not trained on.
        output: folder of the run.
        overrides: "key=value" settings.
        skip_bad: leave out clips that cannot be used.

    Returns:
        The content of results.json. Its metrics are of the test turns (reconstruction) and of
        held-out turns of the training speakers (speaker accuracy).
    """
    overrides = overrides or []
    settings = load_settings(preset, overrides)
    if not build_config(settings).components:
        raise InputError(
            f"preset '{preset}' has no decomposition, so there is nothing to pre-train. Fine-tune "
            "it directly."
        )
    folder = open_run_folder(output, settings)
    fold_data, processor = load_run_data(settings, folder, data, protocol, fold, skip_bad)
    set_seed(settings.seed)
    model = build_autoencoder(settings, fold_data, processor)
    collator = DecompSerDataCollator(
        processor,
        labels=fold_data.labels,
        speakers=fold_data.speakers,
        with_waveform=False,
        with_text=False,
        with_row_keys=True,
    )
    stage = settings.pretraining
    trainer = DecompSerPreTrainer(
        model=model,
        args=training_arguments(
            folder,
            settings,
            max_steps=stage.steps,
            per_device_train_batch_size=stage.batch_size,
            learning_rate=stage.learning_rate,
            weight_decay=0.0,
            warmup_steps=int(stage.warmup * stage.steps),
            lr_scheduler_type=stage.schedule,
            max_grad_norm=0.0,
            save_steps=stage.save_every,
            logging_steps=logging_steps(stage.steps),
        ),
        train_dataset=fold_data.folds["train"],
        data_collator=PreTrainingCollator(collator),
        crop_frames=(stage.shortest_crop, stage.longest_crop),
    )
    seconds = train(trainer, folder)
    results = {
        "preset": settings.preset,
        "size": settings.size,
        "backbone": None,
        **describe_fold(fold_data),
        "seed": settings.seed,
        "selected_by": "last",
        "n_parameters": sum(p.numel() for p in model.parameters()),
        "metrics": score(model, trainer.data_collator, fold_data),
        "settings": settings_summary(settings, overrides),
        "seconds": seconds,
    }
    if trainer.is_world_process_zero():
        save_model(folder, model, processor, fold_data)
        plot_losses(read_log(folder), folder / "losses.png", title="Pre-training")
        results = write_results(folder, results)
    return results


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

    def __call__(self, rows) -> dict:
        """Collate rows."""
        batch = self.collator(rows)
        del batch["labels"]
        return batch


def score(model, collator: PreTrainingCollator, data: FoldData) -> dict:
    """Reconstruction error of the test turns, and speaker accuracy of the held-out turns."""
    test = predict_turns(model, collator, data.folds["test"])
    heldout = predict_turns(model, collator, data.folds["heldout_turns"])
    accuracy = None
    if heldout.speakers:
        pairs = zip(heldout.speakers, data.folds["heldout_turns"]["speaker"], strict=True)
        accuracy = sum(a == b for a, b in pairs) / len(heldout.speakers)
    return {
        "speaker_accuracy": accuracy,
        "speech_mse": float(test.speech_mse.mean()),
        "speech_mse_padded": float(test.speech_mse_padded.mean()),
    }


@app.command()
def command(
    preset: PresetName,
    overrides: Overrides = None,
    *,
    data: Data,
    protocol: ProtocolName,
    fold: FoldName,
    output: RunFolder,
    skip_bad: SkipBad = False,
) -> None:
    """Pre-train the decomposition on the training turns of a fold (equation 7)."""
    results = pretrain(
        preset,
        data=data,
        protocol=protocol,
        fold=fold,
        output=output,
        overrides=overrides,
        skip_bad=skip_bad,
    )
    report(results, output)


if __name__ == "__main__":
    run(app)
