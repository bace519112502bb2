"""`decomp-ser predict`: many recordings, by several processes, resumed where it was interrupted."""

import itertools
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

from tqdm import tqdm

from processing.errors import InputError
from train_scripts.answers.answer_store import AnswerStore, digest
from train_scripts.answers.input_files import Source
from train_scripts.answers.prediction import (
    Listening,
    Recording,
    answer_recordings,
    load_pipeline,
)
from train_scripts.answers.turns import Conversations
from train_scripts.runs.run_folder import model_identity

logger = logging.getLogger(__name__)

Task = list[tuple[str, Recording]]
"""Recordings that are answered together, each with its key."""


@dataclass
class Progress:
    """What became of the recordings of a call."""

    store: AnswerStore
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    num_known: int = 0


def answer_many(
    model_name: str,
    sources: Sequence[Source],
    store: AnswerStore,
    *,
    listening: Listening,
    conversations: Conversations | None = None,
    batch_size: int = 1,
    jobs: int = 1,
    skip_bad: bool = False,
) -> Progress:
    """Answer recordings that are not answered yet.

    Args:
        model_name: folder of a run, or a repository id.
        sources: the recordings.
        store: keeps the answers, and those of before.
        listening: how they are heard.
        conversations: who speaks when, and what.
        batch_size: pieces at once; does not change the answers.
        jobs: processes, among which the GPUs are dealt out in turn.
        skip_bad: leave out what cannot be used.

    Raises:
        InputError: if the model, an option or a recording cannot be used, or none is left.
    """
    listening, progress = listening.checked(), Progress(store)
    pending = Pending(model_name, sources, listening, conversations or Conversations(), progress)
    total = sum(source.size for source in sources)
    with tqdm(total=total, unit="B", unit_scale=True, desc="Recordings") as bar:
        pending.bar = bar
        tasks = batches(pending.tasks(skip_bad), batch_size)
        # closed at once where something stops the loop, so that no process goes on
        with closing(work(model_name, tasks, listening, batch_size, jobs)) as answered:
            for task, found in answered:
                for (key, recording), answer in zip(task, found, strict=True):
                    bar.update(recording.source.size)
                    if isinstance(answer, ValueError):
                        pending.refuse(answer, skip_bad)
                    else:
                        store.add(key, answer, is_new=True)
                        pending.note(answer)
    store.finish()
    if len(progress.problems) == len(sources):
        raise InputError(f"none of the {len(sources)} files can be used: {progress.problems[0]}")
    return progress


@dataclass
class Pending:
    """The recordings of a call that are not answered yet."""

    model_name: str
    sources: Sequence[Source]
    listening: Listening
    conversations: Conversations
    progress: Progress
    bar: tqdm | None = None

    def tasks(self, skip_bad: bool) -> Iterator[tuple[str, Recording]]:
        """Recordings with their keys; those that were answered before go to the store."""
        model = model_identity(self.model_name)
        for source in self.sources:
            try:
                turns = self.conversations.turns_of(source.name, alone=len(self.sources) == 1)
                heard = digest([self.listening.identity(), [asdict(t) for t in turns or ()]])
                key = f"{source.content_hash}:{model}:{heard}"
            except ValueError as error:
                self.refuse(error, skip_bad)
                continue
            known = self.progress.store.known(key, source.name)
            if known is None:
                yield key, Recording(source, turns)
                continue
            self.progress.store.add(key, known, is_new=False)
            self.progress.num_known += 1
            if self.bar is not None and self.bar.total:
                self.bar.total -= source.size
                self.bar.refresh()

    def refuse(self, error: ValueError, skip_bad: bool) -> None:
        """Note a recording that cannot be used, or stop for it."""
        if not skip_bad:
            raise InputError(f"{error} --skip-bad leaves out what cannot be used.") from error
        self.progress.problems.append(str(error))

    def note(self, answer: dict) -> None:
        """Tell the user what an answer notes, the first time."""
        if "note" in answer:
            self.progress.notes.append(f"{answer['file']}: {answer['note']}")
            if len(self.progress.notes) == 1:
                logger.warning("%s", self.progress.notes[0])


def batches(items: Iterable, size: int) -> Iterator[list]:
    """Items in lists of at most `size`."""
    items = iter(items)
    while group := list(itertools.islice(items, size)):
        yield group


def work(
    model_name: str, tasks: Iterator[Task], listening: Listening, batch_size: int, jobs: int
) -> Generator[tuple[Task, list[dict | ValueError]], None, None]:
    """The answers of each task as they are ready, in the order of the tasks if there is one job."""
    if jobs == 1:
        recognize = load_pipeline(model_name, listening, batch_size)
        for task in tasks:
            yield task, list(answer_recordings(recognize, [r for _, r in task], listening))
        return
    context = multiprocessing.get_context("spawn")
    arguments = (model_name, listening, batch_size, context.Value("i", 0))
    with ProcessPoolExecutor(jobs, context, start_worker, arguments) as pool:
        running: dict[Future, Task] = {}
        try:
            while True:
                # one waits for each that is answered: hashes are not made hours ahead
                for task in itertools.islice(tasks, 2 * jobs - len(running)):
                    running[pool.submit(answer_task, [r for _, r in task])] = task
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        except BaseException:
            for process in list((pool._processes or {}).values()):
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


worker: dict = {}
"""The pipeline of a process that `start_worker` started, and how it hears."""


def start_worker(model_name: str, listening: Listening, batch_size: int, num_started: Any) -> None:
    """Load the pipeline in a process of its own, which ends with the one that started it. The
    number of those started, shared by all, tells it which of the GPUs is its own.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this
    parent = multiprocessing.parent_process()

    def end_with_parent():
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)
    with num_started.get_lock():
        number, num_started.value = num_started.value, num_started.value + 1
    num_gpus = torch.cuda.device_count()
    device = f"cuda:{number % num_gpus}" if num_gpus else None
    recognize = load_pipeline(model_name, listening, batch_size, device)
    worker.update(recognize=recognize, listening=listening)


def answer_task(recordings: list[Recording]) -> list[dict | ValueError]:
    """The answers of recordings, in a process that `start_worker` started."""
    return list(answer_recordings(worker["recognize"], recordings, worker["listening"]))
