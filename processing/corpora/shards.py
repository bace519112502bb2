"""The folder of Parquet shards that `prepare` writes, and the manifest that makes it complete."""

import json
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


class ShardWriter:
    """Writes rows to numbered Parquet files of about SHARD_BYTES."""

    def __init__(self, folder: Path, features: Features) -> None:
        self._folder = folder
        self._schema = features.arrow_schema
        self._writer: pq.ParquetWriter | None = None
        self._group: list[Row] = []
        self._audio_bytes = 0
        self._shards: list[dict[str, Any]] = []

    def write(self, row: Row) -> Row:
        """Take a row; returns it without its audio."""
        if self._writer is None:
            name = f"data-{len(self._shards):05d}.parquet"
            self._shards.append({"file": name, "rows": 0})
            self._writer = pq.ParquetWriter(self._folder / name, self._schema)
            self._audio_bytes = 0
        self._group.append(row)
        self._shards[-1]["rows"] += 1
        self._audio_bytes += len(row["audio"]["bytes"])
        if len(self._group) >= ROWS_PER_GROUP:
            self._write_group()
        if self._audio_bytes >= SHARD_BYTES:
            self._close_shard()
        return {name: value for name, value in row.items() if name != "audio"}

    def close(self) -> list[dict[str, Any]]:
        """Finish the last shard; returns name, rows and size in bytes of every shard."""
        self._close_shard()
        for shard in self._shards:
            shard["bytes"] = (self._folder / shard["file"]).stat().st_size
        return self._shards

    def _write_group(self) -> None:
        if self._writer is not None and self._group:
            self._writer.write_table(pa.Table.from_pylist(self._group, schema=self._schema))
            self._group = []

    def _close_shard(self) -> None:
        self._write_group()
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def write_manifest(folder: Path, shards: list[dict[str, Any]], **facts: Any) -> dict[str, Any]:
    """Declare the folder complete: write and return the manifest with what `ShardWriter.close`
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
