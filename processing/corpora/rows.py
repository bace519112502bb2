"""From a reader's clips to checked rows: what every corpus reader shares."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
from datasets import Dataset, Features, Value
from datasets.utils import tqdm

from processing.audio_files import audio_duration
from processing.corpora.schema import ROW_FEATURES
from processing.errors import InputError

Row: TypeAlias = dict[str, Any]
"""One utterance with the columns of ROW_FEATURES, and some of OPTIONAL_FEATURES."""

logger = logging.getLogger(__name__)

_RECENT = 1000
"""Files whose durations are remembered while a corpus is read: several rows may name one."""

_CHUNK = 10_000  # rows

OPTIONAL_FEATURES = Features(
    {
        "split": Value("string"),  # "train", "validation" or "test", for the protocol `predefined`
        "age": Value("string"),  # of the speaker in years, or a word such as "child"
        "language": Value("string"),  # ISO 639-1, where a corpus has several
        "style": Value("string"),  # "scripted" or "improvised"
        "start": Value("float64"),  # seconds from the start of the dialogue
        "end": Value("float64"),
        "valence": Value("float64"),  # mean of the raters, 1 to 5
        "activation": Value("float64"),
        "dominance": Value("float64"),
        "votes": Value("string"),  # of raters, see `votes`
    }
)
"""Columns that some corpora have and others lack altogether."""

RATINGS = ("valence", "activation", "dominance")
"""Columns of raters' means, in the order of the model's `DIMENSIONS`; activation is arousal."""

GENDERS = {"female": "female", "f": "female", "male": "male", "m": "male"}


@dataclass(frozen=True)
class BadClip:
    """A clip that gives no row: how its source names it, and why."""

    item: str
    reason: str


Reading: TypeAlias = tuple[Dataset, list[BadClip]]
"""What a reader returns: rows with durations in seconds, and the clips that were left out."""


def make_row(**columns: Any) -> Row:
    """A complete row; columns that are not given are null."""
    return {**dict.fromkeys(ROW_FEATURES), **columns}


def read_named_clips(
    folder: str | Path,
    parse: Callable[[Path], Row | BadClip | None],
    *,
    naming: str,
    skip_bad: bool = False,
    passed_over: re.Pattern[str] | None = None,
) -> Reading:
    """Read a corpus that is told by the names of its WAV files, in any subfolders, without the
    `._*` files that macOS leaves. Clips that cannot be used are left out and returned with
    `skip_bad`; without it they raise an InputError, as does a folder without clips.

    Args:
        folder: without which there is an InputError.
        parse: file -> row, whose id is the file's stem where it gives none; None if its name does
            not fit.
        naming: what a name should look like, for the message.
        skip_bad: collect clips without a fitting name or usable audio instead of raising.
        passed_over: names of files that begin so are no clips.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder. Give the folder into which the corpus was unpacked."
        )
    clips: list[tuple[str, Row | BadClip]] = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() != ".wav" or path.name.startswith("._"):
            continue
        if passed_over and passed_over.match(path.name):
            continue
        row = parse(path)
        if row is None:
            row = BadClip(path.name, f"the name does not fit the naming {naming}.")
        elif not isinstance(row, BadClip):
            audio = {"bytes": None, "path": str(path)}
            row = {**row, "id": row["id"] or path.stem, "audio": audio}
        clips.append((path.name, row))
    return check_clips(clips, skip_bad=skip_bad)


def check_clips(clips: Iterable[tuple[str, Row | BadClip]], *, skip_bad: bool = False) -> Reading:
    """Measure durations from the headers and sort out the clips without usable audio.

    Clips are pairs of the item's name in its source ("metadata.csv line 7") and its row, or a clip
    that the reader itself could not use. With `skip_bad`, bad clips are returned beside the rows.

    Raises:
        InputError: if a clip is bad and `skip_bad` is not set; if an id occurs twice; if no clip is
            left.
    """
    bad: list[BadClip] = []
    num_bad = 0
    duration = lru_cache(_RECENT)(audio_duration)

    def usable() -> Iterator[Row]:
        nonlocal num_bad
        for item, row in tqdm(clips, desc="Audio headers", unit="clip", delay=2, mininterval=1):
            if isinstance(row, BadClip):
                clip = row
            else:
                try:
                    yield {**row, "duration": duration(row["audio"]["path"])}
                    continue
                except InputError as error:
                    clip = BadClip(item, str(error))
            num_bad += 1
            if skip_bad or num_bad == 1:
                bad.append(clip)

    rows = rows_to_dataset(usable())
    if bad and not skip_bad:
        raise InputError(describe_bad_clip(bad[0], number=num_bad, total=len(rows) + num_bad))
    if not len(rows):
        found = f"{len(bad)} clips, none usable; first: {bad[0].reason}" if bad else "no audio file"
        raise InputError(f"found {found}. Check that the folder is the one of the corpus.")
    check_ids_are_unique(rows["id"])
    return rows, bad


def describe_bad_clip(first: BadClip, *, number: int, total: int) -> str:
    """One line for the clips that stop the reading of a corpus."""
    more = f" ({number} of {total} clips are bad; this is the first)" if number > 1 else ""
    return (
        f"{first.item}: {first.reason}{more} "
        "Mend the corpus, or leave bad clips out (--skip-bad; in Python skip_bad=True)."
    )


def warn_of_bad_clips(bad: list[BadClip], *, total: int) -> None:
    """Log how many clips were left out, and each of them with its reason."""
    if bad:
        listing = "\n".join(f"  {clip.item}: {clip.reason}" for clip in bad)
        logger.warning("left out %d of %d clips:\n%s", len(bad), total, listing)


def check_ids_are_unique(ids: Iterable[str]) -> None:
    """Raise an InputError that names the first id found twice."""
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise InputError(
                f"id {name!r} occurs twice, expected one row for each id. Rename or remove one."
            )
        seen.add(name)


def rows_to_dataset(rows: Iterable[Row]) -> Dataset:
    """Data set of rows, with those optional columns that any row has. A million rows need little
    memory beside their table where they come one by one.
    """
    schema = Features({**ROW_FEATURES, **OPTIONAL_FEATURES}).arrow_schema
    rows, found, tables = iter(rows), set(ROW_FEATURES), [schema.empty_table()]
    while chunk := list(islice(rows, _CHUNK)):
        # Through Arrow, because Dataset.from_list would ask for torchcodec merely to store a path.
        tables.append(pa.Table.from_pylist(chunk, schema=schema))
        found.update(*chunk)
    names = [name for name in schema.names if name in found]
    features = Features({**ROW_FEATURES, **OPTIONAL_FEATURES})
    described = Features({name: features[name] for name in names})
    return Dataset(pa.concat_tables(tables).select(names).cast(described.arrow_schema))
