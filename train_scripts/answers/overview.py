"""`decomp-ser predict --summary`: one page of all answers, which needs nothing else to be read.

Recordings are not copied into the page: it plays them from where they are, as long as they stay.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from train_scripts.answers.answer_formats import by_channel

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7f3c8d", "#666666")
"""Of emotions, in alphabetical order; told apart by most people who do not see all colours."""


def write_overview(
    answers: Sequence[Mapping[str, Any]], path: Path, model_name: str, problems: Sequence[str] = ()
) -> None:
    """Write the page.

    Args:
        answers: of `answer_recordings`.
        path: of the page.
        model_name: for the reader.
        problems: recordings that could not be used, a line each.
    """
    environment = Environment(
        loader=PackageLoader("train_scripts.answers", "."),
        undefined=StrictUndefined,
        autoescape=True,
    )
    emotions = sorted({name for a in answers for name in a["probabilities"] or ()})
    names = short_names([answer["file"] for answer in answers])
    files = [
        compact(answer, name, emotions, path.parent)
        for answer, name in zip(answers, names, strict=True)
    ]
    data = {
        "emotions": emotions,
        "colours": [COLOURS[i % len(COLOURS)] for i in range(len(emotions))],
        "flags": flags_of(answers),
        "files": files,
    }
    page = environment.get_template("overview.html.jinja").render(
        data=as_script(data),
        model=model_name,
        day=date.today().isoformat(),
        num_files=len(answers),
        hours=clock(sum(a["seconds"] for a in answers)),
        answered=clock(sum(end - start for a in answers for _, (start, end) in spoken(a))),
        problems=problems,
    )
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(page, encoding="utf-8")
    part.replace(path)


def short_names(names: Sequence[str]) -> list[str]:
    """Names without the folder that all are in.

    Examples:
        >>> short_names(["/calls/may/a.wav", "/calls/june/b.wav"])
        ['may/a.wav', 'june/b.wav']
    """
    try:
        shared = os.path.commonpath([os.path.dirname(name) for name in names])
    except ValueError:  # paths of different kinds
        shared = ""
    return [os.path.relpath(name, shared) if shared else name for name in names]


def compact(
    answer: Mapping[str, Any], name: str, emotions: Sequence[str], folder: Path
) -> dict[str, Any]:
    """A recording with its entries as short lists: start, end, probabilities in per cent in the
    order of the emotions, flags, and what is known of channel, speaker, text and dimensions.
    """
    return {
        "name": name,
        "url": address(answer["file"], folder),
        "seconds": answer["seconds"],
        "flags": answer["flags"],
        "entries": [
            [
                round(start, 2),
                round(end, 2),
                [round(100 * entry["probabilities"].get(name, 0.0)) for name in emotions],
                list(entry["flags"]),
                entry.get("channel"),
                entry.get("speaker"),
                entry.get("text"),
                ", ".join(f"{k} {v:.2f}" for k, v in entry.get("dimensions", {}).items()) or None,
            ]
            for entry, (start, end) in spoken(answer)
        ],
    }


def spoken(answer: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], tuple[float, float]]]:
    """Entries that have an emotion, with the span that each speaks for."""
    return [pair for pair in by_channel(answer) if pair[0].get("probabilities")]


def flags_of(answers: Iterable[Mapping[str, Any]]) -> list[str]:
    """All flags, in alphabetical order."""
    found = {flag for a in answers for flag in a["flags"]}
    return sorted(found | {flag for a in answers for e in a["timeline"] for flag in e["flags"]})


def address(name: str, folder: Path) -> str | None:
    """Where the page finds a recording: relative to its folder, so that both can be moved; None
    for what cannot be found again.
    """
    if name.startswith(("http://", "https://")) or not os.path.isfile(name):
        return None  # nothing is asked of the network
    return quote(os.path.relpath(os.path.abspath(name), os.path.abspath(folder)))


def as_script(data: Any) -> str:
    """JSON that cannot end the element of HTML that it stands in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    Examples:
        >>> clock(3725.4), clock(62)
        ('1:02:05', '1:02')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
