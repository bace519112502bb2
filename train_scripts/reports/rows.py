"""Runs grouped into the rows of a table; what cannot share a row is refused, what a row lacks is
named.

A row is all folds and seeds of one preset on one corpus by one protocol.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import numpy as np

from modeling_decomp_ser import DecompSerConfig
from processing.errors import InputError
from processing.feature_extraction_decomp_ser import DecompSerFeatureExtractor
from processing.folds import NUM_SPEAKER_GROUPS, PREDEFINED_FOLD
from train_scripts.reports.turn_table import TurnTable, tabulate
from train_scripts.runs.finished_runs import RowKey, Run
from train_scripts.runs.settings import FORMER_NAMES, STAGES, RunSettings, merge

DETERMINISTIC = "baseline_"
"""Presets of this prefix need no second seed."""

NOT_SHARED = ("preset", "size", "seed", "overrides", "tracking")
"""Entries of a run's settings that are part of the row's name, or that do not decide a figure."""


@dataclass
class Row:
    """The runs of one row by seed and fold, and what is lacking of it, in words."""

    key: RowKey
    runs: dict[tuple[int, str], Run]
    missing: list[str] = field(default_factory=list)

    @property
    def first(self) -> Run:
        """Any run, for what they share."""
        return next(iter(self.runs.values()))

    @property
    def seeds(self) -> list[int]:
        """Seeds in order."""
        return sorted({seed for seed, _ in self.runs})

    @property
    def is_deterministic(self) -> bool:
        """Whether another seed would change nothing; of a combination, of every part."""
        return all(part.startswith(DETERMINISTIC) for part in self.key.preset.split("+"))

    @property
    def folds(self) -> list[str]:
        """Folds in order, numbers as numbers."""
        return sorted({fold for _, fold in self.runs}, key=fold_order)

    @property
    def hashes(self) -> dict[str, str | None]:
        """Hash of the split of each fold."""
        found = {fold: run.results.protocol.hash for (_, fold), run in self.runs.items()}
        return {fold: found[fold] for fold in self.folds}

    @property
    def labels(self) -> list[str]:
        """Emotion words."""
        return self.first.results.labels

    @property
    def commits(self) -> list[str]:
        """Commits of the source that the runs were made with."""
        return sorted({run.results.commit or "unknown" for run in self.runs.values()})

    @cached_property
    def turns(self) -> TurnTable:
        """The answers of all runs; see `tabulate` for the error."""
        return tabulate(self.runs.values(), self.labels)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """See `effective_settings`."""
        return effective_settings(self.first)


def fold_order(fold: str) -> tuple[int, str]:
    """Sort numbers by value and before words."""
    return (int(fold), fold) if fold.isdigit() else (10**9, fold)


def group_rows(runs: Iterable[Run]) -> list[Row]:
    """Rows of runs, in the order of corpus, protocol, size and preset.

    Raises:
        InputError: if two runs are the same fold and seed of a row, or cannot share it.
    """
    rows: dict[RowKey, Row] = {}
    for run in runs:
        row = rows.setdefault(run.key, Row(run.key, {}))
        other = row.runs.get(run.cell)
        if other is not None:
            raise InputError(
                f"{other.folder} and {run.folder}: both are fold {run.cell[1]}, seed "
                f"{run.cell[0]} of '{run.key.title}'. Give one of them."
            )
        row.runs[run.cell] = run
    for row in rows.values():
        check_row(row)
    names = {key: tuple(str(value or "") for value in vars(key).values()) for key in rows}
    ordered = [rows[key] for key in sorted(rows, key=names.__getitem__)]
    for row in ordered:
        row.missing = find_missing(row, [r for r in ordered if same_split(r, row)])
    return ordered


def same_split(first: Row, second: Row) -> bool:
    """Whether two rows are of one corpus, protocol and training, by name."""
    of_split = ("corpus", "protocol", "training")
    return all(getattr(first.key, name) == getattr(second.key, name) for name in of_split)


def crossed_cells(rows: Sequence[Row], tables: Sequence[TurnTable]) -> list[np.ndarray] | None:
    """Confusions of each speaker and seed of one row or two, each (K, S, L, L), where seeds can be
    counted with the speakers.

    None where they cannot: a network has one seed, no row has two, a seed did not test every turn,
    or speakers are unknown or fewer than two. A deterministic baseline needs one seed.
    """
    cells = [table.by_speaker_and_seed() for table in tables]
    seeds = [of_row.shape[1] for of_row in cells]
    known = (n > 1 or row.is_deterministic for row, n in zip(rows, seeds, strict=True))
    crossed = all(table.is_crossed() for table in tables)
    return cells if crossed and all(known) and max(seeds) > 1 and len(cells[0]) > 1 else None


def check_row(row: Row) -> None:
    """Refuse runs that differ in what a row must share."""
    first_of_fold: dict[str, Run] = {}
    for run in row.runs.values():
        same_fold = first_of_fold.setdefault(run.cell[1], run)
        for base, facts in ((row.first, shared_facts), (same_fold, fold_facts)):
            for name, values in differences(facts(run), facts(base)):
                raise InputError(
                    f"{base.folder} and {run.folder}: other {name} ({values}), so they cannot "
                    f"share the row '{row.key.title}' of {row.key.corpus}. Report them separately."
                )


def shared_facts(run: Run) -> dict[str, Any]:
    """What all runs of a row have in common."""
    return {
        "labels": run.results.labels,
        "number of turns of the corpus": corpus_turns(run),
        "pre-training": bool(run.results.pretrained),
        **{f"settings, {name}": value for name, value in effective_settings(run).items()},
    }


def fold_facts(run: Run) -> dict[str, Any]:
    """What the seeds of one fold have in common."""
    return {f"hash of the protocol's fold {run.cell[1]}": run.results.protocol.hash}


def differences(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names of the entries that differ, with both values, the old one first."""
    names = dict.fromkeys((*old, *new))
    return [(n, f"{old.get(n)} and {new.get(n)}") for n in names if old.get(n) != new.get(n)]


def corpus_turns(run: Run) -> int | None:
    """Turns of the whole corpus, in which every split of a fold counts; None where unknown."""
    return sum(run.results.leaks.turns.values()) if run.results.leaks else None


def effective_settings(run: Run) -> dict[str, Any]:
    """What a run was made with, by dotted name, such as "model.num_f0_bins".

    Two runs are compared by these and not by their commits: a commit that changed a default or a
    size shows here, any other does not matter. A setting that the run does not name has its
    default; those of a pre-training that it did not begin with are left out.
    """
    settings = dict(run.results.settings)
    for stage in set(STAGES) & set(settings):
        settings[stage] = {present_name(name): v for name, v in settings[stage].items()}
        if isinstance(grouped := settings[stage].get("train_sampling_strategy"), bool):
            settings[stage]["train_sampling_strategy"] = "group_by_length" if grouped else "random"
    if run.results.size is not None:  # a baseline has none of them
        settings = merge(default_settings(), settings)
    names = [*NOT_SHARED] + ([] if run.results.pretrained else ["pretraining"])
    return flatten({name: value for name, value in settings.items() if name not in names})


def present_name(name: str) -> str:
    """A dotted name by which a run of version 0.1 knows a setting, as it is called now.

    Examples:
        >>> present_name("finetuning.epochs"), present_name("model.pooling")
        ('finetuning.num_train_epochs', 'model.pooling')
    """
    group, dot, last = name.rpartition(".")
    return group + dot + FORMER_NAMES.get(last, last)


@cache
def default_settings() -> dict[str, Any]:
    """Every setting that a run need not name."""
    settings = {
        **RunSettings().as_dict(),
        "model": DecompSerConfig().to_dict(),
        "features": DecompSerFeatureExtractor().to_dict(),
    }
    return json.loads(json.dumps(settings, default=str))  # lists and keys as results.json has them


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name.

    Examples:
        >>> flatten({"seed": 1, "model": {"pooling": "mean", "components": ["pitch"]}})
        {'seed': 1, 'model.pooling': 'mean', 'model.components': ['pitch']}
    """
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        nested = isinstance(value, Mapping)
        flat |= flatten(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return flat


def find_missing(row: Row, group: Sequence[Row]) -> list[str]:
    """What a row lacks beside all rows of its split: folds of a seed, seeds that other rows have,
    turns that no fold tests.
    """
    folds = expected_folds(row.key.protocol, group)
    seeds = set(row.seeds)
    if not row.is_deterministic:
        same_size = (r for r in group if r.key.size == row.key.size)
        others = (r for r in same_size if not r.is_deterministic)
        seeds = seeds.union(*(r.seeds for r in others))
    missing = []
    for seed in sorted(seeds):
        absent = [fold for fold in folds if (seed, fold) not in row.runs]
        if len(absent) == len(folds):
            missing.append(f"seed {seed}")
        elif absent:
            missing.append(f"seed {seed}: fold {', '.join(absent)}")
    total = corpus_turns(row.first)
    tested = len({i for run in row.runs.values() for i in run.turns["id"]})
    if total is not None and tested < total and row.key.protocol != PREDEFINED_FOLD:
        missing.append(f"{total - tested} of the corpus's {total} turns are in no tested fold")
    return missing


def expected_folds(protocol: str, group: Sequence[Row]) -> list[str]:
    """Folds of a protocol that are known: by its rule, or because some row has them."""
    folds = {fold for row in group for fold in row.folds}
    if protocol == "speaker-5":
        folds |= {str(k + 1) for k in range(NUM_SPEAKER_GROUPS)}
    return sorted(folds, key=fold_order)
