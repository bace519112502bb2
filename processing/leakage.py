"""What of a test fold is in its training set: speakers, dialogues, transcripts and audio.

`leak_report` reads the columns of the rows and is quick enough to be printed before every training,
with identical audio found by `digest_audio`. Changed copies take longer: `fingerprint_audio` and
`find_copies` over the whole corpus, then `leak_report` with the pairs.

How a copy is told from another recording of the same sentence is in `copies`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from datasets import Dataset, DatasetDict
from tqdm import tqdm

from processing.copies import find_copies, fingerprint_audio
from processing.corpora.loading import Data, load_corpus
from processing.errors import InputError
from processing.folds import PROTOCOLS, describe_protocol, fold_names, fold_rows, split_rows
from processing.text import normalize_transcript

LONG_TRANSCRIPT_WORDS = 4
LEAK_KINDS = (
    "speaker",
    "dialogue",
    "transcript",
    "transcript_4_words",
    "identical_audio",
    "near_identical_audio",
)
"""transcript: the same words, after normalisation; transcript_4_words: those of four words or more.
identical_audio: the same samples; near_identical_audio: a copy, identical ones included."""


Columns: TypeAlias = dict[str, list[Any]]
"""The compared columns of some rows, as lists of values or None."""


def leaks(
    data: Data,
    protocol: str,
    *,
    folds: Sequence[str] = (),
    audio: bool = True,
) -> dict[str, Any]:
    """Report the leaks of a protocol's folds, for `decomp-ser leaks`.

    Args:
        data: what `load_corpus` takes.
        protocol: a name in PROTOCOLS.
        folds: the folds to report; empty for all.
        audio: also decode every clip and look for copies.

    Returns:
        {"protocol", "declares_shared_speakers", "copies": [[id, id, likeness], ...] or None,
        "same_people": see `same_people`, or None, "folds": {fold: report of `leak_report` with the
        "hash" of the split}}.

    Raises:
        InputError: if the data, the protocol or a fold is wrong, or a clip cannot be decoded.
    """
    corpus = load_corpus(data)
    rows = fold_rows(corpus)
    names = fold_names(rows, protocol)
    copies = None
    if audio:
        clips = corpus.select_columns(["id", "audio"])
        progress = tqdm(clips, desc="fingerprints", unit="clip", mininterval=1.0)
        copies = find_copies(fingerprint_audio(progress))
    columns = _compared_columns(corpus)
    reports = {}
    chosen = folds or names
    progress = tqdm(chosen, desc="folds", unit="fold", mininterval=1.0, leave=False)
    for fold in progress:
        splits = {
            name: _take(columns, indices)
            for name, indices in split_rows(rows, protocol, fold).items()
        }
        digest = describe_protocol(protocol, splits)["hash"]
        reports[fold] = {"hash": digest, **_report(splits, copies)}
    return {
        "protocol": protocol,
        "declares_shared_speakers": PROTOCOLS[protocol].declares_shared_speakers,
        "copies": copies,
        "same_people": None if copies is None else same_people(columns, copies),
        "folds": reports,
    }


def same_people(
    columns: Mapping[str, Sequence[Any]], copies: Iterable[tuple[str, str, float]]
) -> list[tuple[str, str, int]]:
    """Speakers of two names who share recordings, such as an actor who is in two collections.

    Args:
        columns: "id" and "speaker" of all rows.
        copies: pairs from `find_copies`.

    Returns:
        (speaker, speaker, number of shared recordings), the most first.
    """
    speaker_of = dict(zip(columns["id"], columns["speaker"], strict=True))
    pairs = Counter()
    for first, second, _ in copies:
        names = sorted({speaker_of[first], speaker_of[second]} - {None})
        if len(names) == 2:
            pairs[names[0], names[1]] += 1
    return [
        (*names, number) for names, number in sorted(pairs.items(), key=lambda p: (-p[1], p[0]))
    ]


def leak_report(
    folds: DatasetDict,
    copies: Iterable[tuple[str, str, float]] | None = None,
    *,
    digests: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Count the test turns of a fold that share something with its training or validation turns.

    Args:
        folds: the splits of `load_folds`; only columns other than the audio are read.
        copies: pairs from `find_copies`, for the two audio counts; None leaves them unknown.
        digests: row id to digest of its samples, from `digest_audio`, for the count of identical
            audio alone; not needed with `copies`.

    Returns:
        {"turns": {split: number}, "speakers": {split: number}, "shared_speakers": names in test and
        train, "in_train": {kind: number of test turns}, "in_validation": likewise}; the kinds are
        LEAK_KINDS. A number is None where it is not known: the column is null in every test turn,
        or neither `copies` nor `digests` was given.
    """
    splits = {name: _compared_columns(rows, digests or {}) for name, rows in folds.items()}
    return _report(splits, None if copies is None else list(copies))


def _report(
    splits: Mapping[Any, Columns], pairs: Sequence[tuple[str, str, float]] | None
) -> dict[str, Any]:
    """See `leak_report`."""
    columns = {
        name: _with_long_transcripts(splits[name]) for name in ("train", "validation", "test")
    }
    test = columns["test"]
    test_speakers, train_speakers = set(test["speaker"]), set(columns["train"]["speaker"])
    return {
        "turns": {name: len(split["id"]) for name, split in splits.items()},
        "speakers": {name: len(set(split["speaker"]) - {None}) for name, split in splits.items()},
        "shared_speakers": sorted((test_speakers & train_speakers) - {None}),
        **{
            f"in_{name}": {
                **{kind: _count_shared(test[kind], columns[name][kind]) for kind in LEAK_KINDS[:5]},
                **_count_copies(pairs, test["id"], columns[name]["id"]),
            }
            for name in ("train", "validation")
        },
    }


def check_shared_speakers(report: Mapping[str, Any], protocol: str) -> None:
    """Raise an InputError if test speakers are in training and the protocol does not declare it."""
    shared = report["shared_speakers"]
    if shared and not PROTOCOLS[protocol].declares_shared_speakers:
        raise InputError(
            f"protocol {protocol!r}: {len(shared)} test speakers are in the training set too, "
            f"first {shared[0]!r}; expected none. Correct the split, or use a protocol that "
            "declares shared speakers (dialogue-prefix)."
        )


def format_leak_table(reports: Mapping[str, Mapping[str, Any]], *, against: str = "train") -> str:
    """A text table of the reports of `leak_report` by fold: a line for each fold, a column for each
    kind of leak with number and share, against the "train" or the "validation" turns.
    """
    of_fold = list(reports.values())
    names = ["test", against]
    turns = pd.DataFrame([r["turns"] for r in of_fold], list(reports), names, dtype=object)
    counts = pd.DataFrame([r[f"in_{against}"] for r in of_fold], dtype=float)
    if len(reports) > 1:  # a sum of which a part is unknown is unknown
        turns.loc["all"] = [turns["test"].sum(), ""]
        counts.loc["all"] = counts.sum(skipna=False)
    for kind in LEAK_KINDS:
        turns[kind.replace("_", " ")] = list(map(_share, counts[kind], turns["test"]))
    return turns.rename_axis(columns="fold").to_string()


def _compared_columns(rows: Dataset, digests: Mapping[str, str] | None = None) -> Columns:
    """The compared columns of some rows; a transcript that occurs often is normalised once."""
    table: Any = rows.select_columns(["id", "speaker", "dialogue", "text"]).with_format("arrow")[:]
    columns = {name: table[name].to_pylist() for name in table.column_names}
    words = {text: normalize_transcript(text or "") or None for text in set(columns["text"])}
    return {
        "id": columns["id"],
        "speaker": columns["speaker"],
        "dialogue": columns["dialogue"],
        "transcript": [words[text] for text in columns["text"]],
        "identical_audio": [(digests or {}).get(row_id) for row_id in columns["id"]],
    }


def _take(columns: Columns, indices: Sequence[int]) -> Columns:
    """The compared columns of some of the rows."""
    return {name: [values[i] for i in indices] for name, values in columns.items()}


def _with_long_transcripts(columns: Columns) -> Columns:
    """The compared columns of a split with the transcripts of LONG_TRANSCRIPT_WORDS or more."""
    texts = columns["transcript"]
    # Without any transcript the number is unknown; with short ones only it is zero.
    short = "" if any(texts) else None
    enough = LONG_TRANSCRIPT_WORDS - 1  # words are divided by one blank
    long = [t if t is not None and t.count(" ") >= enough else short for t in texts]
    return {**columns, "transcript_4_words": long}


def _count_shared(values: Sequence[Any], others: Sequence[Any]) -> int | None:
    if all(value is None for value in values):
        return None
    known = set(others) - {None, ""}
    return sum(value in known for value in values)


def _count_copies(
    pairs: Sequence[tuple[str, str, float]] | None, ids: Iterable[str], others: Iterable[str]
) -> dict[str, int | None]:
    if pairs is None:
        return {"near_identical_audio": None}
    ids, others = set(ids), set(others)
    both_ways = [*pairs, *((b, a, c) for a, b, c in pairs)]
    found = [(a, c) for a, b, c in both_ways if a in ids and b in others]
    return {
        "identical_audio": len({a for a, likeness in found if likeness == 1.0}),
        "near_identical_audio": len({a for a, _ in found}),
    }


def _share(number: float, total: int) -> str:
    return "unknown" if np.isnan(number) else f"{number:.0f} ({number / max(total, 1):.1%})"
