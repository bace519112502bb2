"""`decomp-ser prepare`: any corpus to Parquet shards with embedded FLAC, statistics and a plot."""

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features
from tqdm import tqdm

from processing.audio_files import encode_flac, read_audio
from processing.corpora.hub import read_hub
from processing.corpora.metadata_folder import read_metadata_folder
from processing.corpora.registry import Corpus, known_corpora
from processing.corpora.rows import OPTIONAL_FEATURES, BadClip, Row
from processing.corpora.schema import ROW_FEATURES, SAMPLING_RATE
from processing.corpora.shards import MANIFEST_NAME, write_manifest, write_shards
from processing.corpora.statistics import corpus_statistics, format_statistics, plot_statistics
from processing.corpora.votes import map_votes
from processing.errors import InputError
from processing.folder_locks import sole_writer
from processing.text import spreadsheet_cell

KNOWN = known_corpora()
CORPORA = (*KNOWN, "folder", "hub")
"""A corpus with a reader of its own, a folder with metadata.csv, or Parquet files."""

FRAME_SECONDS = 0.02
DROP_DB = 42.0
KEPT_SECONDS = 0.2


@dataclass(frozen=True)
class PrepareOptions:
    """What happens to the clips between source and shards."""

    label_map: Mapping[str, str] = field(default_factory=dict)  # emotion -> emotion, applied first
    labels: Sequence[str] = ()  # the emotions to keep; empty for all
    trim: bool = False  # cut quiet ends, see `trim_ends`
    drop_duplicates: bool = False  # keep only the first of clips with identical samples
    skip_bad: bool = False  # leave out clips that cannot be used, and list them
    allow_outside: bool = False  # for `folder`: read audio that lies outside of it


def prepare(
    corpus: str,
    source: str,
    output: str | Path,
    *,
    options: PrepareOptions | None = None,
    columns: Mapping[str, str] | None = None,
    configuration: str = "four-class",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Read a corpus and write it as shards, statistics and a manifest.

    Everything is written into `<output>.partial`, which becomes `output` in one step at the end; so
    a run that was killed leaves nothing that a later one would take for a corpus.

    Args:
        corpus: a name in CORPORA.
        source: its folder; for `hub` also an id on the Hub; for a corpus that is synthesised
            settings such as "num_speakers=4,num_sentences=6,seed=0", or "-" for its defaults.
        output: the folder to make.
        options: what to do with labels and clips.
        columns: for `hub`, name in the schema -> name in the source.
        configuration: for `iemocap`, "four-class" or "all".
        overwrite: replace an output folder of an earlier `prepare`.

    Returns:
        The manifest.

    Raises:
        InputError: if names, settings, source or output are wrong, or a clip is bad.
    """
    options = options or PrepareOptions()
    output = Path(output)
    with sole_writer(output):
        return _prepare(
            corpus,
            source,
            output,
            options=options,
            columns=columns,
            configuration=configuration,
            overwrite=overwrite,
        )


def _prepare(
    corpus: str,
    source: str,
    output: Path,
    *,
    options: PrepareOptions,
    columns: Mapping[str, str] | None,
    configuration: str,
    overwrite: bool,
) -> dict[str, Any]:
    """`prepare`, in a folder that no other process writes to."""
    _check_output(output, overwrite=overwrite)
    dataset, bad = _read_corpus(
        corpus, source, columns=columns, configuration=configuration, options=options
    )
    rows, num_other_labels = _choose_labels(dataset, options)
    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    progress = tqdm(rows, desc=f"prepare {corpus}", unit="clip", mininterval=1.0)
    prepared = _prepared_rows(dataset, progress, options, bad)
    kept, shards = write_shards(partial, _stored_features(dataset, corpus), prepared)
    if not kept:
        raise InputError(f"{source}: no clip is left to write; {len(bad)} were left out.")
    _write_reports(partial, kept, bad)
    manifest = write_manifest(
        partial,
        shards,
        corpus=corpus,
        source=str(source),
        settings=_settings(options),
        rows=len(kept),
        other_labels=num_other_labels,
        left_out=len(bad),
    )
    if output.exists():
        shutil.rmtree(output)
    os.replace(partial, output)
    return manifest


def parse_pairs(text: str | None, option: str) -> dict[str, str]:
    """Read "a=b,c=d".

    Examples:
        >>> parse_pairs("excited=happy, calm=neutral", "--map")
        {'excited': 'happy', 'calm': 'neutral'}
    """
    pairs = [pair.partition("=") for pair in (text or "").split(",") if pair.strip()]
    for name, equals, value in pairs:
        if not equals or not name.strip() or not value.strip():
            raise InputError(f"{option} {text!r}: expected NAME=VALUE pairs divided by commas.")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _check_output(output: Path, *, overwrite: bool) -> None:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not (output / MANIFEST_NAME).is_file():
        raise InputError(
            f"{output}: exists and is no prepared corpus. Choose another output folder."
        )
    if not overwrite:
        raise InputError(
            f"{output}: holds a prepared corpus. Choose another folder, or --overwrite."
        )


def _read_corpus(
    corpus: str,
    source: str,
    *,
    columns: Mapping[str, str] | None,
    configuration: str,
    options: PrepareOptions,
) -> tuple[Dataset, list[BadClip]]:
    if corpus not in CORPORA:
        raise InputError(f"no corpus {corpus!r}. Choose one of: {', '.join(CORPORA)}.")
    if columns and corpus != "hub":
        raise InputError(f"--columns is for `hub`; the columns of {corpus!r} have fixed names.")
    if corpus == "hub":
        return read_hub(source, columns), []
    if corpus != "folder" and KNOWN[corpus].synthesize:
        return _synthesize(KNOWN[corpus], source), []
    read: Any = read_metadata_folder if corpus == "folder" else KNOWN[corpus].read
    settings: dict[str, Any] = {}
    if corpus == "iemocap":
        settings = {"configuration": configuration}
    elif corpus == "folder":
        settings = {"allow_outside": options.allow_outside}
    return read(source, skip_bad=options.skip_bad, **settings)


def _synthesize(corpus: Corpus, source: str) -> Dataset:
    settings = {} if source == "-" else parse_pairs(source, "SOURCE")
    allowed = corpus.settings
    for name, value in settings.items():
        if name not in allowed or not value.isdigit():
            raise InputError(
                f"SOURCE {source!r}: expected - or settings of the {corpus.name} corpus, whole "
                f"numbers for {', '.join(allowed)}, as {allowed[0]}=4,{allowed[1]}=6."
            )
    numbers: dict[str, Any] = {name: int(value) for name, value in settings.items()}
    synthesize: Any = corpus.synthesize
    return synthesize(**numbers)


def _choose_labels(dataset: Dataset, options: PrepareOptions) -> tuple[list[int], int]:
    """Positions of the rows whose mapped emotion is wanted, and the number of the others."""
    emotions = dataset["emotion"]
    present = sorted(set(emotions))
    for name in options.label_map:
        if name not in present:
            raise InputError(
                f"--map: no emotion {name!r} in this corpus. Found: {', '.join(present)}."
            )
    mapped = [options.label_map.get(emotion, emotion) for emotion in emotions]
    for name in options.labels:
        if name not in mapped:
            raise InputError(
                f"--labels: no emotion {name!r} in this corpus. Found: "
                f"{', '.join(sorted(set(mapped)))}."
            )
    wanted = set(options.labels) or set(mapped)
    chosen = [index for index, emotion in enumerate(mapped) if emotion in wanted]
    return chosen, len(mapped) - len(chosen)


def _prepared_rows(
    dataset: Dataset, indices: Sequence[int] | tqdm, options: PrepareOptions, bad: list[BadClip]
) -> Iterator[Row]:
    """Decode, check, trim and encode one clip after the other; add what is left out to `bad`."""
    first_with: dict[bytes, str] = {}
    for index in indices:
        row = dict(dataset[index])
        try:
            waveform = read_audio(row["audio"], sampling_rate=SAMPLING_RATE)
        except InputError as error:
            if not options.skip_bad:
                raise InputError(
                    f"{row['id']}: {error} Or leave bad clips out: --skip-bad."
                ) from error
            bad.append(BadClip(row["id"], str(error)))
            continue
        digest = hashlib.sha256(waveform.tobytes()).digest()
        if options.drop_duplicates and digest in first_with:
            bad.append(BadClip(row["id"], f"the same samples as {first_with[digest]}."))
            continue
        first_with.setdefault(digest, row["id"])
        yield _stored_row(row, trim_ends(waveform) if options.trim else waveform, options)


def trim_ends(waveform: np.ndarray, *, sampling_rate: int = 16000) -> np.ndarray:
    """Cut the ends of (S,) samples that stay far below the clip's own level, which is not changed.

    The level is that of 20 ms frames. The first and the last frame that come within 42 dB of the
    clip's 95th percentile bound what is kept, with 0.2 s on either side. The result is a view; all
    of the waveform if it is silent or shorter than a frame.
    """
    frame = round(FRAME_SECONDS * sampling_rate)
    margin = round(KEPT_SECONDS * sampling_rate)
    num_frames = len(waveform) // frame
    if num_frames == 0 or not waveform.any():
        return waveform
    frames = waveform[: num_frames * frame].reshape(num_frames, frame).astype(np.float64)
    level = 10 * np.log10((frames**2).mean(axis=1) + 1e-12)  # (frames,) dB
    active = np.flatnonzero(level > np.percentile(level, 95) - DROP_DB)
    start = max(0, int(active[0]) * frame - margin)
    end = min(len(waveform), (int(active[-1]) + 1) * frame + margin)
    return waveform[start:end]


def _stored_row(row: Row, waveform: np.ndarray, options: PrepareOptions) -> Row:
    name = f"{Path(row['id']).stem}.flac"
    if row.get("votes") is not None:
        row = {**row, "votes": map_votes(row["votes"], options.label_map)}
    return {
        **row,
        "audio": {"bytes": encode_flac(waveform, sampling_rate=SAMPLING_RATE), "path": name},
        "emotion": options.label_map.get(row["emotion"], row["emotion"]),
        "duration": len(waveform) / SAMPLING_RATE,
    }


def _settings(options: PrepareOptions) -> dict[str, Any]:
    chosen = {"map": dict(options.label_map), "labels": list(options.labels)}
    return {**chosen, "trim": options.trim, "drop_duplicates": options.drop_duplicates}


def _stored_features(dataset: Dataset, corpus: str) -> Features:
    if corpus == "factorial":
        return dataset.features  # what was varied is what the corpus is for
    optional = {n: kind for n, kind in OPTIONAL_FEATURES.items() if n in dataset.column_names}
    return Features({**ROW_FEATURES, **optional})


def _write_reports(folder: Path, rows: list[Row], bad: list[BadClip]) -> None:
    statistics = corpus_statistics(rows)
    text = json.dumps(statistics, indent=2, ensure_ascii=False)
    (folder / "statistics.json").write_text(text + "\n", encoding="utf-8")
    (folder / "statistics.md").write_text(format_statistics(statistics), encoding="utf-8")
    plot_statistics(statistics, [row["duration"] for row in rows], folder / "statistics.png")
    if bad:
        with (folder / "left_out.csv").open("w", encoding="utf-8", newline="") as file:
            clips = [(clip.item, clip.reason) for clip in bad]
            table = [("clip", "reason"), *(map(spreadsheet_cell, clip) for clip in clips)]
            csv.writer(file).writerows(table)
