"""Units over the machines of a SLURM cluster, through submitit: one task of a job array a machine.

A task runs its share of the units as `cross-validate` would on its machine. A share holds whole
(seed, fold) pairs, so that a pre-training is never waited for across machines. The folders of the
runs are on storage that all machines see; a task whose time is up is queued again and goes on.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from processing.errors import InputError
from train_scripts.experiments.machine import run_on_this_machine
from train_scripts.experiments.unit_workers import Attempt
from train_scripts.experiments.units import Unit
from train_scripts.runs.foreseen_errors import require_package

CLUSTERS = ("slurm", "local")
POLL_SECONDS = 10.0
DEFAULT_MINUTES = 24 * 60


@dataclass
class Share:
    """What one task runs; see `run_on_this_machine`."""

    units: list[Unit]
    attempt: Attempt
    jobs: int | None = None
    threads: int | None = None

    def __call__(self) -> dict[Unit, str]:
        """Run what is not finished; returns why each unit that failed did."""
        left = [unit for unit in self.units if not unit.finished]
        return run_on_this_machine(left, self.attempt, jobs=self.jobs, threads=self.threads)

    def checkpoint(self):
        """What submitit queues again when the time of the task is up."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def run_on_cluster(
    units: Sequence[Unit],
    attempt: Attempt,
    *,
    cluster: str,
    nodes: int,
    folder: Path,
    parameters: Sequence[str] = (),
    ended: Callable[[Unit, str | None], None] = lambda unit, problem: None,
    poll_seconds: float = POLL_SECONDS,
    **limits: int | None,
) -> dict[Unit, str]:
    """Submit shares of the units as one array, and wait for them; Ctrl-C cancels what runs.

    Args:
        units: to be run.
        attempt: runs a unit and returns why it failed or None; a function that can be pickled.
        cluster: "slurm", or "local" for processes of this machine in place of a cluster.
        nodes: machines.
        folder: of submitit's own files.
        parameters: "key=value" of sbatch, such as "partition=gpu".
        ended: called when a unit is seen to have ended, with why it failed or None.
        poll_seconds: between looks at what has ended.
        **limits: `jobs` and `threads` of each machine, as of `run_on_this_machine`.

    Returns:
        Why each unit that failed did.

    Raises:
        InputError: if submitit is missing, there is no such cluster here, or a parameter is wrong.
    """
    shares = [Share(part, attempt, **limits) for part in deal_out(units, nodes)]
    tasks = submit(shares, build_executor(cluster, folder, parameters))
    waiting = dict(zip(tasks, shares, strict=True))
    failed: dict[Unit, str] = {}
    try:
        while waiting:
            time.sleep(poll_seconds)
            for task in [task for task in waiting if task.done()]:
                share = waiting.pop(task)
                failed |= collect(task, share)
                for unit in share.units:
                    ended(unit, failed.get(unit))
    except BaseException:
        for task in waiting:
            task.cancel()
        raise
    return failed


def submit(shares: Sequence[Share], executor: Any) -> list[Any]:
    """Submit shares as one array; returns the job of each."""
    with executor.batch():
        return [executor.submit(share) for share in shares]


def build_executor(cluster: str, folder: Path, parameters: Sequence[str]) -> Any:
    """Executor of submitit with its parameters."""
    require_package("submitit", f"--cluster {cluster}")
    from submitit import AutoExecutor

    if cluster not in CLUSTERS:
        raise InputError(f"--cluster {cluster}: expected one of {', '.join(CLUSTERS)}.")
    values = {}
    for text in parameters:
        name, separator, value = text.partition("=")
        if not separator:
            raise InputError(f"--slurm {text}: expected key=value, such as partition=gpu.")
        values[f"slurm_{name}"] = yaml.safe_load(value)
    try:
        executor = AutoExecutor(folder=folder / "%j", cluster=cluster)
        executor.update_parameters(
            name="decomp-ser", timeout_min=DEFAULT_MINUTES, tasks_per_node=1, **values
        )
    except (RuntimeError, NameError, ValueError, AssertionError) as error:
        raise InputError(f"--cluster {cluster}: {' '.join(str(error).split())}") from error
    return executor


def deal_out(units: Sequence[Unit], nodes: int) -> list[list[Unit]]:
    """Shares of whole (seed, fold) pairs, dealt out in turn; none is empty."""
    pairs: dict[tuple[int, str], list[Unit]] = defaultdict(list)
    for unit in units:
        pairs[unit.seed, unit.fold].append(unit)
    dealt = [list(pairs.values())[start::nodes] for start in range(nodes)]
    return [[unit for pair in part for unit in pair] for part in dealt if part]


def collect(task: Any, share: Share) -> dict[Unit, str]:
    """Why units of a task failed; where the task itself did, all that it left unfinished."""
    try:
        return task.result()
    except Exception as error:  # submitit raises its own, with the traceback of the task
        reason = f"its task {task.job_id} ended: {str(error).strip().splitlines()[-1]}"
        return {unit: reason for unit in share.units if not unit.finished}
