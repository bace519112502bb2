"""What a folder of `pretrain-encoder` says of itself: encoder.json, and which turns it has heard."""

import json
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from train_scripts.runs.run_folder import TRAINING_ROWS, describe_overlap

ENCODER = "encoder.json"


def read_encoder_file(name: str, file: str) -> Any:
    """Content of a JSON file of a speech encoder; None where it has none, as those of others.

    Args:
        name: folder, or repository id.
        file: its name.
    """
    if Path(name).is_dir():
        path = Path(name) / file
        path = str(path) if path.is_file() else None
    else:
        path = cached_file(
            name,
            file,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    return None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))


def corpora_heard(name: str) -> str | None:
    """Corpora that a speech encoder was pre-trained on, joined by "+"; None where it does not
    say.
    """
    record = read_encoder_file(name, ENCODER)
    return None if record is None else record["trained_on"]


def encoder_overlap(name: str, ids: list[str], speakers: list[str | None]) -> str | None:
    """What of the test turns a speech encoder has heard, in words; None if nothing, or if it does
    not say which turns it has heard.
    """
    heard = read_encoder_file(name, TRAINING_ROWS)
    return None if heard is None else describe_overlap(heard, ids, speakers)
