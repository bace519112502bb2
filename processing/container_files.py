"""Sound in what libsndfile does not read: M4A, AAC, video, by PyAV where it is installed.

Axes: S samples, C channels.
"""

import importlib
import importlib.util
import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from .errors import InputError

PACKAGE = "av"
MISSING = (
    "M4A, AAC and video are read by PyAV, which is not installed: pip install 'decomp-ser[video]'."
)

MARKS = (
    (4, b"ftyp"),  # MP4, M4A, MOV, 3GP
    (0, b"\x1aE\xdf\xa3"),  # Matroska, WebM
    (0, b"\xff\xf1"),  # AAC in ADTS
    (0, b"\xff\xf9"),
    (0, b"0&\xb2u"),  # WMA, WMV
    (0, b"FLV"),
    (8, b"AVI "),
    (0, b"#!AMR"),
)
"""Where containers have what bytes."""


def is_container(beginning: bytes) -> bool:
    """Whether the first bytes of a file are those of a container that libsndfile does not read."""
    return any(beginning[at : at + len(mark)] == mark for at, mark in MARKS)


def open_container(source: str | bytes, name: str) -> tuple[int, Iterator[np.ndarray]]:
    """The rate in Hz of the first sound of a container, and its blocks (S, C), float32.

    Raises:
        InputError: if PyAV is missing, or there is no sound in the container. The blocks raise it
            where the sound is damaged.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise InputError(f"{name}: {MISSING}")
    av: Any = importlib.import_module(PACKAGE)
    try:
        container = av.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{name}: cannot be decoded as audio ({_reason(error)}).") from error
    if not container.streams.audio:
        container.close()
        raise InputError(f"{name}: there is no sound in it, pictures only.")
    return container.streams.audio[0].rate, _decode(av, container, name)


def _decode(av: Any, container: Any, name: str) -> Iterator[np.ndarray]:
    """Blocks (S, C) of the first sound; the container is closed at the end."""
    sound = container.streams.audio[0]
    planes = av.AudioResampler(format="fltp")  # floats, one plane a channel
    with container:
        try:
            for frame in container.decode(sound):
                for plane in planes.resample(frame):
                    yield plane.to_ndarray().T
        except (av.FFmpegError, OSError) as error:
            raise InputError(
                f"{name}: cannot be decoded to its end ({_reason(error)}): damaged or cut off. "
                "Copy the file again from its source."
            ) from error


def _reason(error: Exception) -> str:
    """What FFmpeg says, without the name of the file."""
    return str(getattr(error, "strerror", None) or error).rstrip(".")
