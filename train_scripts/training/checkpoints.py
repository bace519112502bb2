"""The last whole checkpoint of a run: one that was being written when its process was killed is not
gone on with.
"""

import json
import logging
import re
import shutil
import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers.trainer import (
    FSDP_MODEL_NAME,
    OPTIMIZER_NAME,
    OPTIMIZER_NAME_BIN,
    SCHEDULER_NAME,
    TRAINER_STATE_NAME,
)
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

logger = logging.getLogger(__name__)

SHARDED = "_0/.metadata"
"""Ends the file that FSDP writes last where each process saves its own share, in a folder beside
the others."""

OPTIMIZERS = (OPTIMIZER_NAME, OPTIMIZER_NAME_BIN, OPTIMIZER_NAME.removesuffix(".pt") + SHARDED)
"""State of the optimiser: of one process or DDP, of FSDP in one piece, of FSDP in shares."""


def last_whole_checkpoint(folder: Path) -> str | None:
    """Find the newest checkpoint that can be gone on with, and delete newer ones that cannot.

    Args:
        folder: of the checkpoints.

    Returns:
        Its path, or None if there is none.
    """
    found = {}
    for path in folder.glob("checkpoint-*"):
        match = re.fullmatch(r"checkpoint-(\d+)", path.name)
        if match and path.is_dir():
            found[int(match[1])] = path
    for step in sorted(found, reverse=True):
        problem = find_damage(found[step])
        if problem is None:
            return str(found[step])
        logger.warning("%s is not whole and is deleted: %s.", found[step], problem)
        shutil.rmtree(found[step])
    return None


def find_damage(checkpoint: Path) -> str | None:
    """What is missing or cut off in a checkpoint of the Trainer, or None."""
    random_states = list(checkpoint.glob("rng_state*.pth"))
    if not random_states:
        return "it has no random state"
    weights = list(checkpoint.glob("*.safetensors"))
    named = [SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, FSDP_MODEL_NAME + SHARDED]
    if not any((checkpoint / name).is_file() for name in named):
        return "it has no weights"
    optimizers = [checkpoint / name for name in OPTIMIZERS]
    optimizer = next((path for path in optimizers if path.is_file()), optimizers[0])
    zipped = [checkpoint / SCHEDULER_NAME, *random_states]
    zipped += checkpoint.glob(f"{FSDP_MODEL_NAME}.bin")
    if optimizer.suffix:  # shares are no archives
        zipped.append(optimizer)
    checks = [(check_json, checkpoint / TRAINER_STATE_NAME)]
    checks += [(check_safetensors, path) for path in weights]
    checks += [(check_zip, path) for path in zipped]
    for check, path in checks:
        try:
            check(path)
        except (OSError, ValueError, SafetensorError, zipfile.BadZipFile) as error:
            return f"{path.name}: {error}"
    return None


def check_json(path: Path) -> None:
    """Raise ValueError or OSError where a file is not JSON."""
    json.loads(path.read_text(encoding="utf-8"))


def check_safetensors(path: Path) -> None:
    """Raise SafetensorError or OSError where a file is shorter than its header says."""
    with safe_open(path, framework="pt"):
        pass


def check_zip(path: Path) -> None:
    """Raise BadZipFile, ValueError or OSError where what torch saved is not as it was written."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{damaged} is damaged")
