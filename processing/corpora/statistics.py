"""How many turns and minutes a corpus has of each emotion, speaker and gender."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from jinja2 import StrictUndefined, Template
from matplotlib.figure import Figure
from matplotlib.text import Text

from processing.corpora.schema import label_order

TEMPLATE = Path(__file__).with_name("statistics.md.jinja")
GROUPS = ("speaker", "gender", "session")
_SUMMARIES = {"minimum": np.min, "median": np.median, "mean": np.mean, "maximum": np.max}


def corpus_statistics(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Count turns and minutes of rows with "emotion", "duration" (seconds), "text" and the columns
    of GROUPS.

    Returns:
        {"turns", "minutes", "seconds": {"minimum", "median", "mean", "maximum"}, "without_text",
        "emotion": {emotion: {"turns", "minutes"}}} and for each of GROUPS that is known
        {group: {name: {"turns", "minutes", "emotion": {emotion: turns}}}}.
    """
    rows = list(rows)
    durations = np.array([row["duration"] for row in rows])
    emotions = label_order(row["emotion"] for row in rows)
    by_emotion = _divide(rows, "emotion")
    statistics: dict[str, Any] = {
        **_count(rows),
        "seconds": {name: round(float(of(durations)), 3) for name, of in _SUMMARIES.items()},
        "without_text": sum(row.get("text") is None for row in rows),
        "emotion": {emotion: _count(by_emotion[emotion]) for emotion in emotions},
    }
    for group in GROUPS:
        counts = {}
        for name, turns in sorted(_divide(rows, group).items()):
            heard = Counter(row["emotion"] for row in turns)
            counts[name] = {**_count(turns), "emotion": {e: heard[e] for e in emotions}}
        statistics |= {group: counts} if counts else {}
    return statistics


def _divide(rows: list[Mapping[str, Any]], group: str) -> dict[str, list[Mapping[str, Any]]]:
    """Rows by what they have in a column, without those of which it is not known."""
    members: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row.get(group) is not None:
            members.setdefault(row[group], []).append(row)
    return members


def format_statistics(statistics: Mapping[str, Any]) -> str:
    """The statistics as Markdown tables."""
    template = Template(TEMPLATE.read_text("utf-8"), trim_blocks=True, undefined=StrictUndefined)
    groups = {group: statistics[group] for group in GROUPS if group in statistics}
    emotions = list(statistics["emotion"])
    return template.render(all=statistics, groups=groups, emotions=emotions, cell=_table_cell)


def _table_cell(name: str) -> str:
    """A name as Markdown shows it in a table, whatever it has in it."""
    return "".join(f"\\{c}" if c in "\\|`*_[]<>" else c for c in name)


def plot_statistics(statistics: Mapping[str, Any], durations: Iterable[float], path: Path) -> None:
    """Draw minutes of each emotion, turns of each speaker, and the durations, as one PNG."""
    figure = Figure(figsize=(12, 4.0), layout="constrained")
    by_emotion, by_speaker, by_duration = figure.subplots(1, 3)
    emotions = list(statistics["emotion"])
    colours = [f"C{i}" for i in range(len(emotions))]
    minutes = [statistics["emotion"][e]["minutes"] for e in emotions]
    by_emotion.bar(emotions, minutes, color=colours)
    by_emotion.set(ylabel="minutes", title="emotion")
    by_emotion.tick_params(axis="x", rotation=45)
    speakers = statistics.get("speaker", {})
    bottom = np.zeros(len(speakers))
    for emotion, colour in zip(emotions, colours, strict=True):
        turns = np.array([count["emotion"][emotion] for count in speakers.values()])
        by_speaker.bar(list(speakers), turns, bottom=bottom, label=emotion, color=colour)
        bottom += turns
    by_speaker.set(ylabel="turns", title="speaker" if speakers else "speakers unknown")
    by_speaker.tick_params(axis="x", rotation=90, labelsize=6)
    if speakers:
        # Below the panels, where it hides no bar.
        figure.legend(loc="outside lower center", ncols=len(emotions), title="emotion of the turns")
    by_duration.hist(list(durations), bins=40, color="#555555")
    by_duration.set(xlabel="duration [s]", ylabel="turns", title="duration")
    for text in figure.findobj(Text):
        cast(Text, text).set_parse_math(False)  # a name may have a dollar sign in it
    figure.savefig(path, dpi=120)


def _count(rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    seconds = sum(row["duration"] for row in rows)
    return {"turns": len(rows), "minutes": round(seconds / 60, 3)}
