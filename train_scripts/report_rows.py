"""Run folders, read and grouped into the rows of a table; what cannot share a row is refused.

A row is all folds and seeds of one preset on one corpus by one protocol.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet

from processing.errors import InputError
from processing.folds import NUM_SPEAKER_GROUPS, PREDEFINED_FOLD
from train_scripts.results import PREDICTIONS
from train_scripts.run_folder import RESULTS

DETERMINISTIC = "baseline_"
"""Presets of this prefix need no second seed."""


@dataclass(frozen=True)
class RowKey:
    """What makes runs folds and seeds of one row.

    Attributes:
        corpus: names of its corpora.
        protocol: name.
        preset: name.
        size: None for a baseline.
        overrides: settings that the command line changed, without seed and size; sorted.
    """

    corpus: str
    protocol: str
    preset: str
    size: str | None
    overrides: tuple[str, ...]

    @property
    def slug(self) -> str:
        """Name for files and for reference."""
        parts = [self.corpus, self.protocol, self.preset, self.size or ""]
        if self.overrides:
            parts.append(hashlib.sha256("\n".join(self.overrides).encode()).hexdigest()[:8])
        words = "_".join(part for part in parts if part)
        return "".join(c if c.isalnum() or c in "_+-" else "-" for c in words)

    @property
    def title(self) -> str:
        """Preset and what was changed of it."""
        return " ".join((self.preset, *self.overrides))


@dataclass
class Run:
    """One run folder: results.json, and the columns of predictions.parquet."""

    folder: Path
    results: dict[str, Any]
    turns: dict[str, list] = field(default_factory=dict)

    @property
    def key(self) -> RowKey:
        """The row it belongs to."""
        results = self.results
        settings = results.get("settings") or {}
        return RowKey(
            corpus=results.get("corpus") or "unnamed corpus",
            protocol=results["protocol"]["name"],
            preset=results["preset"],
            size=results.get("size"),
            overrides=effective_overrides(settings.get("overrides") or ()),
        )

    @property
    def cell(self) -> tuple[int, str]:
        """Its place in the row: seed and fold."""
        return self.results["seed"], str(self.results["fold"])


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
    def hashes(self) -> dict[str, str]:
        """Hash of the split of each fold."""
        found = {run.cell[1]: run.results["protocol"]["hash"] for run in self.runs.values()}
        return {fold: found[fold] for fold in self.folds}

    @property
    def labels(self) -> list[str]:
        """Emotion words."""
        return next(iter(self.runs.values())).results["labels"]


def effective_overrides(overrides: Iterable[str]) -> tuple[str, ...]:
    """Overrides without seed and size, the last of each name, sorted.

    Examples:
        >>> effective_overrides(["size=small", "seed=3", "b=1", "a=2", "b=4"])
        ('a=2', 'b=4')
    """
    last = {text.split("=", 1)[0]: text for text in overrides}
    return tuple(sorted(text for name, text in last.items() if name not in ("seed", "size")))


def fold_order(fold: str) -> tuple[int, str]:
    """Sort numbers by value and before words."""
    return (int(fold), fold) if fold.isdigit() else (10**9, fold)


def read_runs(folders: Sequence[str | Path]) -> tuple[list[Run], list[Run], list[str]]:
    """Read run folders recursively.

    Args:
        folders: each a run folder or one that holds some.

    Returns:
        Runs that were scored on a test fold, runs of pre-training, and what was passed over and
        why.

    Raises:
        InputError: if a folder does not exist, nothing is found, or a file cannot be read.
    """
    scored, pretrained, passed_over = [], [], []
    for path in find_results(folders):
        results = read_json(path)
        run = Run(path.parent, results)
        if not isinstance(results, dict) or "metrics" not in results or not results.get("preset"):
            passed_over.append(f"{path.parent.name}: no run of finetune, pretrain or a baseline")
        elif results["metrics"].get("weighted_accuracy") is None:
            pretrained.append(run)
        else:
            run.turns = read_turns(run)
            scored.append(run)
    if not scored and not pretrained:
        names = ", ".join(str(folder) for folder in folders)
        raise InputError(
            f"{names}: no finished run ({RESULTS}) in it. Give output folders of `decomp-ser "
            "finetune` or `cross-validate`."
        )
    return scored, pretrained, passed_over


def find_results(folders: Sequence[str | Path]) -> list[Path]:
    """Every results.json under the folders, once, in the order of paths."""
    found = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder. Give folders of runs.")
        found.update({path.resolve(): path for path in folder.rglob(RESULTS)})
    return [found[path] for path in sorted(found)]


def read_json(path: Path) -> Any:
    """Content of a file of JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}). Run again what wrote it.") from error


def read_turns(run: Run) -> dict[str, list]:
    """Columns of a run's predictions.

    Raises:
        InputError: if the file is missing or does not have the turns that the results speak of.
    """
    path = run.folder / PREDICTIONS
    try:
        turns = pyarrow.parquet.read_table(path).to_pydict()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}). Delete the folder and run again."
        ) from error
    expected = run.results["metrics"]["num_turns"]
    if len(turns["id"]) != expected:
        raise InputError(
            f"{path}: {len(turns['id'])} turns, expected the {expected} of {RESULTS}. Delete the "
            "folder and run again."
        )
    unknown = (set(turns["label"]) | set(turns["prediction"])) - set(run.results["labels"])
    if unknown:
        raise InputError(f"{path}: label {min(unknown)!r} is none of those in {RESULTS}.")
    return turns


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
            ("labels", run.results["labels"], first.results["labels"], first),
            (
                f"hash of the protocol's fold {run.cell[1]}",
                run.results["protocol"]["hash"],
                same_fold.results["protocol"]["hash"],
                same_fold,
            ),
            ("number of turns of the corpus", corpus_turns(run), corpus_turns(first), first),
            ("pre-training", is_pretrained(run), is_pretrained(first), first),
            ("settings", shared_settings(run), shared_settings(first), first),
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
    turns = (run.results.get("leaks") or {}).get("turns")
    return sum(turns.values()) if turns else None


def is_pretrained(run: Run) -> bool:
    """Whether it began with a pre-trained decomposition."""
    return bool(run.results.get("pretrained"))


def shared_settings(run: Run) -> dict:
    """Settings without those that folds and seeds may differ in."""
    settings = run.results.get("settings") or {}
    return {k: v for k, v in settings.items() if k not in ("seed", "overrides")}


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
