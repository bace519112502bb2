"""One page over all corpora: rows by systems, columns by corpora and protocols."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from matplotlib.figure import Figure

from train_scripts.reports.corpora import by_corpus
from train_scripts.reports.fusion import fuse_rows
from train_scripts.reports.pages import Scored, grouped, render
from train_scripts.reports.published import quoted_beside
from train_scripts.reports.rows import group_rows
from train_scripts.reports.scores import score_row
from train_scripts.runs.archive import read_all_runs
from train_scripts.runs.record import git_commit, write_json
from train_scripts.runs.whole_files import whole_files

LEADERBOARD, FIGURE = "leaderboard.md", "leaderboard.png"
METRIC = "unweighted_average_recall"
BLUE, GREY = "#4477aa", "#888888"

Place: TypeAlias = tuple[str, str, int]
"""Corpus, protocol and number of labels: a column."""


def leaderboard(
    runs: Sequence[str | Path],
    output: str | Path,
    *,
    fuse: Sequence[str] = (),
    num_resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Write leaderboard.md, leaderboard.json and leaderboard.png.

    Args:
        runs: run folders, folders that hold some at any depth, or archives.
        output: folder to write to.
        fuse: combinations to add, FIRST+SECOND.
        num_resamples: see `score_row`.
        seed: see `score_row`.

    Returns:
        The content of leaderboard.json.

    Raises:
        InputError: if nothing is found, a file is damaged, or runs cannot share a row.
    """
    scored_runs, _, _ = read_all_runs([Path(run) for run in runs])
    scored_runs = by_corpus(scored_runs)
    scored = []
    # one corpus may be here with several sets of labels
    for _, same in grouped(scored_runs, lambda run: tuple(run.results.labels)):
        rows = group_rows(same)
        wanted = [text for text in fuse if has_both(text, rows)]
        rows += fuse_rows(rows, wanted)
        scored += [score_row(row, num_resamples=num_resamples, seed=seed) for row in rows]
    content = arrange(scored)
    page = render("leaderboard", commit=git_commit(), figure=FIGURE, **content)
    with whole_files(output) as folder:
        if content["columns"]:
            draw(content, folder / FIGURE)
        (folder / LEADERBOARD).write_text(page, encoding="utf-8")
        write_json(folder / "leaderboard.json", content)
    return content


def has_both(fusion: str, rows: Sequence[Any]) -> bool:
    """Whether rows have both parts of a combination; a misspelt one is refused later."""
    presets = {row.key.preset for row in rows}
    return set(fusion.split("+")) <= presets or fusion.count("+") != 1


def arrange(scored: Sequence[Scored]) -> dict[str, Any]:
    """Systems and quoted lines by column.

    Returns:
        `columns`: {"corpus", "protocol", "num_labels", "num_turns", "num_speakers"}; `systems`:
        {"name", "parameters", "cells", "notes"} with a cell a column, {"value", "interval_95",
        "seeds", "complete"} or None, best first; `quoted`: {"name", "parameters", "cells"} with
        {"value", "spread"} or None; `sources` of the quoted lines.
    """
    places = sorted({place_of(row) for row in scored})
    columns = [describe_column(p, [r for r in scored if place_of(r) == p]) for p in places]
    sizes = {row["size"] for row in scored if row["size"]}
    systems = [
        arrange_system(name, rows, places)
        for name, rows in grouped(scored, lambda row: system_name(row, len(sizes) > 1))
    ]
    means = [
        float(np.mean([s["cells"][k]["value"] for s in systems if s["cells"][k]]))
        for k in range(len(places))
    ]
    systems.sort(key=lambda system: (-advantage(system["cells"], means), system["name"]))
    quoted, sources = arrange_quoted(scored, places)
    return {"columns": columns, "systems": systems, "quoted": quoted, "sources": sources}


def place_of(row: Scored) -> Place:
    """The column of a row."""
    return row["corpus"], row["protocol"]["name"], len(row["labels"])


def system_name(row: Scored, with_size: bool) -> str:
    """Name of a row's system, with the size of a preset where rows have several."""
    return f"{row['title']} ({row['size']})" if with_size and row["size"] else row["title"]


def describe_column(place: Place, rows: Sequence[Scored]) -> dict[str, Any]:
    """What stands above a column."""
    largest = max(rows, key=lambda row: row["num_turns"])
    return {
        "corpus": place[0],
        "protocol": place[1],
        "num_labels": place[2],
        "num_turns": largest["num_turns"],
        "num_speakers": largest["num_speakers"],
    }


def arrange_system(name: str, rows: Sequence[Scored], places: Sequence[Place]) -> dict[str, Any]:
    """One line of the table."""
    cells: list[dict[str, Any] | None] = [None] * len(places)
    for row in rows:
        score = row["metrics"][METRIC]
        cells[places.index(place_of(row))] = {
            "value": score["pooled"],
            "interval_95": score["interval_95"],
            "seeds": len(row["seeds"]),
            "complete": row["complete"],
            "leaks": row["protocol"]["leaks"],
        }
    known = sorted({row["n_parameters"] for row in rows if row["n_parameters"]})
    notes = list(dict.fromkeys(note for row in rows for note in row["notes"]))
    return {"name": name, "parameters": known[-1:], "cells": cells, "notes": notes}


def arrange_quoted(
    scored: Sequence[Scored], places: Sequence[Place]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Lines of other papers on the same folds, best first, and their sources."""
    first_of_place = {place_of(row): row for row in scored}
    quoted, sources = [], []
    for k, place in enumerate(places):
        for table in quoted_beside(first_of_place[place]):
            sources.append(table["source"])
            for line in sorted(table["rows"], key=lambda line: -line["value"]):
                cells: list[Any] = [None] * len(places)
                cells[k] = {"value": line["value"], "spread": line.get("spread")}
                quoted.append(
                    {"name": line["name"], "parameters": line["parameters"], "cells": cells}
                )
    return quoted, list(dict.fromkeys(sources))


def advantage(cells: Sequence[Mapping[str, Any] | None], means: Sequence[float]) -> float:
    """How far a system lies above the mean of each column that it has, on average."""
    return float(
        np.mean([cell["value"] - mean for cell, mean in zip(cells, means, strict=True) if cell])
    )


def draw(content: Mapping[str, Any], path: Path) -> None:
    """Draw a panel a column: UAR with its interval as a bar; what is quoted is grey and hollow."""
    lines = [*content["systems"], *content["quoted"]]
    places = np.arange(len(lines))[::-1]
    columns = content["columns"]
    figure = Figure(
        figsize=(3.6 + 3.0 * len(columns), 1.6 + 0.34 * len(lines)), layout="constrained"
    )
    panels = np.atleast_1d(figure.subplots(1, len(columns), sharey=True))
    for k, (axes, column) in enumerate(zip(panels, columns, strict=True)):
        for height, line in zip(places, lines, strict=True):
            cell = line["cells"][k]
            if cell is None:
                continue
            if "interval_95" not in cell:
                axes.plot(cell["value"], height, "D", color=GREY, markerfacecolor="none")
                continue
            if cell["interval_95"]:
                axes.plot(cell["interval_95"], [height] * 2, color=BLUE, linewidth=3, alpha=0.5)
            axes.plot(cell["value"], height, "o", color=BLUE, markersize=5)
        axes.axvline(1 / column["num_labels"], color=GREY, linestyle=":")
        axes.set_title(
            f"{column['corpus']}, {column['num_labels']} emotions\n{column['protocol']}", fontsize=9
        )
        axes.set_xlabel("UAR", fontsize=8)
        axes.grid(axis="x", alpha=0.3)
    quoted = len(content["systems"])
    names = [line["name"] + (" (quoted)" if k >= quoted else "") for k, line in enumerate(lines)]
    panels[0].set_yticks(places, names, fontsize=8)
    panels[0].set_ylim(-0.6, len(lines) - 0.4)
    figure.savefig(path, dpi=130)
