"""Votes of raters: how many heard which emotion, in one cell of text such as angry:3;neutral:6."""

from collections.abc import Mapping, Sequence

import numpy as np

from processing.errors import InputError


def parse_votes(text: str) -> dict[str, float]:
    """Emotion -> votes, of a cell.

    Raises:
        InputError: if it is not written so, or a number is negative or none is positive.

    Examples:
        >>> parse_votes("angry:3; neutral:0.5")
        {'angry': 3.0, 'neutral': 0.5}
    """
    votes: dict[str, float] = {}
    for part in text.split(";"):
        name, _, number = (word.strip() for word in part.partition(":"))
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not name or not 0 <= value < float("inf"):
            raise InputError(
                f"votes {text!r}: expected emotions with numbers, such as angry:3;neutral:6."
            )
        votes[name.lower()] = votes.get(name.lower(), 0.0) + value
    if not any(votes.values()):
        raise InputError(f"votes {text!r}: all are 0. Leave the cell empty if there are none.")
    return votes


def write_votes(votes: Mapping[str, float]) -> str | None:
    """The cell of some votes, without zeros; None where there are none.

    Examples:
        >>> write_votes({"sad": 2, "angry": 0, "happy": 0.5})
        'happy:0.5;sad:2'
    """
    return ";".join(f"{name}:{votes[name]:g}" for name in sorted(votes) if votes[name]) or None


def map_votes(text: str | None, label_map: Mapping[str, str]) -> str | None:
    """A cell with emotions renamed; votes for two that become one are added.

    Examples:
        >>> map_votes("excited:2;happy:1", {"excited": "happy"})
        'happy:3'
    """
    if text is None:
        return None
    mapped: dict[str, float] = {}
    for name, value in parse_votes(text).items():
        mapped[label_map.get(name, name)] = mapped.get(label_map.get(name, name), 0.0) + value
    return write_votes(mapped)


def vote_shares(text: str | None, labels: Sequence[str]) -> np.ndarray | None:
    """Shares of the votes for L labels, (L,) with a sum of 1; votes for other emotions do not
    count. None where there are no votes for any of them.

    Examples:
        >>> vote_shares("angry:3;disgusted:2;sad:1", ["angry", "happy", "sad"]).tolist()
        [0.75, 0.0, 0.25]
    """
    if text is None:
        return None
    votes = parse_votes(text)
    counts = np.array([votes.get(label, 0.0) for label in labels])
    return counts / counts.sum() if counts.any() else None
