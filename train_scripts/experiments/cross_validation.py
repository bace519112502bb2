"""`decomp-ser cross-validate`: every fold of every preset and seed, each a unit of work."""

import hashlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

import numpy as np
import typer
from datasets import Dataset

from processing.corpora.loading import load_corpus
from processing.corpora.mixture import Mixture
from processing.errors import InputError
from processing.features import add_signals, signal_settings
from processing.folds import fold_names
from train_scripts.baselines.baseline_runs import prepare_features
from train_scripts.experiments.cluster import run_on_cluster
from train_scripts.experiments.machine import default_jobs, run_on_this_machine
from train_scripts.experiments.unit_runs import LOG, attempt_unit
from train_scripts.experiments.units import Unit, check_folder, is_baseline, plan_units
from train_scripts.runs.archive import read_archive
from train_scripts.runs.finished_runs import Run, effective_overrides
from train_scripts.runs.metrics import unweighted_average_recall, weighted_accuracy
from train_scripts.runs.record import RunRecord, read_record, without_path, write_json
from train_scripts.runs.run_folder import read_json_object
from train_scripts.runs.settings import build_feature_extractor, load_settings

PLAN = "cross_validation.json"
TASKS = "tasks"


@dataclass
class Progress:
    """Lines on standard error: what began, what ended, how much is left."""

    total: int
    done: int
    jobs: int
    left: dict[str, int]
    """Units still to be run, by row."""
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    started: dict[Unit, float] = field(default_factory=dict)

    def begun(self, unit: Unit) -> None:
        """Say that a unit begins."""
        self.started[unit] = time.monotonic()
        self.say(unit, f"begins, log: {unit.folder / LOG}")

    def ended(self, unit: Unit, problem: str | None) -> None:
        """Say how a unit ended and when all will have."""
        self.done += 1
        self.left[unit.row] -= 1
        begin = self.started.pop(unit, None)
        if problem is not None:
            self.say(unit, f"FAILED: {problem}")
            return
        if begin is not None:
            self.seconds[unit.row].append(time.monotonic() - begin)
        self.say(unit, f"{describe_result(unit)}, {self.time_left()} left")

    def say(self, unit: Unit, text: str) -> None:
        """Write one line."""
        typer.echo(f"[{self.done}/{self.total}] {unit}: {text}", err=True)

    def time_left(self) -> str:
        """Estimate from the units of the same row, or of all rows where none has ended."""
        known = [s for of_row in self.seconds.values() for s in of_row]
        if not known:
            return "unknown time"
        total = sum(
            count * float(np.mean(self.seconds.get(row) or known))
            for row, count in self.left.items()
        )
        return format_seconds(total / self.jobs)


def format_seconds(seconds: float) -> str:
    """Time in words that are as exact as an estimate can be.

    Examples:
        >>> format_seconds(7500)
        '2 h 05 min'
    """
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def describe_result(unit: Unit) -> str:
    """Score and seconds of a finished unit."""
    metrics = read_record(unit.folder).metrics
    names = {"weighted_accuracy": "WA", "unweighted_average_recall": "UAR", "speech_mse": "MSE"}
    found = [(title, getattr(metrics, name)) for name, title in names.items()]
    return " ".join([f"{title} {v:.3f}" for title, v in found if v is not None][:2])


def cross_validate(
    presets: Sequence[str],
    *,
    data: str | Mixture,
    protocol: str,
    num_seeds: int,
    output: str | Path,
    folds: Sequence[str] | None = None,
    overrides: Sequence[str] = (),
    pretrained: str | None = None,
    jobs: int | None = None,
    threads: int | None = None,
    processes: int = 1,
    cluster: str | None = None,
    nodes: int = 1,
    slurm: Sequence[str] = (),
    skip_bad: bool = False,
    archive: Path | None = None,
) -> tuple[list[Unit], dict[Unit, str]]:
    """Run every fold of every preset and seed; what is finished is not run again, what was
    interrupted is resumed.

    Args:
        presets: names or paths; those of `baselines.systems.SYSTEMS` are the other systems.
        data: one corpus or a mixture, see `load_corpus`.
        protocol: see `load_folds`.
        num_seeds: seeds 0, 1, ... this many.
        output: folder of everything.
        folds: names; default all of the protocol.
        overrides: "key=value" settings of all presets.
        pretrained: see `plan_units`; each run refuses one that knows its test turns or speakers.
        jobs: as threads, see `run_on_this_machine`.
        threads: of each process.
        processes: processes that share each step of a unit.
        cluster: see `run_on_cluster`; default this machine.
        nodes: machines of the cluster.
        slurm: parameters of sbatch, "key=value".
        skip_bad: leave out clips that cannot be used.
        archive: units that this file of `decomp-ser report --archive` holds are left out.

    Returns:
        All units that are not in the archive, and why each that failed did.

    Raises:
        InputError: if anything is wrong before the first unit runs.
    """
    output = Path(output)
    corpus = load_corpus(data, skip_bad=skip_bad)
    folds = choose_folds(corpus, protocol, folds)
    units = plan_units(
        presets,
        folds,
        num_seeds,
        output,
        pretrained=Path(pretrained) if pretrained else None,
        overrides=overrides,
        data=data,
        protocol=protocol,
        skip_bad=skip_bad,
        processes=processes,
    )
    if archive is not None:
        units = not_archived(units, read_archive(archive))
    for unit in units:
        check_folder(unit)
    open_output(output, corpus, data, protocol)
    extract_signals(corpus, presets, overrides, skip_bad)
    left = [unit for unit in units if not unit.finished]
    at_once = (jobs or default_jobs(processes)) * (nodes if cluster else 1)
    of_row = Counter(unit.row for unit in left)
    progress = Progress(len(units), len(units) - len(left), at_once, of_row)
    options = {"jobs": jobs, "threads": threads, "ended": progress.ended}
    if cluster is None:
        return units, run_on_this_machine(left, attempt_unit, begun=progress.begun, **options)
    options |= {"cluster": cluster, "nodes": nodes, "parameters": slurm}
    return units, run_on_cluster(left, attempt_unit, folder=output / TASKS, **options)


def not_archived(units: Sequence[Unit], runs: Sequence[Run]) -> list[Unit]:
    """Units without those that are among the runs: of the same row, settings, seed and fold."""
    done = {(run.key.preset, run.key.overrides, *run.cell) for run in runs}
    return [
        unit
        for unit in units
        if (unit.row, effective_overrides(map(without_path, unit.overrides)), unit.seed, unit.fold)
        not in done
    ]


def choose_folds(corpus: Dataset, protocol: str, folds: Sequence[str] | None) -> list[str]:
    """The folds asked for, or all; raises InputError if one does not exist."""
    names = fold_names(corpus, protocol)
    for fold in set(folds or ()) - set(names):
        raise InputError(
            f"--folds: protocol {protocol!r} has no fold {fold!r}. Choose of {', '.join(names)}."
        )
    return list(folds or names)


def open_output(output: Path, corpus: Dataset, data: str | Mixture, protocol: str) -> None:
    """Create the folder, or refuse one that holds runs on other turns or by another protocol."""
    path = output / PLAN
    columns = [c for c in ("id", "emotion", "speaker", "text") if c in corpus.column_names]
    rows = sorted(corpus.select_columns(columns).to_list(), key=itemgetter("id"))
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
    named = str(data)
    content = {"protocol": protocol, "data": named, "num_turns": len(corpus), "hash": digest}
    if path.is_file():
        stored = read_json_object(path, str(output))
        if not content.keys() <= stored.keys():
            raise InputError(f"{path}: lacks {min(content.keys() - stored.keys())!r}: damaged.")
        if (stored["protocol"], stored["hash"]) != (protocol, digest):
            raise InputError(
                f"{output}: holds runs of protocol '{stored['protocol']}' on {stored['data']} "
                f"({stored['num_turns']} turns), not '{protocol}' on {data} ({len(corpus)} turns). "
                "Choose another --output."
            )
        return
    output.mkdir(parents=True, exist_ok=True)
    write_json(path, content)


def extract_signals(
    corpus: Dataset, presets: Sequence[str], overrides: Sequence[str], skip_bad: bool
) -> None:
    """Extract the signals of all presets once, so that workers find them stored."""
    for system in (preset for preset in presets if is_baseline(preset)):
        prepare_features(system, corpus, skip_bad=skip_bad)
    networks = [preset for preset in presets if not is_baseline(preset)]
    extractors = [build_feature_extractor(load_settings(p, overrides)) for p in networks]
    for extractor in {signal_settings(e): e for e in extractors}.values():
        add_signals(corpus, extractor, skip_bad=skip_bad)


def summarize_units(units: Sequence[Unit]) -> str:
    """Table of the rows: WA and UAR pooled over the folds, as means over the seeds."""
    pooled: dict[str, dict[int, dict[str, RunRecord]]] = defaultdict(lambda: defaultdict(dict))
    for unit in units:
        if unit.kind != "pretrain" and unit.finished:
            pooled[unit.row][unit.seed][unit.fold] = read_record(unit.folder)
    lines = [f"{'preset':24} {'WA':>7} {'UAR':>7}  seeds  folds"]
    for row, of_seed in pooled.items():
        confusions = [pool_confusions(list(of_fold.values())) for of_fold in of_seed.values()]
        wa = np.mean([weighted_accuracy(c) for c in confusions])
        uar = np.mean([unweighted_average_recall(c) for c in confusions])
        folds = sorted({len(of_fold) for of_fold in of_seed.values()})
        counts = "-".join(str(n) for n in dict.fromkeys((folds[0], folds[-1])))
        lines.append(f"{row:24} {wa:7.4f} {uar:7.4f}  {len(of_seed):5}  {counts:>5}")
    return "\n".join(lines)


def pool_confusions(records: Sequence[RunRecord]) -> np.ndarray:
    """Sum of the confusion matrices of folds, whose labels may differ."""
    labels = sorted({label for record in records for label in record.labels})
    total = np.zeros((len(labels), len(labels)), np.int64)
    for record in records:
        index = [labels.index(label) for label in record.labels]
        total[np.ix_(index, index)] += np.asarray(record.confusion)
    return total
