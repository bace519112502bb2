"""What of a test fold is in its training set: speakers, dialogues, transcripts and audio.

`leak_report` reads the columns of the rows and is quick enough to be printed before every training,
with identical audio found by `digest_audio`. Changed copies take longer: `fingerprint_audio` and
`find_copies` over the whole corpus, then `leak_report` with the pairs.

How a copy is told from another recording of the same sentence is in `copies`.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset, DatasetDict
from tqdm import tqdm

from processing.copies import find_copies, fingerprint_audio
from processing.corpora.loading import load_corpus
from processing.errors import InputError
from processing.folds import PROTOCOLS, describe_protocol, fold_names, load_folds
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


def leaks(
    data: str | Path | Dataset | DatasetDict,
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
        "folds": {fold: report of `leak_report` with the "hash" of the split}}.

    Raises:
        InputError: if the data, the protocol or a fold is wrong, or a clip cannot be decoded.
    """
    corpus = load_corpus(data)
    names = fold_names(corpus, protocol)
    copies = None
    if audio:
        rows = corpus.select_columns(["id", "audio"])
        progress = tqdm(rows, desc="fingerprints", unit="clip", mininterval=1.0)
        copies = find_copies(fingerprint_audio(progress))
    reports = {}
    for fold in folds or names:
        splits = load_folds(corpus, protocol, fold)
        digest = describe_protocol(protocol, splits)["hash"]
        reports[fold] = {"hash": digest, **leak_report(splits, copies)}
    return {
        "protocol": protocol,
        "declares_shared_speakers": PROTOCOLS[protocol].declares_shared_speakers,
        "copies": copies,
        "folds": reports,
    }


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
    pairs = None if copies is None else list(copies)
    columns = {
        name: _columns(folds, name, digests or {}) for name in ("train", "validation", "test")
    }
    test = columns["test"]
    test_speakers, train_speakers = set(test["speaker"]), set(columns["train"]["speaker"])
    return {
        "turns": {name: len(folds[name]) for name in folds},
        "speakers": {name: len(set(folds[name]["speaker"]) - {None}) for name in folds},
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
    folds, of_fold = pd.Index(reports, name="fold"), list(reports.values())
    turns = pd.DataFrame([r["turns"] for r in of_fold], folds, ["test", against], dtype=object)
    counts = pd.DataFrame([r[f"in_{against}"] for r in of_fold], folds, LEAK_KINDS, dtype=float)
    if len(reports) > 1:  # a sum of which a part is unknown is unknown
        turns.loc["all"] = [turns["test"].sum(), ""]
        counts.loc["all"] = counts.sum(skipna=False)
    for kind in LEAK_KINDS:
        turns[kind.replace("_", " ")] = list(map(_share, counts[kind], turns["test"]))
    return turns.rename_axis(index=None, columns="fold").to_string()


def _columns(folds: DatasetDict, split: str, digests: Mapping[str, str]) -> dict[str, list[Any]]:
    """The compared columns of a split, as lists of values or None."""
    rows = folds[split]
    texts = [normalize_transcript(text or "") or None for text in rows["text"]]
    # Without any transcript the number is unknown; with short ones only it is zero.
    short = "" if any(texts) else None
    long = [t if len((t or "").split()) >= LONG_TRANSCRIPT_WORDS else short for t in texts]
    return {
        "id": list(rows["id"]),
        "speaker": list(rows["speaker"]),
        "dialogue": list(rows["dialogue"]),
        "transcript": texts,
        "transcript_4_words": long,
        "identical_audio": [digests.get(row_id) for row_id in rows["id"]],
    }


def _count_shared(values: Sequence[Any], others: Sequence[Any]) -> int | None:
    if all(value is None for value in values):
        return None
    known = set(others) - {None, ""}
    return sum(value in known for value in values)


def _count_copies(
    pairs: list[tuple[str, str, float]] | None, ids: Iterable[str], others: Iterable[str]
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
