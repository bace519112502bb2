"""One process at a time in an output folder; the second is told."""

import fcntl
import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TextIO, TypeVar

from processing.errors import InputError

SUFFIX = ".writing"
P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, a file beside it; it is free when its process ends, however that
    ends.

    Raises:
        InputError: if another process holds it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.with_name(folder.name + SUFFIX)
    with _locked(path, folder) as file:
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            path.unlink()


@contextmanager
def _locked(path: Path, folder: Path) -> Iterator[TextIO]:
    """The lock file, held."""
    while True:
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise InputError(
                    f"{folder}: another process (number {file.read() or 'unknown'}) is writing "
                    "there. Wait for it to end, or choose another output folder."
                ) from error
            # whoever held it may have removed the file since it was opened here
            if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                yield file
                return


def writes_alone(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function, whose `output` is a folder, write there alone. Of the processes of one
    training the first holds the lock for all.
    """

    @functools.wraps(function)
    def alone(*args: P.args, **kwargs: P.kwargs) -> R:
        if os.environ.get("RANK", "0") != "0":
            return function(*args, **kwargs)
        with sole_writer(Path(str(kwargs["output"]))):
            return function(*args, **kwargs)

    return alone
