"""Which turns the pre-training of a speech encoder may hear: not those that shall be tested."""

import logging
from collections.abc import Collection, Mapping, Sequence

from datasets import Dataset

from processing.errors import InputError
from processing.folds import PROTOCOLS, fold_names, split_rows

logger = logging.getLogger(__name__)

FOLD_COLUMNS = ("id", "speaker", "gender", "session", "dialogue", "split")


def leave_out_speakers(
    corpora: Mapping[str, Dataset], speakers: Collection[str]
) -> dict[str, Dataset]:
    """The corpora without the turns of some speakers.

    Raises:
        InputError: if a speaker is in none of the corpora.
    """
    known = {s for corpus in corpora.values() for s in corpus["speaker"] if s is not None}
    unknown = sorted(set(speakers) - known)
    if unknown:
        raise InputError(
            f"--leave-out-speakers: speaker {unknown[0]!r} is in none of {', '.join(corpora)}. "
            f"Expected names out of: {', '.join(sorted(known)) or 'none, no speaker is known'}."
        )
    return without(corpora, set(speakers), set())


def leave_out_fold(
    corpora: Mapping[str, Dataset], protocol: str, fold: str, *, train_on_validation: bool = False
) -> dict[str, Dataset]:
    """The corpora without the turns of test and validation speakers of a fold of each of them.

    A speaker or turn that one corpus leaves out is left out of all, so that two tables of the same
    recordings may be given. A corpus that the protocol cannot divide, or that has no such fold,
    loses no more than that, with a warning.

    Args:
        corpora: by name.
        protocol: see `load_folds`.
        fold: see `load_folds`.
        train_on_validation: keep validation speakers.

    Raises:
        InputError: if none of the corpora has the fold.
    """
    if protocol not in PROTOCOLS:
        raise InputError(f"no protocol {protocol!r}. Choose one of: {', '.join(PROTOCOLS)}.")
    rule = PROTOCOLS[protocol]
    kept_splits = {"train", "heldout_turns"} | ({"validation"} if train_on_validation else set())
    speakers: set[str] = set()
    ids: set[str] = set()
    whole, folds = [], set()
    for name, corpus in corpora.items():
        rows = fold_rows(corpus)
        found = fold_names(rows, protocol) if any(row.get(rule.needs) for row in rows) else []
        folds |= set(found)
        if fold not in found:
            whole.append(name)
            continue
        for split, indices in split_rows(rows, protocol, fold).items():
            if split not in kept_splits:
                ids |= {rows[i]["id"] for i in indices}
                speakers |= {rows[i]["speaker"] for i in indices} - {None}
    if len(whole) == len(corpora):
        raise InputError(
            f"protocol {protocol!r}: fold {fold!r} is in none of {', '.join(corpora)}; found "
            f"{', '.join(sorted(folds)) or 'no fold'}. Give another fold, or leave speakers out by "
            "name (--leave-out-speakers)."
        )
    for name in whole:
        logger.warning(
            "%s: has no fold %r of protocol %r, so no turns of its own are left out.",
            name,
            fold,
            protocol,
        )
    return without(corpora, set() if rule.declares_shared_speakers else speakers, ids)


def fold_rows(corpus: Dataset) -> list[dict]:
    """Of every row what protocols read; for want of an emotion an empty one."""
    columns = [name for name in FOLD_COLUMNS if name in corpus.column_names]
    return [{**row, "emotion": ""} for row in corpus.select_columns(columns).to_list()]


def without(
    corpora: Mapping[str, Dataset], speakers: Collection[str], ids: Collection[str]
) -> dict[str, Dataset]:
    """The corpora without some speakers and turns; one of which nothing is left goes."""
    kept = {name: corpus.select(others(corpus, speakers, ids)) for name, corpus in corpora.items()}
    return {name: corpus for name, corpus in kept.items() if len(corpus)}


def others(corpus: Dataset, speakers: Collection[str], ids: Collection[str]) -> Sequence[int]:
    """Numbers of the rows of other speakers and ids."""
    pairs = enumerate(zip(corpus["speaker"], corpus["id"], strict=True))
    return [i for i, (speaker, turn) in pairs if speaker not in speakers and turn not in ids]
