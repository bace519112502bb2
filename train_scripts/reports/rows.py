"""Runs grouped into the rows of a table; what cannot share a row is refused, what a row lacks is
named.

A row is all folds and seeds of one preset on one corpus by one protocol.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from processing.errors import InputError
from processing.folds import NUM_SPEAKER_GROUPS, PREDEFINED_FOLD
from train_scripts.runs.finished_runs import RowKey, Run

DETERMINISTIC = "baseline_"
"""Presets of this prefix need no second seed."""


@dataclass
class Row:
    """The runs of one row, by seed and fold.

    Attributes:
        key: what they share.
        runs: (seed, fold) to run.
        missing: what is lacking, in words; empty for a complete row.
    """

    key: RowKey
    runs: dict[tuple[int, str], Run]
    missing: list[str] = field(default_factory=list)

    @property
    def seeds(self) -> list[int]:
        """Seeds in order."""
        return sorted({seed for seed, _ in self.runs})

    @property
    def folds(self) -> list[str]:
        """Folds in order, numbers as numbers."""
        return sorted({fold for _, fold in self.runs}, key=fold_order)

    @property
    def hashes(self) -> dict[str, str | None]:
        """Hash of the split of each fold."""
        found = {run.cell[1]: run.results.protocol.hash for run in self.runs.values()}
        return {fold: found[fold] for fold in self.folds}

    @property
    def labels(self) -> list[str]:
        """Emotion words."""
        return next(iter(self.runs.values())).results.labels


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
    ordered = sorted(
        rows.values(), key=lambda row: tuple(str(v or "") for v in vars(row.key).values())
    )
    for row in ordered:
        row.missing = find_missing(row, [r for r in ordered if same_split(r, row)])
    return ordered


def same_split(first: Row, second: Row) -> bool:
    """Whether two rows are of one corpus and protocol, by name."""
    return (first.key.corpus, first.key.protocol) == (second.key.corpus, second.key.protocol)


def check_row(row: Row) -> None:
    """Refuse runs that differ in what a row must share."""
    first, *others = row.runs.values()
    hashes: dict[str, Run] = {}
    for run in (first, *others):
        same_fold = hashes.setdefault(run.cell[1], run)
        for name, a, b, base in (
            ("labels", run.results.labels, first.results.labels, first),
            (
                f"hash of the protocol's fold {run.cell[1]}",
                run.results.protocol.hash,
                same_fold.results.protocol.hash,
                same_fold,
            ),
            ("number of turns of the corpus", corpus_turns(run), corpus_turns(first), first),
            ("pre-training", is_pretrained(run), is_pretrained(first), first),
            ("settings", run.results.shared_settings, first.results.shared_settings, first),
        ):
            if a != b:
                raise InputError(
                    f"{base.folder} and {run.folder}: other {name} ({describe_difference(b, a)}), "
                    f"so they cannot share the row '{row.key.title}' of {row.key.corpus}. Report "
                    "them separately."
                )
    check_turns_are_disjoint(row)


def check_turns_are_disjoint(row: Row) -> None:
    """Refuse a turn that two folds of a seed test."""
    for seed in row.seeds:
        seen: dict[str, Run] = {}
        for run in (run for (s, _), run in row.runs.items() if s == seed):
            shared = [i for i in run.turns["id"] if i in seen]
            if shared:
                raise InputError(
                    f"{seen[shared[0]].folder} and {run.folder}: both test the turn "
                    f"{shared[0]!r}, so they are no folds of one corpus. Report them separately."
                )
            seen.update(dict.fromkeys(run.turns["id"], run))


def corpus_turns(run: Run) -> int | None:
    """Turns of the whole corpus, in which every split of a fold counts; None where unknown."""
    return sum(run.results.leaks.turns.values()) if run.results.leaks else None


def is_pretrained(run: Run) -> bool:
    """Whether it began with a pre-trained decomposition."""
    return bool(run.results.pretrained)


def describe_difference(first: Any, second: Any) -> str:
    """What differs between two values, in few words."""
    if isinstance(first, dict) and isinstance(second, dict):
        names = [k for k in {**first, **second} if first.get(k) != second.get(k)]
        name = names[0]
        inner = describe_difference(first.get(name), second.get(name))
        return f"{name}: {inner}" if not inner.startswith("{") else name
    return f"{first} and {second}"


def find_missing(row: Row, group: Sequence[Row]) -> list[str]:
    """What a row lacks: folds of a seed, seeds that other rows have, turns that no fold tests.

    Args:
        row: the row.
        group: all rows of its corpus and protocol.
    """
    folds = expected_folds(row.key.protocol, group)
    seeds = set(row.seeds)
    if not row.key.preset.startswith(DETERMINISTIC):
        same_size = (r for r in group if r.key.size == row.key.size)
        others = (r for r in same_size if not r.key.preset.startswith(DETERMINISTIC))
        seeds = seeds.union(*(r.seeds for r in others))
    missing = []
    for seed in sorted(seeds):
        absent = [fold for fold in folds if (seed, fold) not in row.runs]
        if len(absent) == len(folds):
            missing.append(f"seed {seed}")
        elif absent:
            missing.append(f"seed {seed}: fold {', '.join(absent)}")
    total = corpus_turns(next(iter(row.runs.values())))
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
