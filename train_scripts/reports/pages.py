"""The pages of a report: Jinja templates, and how they write numbers and names."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import isfunction
from itertools import groupby
from pathlib import Path
from typing import Any

from train_scripts.reports.published import quoted_beside  # noqa: F401, templates call it
from train_scripts.reports.significance import SPEAKERS
from train_scripts.runs.templates import fill_template

TEMPLATES = Path(__file__).with_name("templates")
Scored = Mapping[str, Any]
"""A row's numbers, of `score_row`."""


def render(template: str, **content: Any) -> str:
    """Fill a template of `train_scripts/reports/templates`, named without ".md.jinja"."""
    own = {name: value for name, value in globals().items() if isfunction(value)}
    return fill_template(TEMPLATES / f"{template}.md.jinja", own, **content)


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


def seed_range(values: Iterable[float], form: str = ".3f") -> str:
    """The least and the largest value of the seeds, or a dash with fewer than two.

    Examples:
        >>> seed_range([0.05, 0.013, 0.047], "+.3f")
        '+0.013 to +0.050'
    """
    values = list(values)
    return f"{min(values):{form}} to {max(values):{form}}" if len(values) > 1 else "-"


def difference(value: Mapping[str, Any]) -> str:
    """A difference with its interval."""
    interval = value["interval_95"]
    bounds = f" [{interval[0]:+.3f}, {interval[1]:+.3f}]" if interval else ""
    return f"{value['value']:+.3f}{bounds}"


def counted(item: Mapping[str, Any]) -> str:
    """What the interval of a row or comparison counts; before it was told, speakers alone."""
    return item.get("interval_counts", SPEAKERS)


def interval_caption(rows: Sequence[Scored]) -> str:
    """What the intervals of rows count, in one sentence."""
    kinds = {counted(row) for row in rows}
    if kinds == {SPEAKERS}:
        return "Intervals count speakers only and leave out the noise of seeds."
    others = ", and speakers only where a row has one seed or lacks runs" if len(kinds) > 1 else ""
    return f"Intervals count speakers and seeds{others}."


def p_value(comparison: Mapping[str, Any]) -> str:
    """Corrected p of a comparison's test, and the plain one; before there was a test that counts
    seeds, of Wilcoxon's.
    """
    test = comparison.get("test") or comparison["wilcoxon_speakers"]["unweighted_average_recall"]
    if test["p"] is None:
        return "-"
    return f"{test['p_holm']:.2g} (uncorrected {test['p']:.2g})"


def cell(text: str) -> str:
    """Text that does not end its cell of a Markdown table."""
    return text.replace("|", "\\|")


def short_commits(commits: Iterable[str]) -> str:
    """Commits by their first twelve characters, with what marks a changed work tree."""
    parts = (commit.partition("+") for commit in commits)
    return ", ".join(digest[:12] + plus + mark for digest, plus, mark in parts)


def split_of(row: Scored) -> tuple[str, str]:
    """Corpus and protocol."""
    return row["corpus"], row["protocol"]["name"]


def split_and_size(row: Scored) -> tuple[str, str, str]:
    """Corpus, protocol and size of a network's row."""
    return (*split_of(row), row["size"])


def grouped(items: Iterable[Any], key: Callable[[Any], Any]) -> list[tuple[Any, list[Any]]]:
    """Items by key, keys in order."""
    return [(k, list(group)) for k, group in groupby(sorted(items, key=key), key=key)]


def figure_name(corpus: str, protocol: str) -> str:
    """File of the overview of a corpus and protocol."""
    return re.sub(r"[^\w+-]", "-", f"rows_{corpus}_{protocol}") + ".png"


def short_names(rows: Sequence[Scored]) -> dict[str, str]:
    """Name of each row by its title: the preset, and of the settings that the command line made
    those that not all rows of its size have.
    """
    names = {}
    for _, same in grouped(rows, lambda row: row["size"] or ""):
        shared = shared_overrides(same)
        for row in same:
            own = (override for override in row["overrides"] if override not in shared)
            trained = [f"trained on {row['training']}"] if row.get("training") else []
            names[row["title"]] = " ".join([row["preset"], *own, *trained])
    return names


def shared_overrides(rows: Sequence[Scored]) -> list[str]:
    """Settings on the command line of every row."""
    return [o for o in rows[0]["overrides"] if all(o in row["overrides"] for row in rows)]


def per_seed(rows: Sequence[Scored], title: str) -> dict[str, float]:
    """UAR of each seed of the row of a title."""
    found = {row["title"]: row for row in rows}[title]
    return found["metrics"]["unweighted_average_recall"]["per_seed"]


def find_row(line: Mapping[str, Any], rows: Sequence[Scored]) -> Scored | None:
    """The row of a line of the paper: of the fewest settings changed, complete rather than not."""
    for preset in filter(None, (line.get("preset"), line.get("same_model"))):
        found = [row for row in rows if row["preset"] == preset]
        if found:
            return min(found, key=lambda r: (len(r["overrides"]), not r["complete"], r["row"]))
    return None


def table4_presets(paper: Mapping[str, Any]) -> list[str]:
    """Presets and systems that Table 4 of the paper names."""
    return [line["preset"] for line in paper["table4"]["rows"] if "preset" in line]


def beside_table4(rows: Sequence[Scored], paper: Mapping[str, Any]) -> list[Scored]:
    """Rows that stand in Table 4: its own, other systems, and encoders without the other parts."""
    names = {*table4_presets(paper), "encoders_alone"}
    return [row for row in rows if not row["size"] or row["preset"] in names]


def others_of_table4(rows: Sequence[Scored], paper: Mapping[str, Any]) -> list[Scored]:
    """Rows beside Table 4 that none of its lines shows."""
    shown = [find_row(line, rows) for line in paper["table4"]["rows"]]
    return [row for row in rows if not any(row is other for other in shown)]


def here_name(row: Scored) -> str:
    """What was run, and that a system of another study is built again from its description."""
    size = f", size `{row['size']}`" if row["size"] else ""
    again = any(note.startswith("reconstruction:") for note in row["notes"])
    return f"`{row['preset']}`{size}" + (" (reconstruction)" if again else "")


def seconds_a_run(row: Scored) -> str:
    """Seconds of training of one fold and seed."""
    return f"{row['seconds'] / row['num_runs']:.0f}"


def board_cell(cell: Mapping[str, Any] | None) -> str:
    """A cell of the leaderboard: UAR with its interval, or as it is quoted.

    Examples:
        >>> board_cell({"value": 0.6232, "spread": 0.0119})
        '0.623 ± 0.012 *(quoted)*'
    """
    if cell is None:
        return "-"
    if "interval_95" not in cell:
        spread = f" ± {cell['spread']:.3f}" if cell["spread"] else ""
        return f"{cell['value']:.3f}{spread} *(quoted)*"
    interval = "[{:.3f}, {:.3f}]".format(*cell["interval_95"]) if cell["interval_95"] else ""
    marks = {"LEAKS": cell["leaks"], "incomplete": not cell["complete"]}
    wrong = [name for name, holds in marks.items() if holds]
    return " ".join(filter(None, [f"{cell['value']:.3f}", interval, *wrong]))


def comparison_notes(comparison: Mapping[str, Any]) -> str:
    """What to know of a comparison."""
    notes = [] if comparison["complete"] else ["INCOMPLETE: on what both have"]
    for title, entry in (("MIXED", "settings_not_shared"), ("by name", "settings_overridden")):
        if comparison[entry]:
            notes.append(f"{title}, other settings: {', '.join(comparison[entry])}")
    return "; ".join(notes) or "-"


def row_notes(row: Scored, preset: str) -> str:
    """What to know of a row in a table of the paper."""
    notes = list(row["notes"])
    if row["preset"] != preset:
        notes.append(f"run as `{row['preset']}`, the same model")
    if row["overrides"]:
        notes.append("with " + " ".join(row["overrides"]))
    return "; ".join(notes) or "-"


def class_names(stated: Iterable[str], corpora: Mapping[str, Any]) -> list[str]:
    """Classes of the paper's Table 1, then those that only a corpus has, then "total"."""
    names = dict.fromkeys([*stated, *(n for c in corpora.values() for n in c["classes"])])
    return [*(name for name in names if name != "total"), "total"]


def matrix_cell(found: Mapping[str, Any] | None) -> str:
    """A cell of the matrix of training by test, or a dash."""
    if found is None:
        return "-"
    row = {"metrics": found}
    uar, wa = pooled(row, "unweighted_average_recall"), pooled(row, "weighted_accuracy")
    mark = "*" if found["within"] else ""
    incomplete = "" if found["complete"] else ", INCOMPLETE"
    return (
        f"{mark}{uar}{mark}; WA {wa} ({found['num_labels']} emotions, `{found['protocol']}`, "
        f"{found['seeds']} seeds{incomplete})"
    )
