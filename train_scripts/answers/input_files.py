"""What INPUT of the command line names: files, folders, patterns, URLs, - for standard input."""

import glob
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from processing.audio_files import download
from processing.errors import InputError

STDIN = "-"
SOUND_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".w64"),
    *(".m4a", ".mp4", ".aac", ".mov", ".mkv", ".webm", ".3gp", ".wma", ".wmv", ".avi", ".amr"),
)
"""Of the files of a folder, those that can hold a sound by their name; a file that is named or
found by a pattern is read whatever its name.
"""


@dataclass
class Source:
    """A recording: its name for people, and its bytes where it is no file."""

    name: str
    content: bytes | None = None

    @property
    def audio(self) -> dict[str, Any]:
        """In the form that a pipeline opens."""
        if self.content is None and self.is_url:
            self.content = download(self.name)
        return {"path": self.name, "bytes": self.content}

    @property
    def is_url(self) -> bool:
        """Whether it has to be downloaded."""
        return self.name.startswith(("http://", "https://"))

    @property
    def size(self) -> int:
        """Bytes, as far as they are known without reading; 1 at least."""
        if self.content is not None:
            return len(self.content) or 1
        return max(1, os.path.getsize(self.name)) if os.path.isfile(self.name) else 1

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the bytes; an InputError says if they cannot be read."""
        if self.content is not None or self.is_url:
            return hashlib.sha256(self.audio["bytes"]).hexdigest()
        try:
            with open(self.name, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(
                f"{self.name}: cannot be read ({os.strerror(error.errno or 0)}). Check the path "
                "and the folder it is relative to."
            ) from error


def find_inputs(words: Sequence[str]) -> list[Source]:
    """The recordings that words name, each once, in the order of the words; those of a folder or a
    pattern by name. A file that does not exist is left to whoever opens it.

    Raises:
        InputError: if a folder or a pattern holds none.
    """
    if words.count(STDIN) > 1:
        raise InputError("-: standard input can be read once only.")
    names = dict.fromkeys(name for word in words for name in names_of(word))
    return [
        Source("stdin", sys.stdin.buffer.read()) if name == STDIN else Source(name)
        for name in names
    ]


def names_of(word: str) -> Iterator[str]:
    """Names of the recordings that a word stands for."""
    if word == STDIN or word.startswith(("http://", "https://")) or os.path.isfile(word):
        yield word
    elif os.path.isdir(word):
        found = sorted(str(path) for path in Path(word).rglob("*") if is_sound(path))
        if not found:
            raise InputError(
                f"{word}: no sound file is in this folder or below it. Known by their names: "
                f"{' '.join(SOUND_SUFFIXES)}."
            )
        yield from found
    elif glob.has_magic(word):
        found = sorted(p for p in glob.glob(word, recursive=True) if os.path.isfile(p))
        if not found:
            raise InputError(f"{word}: no file has a name of this pattern.")
        yield from found
    else:
        yield word


def is_sound(path: Path) -> bool:
    """Whether a file has the name of a sound, and is not hidden."""
    return (
        path.suffix.lower() in SOUND_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
