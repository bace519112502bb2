"""Speech without emotion labels: any corpus of `load_corpus`, or a plain folder of audio files."""

from pathlib import Path
from typing import Any

from datasets import Dataset, Value
from datasets.utils import tqdm

from processing.audio_files import audio_duration, read_audio
from processing.corpora.hub import join_splits, keep_audio_encoded, load_from_hub
from processing.corpora.loading import load_corpus
from processing.corpora.metadata_folder import METADATA_NAME, read_metadata_folder
from processing.corpora.rows import (
    BadClip,
    check_clips,
    describe_bad_clip,
    make_row,
    warn_of_bad_clips,
)
from processing.corpora.schema import ROW_FEATURES
from processing.corpora.shards import MANIFEST_NAME
from processing.errors import InputError

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")

COLUMNS = tuple(name for name in ROW_FEATURES if name not in ("emotion", "text"))
"""Columns of every row; `split` stands beside them where the source has it."""


def load_speech(data: str | Path, *, skip_bad: bool = False) -> Dataset:
    """Load speech of which no emotion is asked.

    Args:
        data: what `load_corpus` takes, with or without emotions, or a folder of audio files without
            any table (WAV, FLAC, OGG and MP3, in any subfolders), whose ids are their paths in it
            and whose speakers are unknown.
        skip_bad: leave out clips that are missing, unreadable, damaged or too short, with a warning
            that counts and lists them. For this every clip is decoded once.

    Returns:
        Data set with COLUMNS, audio not decoded. Rows without a corpus have the name of `data`.

    Raises:
        InputError: if nothing is found under the name, or a clip is bad.
    """
    corpus = _load(data, skip_bad)
    kept = [name for name in (*COLUMNS, "split") if name in corpus.column_names]
    corpus = corpus.select_columns(kept)
    name = _name_of(data)
    named = [given or name for given in corpus["corpus"]]
    corpus = corpus.remove_columns("corpus").add_column(
        "corpus",
        named,  # pyright: ignore[reportArgumentType]
        feature=Value("string"),
    )
    return _without_damaged(corpus) if skip_bad else corpus


def read_audio_folder(folder: str | Path, *, skip_bad: bool = False) -> Dataset:
    """Rows of all audio files in a folder and its subfolders, by path, without the `._*` files that
    macOS leaves.

    Raises:
        InputError: if there is no audio file, or one of them is bad and `skip_bad` is not set; it
            names the file.
    """
    folder = Path(folder)
    clips = [
        (
            str(path),
            make_row(
                id=path.relative_to(folder).as_posix(), audio={"bytes": None, "path": str(path)}
            ),
        )
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith("._")
    ]
    if not clips:
        raise InputError(
            f"{folder}: neither {MANIFEST_NAME}, {METADATA_NAME} nor audio files in this folder. "
            f"Expected files with {', '.join(AUDIO_SUFFIXES)}."
        )
    rows, bad = check_clips(clips, skip_bad=skip_bad)
    warn_of_bad_clips(bad, total=len(clips))
    return rows


def _load(data: str | Path, skip_bad: bool) -> Dataset:
    path = Path(data)
    if path.suffix.lower() == ".csv" or (path / METADATA_NAME).is_file():
        rows, bad = read_metadata_folder(path, skip_bad=skip_bad, labelled=False)
        warn_of_bad_clips(bad, total=len(rows) + len(bad))
        return rows
    if not path.is_dir():
        return _complete(join_splits(load_from_hub(str(data))), str(data))
    if (path / MANIFEST_NAME).is_file() or any(path.glob("*.parquet")):
        return load_corpus(path, skip_bad=skip_bad)
    return read_audio_folder(path, skip_bad=skip_bad)


def _complete(dataset: Dataset, name: str) -> Dataset:
    """Add ids "<split>-<number>", durations, and unknown columns as null; `audio` must exist."""
    found = dataset.column_names
    if "audio" not in found:
        raise InputError(f"{name}: no column 'audio'; found {', '.join(found)}.")
    dataset = keep_audio_encoded(dataset)
    added: dict[str, list[Any]] = {}
    if "id" not in found:
        added["id"] = [f"{k:06d}" for k in range(len(dataset))]
        if "split" in found:
            pairs = zip(dataset["split"], added["id"], strict=True)
            added["id"] = [f"{split}-{number}" for split, number in pairs]
    if "duration" not in found:
        added["duration"] = [audio_duration(row["audio"]) for row in dataset]  # pyright: ignore
    for column in COLUMNS:
        if column not in found and column not in added:
            added[column] = [None] * len(dataset)
    for column, values in added.items():
        dataset = dataset.add_column(
            column,
            values,  # pyright: ignore[reportArgumentType]
            feature=ROW_FEATURES[column],
        )
    return dataset


def _name_of(data: str | Path) -> str:
    """Name of a source that does not name its corpus: that of its folder, or its id on the Hub."""
    path = Path(data)
    if not path.exists():
        return str(data)
    return (path.resolve().parent if path.is_file() else path.resolve()).name


def _without_damaged(corpus: Dataset) -> Dataset:
    """The clips that can be decoded to their end; the others are listed in a warning."""
    bad: dict[int, BadClip] = {}
    rows: Any = tqdm(corpus, desc="Checking turns", unit="turn", leave=False)
    for index, row in enumerate(rows):
        try:
            read_audio(row["audio"])
        except InputError as error:
            bad[index] = BadClip(row["id"], str(error))
    warn_of_bad_clips(list(bad.values()), total=len(corpus))
    if len(bad) == len(corpus):
        raise InputError(describe_bad_clip(bad[0], number=len(bad), total=len(bad)))
    return corpus.select([i for i in range(len(corpus)) if i not in bad])
