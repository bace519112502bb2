"""Evaluation protocols: which turns train, select, and test, by rule from the rows alone.

Every protocol is a pure function of the rows' ids, speakers, genders, sessions, dialogues, corpora
and emotions: the order of rows and the audio never matter. A split is named by protocol, version
and a hash of its ids, which go into every result, so that two numbers are comparable exactly when
these agree.
"""

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from datasets import Dataset, DatasetDict

from processing.corpora.loading import Data, load_corpus
from processing.corpora.mixture import Mixture, home_of
from processing.corpora.rows import check_ids_are_unique
from processing.errors import InputError

Row: TypeAlias = Mapping[str, Any]

SPLITS = ("train", "validation", "heldout_turns", "test")
"""train: trained on. validation: speakers that select the checkpoint. heldout_turns: turns of
training speakers for speaker accuracy only. test: never used for selection."""

HELDOUT_FRACTION = 0.1
VALIDATION_FRACTION = 0.1
NUM_SPEAKER_GROUPS = 5
PREDEFINED_FOLD = "predefined"


@dataclass(frozen=True)
class Protocol:
    """One rule that turns rows into folds.

    With `declares_shared_speakers`, test speakers are in the training set by the rule itself, and
    results are marked.
    """

    name: str  # as the command line spells it
    version: int  # raised when the rule changes in a way that changes any split
    needs: str  # column that must be known in every row
    names: Callable[[Sequence[Row]], list[str]]  # fold names in their order
    # "train", "validation" or "test" for every id, of a fold
    assign: Callable[[Sequence[Row], str], dict[str, str]]
    declares_shared_speakers: bool = False


def load_folds(data: Data, protocol: str, fold: str) -> DatasetDict:
    """Split a corpus by a protocol.

    Args:
        data: what `load_corpus` takes; a data set in memory may carry further columns, such as
            features.
        protocol: a name in PROTOCOLS.
        fold: a name that `fold_names` lists, such as "01F" (speaker), "1" (speaker-5), "Ses01F"
            (dialogue-prefix) or "ravdess" (corpus).

    Returns:
        The splits `train`, `validation` (empty where the protocol has none), `heldout_turns` and
        `test`, each sorted by id. They are disjoint and cover all rows.

    Raises:
        InputError: if protocol or fold is unknown, or the rows lack what the protocol needs.
    """
    corpus = load_corpus(data)
    splits = split_rows(fold_rows(corpus), protocol, fold)
    return DatasetDict({name: corpus.select(indices) for name, indices in splits.items()})


def split_rows(rows: Sequence[Row], protocol: str, fold: str) -> dict[str, list[int]]:
    """`load_folds` without the data: positions of the rows of each split, in the order of ids."""
    rule = _rule(protocol)
    _check_rows(rows, rule)
    names = rule.names(rows)
    if fold not in names:
        raise InputError(
            f"protocol {protocol!r} has no fold {fold!r}. Choose one of: {', '.join(names)}."
        )
    split_of_id = rule.assign(rows, fold)
    for row_id in choose_heldout_turns([row for row in rows if split_of_id[row["id"]] == "train"]):
        split_of_id[row_id] = "heldout_turns"
    splits: dict[str, list[int]] = {name: [] for name in SPLITS}
    for index in sorted(range(len(rows)), key=lambda i: rows[i]["id"]):
        splits[split_of_id[rows[index]["id"]]].append(index)
    for needed in ("train", "test"):
        if not splits[needed]:
            raise InputError(
                f"protocol {protocol!r}, fold {fold!r}: the {needed} split is empty. "
                "The corpus has too few speakers or sessions for this protocol: choose another."
            )
    return splits


def fold_names(data: Data | Sequence[Row], protocol: str) -> list[str]:
    """The folds of a protocol in order; `data` is what `load_corpus` takes, or rows."""
    from_corpus = isinstance(data, str | Path | Dataset | DatasetDict | Mixture)
    rows = fold_rows(load_corpus(data)) if from_corpus else data
    rule = _rule(protocol)
    _check_rows(rows, rule)
    return rule.names(rows)


def fold_rows(corpus: Dataset) -> list[dict[str, Any]]:
    """Of every row what protocols read."""
    columns = [name for name in _FOLD_COLUMNS if name in corpus.column_names]
    table: Any = corpus.select_columns(columns).with_format("arrow")[:]
    return table.to_pylist()


def describe_protocol(protocol: str, folds: Mapping[Any, Any]) -> dict[str, Any]:
    """The `protocol` entry of results.json: name, version, hash, and whether it leaks by rule.

    `leaks`: test speakers are in the training set by the rule itself. The hash is of the protocol's
    name and version and the sorted ids of every split.
    """
    rule = _rule(protocol)
    ids = {name: sorted(folds[name]["id"]) for name in SPLITS}
    content = json.dumps([rule.name, rule.version, ids], ensure_ascii=False, sort_keys=True)
    return {
        "name": rule.name,
        "version": rule.version,
        "hash": hashlib.sha256(content.encode()).hexdigest()[:16],
        "leaks": rule.declares_shared_speakers,
    }


def choose_heldout_turns(rows: Iterable[Row]) -> set[str]:
    """A fixed tenth of each speaker's turns (at least one), stratified by emotion.

    Turns sorted by emotion and then by hash are taken at even spacing, so that an emotion's share
    of the held-out turns differs from its share of all turns by less than one turn. A speaker with
    one turn keeps it for training; turns of unknown speakers are of no use to speaker accuracy and
    are never held out.
    """
    turns_of_speaker: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.get("speaker") is not None:
            turns_of_speaker[row["speaker"]].append(row)
    chosen: set[str] = set()
    for turns in turns_of_speaker.values():
        if len(turns) < 2:
            continue
        count = max(1, round(HELDOUT_FRACTION * len(turns)))
        ordered = sorted(turns, key=lambda row: (row["emotion"], _hash(row["id"])))
        chosen.update(ordered[int((k + 0.5) * len(turns) / count)]["id"] for k in range(count))
    return chosen


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# --- speaker and speaker-paper: one speaker tests ------------------------------------------------


def _values(rows: Sequence[Row], column: str) -> list[str]:
    return sorted({row[column] for row in rows})


def _speakers(rows: Sequence[Row]) -> list[str]:
    return _values(rows, "speaker")


def _speaker_table(rows: Sequence[Row], column: str) -> dict[str, str | None]:
    """Speaker -> gender or session: the first by name of several, None where unknown."""
    found: dict[str, set[str]] = {speaker: set() for speaker in _values(rows, "speaker")}
    for row in rows:
        if row.get(column) is not None:
            found[row["speaker"]].add(row[column])
    return {speaker: min(values, default=None) for speaker, values in found.items()}


def _mark(
    rows: Sequence[Row],
    test: Callable[[Row], bool],
    validation: Callable[[Row], bool] = lambda row: False,
) -> dict[str, str]:
    return {
        row["id"]: "test" if test(row) else "validation" if validation(row) else "train"
        for row in rows
    }


def _validation_speaker(rows: Sequence[Row], test_speaker: str) -> str:
    """The next speaker in sorted order, cyclic, of the same gender and another session.

    Where no other session has that gender, the next speaker of any gender. So every speaker of
    IEMOCAP validates once: 02F for 01F, 02M for 01M. In a mixture it is one of the same corpus,
    where that has others.
    """
    home = {row["speaker"]: home_of(row) for row in rows}
    beside = [row for row in rows if home[row["speaker"]] == home[test_speaker]]
    if len({row["speaker"] for row in beside}) > 1:
        rows = beside
    sessions, genders = _speaker_table(rows, "session"), _speaker_table(rows, "gender")
    speakers = list(sessions)
    start = speakers.index(test_speaker)
    others = speakers[start + 1 :] + speakers[:start]
    session = sessions[test_speaker]
    outside = [s for s in others if session is None or sessions[s] != session]
    same_gender = [s for s in outside if genders[s] == genders[test_speaker]]
    if len(others) < 2 or not outside:
        raise InputError(
            "protocol 'speaker' needs a test, a validation and a training speaker in two sessions; "
            f"found {len(speakers)} speakers. Use 'speaker-paper' (no validation) or more data."
        )
    return (same_gender or outside)[0]


def _assign_speaker(rows: Sequence[Row], fold: str) -> dict[str, str]:
    validation = _validation_speaker(rows, fold)
    return _mark(rows, lambda row: row["speaker"] == fold, lambda row: row["speaker"] == validation)


# --- speaker-5: groups of speakers test ----------------------------------------------------------


def _speaker_groups(rows: Sequence[Row]) -> list[list[str]]:
    """Deal the speakers into five groups, balanced over gender first and number of turns second.

    Of a mixture each corpus is dealt alone, so that a fold tests the speakers that it tests of each
    corpus by itself; those with fewer than five speakers are dealt together.
    """
    by_home: dict[str | None, list[Row]] = defaultdict(list)
    for row in rows:
        by_home[home_of(row)].append(row)
    small = [
        home for home, own in by_home.items() if len(_values(own, "speaker")) < NUM_SPEAKER_GROUPS
    ]
    dealt = [own for home, own in by_home.items() if home not in small]
    together = [row for home in small for row in by_home[home]]
    parts = [_deal_speakers(own) for own in (*dealt, together)]
    groups = [
        sorted(speaker for part in parts for speaker in part[k]) for k in range(NUM_SPEAKER_GROUPS)
    ]
    if not all(groups):
        raise InputError(
            f"protocol 'speaker-5' needs at least {NUM_SPEAKER_GROUPS} speakers, found "
            f"{len(_values(rows, 'speaker'))}. Use 'speaker'."
        )
    return groups


def _deal_speakers(rows: Sequence[Row]) -> list[list[str]]:
    """Five groups of the speakers of some rows, some maybe empty.

    Gender by gender, the speaker with the most turns goes to the group with the fewest speakers of
    that gender, then the fewest speakers, then the fewest turns; ties by name and by group number.
    """
    genders = _speaker_table(rows, "gender")
    num_turns = Counter(row["speaker"] for row in rows)
    groups: list[list[str]] = [[] for _ in range(NUM_SPEAKER_GROUPS)]
    for gender in sorted({g or "" for g in genders.values()}):
        members = [s for s in genders if (genders[s] or "") == gender]
        for speaker in sorted(members, key=lambda s: (-num_turns[s], s)):
            min(
                groups,
                key=lambda group: (
                    sum((genders[s] or "") == gender for s in group),
                    len(group),
                    sum(num_turns[s] for s in group),
                ),
            ).append(speaker)
    return groups


def _assign_speaker_5(rows: Sequence[Row], fold: str) -> dict[str, str]:
    """Fold k tests group k; a tenth of the others, taken from the next group on, validates: of each
    corpus of a mixture a tenth. One with one or two others has none to spare; if all are so small,
    a tenth of all together validates.
    """
    groups, genders = _speaker_groups(rows), _speaker_table(rows, "gender")
    homes = {row["speaker"]: home_of(row) for row in rows}
    index = int(fold) - 1
    later = [
        s
        for shift in range(1, NUM_SPEAKER_GROUPS)
        for s in groups[(index + shift) % NUM_SPEAKER_GROUPS]
    ]
    by_home: dict[str | None, list[str]] = defaultdict(list)
    for speaker in later:
        by_home[homes[speaker]].append(speaker)
    validation: set[str] = set()
    for own in [own for own in by_home.values() if len(own) > 2] or [later]:
        count = max(1, round(VALIDATION_FRACTION * len(own)))
        validation.update(_alternate_genders(own, genders, index)[:count])
    test = set(groups[index])
    return _mark(rows, lambda row: row["speaker"] in test, lambda row: row["speaker"] in validation)


def _alternate_genders(
    speakers: Sequence[str], genders: Mapping[str, str | None], index: int
) -> list[str]:
    """Speakers in their order, genders in turn, which begin with another one at every index."""
    by_gender = [
        [s for s in speakers if (genders[s] or "") == g]
        for g in sorted({genders[s] or "" for s in speakers})
    ]
    by_gender = by_gender[index % len(by_gender) :] + by_gender[: index % len(by_gender)]
    return [queue[k] for k in range(len(speakers)) for queue in by_gender if k < len(queue)]


# --- corpus: one corpus tests --------------------------------------------------------------------


def _corpora(rows: Sequence[Row]) -> list[str]:
    names = _values(rows, "corpus")
    if len(names) < 2:
        raise InputError(
            f"protocol 'corpus' needs at least 2 corpora, found {len(names)} "
            f"({', '.join(names)}). Give --data for each of them."
        )
    return names


def _assign_corpus(rows: Sequence[Row], fold: str) -> dict[str, str]:
    """One corpus tests; of each other a tenth of its speakers validates, if it has three at least,
    genders in turn.
    """
    known = [row for row in rows if row.get("speaker") is not None and row["corpus"] != fold]
    genders = _speaker_table(known, "gender")
    validation: set[str] = set()
    for index, corpus in enumerate(name for name in _corpora(rows) if name != fold):
        own = sorted({row["speaker"] for row in known if row["corpus"] == corpus})
        if len(own) > 2:
            count = max(1, round(VALIDATION_FRACTION * len(own)))
            validation.update(_alternate_genders(own, genders, index)[:count])
    return _mark(
        rows,
        lambda row: row["corpus"] == fold,
        lambda row: row.get("speaker") in validation,
    )


# --- session, dialogue-prefix, predefined --------------------------------------------------------


def _assign_session(rows: Sequence[Row], fold: str) -> dict[str, str]:
    """One session tests; one speaker of the next, cyclic, validates: first, second, ... in turn."""
    sessions = _values(rows, "session")
    if len(sessions) < 2:
        raise InputError(
            f"protocol 'session' needs at least 2 sessions, found {len(sessions)}. Use 'speaker'."
        )
    index = sessions.index(fold)
    following = sessions[(index + 1) % len(sessions)]
    tested, candidates = (
        {row["speaker"] for row in rows if row["session"] == session}
        for session in (fold, following)
    )
    if candidates <= tested:
        raise InputError(
            f"protocol 'session': sessions {fold!r} and {following!r} have the same speakers. "
            "Use 'speaker' or 'speaker-5'."
        )
    validation = sorted(candidates - tested)[index % len(candidates - tested)]
    return _mark(rows, lambda row: row["session"] == fold, lambda row: row["speaker"] == validation)


def _dialogue_prefix(row: Row) -> str:
    return row["dialogue"].split("_")[0]


def _assign_predefined(rows: Sequence[Row], fold: str) -> dict[str, str]:
    for row in rows:
        if row["split"] not in ("train", "validation", "test"):
            raise InputError(
                f"id {row['id']!r}: split {row['split']!r}, expected train, validation or test. "
                "Correct the column."
            )
    return {row["id"]: row["split"] for row in rows}


# --- ravdess-published, ravdess-emobox: the folds of other papers on RAVDESS ----------------------

RAVDESS_PUBLISHED = {
    "1": ((2, 5, 14, 15, 16), (3, 6)),
    "2": ((3, 6, 7, 13, 18), (10, 11)),
    "3": ((10, 11, 12, 19, 20), (8, 17)),
    "4": ((8, 17, 21, 23, 24), (1, 14)),
    "5": ((1, 4, 9, 22), (2, 5)),
}
"""Test actors of each fold as Luna-Jimenez et al. (Sensors 21(22):7665, 2021) published them, and
the validation actors that Krasnoproshin and Vashkevich (arXiv 2606.03359) take beside them."""


EMOBOX_RAVDESS = {
    "1": ((1, 11, 20, 21), (4, 10)),
    "2": ((4, 10, 12, 14), (8, 9)),
    "3": ((8, 9, 19, 23), (3, 5)),
    "4": ((3, 5, 7, 24), (2, 15)),
    "5": ((2, 15, 16, 18), (6, 13)),
    "6": ((6, 13, 17, 22), (1, 11)),
}
"""Test actors of each fold of EmoBox (Ma et al., Interspeech 2024; the lists data/ravdess/fold_K of
github.com/emo-box/EmoBox, whose README states the MIT licence, read on 2026-11-28). EmoBox draws
its validation turns at random from training speakers; here the two lowest numbers of the next fold
validate."""


def _ravdess_actor(row: Row) -> int:
    """Number of the actor, 1 to 24, which ends the name of the speaker."""
    found = re.search(r"(\d+)$", row["speaker"])
    if found is None or not 1 <= int(found[1]) <= 24:
        raise InputError(
            f"id {row['id']!r}: speaker {row['speaker']!r} is no actor of RAVDESS (a name that "
            "ends in 01 to 24), whose folds 'ravdess-published' and 'ravdess-emobox' are. Use "
            "'speaker-5'."
        )
    return int(found[1])


def _assign_published(
    folds: Mapping[str, tuple[Sequence[int], Sequence[int]]], rows: Sequence[Row], fold: str
) -> dict[str, str]:
    """Published lists of actors, {fold: (test, validation)}."""
    tested, validating = folds[fold]
    return _mark(
        rows,
        lambda row: _ravdess_actor(row) in tested,
        lambda row: _ravdess_actor(row) in validating,
    )


# --- the table of protocols ----------------------------------------------------------------------

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("speaker", 1, "speaker", _speakers, _assign_speaker),
        Protocol(
            "speaker-paper",
            1,
            "speaker",
            _speakers,
            lambda rows, fold: _mark(rows, lambda row: row["speaker"] == fold),
        ),
        Protocol(
            "speaker-5",
            1,
            "speaker",
            lambda rows: [str(k + 1) for k in range(len(_speaker_groups(rows)))],
            _assign_speaker_5,
        ),
        Protocol("session", 1, "session", lambda rows: _values(rows, "session"), _assign_session),
        Protocol(
            "dialogue-prefix",
            1,
            "dialogue",
            lambda rows: sorted({_dialogue_prefix(row) for row in rows}),
            lambda rows, fold: _mark(rows, lambda row: _dialogue_prefix(row) == fold),
            declares_shared_speakers=True,
        ),
        Protocol("corpus", 1, "corpus", _corpora, _assign_corpus),
        Protocol("predefined", 1, "split", lambda rows: [PREDEFINED_FOLD], _assign_predefined),
        Protocol(
            "ravdess-published",
            1,
            "speaker",
            lambda rows: list(RAVDESS_PUBLISHED),
            partial(_assign_published, RAVDESS_PUBLISHED),
        ),
        Protocol(
            "ravdess-emobox",
            1,
            "speaker",
            lambda rows: list(EMOBOX_RAVDESS),
            partial(_assign_published, EMOBOX_RAVDESS),
        ),
    )
}
"""The protocols of the command line by name."""

_FOLD_COLUMNS = ("id", "speaker", "gender", "session", "dialogue", "emotion", "split", "corpus")

_WAY_OUT = {
    "corpus": "Fill the column, or give --data for each corpus",
    "speaker": "Fill the column, or use the protocol 'predefined' with a split column",
    "session": "Use 'speaker' or 'speaker-5'",
    "dialogue": "Use 'speaker' or 'speaker-5'",
    "split": "Add the column (train, validation or test), or use 'speaker-5'",
}


def _rule(protocol: str) -> Protocol:
    if protocol not in PROTOCOLS:
        raise InputError(f"no protocol {protocol!r}. Choose one of: {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[protocol]


def _check_rows(rows: Sequence[Row], rule: Protocol) -> None:
    if not rows:
        raise InputError("the corpus has no rows, so it cannot be split.")
    check_ids_are_unique(row["id"] for row in rows)
    for column in (rule.needs, "speaker") if rule.name == "session" else (rule.needs,):
        unknown = [row["id"] for row in rows if row.get(column) is None]
        if unknown:
            raise InputError(
                f"protocol {rule.name!r} needs the {column} of every row; it is unknown in "
                f"{len(unknown)} of {len(rows)}, first in {unknown[0]!r}. {_WAY_OUT[column]}."
            )
