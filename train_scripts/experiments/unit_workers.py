"""Run units over worker processes of this machine: each takes the next unit whose pre-training is
there.

A worker lives for many units, so that imports are paid once. One that dies (killed, out of memory)
loses its unit only, and another takes its place.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:  # nothing here needs more than its folder, and it imports torch
    from train_scripts.experiments.units import Unit

Attempt: TypeAlias = Callable[["Unit"], str | None]

STOP_SECONDS = 30.0
"""How long a worker is given to stop its run."""


class Worker:
    """A process that runs units one after another.

    Args:
        attempt: see `run_units`.
        variables: of its environment, set before it imports anything.
    """

    def __init__(self, attempt: Attempt, variables: Mapping[str, str]):
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, attempt))
        with environment(variables):
            self.process.start()
        # with the other end open here too, a worker's death would go unnoticed
        other.close()
        self.unit: Any = None  # the unit that it runs

    def begin(self, unit: "Unit") -> None:
        """Have it run a unit."""
        self.unit = unit
        self.connection.send(unit)

    def end(self) -> tuple["Unit", str | None]:
        """The unit that ended, and why it failed or None."""
        unit, self.unit = self.unit, None
        try:
            return unit, self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            return unit, f"its process ended with exit code {self.process.exitcode}"

    def stop(self) -> None:
        """Ask it to stop; `join` waits for it."""
        if self.process.is_alive():
            self.process.terminate()

    def join(self) -> None:
        """Wait until it has stopped, and see to it after a while."""
        self.process.join(STOP_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


def run_units(
    units: Iterable["Unit"],
    attempt: Attempt,
    *,
    jobs: int,
    threads: int,
    devices: Sequence[str] = (),
    begun: Callable[["Unit"], None] = lambda unit: None,
    ended: Callable[["Unit", str | None], None] = lambda unit, problem: None,
) -> dict["Unit", str]:
    """Run units, those that are ready first in their order.

    Args:
        units: to be run. One whose `pretrained` is the folder of another waits for it.
        attempt: runs a unit and returns why it failed or None; a function that can be pickled.
        jobs: workers at once.
        threads: of each worker.
        devices: GPUs of each worker as CUDA_VISIBLE_DEVICES spells them; none leaves it as it is.
        begun: called when a unit begins.
        ended: called when a unit ends, with why it failed or None.

    Returns:
        Why each unit that failed did.
    """
    pending, failed = list(units), {}
    workers: list[Worker | None] = [None] * max(1, min(jobs, len(pending)))

    def finish(unit: "Unit", problem: str | None) -> None:
        if problem is not None:
            failed[unit] = problem
        ended(unit, problem)

    try:
        while pending or any(w is not None and w.unit for w in workers):
            for unit in [u for u in pending if u.pretrained in {f.folder for f in failed}]:
                pending.remove(unit)
                finish(unit, f"its pre-training {unit.pretrained} failed")
            replace_dead(workers)
            for slot, unit in assign(pending, workers):
                worker = workers[slot]
                if worker is None:
                    gpus = {"CUDA_VISIBLE_DEVICES": devices[slot]} if devices else {}
                    worker = Worker(attempt, {"OMP_NUM_THREADS": str(threads), **gpus})
                    workers[slot] = worker
                pending.remove(unit)
                worker.begin(unit)
                begun(unit)
            busy = [w for w in workers if w is not None and w.unit is not None]
            ready = wait([worker.connection for worker in busy])
            for worker in [w for w in busy if w.connection in ready]:
                finish(*worker.end())
    finally:
        stop_workers([w for w in workers if w is not None])
    return failed


def replace_dead(workers: list[Worker | None]) -> None:
    """Free the slots of workers that died, with a unit or while they had none."""
    for slot, worker in enumerate(workers):
        if worker is not None and worker.unit is None and not worker.process.is_alive():
            worker.join()
            workers[slot] = None


def assign(pending: Sequence["Unit"], workers: Sequence[Worker | None]) -> list[tuple[int, "Unit"]]:
    """Which free slot takes which unit: the first whose pre-training neither runs nor waits."""
    running = [w.unit for w in workers if w is not None and w.unit is not None]
    unfinished = {unit.folder for unit in (*pending, *running)}
    ready = [unit for unit in pending if unit.pretrained not in unfinished]
    free = [slot for slot, worker in enumerate(workers) if worker is None or worker.unit is None]
    return list(zip(free, ready, strict=False))


def stop_workers(workers: Sequence[Worker]) -> None:
    """Stop all at once, not one after another."""
    for worker in workers:
        worker.stop()
    for worker in workers:
        worker.join()


def work(connection: Connection, attempt: Attempt) -> None:
    """What a worker does: run each unit that comes."""
    # Ctrl-C goes to the whole group; the first process decides what it means
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # a cluster warns so, and queues the first process again
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    threading.Thread(target=stop_with_parent, daemon=True).start()
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    while True:
        try:
            unit = connection.recv()
        except EOFError:
            return
        connection.send(attempt(unit))


def stop_with_parent() -> None:
    """End this process when the one that started it has: a run nobody waits for would hold its
    folder against the next try.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os._exit(1)


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment for processes that start here, which inherit them."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
