"""The matrix of training by test: what a system that learnt one corpus makes of another."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from processing.corpora.registry import SEPARATOR
from train_scripts.reports.pages import Scored, grouped

MATRIX = "cross_corpus.png"
METRICS = ("weighted_accuracy", "unweighted_average_recall")
CORPUS, SPEAKERS = "corpus", "speaker-5"
"""Protocols whose rows come first where several could fill a cell."""


def arrange_matrix(scored: Sequence[Scored]) -> dict[str, Any]:
    """Systems that were trained on other corpora than they were tested on, with their figures on
    each corpus.

    Returns:
        `tests`: names of the tested corpora; `systems`: {"name", "trainings": {names of the
        training corpora: a cell for each tested corpus}}; a cell is {metric: {"pooled",
        "interval_95"}, "protocol", "within", "complete", "num_labels", "row"} or None. `within`:
        tested speakers are of a corpus that was trained on.
    """
    systems = []
    for name, rows in grouped(scored, name_system):
        if not any(row["training"] for row in rows):
            continue
        cells: dict[tuple[str, str], dict[str, Any]] = {}
        for row in sorted(rows, key=preference):
            training = row["training"] or row["corpus"]
            cells.setdefault((training, row["corpus"]), describe_cell(row, training))
        systems.append((name, cells))
    tests = sorted({test for _, cells in systems for _, test in cells if SEPARATOR not in test})
    return {
        "tests": tests,
        "systems": [
            {
                "name": name,
                "trainings": {
                    training: [cells.get((training, test)) for test in tests]
                    for training in order_trainings({training for training, _ in cells})
                    if any((training, test) in cells for test in tests)
                },
            }
            for name, cells in systems
        ],
    }


def name_system(row: Scored) -> str:
    """Preset, size and settings of a row, whatever it was trained on."""
    return " ".join([row["preset"], *([row["size"]] if row["size"] else []), *row["overrides"]])


def preference(row: Scored) -> tuple[int, str]:
    """Sort the row first that fills a cell where several could."""
    name = row["protocol"]["name"]
    return ((CORPUS, SPEAKERS).index(name) if name in (CORPUS, SPEAKERS) else 2, row["row"])


def describe_cell(row: Scored, training: str) -> dict[str, Any]:
    """What the matrix shows of a row."""
    metrics = {name: row["metrics"][name] for name in METRICS}
    return {
        **{
            name: {"pooled": score["pooled"], "interval_95": score["interval_95"]}
            for name, score in metrics.items()
        },
        "protocol": row["protocol"]["name"],
        "within": row["corpus"] in training.split(SEPARATOR),
        "complete": row["complete"],
        "num_labels": len(row["labels"]),
        "seeds": len(row["seeds"]),
        "row": row["row"],
    }


def order_trainings(names: set[str]) -> list[str]:
    """Single corpora first, then sets of them."""
    return sorted(names, key=lambda name: (name.count(SEPARATOR), name))


def draw_matrix(content: Mapping[str, Any], path: Path) -> None:
    """Draw UAR of each system as a heat map, training in rows and test in columns."""
    tests, systems = content["tests"], content["systems"]
    rows = max(len(system["trainings"]) for system in systems)
    width = 2.2 + 1.5 * len(tests)
    size = (width * len(systems), 1.9 + 0.75 * rows)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(systems), squeeze=False)[0]
    image: Any = None
    for axes, system in zip(panels, systems, strict=True):
        trainings = list(system["trainings"])
        values = np.full((len(trainings), len(tests)), np.nan)
        for i, cells in enumerate(system["trainings"].values()):
            for j, cell in enumerate(cells):
                if cell is not None:
                    values[i, j] = cell[METRICS[1]]["pooled"]
                    write_cell(axes, i, j, cell)
        image = axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(tests)), tests)
        axes.set_yticks(range(len(trainings)), [name.replace("+", "\n+ ") for name in trainings])
        axes.set(xlabel="test", ylabel="training")
        axes.set_title(system["name"], fontsize=9)
    figure.colorbar(image, ax=list(panels), shrink=0.8, label="UAR")
    figure.savefig(path, dpi=130)


def write_cell(axes: Any, i: int, j: int, cell: Mapping[str, Any]) -> None:
    """Write UAR and its interval into a cell; other speakers of a corpus of training in italics."""
    score = cell[METRICS[1]]
    text = f"{score['pooled']:.2f}"
    if score["interval_95"]:
        low, high = score["interval_95"]
        text += f"\n[{low:.2f}, {high:.2f}]"
    colour = "white" if score["pooled"] > 0.55 else "black"
    style = "italic" if cell["within"] else "normal"
    axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=8, style=style)
