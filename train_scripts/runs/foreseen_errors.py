"""What a user can put right when a verb ends with an error: wrong input, a path that cannot be
used, a package that is not installed.
"""

import errno
import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EXTRAS = {
    "espeakng_loader": "synthetic",
    "gradio": "demo",
    "opensmile": "baselines",
    "peft": "lora",
    "submitit": "cluster",
    "tensorboard": "tracking",
    "trackio": "tracking",
    "onnx": "export",
    "onnxruntime": "export",
    "silero_vad": "vad",
    "av": "video",
    "fastapi": "serve",
    "uvicorn": "serve",
    "python_multipart": "serve",
    "websockets": "serve",
    "pyroomacoustics": "stress",
}
"""Packages that an installation may lack, and the extra of decomp-ser that brings them."""

REFUSED_BY_SYSTEM = frozenset(
    (
        *(errno.EACCES, errno.EPERM, errno.EROFS),
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENAMETOOLONG),
    )
)
"""What the system refuses whatever the program does right: permission, space, names."""
WRONG_PATH = frozenset((errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY))
"""What is wrong input for a path that the user gave, and a fault of the program for any other."""


def describe_foreseen(error: Exception, words: Sequence[str]) -> str | None:
    """Say in a line what a user can put right.

    Args:
        error: that ended a verb.
        words: of the command line.

    Returns:
        The line; None for what is no matter of input, paths or installation.
    """
    # whoever raised it has loaded the module, which takes seconds
    errors = sys.modules.get("processing.errors")
    if errors is not None and isinstance(error, errors.InputError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        package = error.name.partition(".")[0]
        if package in EXTRAS:
            return missing_package(package)
    if isinstance(error, OSError):
        number, file = error.errno, error.filename
    else:  # the packages written in Rust, such as safetensors, put it into their text
        found = re.search(r"\(os error (\d+)\)", str(error))
        number, file = int(found[1]) if found else None, None
    if number in REFUSED_BY_SYSTEM or (number in WRONG_PATH and was_given(file, words)):
        where = f"{os.fsdecode(file)}: " if isinstance(file, str | bytes | Path) else ""
        return f"{where}{os.strerror(number)}. Nothing more can be read or written there."
    return None


def was_given(file: Any, words: Sequence[str]) -> bool:
    """Whether a file is one of the paths on the command line, or is above or below one."""
    if not isinstance(file, str | bytes | Path):
        return False
    path = Path(os.path.abspath(os.fsdecode(file)))
    for word in words:
        given = Path(os.path.abspath(word.rpartition("=")[2]))
        if path.is_relative_to(given) or given.is_relative_to(path):
            return True
    return False


def require_package(package: str, needed_by: str) -> None:
    """Refuse what needs a package of an extra that is not installed, before anything is computed.

    Args:
        package: a name in EXTRAS.
        needed_by: the setting or option that asks for it.

    Raises:
        InputError: if it is not installed; names the extra that brings it.
    """
    if importlib.util.find_spec(package) is None:
        from processing.errors import InputError  # loads torch

        raise InputError(f"{needed_by}: {missing_package(package)}")


def missing_package(package: str) -> str:
    """Say which extra brings a package."""
    return (
        f"{package} is not installed: install the extra with pip install "
        f"'decomp-ser[{EXTRAS[package]}]'."
    )
