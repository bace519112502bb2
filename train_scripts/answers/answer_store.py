"""Answers on disk as they come, so that an interrupted call can be resumed.

Every answer is a line of a journal as soon as it is there: of the file itself where that has JSON
lines, else beside it. What was answered before, by the content of the recording, the model and how
it was heard, is not answered again.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from processing.errors import InputError
from train_scripts.answers.answer_formats import (
    ENDINGS,
    GROWING,
    ONE_RECORDING,
    format_answers,
    write_parquet,
)

JOURNAL = "answers.jsonl"
KEY = "of"
"""Entry of an answer that tells content, model and settings."""
NOT_OURS = "{}: exists, and not by such a call. Choose another --output."


class AnswerStore:
    """The answers of a call, and those of earlier calls with the same output.

    Args:
        output: a file, or a folder that gets one file a recording; None: nothing is written.
        form: see `format_answers`; None: by the ending of the file, JSON for a folder.
        names: of all recordings of the call.

    Raises:
        InputError: if the form cannot be written there, or a file is in the way.
    """

    def __init__(self, output: Path | None, form: str | None, names: Sequence[str]):
        self.folder = output if output is not None and is_folder(output) else None
        self.file = output if self.folder is None else None
        self.form = form or form_of(self.file)
        self.names = list(names)
        self.file_names = file_names(self.names, ENDINGS[self.form]) if self.folder else {}
        self.answers: dict[str, dict] = {}
        self.journal = self.journal_path()
        self.check()
        if self.journal is not None:
            self.journal.parent.mkdir(parents=True, exist_ok=True)
            self.answers = read_journal(self.journal)
        self.order: list[tuple[str, str]] = []
        self.grown = False

    def journal_path(self) -> Path | None:
        """Where answers are kept as they come."""
        if self.folder is not None:
            return self.folder / JOURNAL
        if self.file is None or self.form == "jsonl":
            return self.file
        return self.file.with_name(f"{self.file.name}.{JOURNAL}")

    def check(self) -> None:
        """Raise InputError where the form cannot be written, or something else stands there."""
        if self.folder is None and self.form in ONE_RECORDING and len(self.names) > 1:
            raise InputError(
                f"--format {self.form} does not say of which recording it speaks: give --output a "
                "folder for several."
            )
        if self.form == "parquet" and self.folder is None and self.file is None:
            raise InputError("--format parquet: give --output a file or a folder.")
        exists = self.file is not None and self.file.exists()
        if exists and self.journal is not None and not self.journal.exists():
            raise InputError(
                f"{self.file}: exists, and not by such a call. Choose another --output."
            )

    def known(self, key: str, name: str) -> dict | None:
        """The answer to a key, under the name of the recording; None if there is none."""
        found = self.answers.get(key)
        return None if found is None else {**found, "file": name}

    def add(self, key: str, answer: Mapping[str, Any], *, is_new: bool) -> None:
        """Keep an answer and write it, so that it outlives the process."""
        name = answer["file"]
        self.order.append((key, name))
        if is_new:
            self.answers[key] = {**answer, KEY: key}
            if self.journal is not None:
                append_line(self.journal, json.dumps(self.answers[key], ensure_ascii=False))
        if self.folder is not None:
            self.write_one(name, answer)
        elif self.file is not None and self.form in GROWING and self.form != "jsonl":
            text = format_answers([answer], self.form, answer["probabilities"] or ())
            if self.grown and self.form == "csv":
                text = text.partition("\n")[2]
            if not self.grown:
                replace_file(self.file, "")
            append_line(self.file, text)
            self.grown = True

    def write_one(self, name: str, answer: Mapping[str, Any]) -> None:
        """The file of one recording in the folder."""
        assert self.folder is not None
        self.write([answer], self.folder / self.file_names[name])

    def write(self, answers: Sequence[Mapping[str, Any]], path: Path) -> None:
        """A file, whole or not at all."""
        part = path.with_name(f"{path.name}.part")
        if self.form == "parquet":
            write_parquet(answers, part)
        else:
            text = format_answers(list(answers), self.form)
            # a name may hold bytes that are no text
            written = f"{text}\n" if text else ""
            part.write_text(written, encoding="utf-8", errors="backslashreplace")
        part.replace(path)

    def in_order(self) -> list[dict]:
        """The answers of this call in the order of its recordings."""
        place = {name: number for number, name in enumerate(self.names)}
        found = sorted(self.order, key=lambda pair: place[pair[1]])
        return [{**self.answers[key], "file": name} for key, name in found]

    def finish(self) -> None:
        """Write the file once more, in the order of the recordings."""
        if self.file is not None:
            self.write(self.in_order(), self.file)


def is_folder(output: Path) -> bool:
    """Whether an output is meant as a folder: it is one, or has no ending."""
    return output.is_dir() or not output.suffix


def form_of(file: Path | None) -> str:
    """The form that a file's ending stands for; JSON where it stands for none."""
    endings = {ending: form for form, ending in ENDINGS.items()}
    return endings.get(file.suffix.lower(), "json") if file is not None else "json"


def file_names(names: Sequence[str], ending: str) -> dict[str, str]:
    """A file for each recording: its own name, with a hash of its path where two share one."""
    stems = [Path(name).stem or "recording" for name in names]
    return {
        name: (
            f"{stem}{ending}"
            if stems.count(stem) == 1
            else f"{stem}-{hashlib.sha256(name.encode()).hexdigest()[:8]}{ending}"
        )
        for name, stem in zip(names, stems, strict=True)
    }


def read_journal(path: Path) -> dict[str, dict]:
    """The answers of a journal by key; a last line that was cut off is removed from it.

    Raises:
        InputError: if the file is something else.
    """
    if not path.exists():
        return {}
    answers, good = {}, 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                answer = json.loads(line)
                answers[answer[KEY]] = answer
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(NOT_OURS.format(path)) from error
            good += len(line)
    os.truncate(path, good)
    return answers


def append_line(path: Path, line: str) -> None:
    """Add a line to a file, at once."""
    if line:
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{line}\n")


def replace_file(path: Path, text: str) -> None:
    """Write a file anew."""
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def digest(content: Any) -> str:
    """A short hash of what JSON can hold."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
