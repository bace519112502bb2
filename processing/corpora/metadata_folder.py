"""A folder of audio files with a table `metadata.csv`: the audiofolder convention of `datasets`."""

import codecs
import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from processing.audio_files import in_one_line
from processing.corpora.rows import GENDERS, RATINGS, Reading, Row, check_clips, make_row
from processing.corpora.votes import parse_votes, write_votes
from processing.errors import InputError

METADATA_NAME = "metadata.csv"

MOST_EMOTIONS = 256

_TEXT_COLUMNS = (
    *("id", "speaker", "text", "corpus", "session", "dialogue", "split", "votes"),
    *("age", "language"),
)
_RECURRING = ("emotion", "speaker", "corpus", "session", "dialogue")

_BLOCK = 2**20  # bytes


def read_metadata_folder(
    source: str | Path,
    *,
    skip_bad: bool = False,
    labelled: bool = True,
    allow_outside: bool = False,
) -> Reading:
    """Rows of a folder with `metadata.csv`, or of the folder in which a given CSV file lies.

    The table is UTF-8, comma separated, with a header. `file_name` (relative to the table) and
    `emotion` are required; `id` (default: the file name), `speaker`, `gender` (female, male, f or
    m), `text`, `corpus`, `session`, `dialogue`, `split`, `votes` (such as angry:3;neutral:6) and
    `valence`, `activation` and `dominance` (numbers) are read where they exist, and other columns
    are ignored. An empty cell means unknown, as a missing column does. With `skip_bad`,
    clips without usable audio are left out and returned beside the rows, which keep the order of
    the table. Not `labelled`, the table needs no `emotion`, and the rows have none. Files outside
    of the table's folder are read only where that is allowed: a table of somebody else could
    otherwise ask for any file of this machine.

    Raises:
        InputError: if the table is missing, lacks a column or has a wrong cell, or a clip is bad.
    """
    source = Path(source)
    table = source if source.suffix.lower() == ".csv" else source / METADATA_NAME
    if not table.is_file():
        raise InputError(
            f"{table}: no such table. Give a folder with {METADATA_NAME}, or the CSV file itself."
        )
    rows = _read_table(table, labelled, allow_outside)
    return check_clips(rows, skip_bad=skip_bad)


def _read_table(table: Path, labelled: bool, outside: bool) -> Iterator[tuple[str, Row]]:
    _check_text(table)
    with table.open(encoding="utf-8-sig", newline="") as lines:
        yield from _read_rows(lines, table, labelled, outside)


def _check_text(table: Path) -> None:
    """Raise an InputError if the bytes are no text in UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    num_bytes = num_lines = 0
    block = None
    with table.open("rb") as file:
        while block != b"":
            block = file.read(_BLOCK)
            pending, _ = decoder.getstate()
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                place = num_bytes - len(pending) + error.start
                raise InputError(
                    f"{table}: not UTF-8 (byte {place}). Save the table as UTF-8."
                ) from error
            if (place := block.find(b"\0")) >= 0:
                line = num_lines + block.count(b"\n", 0, place) + 1
                raise InputError(
                    f"{table}: has a NUL byte in line {line}. It is damaged, or no text: write it "
                    "again from its source."
                )
            num_bytes += len(block)
            num_lines += block.count(b"\n")


def _read_rows(
    lines: TextIO, table: Path, labelled: bool, outside: bool
) -> Iterator[tuple[str, Row]]:
    emotions: set[str] = set()
    words: dict[str, str] = {}  # one copy of each that recurs, of however many rows
    reader = csv.DictReader(lines, strict=True)
    columns = [name.strip() for name in reader.fieldnames or ()]
    needed = ["file_name", "emotion"] if labelled else ["file_name"]
    missing = [name for name in needed if name not in columns]
    if missing:
        raise InputError(
            f"{table}: column {missing[0]!r} is missing; found {', '.join(columns) or 'nothing'}. "
            f"Expected a comma-separated table with the columns {' and '.join(needed)}."
        )
    reader.fieldnames = columns
    try:
        for cells in reader:
            item = f"{table.name} line {reader.line_num}"
            row = _parse_row(cells, item, table.parent, labelled, outside)
            row |= {k: words.setdefault(row[k], row[k]) for k in _RECURRING if row[k] is not None}
            emotions.add(row["emotion"])
            if len(emotions) > MOST_EMOTIONS:
                raise InputError(
                    f"{table}: more than {MOST_EMOTIONS} different values in the column 'emotion', "
                    f"such as {row['emotion'][:40]!r}. Expected a few words: is it another column?"
                )
            yield item, row
    except csv.Error as error:
        raise InputError(
            f"{table} line {reader.line_num}: {error}. Expected a comma-separated table."
        ) from error


def _parse_row(
    cells: dict[str, str | None], item: str, folder: Path, labelled: bool, outside: bool
) -> Row:
    values = {
        name: (value or "").strip() or None
        for name, value in cells.items()
        if isinstance(name, str)
    }
    file_name, emotion = values["file_name"], values["emotion"] if labelled else None
    if file_name is None or (labelled and emotion is None):
        empty = "file_name" if file_name is None else "emotion"
        raise InputError(
            f"{folder.name}/{item}: {empty} is empty. Fill the cell or remove the row."
        )
    path = os.path.normpath(file_name)
    if not outside and (os.path.isabs(path) or path.split(os.sep)[0] == os.pardir):
        raise InputError(
            f"{folder.name}/{item}: file_name {in_one_line(file_name)!r} lies outside of the "
            "table's folder. Move the audio into it; or, if you trust the table, read it once with "
            "`decomp-ser prepare folder --allow-outside`."
        )
    gender = values.get("gender")
    if gender is not None and gender.lower() not in GENDERS:
        raise InputError(
            f"{folder.name}/{item}: gender {gender!r}, expected female, male, f or m. Leave it "
            "empty if unknown."
        )
    row = make_row(
        audio={"bytes": None, "path": os.path.join(folder, file_name)},
        emotion=emotion.lower() if emotion else None,
        gender=GENDERS[gender.lower()] if gender else None,
        **{name: values[name] for name in _TEXT_COLUMNS if name in values},
    )
    row["id"] = row["id"] or file_name
    try:
        row |= {name: _read_rating(name, values[name]) for name in RATINGS if name in values}
        if row.get("votes") is not None:
            row["votes"] = write_votes(parse_votes(row["votes"]))
    except InputError as error:
        raise InputError(f"{folder.name}/{item}: {error}") from error
    return row


def _read_rating(name: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not -float("inf") < value < float("inf"):
        raise InputError(f"{name} {text!r}, expected a number. Leave it empty if unknown.")
    return value
