"""The folder of a run: the saved model that the Hub could serve, and what it was trained on."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import yaml
from transformers.utils import cached_file

from modeling_decomp_ser import DecompSerForAudioClassification, DecompSerForPreTraining
from processing import DecompSerProcessor
from processing.errors import InputError
from train_scripts.runs.fold_data import FoldData
from train_scripts.runs.settings import RunSettings

RESULTS = "results.json"
SETTINGS = "settings.yaml"
TRAINING_ROWS = "training_rows.json"


def open_run_folder(folder: str | Path, settings: RunSettings) -> Path:
    """Create the folder of a run, or take up the run that was interrupted in it.

    Args:
        folder: of the run.
        settings: of the run; stored there.

    Raises:
        InputError: if the folder holds a finished run, or one with other settings.
    """
    folder = Path(folder)
    if (folder / RESULTS).is_file():
        raise InputError(
            f"{folder}: holds a finished run. Choose another --output, or delete the folder to run "
            "again."
        )
    stored = folder / SETTINGS
    content = yaml.safe_dump(settings.as_dict(), sort_keys=False)
    if stored.is_file() and stored.read_text(encoding="utf-8") != content:
        raise InputError(
            f"{folder}: holds an interrupted run with other settings (see {SETTINGS}). Give the "
            "same preset and settings to go "
            "on with it, choose another --output, or delete the folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    if not stored.is_file():
        # whole or not at all, also where several processes open the folder at once
        part = stored.with_name(f"{SETTINGS}.{os.getpid()}.part")
        part.write_text(content, encoding="utf-8")
        part.replace(stored)
    return folder


def save_model(folder: Path, model, processor: DecompSerProcessor, data: FoldData) -> None:
    """Save model, processor, their code, and the ids and speakers of the training turns."""
    data.folds.check_final(model, processor)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    train = data.folds["train"]
    content = {
        "protocol": data.protocol,
        "fold": data.fold,
        "speakers": data.speakers,
        "ids": sorted(train["id"]),
    }
    (folder / TRAINING_ROWS).write_text(json.dumps(content, indent=1), encoding="utf-8")


def load_model(name: str, *, pretraining: bool = False):
    """Load a saved model and its processor.

    Args:
        name: folder of a run, or a repository id.
        pretraining: load the decomposition autoencoder rather than the classifier.

    Returns:
        Model in evaluation mode, and processor.

    Raises:
        InputError: if it cannot be found, is of the other kind, or has no trained emotion head.
    """
    kind = DecompSerForPreTraining if pretraining else DecompSerForAudioClassification
    try:
        model = kind.from_pretrained(name)
        processor = DecompSerProcessor.from_pretrained(name)
    except (OSError, ValueError) as error:
        verb = "pretrain" if pretraining else "finetune"
        raise InputError(
            f"model '{name}': {' '.join(str(error).split())} Expected an output folder of "
            f"`decomp-ser {verb}` or a repository id."
        ) from error
    if not pretraining and not model.config.emotion_head_trained:
        raise InputError(
            f"model '{name}': its emotion head was never trained, so its answers would be random. "
            "Fine-tune it first."
        )
    return model.eval(), processor


def read_training_rows(name: str) -> dict | None:
    """Protocol, fold, speakers and ids that a saved model was trained on; None if it does not say.

    Args:
        name: folder of a run, or a repository id.
    """
    path = cached_file(name, TRAINING_ROWS, _raise_exceptions_for_missing_entries=False)
    return None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))


def find_overlap(name: str, ids: Iterable[str], speakers: Iterable[str | None]) -> str | None:
    """What of a set of turns a saved model was trained on.

    Args:
        name: folder of a run, or a repository id.
        ids: of the turns.
        speakers: of the turns.

    Returns:
        A description, or None if nothing overlaps.
    """
    trained = read_training_rows(name)
    if trained is None:
        return f"it is not known which turns it was trained on ({TRAINING_ROWS} is missing)"
    shared_ids = set(ids) & set(trained["ids"])
    shared_speakers = set(speakers) & set(trained["speakers"])
    if not shared_ids and not shared_speakers:
        return None
    return (
        f"{len(shared_ids)} of the test turns and {len(shared_speakers)} of the test speakers are "
        "in its training set"
    )
