"""Any corpus that a command's `--data` can name, as one `datasets.Dataset` of the row schema."""

from pathlib import Path
from typing import TypeAlias

from datasets import Dataset, DatasetDict, Value, load_dataset

from processing.corpora.hub import join_splits, keep_audio_encoded, load_from_hub
from processing.corpora.metadata_folder import METADATA_NAME, read_metadata_folder
from processing.corpora.mixture import Mixture
from processing.corpora.mixture_rows import join_corpora
from processing.corpora.rows import warn_of_bad_clips
from processing.corpora.shards import MANIFEST_NAME, read_manifest
from processing.errors import InputError

_NULLABLE_COLUMNS = ("speaker", "gender", "text", "corpus", "session", "dialogue")


Data: TypeAlias = str | Path | Dataset | DatasetDict | Mixture
"""What `load_corpus` takes."""


def load_corpus(data: Data, *, skip_bad: bool = False) -> Dataset:
    """Load a corpus, or a mixture of several; local folders come before names on the Hub.

    Args:
        data: a folder that `prepare` wrote; a folder with metadata.csv, or such a CSV file; the id
            of a data set on the Hub that has the columns of the schema; a data set in memory,
            returned with missing columns as null; or a mixture of such, see `join_corpora`.
        skip_bad: leave out clips of a metadata folder that are missing, unreadable or too short,
            with a warning that counts and lists them. `prepare` has decoded every clip of its
            folders already.

    Returns:
        Data set with the columns of ROW_FEATURES, and where the source has them others such as
        `split`. Audio is not decoded: `audio_files.read_audio` does that, and finds samples that
        are damaged behind a sound header.

    Raises:
        InputError: if nothing is found under the name, the folder is incomplete, or a row is wrong.
    """
    if isinstance(data, Mixture):
        return join_corpora(data, lambda name: load_corpus(name, skip_bad=skip_bad))
    if isinstance(data, Dataset | DatasetDict):
        dataset = join_splits(data) if isinstance(data, DatasetDict) else data
        return _complete_columns(dataset, "the data set")
    path = Path(data)
    if path.is_dir() or path.suffix.lower() == ".csv":
        return _load_local(path, skip_bad=skip_bad)
    return _complete_columns(join_splits(load_from_hub(str(data))), str(data))


def _load_local(path: Path, *, skip_bad: bool) -> Dataset:
    if (path / MANIFEST_NAME).is_file():
        files = [str((path / shard["file"]).resolve()) for shard in read_manifest(path)["shards"]]
        return load_dataset("parquet", data_files=files, split="train")
    if path.suffix.lower() == ".csv" or (path / METADATA_NAME).is_file():
        rows, bad = read_metadata_folder(path, skip_bad=skip_bad)
        warn_of_bad_clips(bad, total=len(rows) + len(bad))
        return rows
    if any(path.glob("*.parquet")):
        raise InputError(
            f"{path}: Parquet files without {MANIFEST_NAME}. If `prepare` was interrupted here, "
            "run it again; "
            "for Parquet files of another origin run `decomp-ser prepare hub` on the folder first."
        )
    raise InputError(
        f"{path}: neither {MANIFEST_NAME} nor {METADATA_NAME} in this folder. Expected a folder "
        "that `decomp-ser prepare` wrote, or one with a metadata.csv."
    )


def _complete_columns(dataset: Dataset, name: str) -> Dataset:
    """Add unknown columns as null, and keep audio undecoded; `id` and `emotion` must exist."""
    missing = [column for column in ("id", "emotion") if column not in dataset.column_names]
    if missing:
        raise InputError(
            f"{name}: column {missing[0]!r} is missing; found {', '.join(dataset.column_names)}. "
            "Name the columns with `decomp-ser prepare hub` first."
        )
    for column in _NULLABLE_COLUMNS:
        if column not in dataset.column_names:
            dataset = dataset.add_column(column, [None] * len(dataset), feature=Value("string"))
    return keep_audio_encoded(dataset)
