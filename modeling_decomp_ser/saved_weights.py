"""Whether the weights of a saved model are those that were saved, and numbers."""

import hashlib
import json
import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
from transformers.utils.hub import cached_file

UNFINISHED = "unfinished"
"""Stands for the digest while weights are written."""

PLACE = ("revision", "subfolder", "cache_dir", "token", "local_files_only", "force_download")
"""Arguments of `from_pretrained` that say where files are."""


def weight_files(name: str, **place: Any) -> list[str]:
    """Paths of the safetensors files of a saved model, one or several, in the order of their names.

    Args:
        name: a folder, or a repository id.
        **place: as for `transformers.utils.hub.cached_file`.
    """
    place["_raise_exceptions_for_missing_entries"] = False
    single = cached_file(name, SAFE_WEIGHTS_NAME, **place)
    if single is not None:
        return [single]
    index = cached_file(name, SAFE_WEIGHTS_INDEX_NAME, **place)
    if index is None:
        return []
    with open(index, encoding="utf-8") as file:
        names = sorted(set(json.load(file)["weight_map"].values()))
    found = [cached_file(name, part, **place) for part in names]
    return [path for path in found if path is not None]


def digest_of(paths: Iterable[str]) -> str:
    """SHA-256 over files, of which it reads 1.5 GB in a second."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def check_weights(name: str, **place: Any) -> None:
    """Compare the weights of a saved model with the digest in its configuration.

    A configuration without one, such as of an earlier version, is let through.

    Raises:
        ValueError: if they are others.
    """
    path = cached_file(name, "config.json", _raise_exceptions_for_missing_entries=False, **place)
    if path is None:
        return
    with open(path, encoding="utf-8") as file:
        stored = json.load(file).get("weights_digest")
    if stored is None:
        return
    files = weight_files(name, **place)
    if stored == UNFINISHED or digest_of(files) != stored:
        raise ValueError(
            f"Checkpoint '{name}': {', '.join(map(os.path.basename, files)) or 'its weights'} "
            "changed after saving, was not written to its end, or is of another model: its SHA-256 "
            "is not the weights_digest of config.json. Copy the folder again from its source."
        )


def check_finite(model: nn.Module, name: str) -> None:
    """Raise ValueError for a weight that holds NaN or infinity."""
    for key, weight in model.state_dict().items():
        if weight.is_meta or not weight.is_floating_point():
            continue
        # a sum is finite only where all of it is, and is fifty times as fast as asking each
        if not torch.isfinite(weight.sum(dtype=torch.float64)):
            raise ValueError(
                f"Checkpoint '{name}': weight {key} holds NaN or infinity. Its training diverged, "
                "or the file was damaged."
            )


def check_memory(model: nn.Module) -> None:
    """Refuse a model that was laid out without memory and would not fit into this machine's."""
    weights = list(model.parameters())
    if not all(weight.is_meta for weight in weights) or not hasattr(os, "sysconf"):
        return
    needed = sum(weight.numel() * weight.element_size() for weight in weights)
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        raise ValueError(
            f"The sizes in this configuration make {needed / 2**30:.3g} GiB of weights; this "
            f"machine has {there / 2**30:.3g} GiB of memory. Check config.json."
        )
