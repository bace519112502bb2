"""Extract the signals of a corpus once, over processes, kept on disk by content and settings.

What is stored is what no statistics change: the mel spectrogram and F0 in Hz. Rows are handled in
shards; a shard's file appears only when it is whole, so an interrupted run goes on where it
stopped.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Array2D, Dataset, Features, Sequence, Value, concatenate_datasets
from datasets.utils import tqdm

from processing.audio_files import audio_name, read_audio
from processing.corpora.mixture import OWN_ID
from processing.corpora.mixture_rows import corpus_runs
from processing.corpora.rows import BadClip, warn_of_bad_clips
from processing.errors import InputError
from processing.feature_extraction_decomp_ser import DecompSerFeatureExtractor

SIGNAL_SETTINGS = (
    "sampling_rate",
    "hop_length",
    "n_fft",
    "win_length",
    "num_mel_bins",
    "mel_f_min",
    "mel_f_max",
    "f0_method",
    "f0_range",
)
"""Settings of the feature extractor that change the stored signals."""

SHARD_ROWS = 256
CACHE_VERSION = 1
"""Raised when the meaning of the stored signals changes."""


def default_cache_folder() -> Path:
    """Folder of the stored signals: $DECOMP_SER_CACHE, or a folder in the user's cache."""
    return Path(os.environ.get("DECOMP_SER_CACHE", Path.home() / ".cache" / "decomp_ser"))


def add_signals(
    corpus: Dataset,
    feature_extractor: DecompSerFeatureExtractor,
    *,
    cache_folder: str | Path | None = None,
    num_proc: int | None = None,
    skip_bad: bool = False,
) -> Dataset:
    """Add the columns `mel` (T, M) and `f0_hz` (T,) to a corpus.

    Args:
        corpus: rows of the schema.
        feature_extractor: its settings and the audio's content decide what can be used again.
        cache_folder: where shards are kept; default `default_cache_folder()`.
        num_proc: processes; default the processors of this machine.
        skip_bad: leave out clips that cannot be used, with a warning that counts and lists them.

    Returns:
        The corpus with the two columns, memory-mapped.

    Raises:
        InputError: if a clip cannot be used; names it.
    """
    return add_columns(
        corpus,
        extract_row,
        {"feature_extractor": feature_extractor},
        columns=signal_features(feature_extractor.num_mel_bins),
        settings=signal_settings(feature_extractor),
        title="Signals",
        cache_folder=cache_folder,
        num_proc=num_proc,
        skip_bad=skip_bad,
    )


def add_columns(
    corpus: Dataset,
    extract: Callable[..., dict],
    arguments: dict[str, Any],
    *,
    columns: Features,
    settings: str,
    title: str,
    cache_folder: str | Path | None = None,
    num_proc: int | None = None,
    skip_bad: bool = False,
) -> Dataset:
    """Add what a function extracts from the audio of each row, from the cache where it is there.

    `extract` turns a row with id, audio and gender, and `arguments`, into values of `columns`, of
    which `problem` says why a clip cannot be used, or is null, and is not added. `settings` is all
    that the values depend on beside the row, as text; `title` names what is extracted in the
    progress and the files. Everything else is as in `add_signals`.
    """
    folder = Path(cache_folder) if cache_folder is not None else default_cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    num_proc = num_proc or os.cpu_count() or 1
    # of a mixture each corpus by itself, so that what is stored of it alone is found
    pieces = [
        own[start : start + SHARD_ROWS]
        for own in corpus_runs(corpus)
        for start in range(0, len(own), SHARD_ROWS)
    ]
    shards = []
    for piece in tqdm(pieces, desc=title, unit="shard", disable=len(pieces) < 2):
        rows = own_rows(corpus.select(piece)).flatten_indices()
        digest = content_hash(rows, settings)
        path = folder / f"{title.lower()}-{digest}.arrow"
        shards.append(
            rows.map(
                extract,
                fn_kwargs=arguments,
                remove_columns=rows.column_names,
                features=columns,
                cache_file_name=str(path),
                # the whole name would be too long where several processes add their numbers to it
                new_fingerprint=digest,
                num_proc=None if num_proc == 1 or path.exists() else min(num_proc, len(rows)),
                writer_batch_size=64,
                desc=title,
            )
        )
    return _leave_out_bad(corpus, concatenate_datasets(shards), skip_bad=skip_bad)


def own_rows(rows: Dataset) -> Dataset:
    """What is read of rows: id, audio and gender; the id that a row of a mixture has by itself."""
    if OWN_ID not in rows.column_names:
        return rows.select_columns(["id", "audio", "gender"])
    own = rows.select_columns([OWN_ID, "audio", "gender"])
    return own.rename_column(OWN_ID, "id")


def _leave_out_bad(corpus: Dataset, found: Dataset, *, skip_bad: bool) -> Dataset:
    """The corpus with the columns found, without the rows that have a `problem`."""
    bad = [i for i, problem in enumerate(found["problem"]) if problem is not None]
    if bad and not skip_bad:
        raise InputError(
            f"{found[bad[0]]['problem']} ({len(bad)} of {len(corpus)} clips cannot be used; "
            "--skip-bad leaves them out.)"
        )
    corpus = concatenate_datasets([corpus, found.remove_columns("problem")], axis=1)
    if bad:
        clips = [BadClip(corpus[i]["id"], found[i]["problem"]) for i in bad]
        warn_of_bad_clips(clips, total=len(corpus))
        corpus = corpus.select(sorted(set(range(len(corpus))) - set(bad)))
    return corpus


def extract_row(row: dict, feature_extractor: DecompSerFeatureExtractor) -> dict:
    """Signals of one row, or why there are none."""
    try:
        waveform = read_audio(row["audio"], sampling_rate=feature_extractor.sampling_rate)
        return {**feature_extractor.extract([waveform], [row["gender"]])[0], "problem": None}
    except ValueError as error:
        name = audio_name(row["audio"])
        problem = str(error) if name in str(error) else f"{name}: {error}"
        empty = np.zeros((0, feature_extractor.num_mel_bins), np.float32)
        return {"mel": empty, "f0_hz": empty[:, 0], "problem": f"row '{row['id']}': {problem}"}


def signal_features(num_mel_bins: int) -> Features:
    """Columns that are stored."""
    return Features(
        {
            "mel": Array2D((None, num_mel_bins), "float32"),
            "f0_hz": Sequence(Value("float32")),
            "problem": Value("string"),  # why a clip cannot be used, or null
        }
    )


def signal_settings(feature_extractor: DecompSerFeatureExtractor) -> str:
    """The settings that change the stored signals, as text."""
    values = [getattr(feature_extractor, name) for name in SIGNAL_SETTINGS]
    return json.dumps([CACHE_VERSION, *values])


def content_hash(rows: Dataset, settings: str) -> str:
    """Name of a shard: settings, and each row's id, gender and audio bytes."""
    digest = hashlib.blake2b(settings.encode(), digest_size=16)
    row: Any
    for row in rows:
        digest.update(f"\n{row['id']}\t{row['gender']}\t".encode())
        audio = row["audio"]
        digest.update(
            audio["bytes"] if audio["bytes"] is not None else Path(audio["path"]).read_bytes()
        )
    return digest.hexdigest()
