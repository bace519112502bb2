"""What this machine has, and units run on all of it."""

import os
from collections.abc import Callable, Sequence

from processing.errors import InputError
from train_scripts.experiments.unit_workers import Attempt, run_units
from train_scripts.experiments.units import Unit


def run_on_this_machine(
    units: Sequence[Unit],
    attempt: Attempt,
    *,
    jobs: int | None = None,
    threads: int | None = None,
    **told: Callable,
) -> dict[Unit, str]:
    """Run units as `run_units` does, as many at once as this machine has GPUs or processors for.

    By default `jobs` is one a GPU, else one a processor (divided by the processes that share a
    unit), and `threads` the processors divided by all processes. An InputError says if there are
    GPUs, but fewer than the processes that share a unit.
    """
    processes = max((unit.processes for unit in units), default=1)
    devices = share_devices(processes)
    jobs = jobs or default_jobs(processes)
    threads = threads or max(1, count_processors() // (jobs * processes))
    return run_units(
        units,
        attempt,
        jobs=jobs,
        threads=threads,
        devices=[devices[slot % len(devices)] for slot in range(jobs)] if devices else (),
        **told,
    )


def default_jobs(processes: int) -> int:
    """Units at once, each shared by so many processes."""
    return len(share_devices(processes)) or max(1, count_processors() // processes)


def count_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_devices(processes: int) -> list[str]:
    """GPUs of this machine in groups of `processes`, as CUDA_VISIBLE_DEVICES spells them; none
    where there is no GPU.
    """
    import torch  # takes seconds, which a worker that needs none of this does not spend

    if not torch.cuda.is_available():
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
    if len(names) < processes:
        raise InputError(f"--processes-per-fold {processes}: this machine has {len(names)} GPUs.")
    ends = range(processes, len(names) + 1, processes)
    return [",".join(names[end - processes : end]) for end in ends]
