"""Run folders as a report reads them: results, predictions, and the row that each belongs to."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet

from processing.errors import InputError
from train_scripts.runs.record import RESULTS, RunRecord, has_digests, read_record
from train_scripts.runs.results import PREDICTIONS, VALIDATION_PREDICTIONS


@dataclass(frozen=True)
class RowKey:
    """What makes runs folds and seeds of one row."""

    corpus: str  # names of its corpora
    protocol: str
    preset: str
    size: str | None  # None for a baseline
    # settings that the command line changed, without seed and size; sorted
    overrides: tuple[str, ...]
    # names of the corpora of training, of a run on several; None: that of the test turns
    training: str | None = None

    @property
    def slug(self) -> str:
        """Name for files and for reference."""
        parts = [self.corpus, self.protocol, self.preset, self.size or ""]
        if self.overrides:
            parts.append(hashlib.sha256("\n".join(self.overrides).encode()).hexdigest()[:8])
        if self.training:
            parts.append(f"from-{self.training}")
        words = "_".join(part for part in parts if part)
        return "".join(c if c.isalnum() or c in "_+-" else "-" for c in words)

    @property
    def title(self) -> str:
        """Preset and what was changed of it, and what it was trained on if that is not told by
        what was tested.
        """
        trained = (f"trained on {self.training}",) if self.training else ()
        return " ".join((self.preset, *self.overrides, *trained))


@dataclass
class Run:
    """One run folder: its record, the columns of predictions.parquet, and those of the validation
    turns where it has stored them.
    """

    folder: Path
    results: RunRecord
    turns: dict[str, list] = field(default_factory=dict)
    validation_turns: dict[str, list] = field(default_factory=dict)
    # corpora of training, where this is the part of one corpus of a run on several
    training: str | None = None

    @property
    def key(self) -> RowKey:
        """The row it belongs to."""
        return RowKey(
            corpus=self.results.corpus or "unnamed corpus",
            protocol=self.results.protocol.name,
            preset=self.results.preset or "",
            size=self.results.size,
            overrides=effective_overrides(self.results.settings.get("overrides", ())),
            training=self.training,
        )

    @property
    def cell(self) -> tuple[int, str]:
        """Its place in the row: seed and fold."""
        return self.results.seed or 0, str(self.results.fold)


def effective_overrides(overrides: Iterable[str]) -> tuple[str, ...]:
    """Overrides without seed and size, the last of each name, sorted.

    Examples:
        >>> effective_overrides(["size=small", "seed=3", "b=1", "a=2", "b=4"])
        ('a=2', 'b=4')
    """
    last = {text.split("=", 1)[0]: text for text in overrides}
    return tuple(sorted(text for name, text in last.items() if name not in ("seed", "size")))


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
    unsealed = 0
    for path in find_results(folders):
        run = Run(path.parent, read_record(path))
        unsealed += not has_digests(path)
        if not run.results.preset:
            passed_over.append(f"{path.parent.name}: no run of finetune, pretrain or a baseline")
        elif run.results.metrics.weighted_accuracy is None:
            pretrained.append(run)
        else:
            run.turns = read_turns(run)
            run.validation_turns = read_validation_turns(run)
            scored.append(run)
    if not scored and not pretrained:
        names = ", ".join(str(folder) for folder in folders)
        raise InputError(
            f"{names}: no finished run ({RESULTS}) in it. Give output folders of `decomp-ser "
            "finetune` or `cross-validate`."
        )
    if unsealed:
        passed_over.append(
            f"not checked: {unsealed} of {len(scored) + len(pretrained)} runs have no digests, as "
            f"before they were introduced; whether their {RESULTS} was changed cannot be told"
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


def read_turns(run: Run) -> dict[str, list]:
    """Columns of a run's predictions.

    Raises:
        InputError: if the file is missing or does not have the turns that the results speak of.
    """
    path = run.folder / PREDICTIONS
    turns = read_columns(path)
    expected = run.results.metrics.num_turns
    if len(turns["id"]) != expected:
        raise InputError(
            f"{path}: {len(turns['id'])} turns, expected the {expected} of {RESULTS}. Delete the "
            "folder and run again."
        )
    unknown = (set(turns["label"]) | set(turns["prediction"])) - set(run.results.labels)
    if unknown:
        raise InputError(f"{path}: label {min(unknown)!r} is none of those in {RESULTS}.")
    return turns


def read_validation_turns(run: Run) -> dict[str, list]:
    """Columns of a run's answers to the validation turns; none where it has not stored them.

    Raises:
        InputError: if the file cannot be read.
    """
    path = run.folder / VALIDATION_PREDICTIONS
    return read_columns(path) if path.is_file() else {}


def read_columns(path: Path) -> dict[str, list]:
    """Columns of a Parquet file of a run; raises an InputError that names a damaged one."""
    try:
        return pyarrow.parquet.read_table(path).to_pydict()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}). Delete the folder and run again."
        ) from error
