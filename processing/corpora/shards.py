"""The folder of Parquet shards that `prepare` writes, and the manifest that makes it complete."""

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features

from processing.corpora.rows import Row
from processing.errors import InputError

MANIFEST_NAME = "corpus.json"
"""Written last: a folder of shards without it is half a corpus and is not read."""

MANIFEST_VERSION = 1
SHARD_BYTES = 200 * 2**20
"""Embedded audio in one shard, so that a shard is read and uploaded in one go."""

ROWS_PER_GROUP = 100


def write_shards(
    folder: Path, features: Features, rows: Iterable[Row]
) -> tuple[list[Row], list[dict[str, Any]]]:
    """Write rows to numbered Parquet files of about SHARD_BYTES.

    Returns:
        The rows without their audio, and name, rows and size in bytes of every file.
    """
    schema = features.arrow_schema
    kept: list[Row] = []
    shards: list[dict[str, Any]] = []
    rows = iter(rows)
    for first in rows:
        path = folder / f"data-{len(shards):05d}.parquet"
        num_before = len(kept)
        with pq.ParquetWriter(path, schema) as writer:
            for group in _groups_of_shard(itertools.chain([first], rows)):
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
                kept += [{k: v for k, v in row.items() if k != "audio"} for row in group]
        num_rows = len(kept) - num_before
        shards.append({"file": path.name, "rows": num_rows, "bytes": path.stat().st_size})
    return kept, shards


def _groups_of_shard(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows in groups of ROWS_PER_GROUP until they hold SHARD_BYTES of audio."""
    group: list[Row] = []
    num_bytes = 0
    for row in rows:
        group.append(row)
        num_bytes += len(row["audio"]["bytes"])
        if len(group) >= ROWS_PER_GROUP or num_bytes >= SHARD_BYTES:
            yield group
            group = []
        if num_bytes >= SHARD_BYTES:
            return
    if group:
        yield group


def write_manifest(folder: Path, shards: list[dict[str, Any]], **facts: Any) -> dict[str, Any]:
    """Declare the folder complete: write and return the manifest with what `write_shards`
    returned and further facts, such as the source and the settings.
    """
    manifest = {"version": MANIFEST_VERSION, **facts, "shards": shards}
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    (folder / MANIFEST_NAME).write_text(text + "\n", encoding="utf-8")
    return manifest


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a folder that `prepare` wrote. An InputError says if it is missing, or a
    shard is missing or has another size than when it was written.
    """
    folder = Path(folder)
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise InputError(
            f"{folder}: no {MANIFEST_NAME}, so `prepare` did not finish here. Run it again."
        )
    manifest = json.loads(path.read_text(encoding="utf-8"))
    for shard in manifest["shards"]:
        file = folder / shard["file"]
        size = file.stat().st_size if file.is_file() else None
        if size != shard["bytes"]:
            found = "it is missing" if size is None else f"it has {size} bytes"
            raise InputError(
                f"{file}: expected a shard of {shard['bytes']} bytes, but {found}. Run `prepare` "
                "again."
            )
    return manifest
