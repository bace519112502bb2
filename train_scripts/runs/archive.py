"""Finished runs in one small file, to be kept and shown without anything of their corpus.

A report needs what was answered, not which recording it was. An archive holds the record of each
run and its answers; turns have made-up names, and neither words nor durations.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from processing.errors import InputError
from train_scripts.runs.finished_runs import Run, read_runs
from train_scripts.runs.groups import PEOPLE
from train_scripts.runs.record import RunRecord

COLUMNS = ("id", "speaker", "label", "prediction")
PROBABILITY = "probability_"
VALIDATION = "validation_"
"""Before the names of what was answered to validation turns."""


def name_turns(turns: dict[str, list]) -> list[str]:
    """A name for each of N turns that tells nothing of its recording: speaker, label and a count,
    in the order of the ids, so that runs that tested the same turns name them alike.

    Examples:
        >>> name_turns({"id": ["b", "a"], "speaker": ["s1", "s1"], "label": ["sad", "sad"]})
        ['s1/sad/2', 's1/sad/1']
    """
    order = sorted(range(len(turns["id"])), key=turns["id"].__getitem__)
    names, counts = [""] * len(order), Counter()
    for i in order:
        group = f"{turns['speaker'][i]}/{turns['label'][i]}"
        counts[group] += 1
        names[i] = f"{group}/{counts[group]}"
    return names


def without_corpus(run: Run) -> Run:
    """The same run with `name_turns` for ids, and without words, durations and names of folders."""
    results = run.results.publishable()
    results = replace(results, pretrained=run.results.pretrained)
    return Run(run.folder, results, rename(run.turns), rename(run.validation_turns))


def rename(turns: dict[str, list]) -> dict[str, list]:
    """The columns that an archive keeps, with `name_turns` for ids; the others are blank."""
    known = (*COLUMNS, *PEOPLE)
    kept = {k: v for k, v in turns.items() if k in known or k.startswith(PROBABILITY)}
    return {**kept, "id": name_turns(turns), **blank(turns)} if turns else {}


def blank(turns: dict[str, list]) -> dict[str, list]:
    """Empty columns for what an archive does not keep of N turns."""
    return {name: [None] * len(turns["id"]) for name in ("text", "recognized_text", "duration")}


def write_archive(runs: Sequence[Run], path: Path) -> None:
    """Write runs to a Parquet file, one row a run; the file appears when it is whole."""
    rows = [
        {
            "record": json.dumps(run.results.to_dict()),
            **pack("", run.turns, run.results.labels),
            **pack(VALIDATION, run.validation_turns, run.results.labels),
        }
        for run in map(without_corpus, runs)
    ]
    part = path.with_name(f"{path.name}.part")
    fields = [("record", pyarrow.string())]
    for prefix in ("", VALIDATION):
        names = (*COLUMNS, *PEOPLE)
        fields += [(prefix + name, pyarrow.list_(pyarrow.string())) for name in names]
        fields += [(prefix + "probabilities", pyarrow.list_(pyarrow.float32()))]
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist(rows, pyarrow.schema(fields)),
        part,
        compression="zstd",
        compression_level=19,
    )
    part.replace(path)


def pack(prefix: str, turns: dict[str, list], labels: Sequence[str]) -> dict[str, list]:
    """Answers to N turns as entries of an archive's row: names, and (N, L) probabilities in a
    line.
    """
    if not turns:
        return {}
    answers = np.transpose([turns[PROBABILITY + label] for label in labels])
    names = {prefix + name: turns[name] for name in (*COLUMNS, *PEOPLE) if name in turns}
    return {**names, prefix + "probabilities": np.asarray(answers, np.float32).ravel().tolist()}


def unpack(prefix: str, row: dict, labels: Sequence[str]) -> dict[str, list]:
    """Columns of predictions from what `pack` has made of them; none where there are none."""
    if row.get(prefix + "id") is None:
        return {}
    turns = {name: row[prefix + name] for name in COLUMNS}
    groups = {name: row.get(prefix + name) for name in PEOPLE}
    turns |= {name: of_turns for name, of_turns in groups.items() if of_turns is not None}
    answers = np.reshape(row[prefix + "probabilities"], (-1, len(labels)))
    turns |= {PROBABILITY + name: answers[:, i].tolist() for i, name in enumerate(labels)}
    return {**turns, **blank(turns)}


def read_archive(path: Path) -> list[Run]:
    """Runs of an archive.

    Raises:
        InputError: if the file is none.
    """
    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
        return [restore(path, row) for row in rows]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path}: is no archive of runs ({error}). Write one with `decomp-ser report RUNS "
            "--archive FILE`."
        ) from error


def restore(path: Path, row: dict) -> Run:
    """One run from its row in an archive."""
    record = RunRecord.from_dict(json.loads(row["record"]))
    turns, validation_turns = (unpack(p, row, record.labels) for p in ("", VALIDATION))
    return Run(path, record, turns, validation_turns)


def read_all_runs(places: Sequence[Path]) -> tuple[list[Run], list[Run], list[str]]:
    """`read_runs` of folders, with the runs of archives among the places. Where there is an
    archive, the turns of all runs take the names that they have in one.

    Raises:
        InputError: see `read_runs`, `read_archive`; or if a run is in two places.
    """
    archives = [place for place in places if place.is_file()]
    if not archives:
        return read_runs(places)
    archived = [run for place in archives for run in read_archive(place)]
    folders = [place for place in places if not place.is_file()]
    scored, pretrained, passed_over = read_runs(folders) if folders else ([], [], [])
    known = {(run.key, run.cell) for run in archived}
    twice = [run for run in scored if (run.key, run.cell) in known]
    if twice:
        raise InputError(
            f"{twice[0].folder}: this run is in the archive too. Give the folder or the archive."
        )
    return [*archived, *map(without_corpus, scored)], pretrained, passed_over
