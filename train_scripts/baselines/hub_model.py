"""Any audio-classification model of the Hub, fine-tuned by the stock Trainer of transformers with
the model's own head and loss: wav2vec 2.0, HuBERT, WavLM, AST, Whisper and what comes after them.

The checkpoint brings what it learnt elsewhere, which is not known here; the record says so by
leaving `trained_on` open.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    EvalPrediction,
    Trainer,
    set_seed,
)

from processing.audio_files import read_audio
from processing.errors import InputError
from train_scripts.baselines.answers import Answers, label_ids
from train_scripts.runs.fold_data import FoldData
from train_scripts.runs.metrics import confusion_matrix, unweighted_average_recall
from train_scripts.runs.settings import RunSettings
from train_scripts.training.stage import train, training_arguments, used_precision


@dataclass
class Settings:
    """What the Trainer is told.

    Attributes:
        model: repository id or folder.
        learning_rate: of AdamW, after warming up over a tenth of the steps; falls to 0.
        batch_size: turns of a batch.
        accumulation: batches of a step.
        num_epochs: all are trained; the best on validation speakers is kept.
        freeze_encoder: keep the convolutional front end as it is, where the model has one.
        longest_seconds: longer turns are cut in training.
        bf16: compute in bfloat16 where the device can.
    """

    model: str = ""
    learning_rate: float = 5e-5
    batch_size: int = 8
    accumulation: int = 4
    num_epochs: int = 20
    freeze_encoder: bool = True
    longest_seconds: float = 10.0
    bf16: bool = True

    UNSTATED: ClassVar = ()
    REMARKS: ClassVar = ("what the checkpoint has heard is not known here",)


class WaveformTurns(torch.utils.data.Dataset):
    """Turns as the Trainer takes them: a waveform and a label.

    Args:
        rows: with audio.
        labels: emotion words in the order of the labels.
        sampling_rate: that the model hears, in Hz.
    """

    def __init__(self, rows: Dataset, labels: list[str], sampling_rate: int):
        self.rows, self.sampling_rate = rows, sampling_rate
        self.labels = label_ids(rows, labels)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row: Any = self.rows[int(index)]
        waveform = read_audio(row["audio"], sampling_rate=self.sampling_rate)
        return {"waveform": waveform, "labels": int(self.labels[index])}


@dataclass
class WaveformCollator:
    """Batches by the model's own feature extractor."""

    extractor: Any
    longest_seconds: float

    def __call__(self, turns: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Pad and stack."""
        rate = self.extractor.sampling_rate
        longest = int(self.longest_seconds * rate)
        waveforms = [turn["waveform"][:longest] for turn in turns]
        batch = self.extractor(waveforms, sampling_rate=rate, padding=True, return_tensors="pt")
        return {**batch, "labels": torch.tensor([turn["labels"] for turn in turns])}


def add_features(corpus: Dataset, settings: Settings, **options: Any) -> Dataset:
    """The corpus as it is: the model hears the waveform."""
    load_parts(settings, num_labels=2)  # a wrong name is said before the long work
    return corpus


def load_parts(settings: Settings, num_labels: int) -> tuple[Any, Any]:
    """Configuration and feature extractor of the model.

    Raises:
        InputError: if it cannot be found or is no model of audio.
    """
    try:
        config = AutoConfig.from_pretrained(settings.model, num_labels=num_labels)
        extractor = AutoFeatureExtractor.from_pretrained(settings.model)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"rival_hub {settings.model}: {' '.join(str(error).split())[:300]} Give a repository "
            "id that can be reached, or a folder with config.json and preprocessor_config.json."
        ) from error
    return config, extractor


def answer(data: FoldData, settings: Settings, *, seed: int) -> Answers:
    """Fine-tune the model and answer the turns of the fold."""
    set_seed(seed)
    model, extractor = build_model(settings, data.labels)
    with tempfile.TemporaryDirectory(prefix="rival_hub_") as folder:
        trainer = build_trainer(model, extractor, data, settings, seed, Path(folder))
        train(trainer, Path(folder))
        epochs, best = trainer.state.epoch or 0.0, trainer.state.best_global_step
        steps = trainer.state.global_step
        validation = predict(trainer, data.folds["validation"], data.labels, extractor)
        rows = data.folds.open_test(model)
        test = predict(trainer, rows, data.labels, extractor)
        data.folds.check_final(model, None)
    if test is None:
        raise InputError("the fold has no test turn.")
    entries = {
        "backbone": settings.model,
        "trained_on": None,
        "selected_by": "last" if validation is None else "validation",
        "epochs_trained": epochs,
        "best_epoch": round(epochs * best / steps) if validation is not None and best else None,
        "precision": used_precision(trainer.args),
        "n_parameters": sum(p.numel() for p in model.parameters()),
    }
    return Answers(test=test, validation=validation, entries=entries)


def build_model(settings: Settings, labels: list[str]) -> tuple[Any, Any]:
    """The model with a head of so many labels, untrained unless it fits, and its feature
    extractor.
    """
    config, extractor = load_parts(settings, len(labels))
    config.id2label = dict(enumerate(labels))
    config.label2id = {name: i for i, name in enumerate(labels)}
    try:
        model: Any = AutoModelForAudioClassification.from_pretrained(
            settings.model, config=config, ignore_mismatched_sizes=True
        )
    except (OSError, ValueError) as error:
        raise InputError(
            f"rival_hub {settings.model}: {' '.join(str(error).split())[:300]} Expected a model "
            "that AutoModelForAudioClassification knows."
        ) from error
    if settings.freeze_encoder and hasattr(model, "freeze_feature_encoder"):
        model.freeze_feature_encoder()
    return model, extractor


def build_trainer(
    model: Any, extractor: Any, data: FoldData, settings: Settings, seed: int, folder: Path
) -> Trainer:
    """The stock Trainer, which keeps the epoch of the best UAR of validation speakers."""
    selecting = len(data.folds["validation"]) > 0
    choice = "epoch" if selecting else "no"
    chosen = {
        "learning_rate": settings.learning_rate,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.accumulation,
        "num_train_epochs": settings.num_epochs,
        "warmup_steps": 0.1,
        "bf16": settings.bf16,
        # some models read padding; alone in its batch a turn has none
        "per_device_eval_batch_size": 1,
        "save_total_limit": 1,
    }
    arguments = training_arguments(
        folder,
        RunSettings(seed=seed),
        chosen,
        model,
        eval_strategy=choice,
        save_strategy=choice,
        load_best_model_at_end=selecting,
        metric_for_best_model="unweighted_average_recall" if selecting else None,
    )
    turns = {
        name: WaveformTurns(data.folds[name], data.labels, extractor.sampling_rate)
        for name in ("train", "validation")
    }
    return Trainer(
        model=model,
        args=arguments,
        train_dataset=turns["train"],
        eval_dataset=turns["validation"] if selecting else None,
        data_collator=WaveformCollator(extractor, settings.longest_seconds),
        compute_metrics=score,
    )


def score(prediction: EvalPrediction) -> dict[str, float]:
    """UAR, by which the epoch is chosen."""
    logits, labels = first_output(prediction.predictions), np.asarray(prediction.label_ids)
    confusion = confusion_matrix(labels, logits.argmax(-1), num_labels=logits.shape[-1])
    return {"unweighted_average_recall": unweighted_average_recall(confusion)}


def first_output(outputs: Any) -> np.ndarray:
    """Logits, of a model that may give more."""
    return np.asarray(outputs[0] if isinstance(outputs, tuple) else outputs)


def predict(
    trainer: Trainer, rows: Dataset, labels: list[str], extractor: Any
) -> np.ndarray | None:
    """Logits of whole turns, (N, L); None where there is none."""
    if not len(rows):
        return None
    # in training long turns are cut, here they are heard out
    trainer.data_collator = WaveformCollator(extractor, float("1e6"))
    found: Any = trainer.predict(WaveformTurns(rows, labels, extractor.sampling_rate))
    return first_output(found.predictions).astype(np.float64)
