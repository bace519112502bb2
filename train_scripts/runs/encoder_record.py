"""What a folder of `pretrain-encoder` says of itself: encoder.json."""

import json
from pathlib import Path

from transformers.utils.hub import cached_file

ENCODER = "encoder.json"


def corpora_heard(name: str) -> str | None:
    """Corpora that a speech encoder was pre-trained on, joined by "+"; None of one that
    `pretrain-encoder` has not made.

    Args:
        name: folder, or repository id.
    """
    try:
        path = cached_file(
            name,
            ENCODER,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except OSError:  # there is no such encoder, which is said where it is loaded
        return None
    return None if path is None else json.loads(Path(path).read_text("utf-8"))["trained_on"]
