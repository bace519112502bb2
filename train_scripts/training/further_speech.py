"""Turns of other corpora beside the training turns of a fold, for pre-training."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from datasets import Dataset, DatasetDict, concatenate_datasets

from processing.copies import digest_audio
from processing.corpora.loading import load_corpus
from processing.corpora.rows import check_ids_are_unique
from processing.errors import InputError
from processing.feature_extraction_decomp_ser import DecompSerFeatureExtractor
from processing.features import add_signals
from processing.folds import choose_heldout_turns
from processing.leakage import leak_report
from train_scripts.runs.fold_data import FoldData, with_arrays
from train_scripts.runs.sealed_folds import SealedFolds

FOLD_COLUMNS = ["id", "speaker", "emotion"]


def add_speech(
    data: FoldData,
    names: Sequence[str],
    extractor: DecompSerFeatureExtractor,
    *,
    skip_bad: bool = False,
) -> FoldData:
    """The same fold with all turns of other corpora in its training set, whose emotions are not
    used; a tenth of each speaker's turns is held out, as of the fold's own.

    Args:
        data: of the fold.
        names: of the other corpora, see `load_corpus`.
        extractor: of the signals.
        skip_bad: leave out clips that cannot be used.

    Raises:
        InputError: if another corpus has a speaker, an id or a recording that the fold tests or
            validates with.
    """
    splits: dict[Any, Dataset] = {**data.folds.all_turns()}
    columns = splits["train"].column_names
    digests: dict[str, str] = {}
    for rows in splits.values():
        digests |= digest_audio(rows.select_columns(["id", "audio"]))
    tested = {digests[row_id] for row_id in splits["test"]["id"]}
    for name in names:
        corpus = add_signals(load_corpus(name, skip_bad=skip_bad), extractor, skip_bad=skip_bad)
        missing = sorted(set(columns) - set(corpus.column_names))
        corpus = with_arrays(corpus.select_columns([c for c in columns if c not in missing]))
        rows: Any = corpus.select_columns(FOLD_COLUMNS).to_list()
        check_apart(name, rows, splits)
        own_digests = digest_audio(corpus.select_columns(["id", "audio"]))
        copies = sum(digest in tested for digest in own_digests.values())
        if copies:
            raise InputError(
                f"--further {name}: {copies} of its recordings are test turns of the fold under "
                "other names. Leave them out."
            )
        digests |= own_digests
        chosen = choose_heldout_turns(rows)
        heldout = [row["id"] in chosen for row in rows]
        for split, wanted in (("train", False), ("heldout_turns", True)):
            turns = corpus.select([i for i, held in enumerate(heldout) if held is wanted])
            splits[split] = concatenate_datasets([splits[split], turns])
    folds = DatasetDict(splits)
    check_ids_are_unique(name for rows in folds.values() for name in rows["id"])
    leaks = leak_report(folds, digests=digests)
    return replace(
        data,
        folds=SealedFolds(with_arrays(folds)),
        leaks=leaks,
        speakers=sorted(set(folds["train"]["speaker"]) - {None}),
    )


def check_apart(name: str, rows: Sequence[dict], splits: dict[Any, Dataset]) -> None:
    """Raise InputError for a corpus that has a speaker or an id of the test or validation turns."""
    for split in ("test", "validation"):
        for column in ("speaker", "id"):
            tested = set(splits[split][column]) - {None}
            shared = sorted({row[column] for row in rows} & tested)
            if shared:
                raise InputError(
                    f"--further {name}: {column} {shared[0]!r} is among the {split} turns of the "
                    f"fold ({len(shared)} such). Give a corpus of other people."
                )
