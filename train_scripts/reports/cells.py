"""Cells and tables in Markdown, and the grouping of rows, for the parts of a report."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

Scored = Mapping[str, Any]
"""A row's numbers, of `score_row`."""


def table(header: Sequence[str], cells: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [header, ["---"] * len(header), *cells]
    return ["| " + " | ".join(str(c).replace("|", "\\|") for c in line) + " |" for line in lines]


def number(value: float | None, form: str = ".3f") -> str:
    """A number, or a dash."""
    return "-" if value is None else format(value, form)


def percent(value: float | None) -> str:
    """A fraction in per cent, or a dash."""
    return "-" if value is None else f"{100 * value:.2f} %"


def pooled(row: Scored, name: str, form: Callable[[float | None], str] = number) -> str:
    """Pooled WA or UAR with its interval."""
    score = row["metrics"][name]
    if score["interval_95"] is None:
        return form(score["pooled"])
    low, high = (form(bound).removesuffix(" %") for bound in score["interval_95"])
    return f"{form(score['pooled'])} [{low}, {high}]"


def split_of(row: Scored) -> tuple[str, str]:
    """Corpus and protocol."""
    return row["corpus"], row["protocol"]["name"]


def grouped(items: Iterable[Any], key: Callable[[Any], Any]) -> list[tuple[Any, list[Any]]]:
    """Items by key, keys in order."""
    return [(k, list(group)) for k, group in groupby(sorted(items, key=key), key=key)]


def figure_name(corpus: str, protocol: str) -> str:
    """File of the overview of a corpus and protocol."""
    words = f"rows_{corpus}_{protocol}"
    return "".join(c if c.isalnum() or c in "_+-" else "-" for c in words) + ".png"
