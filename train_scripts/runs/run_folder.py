"""The folder of a run: the saved model that the Hub could serve, and what it was trained on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from huggingface_hub.errors import StrictDataclassError
from transformers.utils.hub import cached_file

from modeling_decomp_ser import (
    DecompSerConfig,
    DecompSerForAudioClassification,
    DecompSerForPreTraining,
)
from processing import DecompSerProcessor
from processing.corpora.mixture import DIVIDER, Mixture, describe_data, full_path, own_name
from processing.errors import InputError
from train_scripts.runs.foreseen_errors import require_package
from train_scripts.runs.record import RESULTS, SETTINGS
from train_scripts.runs.yaml_text import read_yaml

if TYPE_CHECKING:  # a model is loaded without what trains one
    from datasets import Dataset

    from train_scripts.runs.settings import RunSettings

logger = logging.getLogger(__name__)

DAMAGED = (OSError, ValueError, StrictDataclassError)
"""What is raised for files of a model that are missing or damaged, or hold wrong values."""

TRAINING_ROWS = "training_rows.json"
CHECKPOINTS = "checkpoints"
PROCESSOR_FILES = ("processor_config.json", "tokenizer_config.json", "vocab.json")
EXPECTED_MODEL = (
    "Expected an output folder of `decomp-ser finetune` or `decomp-ser pretrain`, or a repository "
    "id."
)
LOG = "log.jsonl"


def open_run_folder(
    folder: str | Path,
    settings: RunSettings,
    *,
    data: str | Mixture,
    protocol: str,
    fold: str,
    further: Sequence[str] = (),
) -> Path:
    """Create the folder of a run, or resume the run that was interrupted in it.

    Args:
        folder: of the run. What a call left there that ended before its first checkpoint, such as
            one with a wrong fold, gives way to these settings.
        settings: of the run; stored there with data, protocol and fold.
        data: see `load_corpus`; a path is stored in full, so that it may be written another way.
        protocol: see `load_folds`.
        fold: see `load_folds`.
        further: other corpora that are trained on.

    Raises:
        InputError: if the folder holds a finished run or the checkpoints of one with other
            settings, data, protocol or fold, or a package that the settings ask for is not
            installed.
    """
    require_packages(settings)
    of_fold: dict[str, Any] = {"data": describe_data(data), "protocol": protocol, "fold": fold}
    if further:  # folders of before do not know it
        of_fold["further"] = [full_path(name) for name in further]
    return open_folder(Path(folder), of_fold, settings.as_dict(), finished=RESULTS)


def open_folder(folder: Path, of_fold: Mapping, settings: Mapping, *, finished: str) -> Path:
    """Create the folder of a run, or resume the run in it; see `open_run_folder`.

    Args:
        folder: of the run.
        of_fold: what the run trains on.
        settings: of the run, stored with it.
        finished: name of the file that a finished run has.

    Raises:
        InputError: see `open_run_folder`.
    """
    if (folder / finished).is_file():
        raise InputError(
            f"{folder}: holds a finished run. Choose another --output, or delete the folder to run "
            "again."
        )
    content = {**of_fold, **settings}
    stored = folder / SETTINGS
    before = read_yaml(stored) if stored.is_file() else {}
    # folders of earlier versions do not tell data, protocol and fold
    known = {**of_fold, **before}
    differing = [name for name in content | known if content.get(name) != known.get(name)]
    if before and differing:
        if is_interrupted(folder):
            raise InputError(
                f"{folder}: holds an interrupted run with other settings: "
                f"{', '.join(differing)} (see {SETTINGS}). Give the same preset, settings, data, "
                "protocol and fold to resume it, choose another --output, or delete the folder."
            )
        (folder / LOG).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    if before != content:
        # whole or not at all, also where several processes open the folder at once
        part = stored.with_name(f"{SETTINGS}.{os.getpid()}.part")
        part.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        part.replace(stored)
    return folder


def is_interrupted(folder: Path) -> bool:
    """Whether a folder holds a checkpoint that a run could be resumed from."""
    return any((folder / CHECKPOINTS).glob("checkpoint-*"))


def require_packages(settings: RunSettings) -> None:
    """Raise InputError where a package that the settings ask for is not installed."""
    if settings.tracking != "none":
        require_package(settings.tracking, f"tracking={settings.tracking}")
    if settings.finetuning.lora_rank:
        require_package("peft", f"finetuning.lora_rank={settings.finetuning.lora_rank}")
    for name in settings.augmentation.corruptions:
        from train_scripts.corruptions.conditions import CORRUPTIONS  # a model is loaded without

        if package := CORRUPTIONS[name].package:
            require_package(package, f"augmentation.corruptions={name}")


def save_model(
    folder: str | Path,
    model,
    processor: DecompSerProcessor,
    train: Dataset,
    *,
    protocol: Mapping | None = None,
    fold: str | None = None,
    base: str | None = None,
    encoder: str | None = None,
    corpora: Collection[str] = (),
) -> None:
    """Save a trained model, its processor and their code, and which turns and speakers it was
    trained on, so that `evaluate` can tell whether it is asked about any of them.

    Args:
        folder: of the run; created if it does not exist.
        model: classifier or autoencoder.
        processor: that made its inputs.
        train: the training turns, with their ids and speakers.
        protocol: that they are the training turns of, as of `describe_protocol`; None if of none.
        fold: of the protocol.
        base: folder or repository id of the trained model that training went on from. What that
            was trained on counts too; where that is not known, a warning says that it is not known
            of this one either.
        encoder: folder or repository id of the speech encoder that it went on from, likewise.
        corpora: names of the corpora of a mixture.
    """
    model.config.signals_digest = processor.feature_extractor.settings_digest()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    speakers, ids, mixed = set(train["speaker"]), set(train["id"]), set(corpora)
    for name in filter(None, (base, encoder)):
        earlier = read_training_rows(name)
        if earlier is None:
            logger.warning(
                "It is not known which turns '%s' was trained on (%s is missing), so neither is it "
                "of the model in %s: `decomp-ser evaluate` scores it with --allow-overlap, marked.",
                name,
                TRAINING_ROWS,
                folder,
            )
            return
        speakers.update(earlier["speakers"])
        ids.update(earlier["ids"])
        mixed.update(earlier.get("corpora", ()))
    content = {
        "protocol": protocol,
        "fold": fold,
        "speakers": sorted(speakers - {None}),
        "ids": sorted(ids),
        **({"corpora": sorted(mixed)} if mixed else {}),
    }
    (Path(folder) / TRAINING_ROWS).write_text(json.dumps(content, indent=1), encoding="utf-8")


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
    if not pretraining:
        check_fine_tuned(name)
    kind = DecompSerForPreTraining if pretraining else DecompSerForAudioClassification
    check_json_files(name)
    try:
        model: Any = kind.from_pretrained(name)
        processor = DecompSerProcessor.from_pretrained(name)
    except DAMAGED as error:
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
    model.config.warn_of_other_signals(processor.feature_extractor)
    return model.eval(), processor


def model_identity(name: str) -> str:
    """What tells a saved model from any other: a hash of its files, or its commit on the Hub."""
    if not Path(name).is_dir():
        path = cached_file(name, "config.json")
        return f"{name}@{Path(path).parent.name if path else ''}"
    hashed = hashlib.sha256()
    for path in sorted(Path(name).iterdir()):
        if path.suffix == ".safetensors" or path.name.endswith("config.json"):
            with path.open("rb") as file:
                hashed.update(hashlib.file_digest(file, "sha256").digest())
    return hashed.hexdigest()[:16]


def check_fine_tuned(name: str) -> None:
    """Refuse what only `pretrain` has trained, and what does not exist.

    Args:
        name: folder of a run, or a repository id.

    Raises:
        InputError: says which of the two it is.
    """
    config = read_config(name)
    if config.get("model_type") != DecompSerConfig.model_type:
        raise InputError(
            f"model '{name}': its config.json is of model_type {config.get('model_type')!r}, "
            f"expected '{DecompSerConfig.model_type}'. {EXPECTED_MODEL}"
        )
    architectures = config.get("architectures") or []
    if DecompSerForPreTraining.__name__ in architectures:
        raise InputError(
            f"model '{name}': it is pre-trained only, so it knows no emotions. Train them with "
            f"`decomp-ser finetune PRESET --pretrained {name}`, and give the folder of that run."
        )


def read_config(name: str) -> dict:
    """The stored configuration of a saved model.

    Args:
        name: folder of a run, or a repository id.

    Raises:
        InputError: if there is none.
    """
    problem = "there is no config.json in it."
    try:
        if looks_like_path(name) and not Path(name).is_dir():
            raise InputError(f"model '{name}': there is no such folder. {EXPECTED_MODEL}")
        path = cached_file(name, "config.json")
    except OSError as error:
        path, problem = None, f"it does not exist. {' '.join(str(error).split())}"
    if path is None:
        raise InputError(f"model '{name}': {problem} {EXPECTED_MODEL}")
    return read_json_object(path, f"model '{name}'")


def looks_like_path(name: str) -> bool:
    """Whether a name can be no repository id, which is NAME or OWNER/NAME."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name


def check_json_files(name: str) -> None:
    """Raise InputError for a file of the processor that is no JSON object, which transformers would
    meet with a traceback.
    """
    for file in PROCESSOR_FILES:
        path = cached_file(name, file, _raise_exceptions_for_missing_entries=False)
        if path is not None:
            read_json_object(path, f"model '{name}'")


def read_json_object(path: str | Path, owner: str) -> dict:
    """A JSON file that holds an object; an InputError names the owner and the file."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:  # of encoding too
        content = error
    if not isinstance(content, dict):
        found = content if isinstance(content, Exception) else type(content).__name__
        raise InputError(
            f"{owner}: {Path(path).name} is no JSON object ({found}): it is damaged or was cut. "
            "Copy it again from its source."
        )
    return content


def read_training_rows(name: str) -> dict | None:
    """Protocol, fold, speakers and ids that a saved model was trained on; None if it does not say.

    Args:
        name: folder of a run, or a repository id.
    """
    path = cached_file(name, TRAINING_ROWS, _raise_exceptions_for_missing_entries=False)
    return None if path is None else read_json_object(path, f"model '{name}'")


def find_overlap(
    name: str,
    ids: Iterable[str],
    speakers: Iterable[str | None],
    *,
    corpora: Sequence[str | None] = (),
) -> str | None:
    """What of a set of turns a saved model was trained on.

    Args:
        name: folder of a run, or a repository id.
        ids: of the turns.
        speakers: of the turns.
        corpora: of the turns, where known. Turns and speakers of a mixture are known without the
            name of their corpus too.

    Returns:
        A description, or None if nothing overlaps.

    Raises:
        InputError: if no model has this name.
    """
    trained = read_training_rows(name)
    if trained is None:
        read_config(name)
        return f"it is not known which turns it was trained on ({TRAINING_ROWS} is missing)"
    mixed = set(trained.get("corpora", ()))
    shared_ids, shared_speakers = (
        {
            name
            for name, corpus in zip(names, corpora or repeat(None), strict=False)
            if known.has(name, corpus)
        }
        for names, known in (
            (ids, KnownNames(set(trained["ids"]), mixed)),
            (speakers, KnownNames(set(trained["speakers"]), mixed)),
        )
    )
    if not shared_ids and not shared_speakers:
        return None
    return (
        f"{len(shared_ids)} of the test turns and {len(shared_speakers)} of the test speakers are "
        "in its training set"
    )


@dataclass
class KnownNames:
    """Ids or speakers of training turns, those of a mixture with the name of their corpus.

    Examples:
        >>> known = KnownNames({"a/x", "b/y"}, {"a", "b"})
        >>> known.has("x", "a"), known.has("x", "b"), known.has("x", None), known.has("a/x", "a")
        (True, False, True, True)
    """

    names: Collection[str]
    corpora: Collection[str] = ()

    @cached_property
    def bare(self) -> set[str]:
        """Names of a mixture without their corpora."""
        parts = (name.partition(DIVIDER) for name in self.names)
        return {rest for corpus, _, rest in parts if corpus in self.corpora}

    def has(self, name: str | None, corpus: str | None) -> bool:
        """Whether a name of a corpus is among them, with or without the corpus's name; of a corpus
        that is unknown or was called otherwise, whether any corpus has it.
        """
        if name is None or name in self.names or own_name(name, corpus) in self.names:
            return name is not None
        if corpus in self.corpora:
            return f"{corpus}{DIVIDER}{own_name(name, corpus)}" in self.names
        return own_name(name, corpus) in self.bare
