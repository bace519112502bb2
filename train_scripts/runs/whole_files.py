"""Files of one output that appear together, when all of them are whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def whole_files(folder: str | Path) -> Iterator[Path]:
    """A place for files that go to `folder` once the block ends, and replace what has their names
    there. Where it does not end, as on a full disk, `folder` is as it was.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".unfinished-", dir=folder) as place:
        yield Path(place)
        for file in Path(place).iterdir():
            file.replace(folder / file.name)
