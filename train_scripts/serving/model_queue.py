"""The one thread that computes, and what waits for it."""

import asyncio
import itertools
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

LIVE, RECORDING = 0, 1
"""Priorities: a live window goes before recordings that wait."""
_END = 2

SMOOTHING = 0.1
"""Weight of the last recording in the mean time of an answer."""


class NoPlaceError(Exception):
    """Every place is taken, or the server stops."""


class OverdueError(Exception):
    """The time of a request is over, or nobody waits for its answer any more."""


@dataclass
class Job:
    """Something to be computed.

    Attributes:
        call: computes it.
        deadline: on the clock of `time.monotonic`.
        future: gets what the call returns or raises.
        abandoned: nobody waits for it.
    """

    call: Callable[[], Any]
    deadline: float
    future: Future = field(default_factory=Future)
    abandoned: bool = False

    def check(self) -> None:
        """Raise OverdueError where it is no use going on."""
        if self.abandoned or time.monotonic() > self.deadline:
            raise OverdueError


class ModelQueue:
    """Computes one thing at a time, in a thread of its own, and bounds what waits.

    A model does not get faster by two answers at once on the same processors. What is overdue, or
    waited for by nobody, is given up before the next batch of windows.

    Args:
        model: network whose calls the time of a request is checked before.
        places: recordings at once, with those that are still read.
    """

    def __init__(self, model: Any, places: int):
        self.places, self.taken = places, 0
        self.jobs: queue.PriorityQueue = queue.PriorityQueue()
        self.order = itertools.count()
        self.current: Job | None = None
        self.mean_seconds = 1.0
        self.stopping = False
        self.hook = model.register_forward_pre_hook(lambda *_: self.check_current())
        self.thread = threading.Thread(target=self.work, name="model", daemon=True)
        self.thread.start()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Keep one of the places; raises NoPlaceError where there is none."""
        if self.stopping or self.taken >= self.places:
            raise NoPlaceError
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    @property
    def retry_after(self) -> int:
        """Whole seconds after which a place will probably be free."""
        return max(1, math.ceil(self.mean_seconds))

    async def compute(self, call: Callable[[], Any], *, deadline: float, priority: int) -> Any:
        """What the call returns, when its turn has come.

        Raises:
            OverdueError: if the deadline passes before.
        """
        job = Job(call, deadline)
        self.jobs.put((priority, next(self.order), job))
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                return await asyncio.wrap_future(job.future)
        except TimeoutError as error:
            raise OverdueError from error
        finally:
            job.abandoned = True

    def check_current(self) -> None:
        """Give up what is computed now, where it is no use going on."""
        if self.current is not None:
            self.current.check()

    def work(self) -> None:
        """Compute until the end; the thread's own function."""
        while True:
            priority, _, job = self.jobs.get()
            if priority == _END:
                return
            if not job.future.set_running_or_notify_cancel():
                continue
            self.current, begin = job, time.monotonic()
            try:
                job.check()
                job.future.set_result(job.call())
            except BaseException as error:  # it is raised where the answer is waited for
                job.future.set_exception(error)
            finally:
                self.current = None
            if priority == RECORDING:
                seconds = time.monotonic() - begin
                self.mean_seconds += SMOOTHING * (seconds - self.mean_seconds)

    @property
    def is_stuck(self) -> bool:
        """Whether something is computed for so long after its time that it will not end."""
        job = self.current
        return job is not None and time.monotonic() > job.deadline + 60

    def stop(self) -> None:
        """Take on nothing more, and end the thread when what waits is done."""
        self.stopping = True
        self.jobs.put((_END, next(self.order), None))
        self.thread.join(timeout=10)
        self.hook.remove()
