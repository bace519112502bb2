"""Parquet files, or a data set on the Hub, with its own column names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import (
    Audio,
    ClassLabel,
    Dataset,
    DatasetDict,
    concatenate_datasets,
    get_dataset_split_names,
    load_dataset,
)

from processing.corpora.rows import GENDERS
from processing.corpora.schema import ROW_FEATURES, SAMPLING_RATE
from processing.errors import InputError

COLUMNS = (*(name for name in ROW_FEATURES if name != "duration"), "split")
"""Columns of a row that a source may have."""


def read_hub(source: str | Path, columns: Mapping[str, str] | None = None) -> Dataset:
    """Read a data set and name its columns as the row schema does.

    Args:
        source: a Parquet file, a folder with Parquet files, or the id of a data set on the Hub.
        columns: name in the schema -> name in the source, where they differ, as {"emotion":
            "label", "text": "sentence"}.

    Returns:
        Data set with audio not decoded, emotions as words, ids "<split>-<number>" where the source
        has none, `split` if there are several splits, and nulls for what is unknown. Durations are
        not measured.

    Raises:
        InputError: if the source is not found, a named column is missing, or there is no audio or
            emotion.
    """
    dataset = join_splits(_load(source))
    columns = dict(columns or {})
    for name, found in columns.items():
        if name not in COLUMNS:
            raise InputError(f"no column {name!r} in a row. Choose from: {', '.join(COLUMNS)}.")
        if found not in dataset.column_names:
            raise InputError(
                f"{source}: no column {found!r}; found {', '.join(dataset.column_names)}."
            )
    names = {name: columns.get(name, name) for name in COLUMNS}
    names = {name: found for name, found in names.items() if found in dataset.column_names}
    for needed in ("audio", "emotion"):
        if needed not in names:
            raise InputError(
                f"{source}: no column {needed!r}; found {', '.join(dataset.column_names)}. "
                f"Name it: --columns {needed}=NAME."
            )
    dataset = dataset.select_columns(list(dict.fromkeys(names.values())))
    return _complete(dataset, names)


def load_from_hub(name: str) -> DatasetDict:
    """All splits of a data set on the Hub, with audio not decoded.

    Raises:
        InputError: if it cannot be read, whatever the reason.
    """
    try:
        splits = get_dataset_split_names(name)
        return DatasetDict({split: load_dataset(name, split=split) for split in splits})
    except (
        Exception
    ) as error:  # the client raises many kinds: no network, no such name, not allowed
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{name!r}: no such folder or file here, and not read as a data set id from the Hub "
            f"({reason}). Check the path; for the Hub check the id, the network and `hf auth "
            "login`."
        ) from error


def join_splits(splits: DatasetDict) -> Dataset:
    """One data set of all splits; with several of them a column `split` keeps their names."""
    named = []
    for name, split in splits.items():
        split = keep_audio_encoded(split)
        if len(splits) > 1 and "split" not in split.column_names:
            split = split.add_column("split", [str(name)] * len(split))
        named.append(split)
    return concatenate_datasets(named)


def keep_audio_encoded(dataset: Dataset) -> Dataset:
    """Let every audio column return {"bytes", "path"}; decoding would ask for torchcodec."""
    for name, feature in dataset.features.items():
        if isinstance(feature, Audio) and feature.decode:
            dataset = dataset.cast_column(name, Audio(sampling_rate=SAMPLING_RATE, decode=False))
    return dataset


def _load(source: str | Path) -> DatasetDict:
    path = Path(source)
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path] if path.is_file() else None
    if files is None:
        return load_from_hub(str(source))
    if not files:
        raise InputError(f"{source}: no Parquet file in this folder.")
    return DatasetDict(
        {"train": load_dataset("parquet", data_files=[str(f) for f in files], split="train")}
    )


def _complete(dataset: Dataset, names: Mapping[str, str]) -> Dataset:
    """Columns under their names in the schema; every cell as text except the audio."""
    values: dict[str, list[Any]] = {}
    for name, found in names.items():
        if name != "audio":
            values[name] = _as_text(dataset, found)
    values.setdefault("id", [f"{k:06d}" for k in range(len(dataset))])
    if "id" not in names and "split" in values:
        values["id"] = [f"{s}-{i}" for s, i in zip(values["split"], values["id"], strict=True)]
    if "gender" in values:
        values["gender"] = [GENDERS.get((g or "").lower()) for g in values["gender"]]
    if None in values["emotion"]:
        raise InputError(
            f"row {values['emotion'].index(None)}: no emotion. Remove such rows first."
        )
    values["emotion"] = [emotion.lower() for emotion in values["emotion"]]
    audio = dataset.select_columns(names["audio"]).rename_columns({names["audio"]: "audio"})
    for name in [n for n in COLUMNS if n != "audio" and (n != "split" or n in values)]:
        column = values.get(name, [None] * len(dataset))
        audio = audio.add_column(name, column, feature=ROW_FEATURES["id"])
    return audio


def _as_text(dataset: Dataset, column: str) -> list[str | None]:
    feature = dataset.features[column]
    values = list(dataset[column])
    if isinstance(feature, ClassLabel):
        values = [None if value is None or value < 0 else feature.names[value] for value in values]
    texts = ("" if value is None else str(value).strip() for value in values)
    return [text or None for text in texts]
