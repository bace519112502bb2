"""The heat maps of the probes: which code tells of which factor, by stage and resampling."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from train_scripts.explanations.disentanglement import way_to_perfect
from train_scripts.explanations.probe_table import ASIDE, describe_condition, two_digits


def plot_probe(report: Mapping[str, Any], path: Path) -> None:
    """Draw one heat map a condition: colour is how far the score is from chance to perfect.

    The number is the score, in brackets where it is not surely above chance: such a score counts
    as 0 in the verdict, but it is drawn as what it is. A frame marks the factors that a code is
    named for.
    """
    conditions = report["conditions"]
    rows = -(-len(conditions) // 2)
    columns = min(2, len(conditions))
    width = 1.9 + 0.72 * len(report["factors"])
    figure = Figure(figsize=(width * columns + 1, 3.9 * rows + 0.8), layout="constrained")
    figure.suptitle(
        f"What linear probes read from the codes of {report['model']} "
        f"({', '.join(report['corpus'])}, {report['num_turns']} turns of "
        f"{report['num_speakers']} speakers)"
    )
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.flat[len(conditions) :]:
        axes.set_axis_off()
    for axes, condition in zip(panels.flat, conditions, strict=False):
        image = plot_condition(axes, report, condition)
    figure.colorbar(
        image,
        ax=list(panels.flat),
        shrink=0.8,
        label="from chance (0) to perfect (1); number: score,\nin brackets where not surely above "
        "chance; frame: its own factors",
    )
    figure.savefig(path, dpi=130)


def plot_condition(axes, report: Mapping[str, Any], condition: Mapping[str, Any]):
    """One heat map; returns its image."""
    factors, scores = list(report["factors"]), condition["scores"]
    codes = sorted(scores, key=lambda name: name in ASIDE)
    values = np.full((len(codes), len(factors)), np.nan)
    for i, j in np.ndindex(values.shape):
        score = scores[codes[i]].get(factors[j])
        if score is None:
            continue
        values[i, j] = way_to_perfect(score)
        colour = "black" if values[i, j] > 0.6 else "white"
        text = two_digits(max(score["score"], -9.99))
        text = text if score["informativeness"] > 0 else f"({text})"
        axes.text(j, i, text, ha="center", va="center", fontsize=8, color=colour)
        if factors[j] in report["subjects"].get(codes[i], ()):
            corner = (j - 0.47, i - 0.47)
            axes.add_patch(Rectangle(corner, 0.94, 0.94, fill=False, ec="#ee3333", lw=2))
    image = axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    names = [factor.replace("_", " ") for factor in factors]
    axes.set_xticks(range(len(factors)), names, rotation=35, ha="right")
    axes.set_yticks(range(len(codes)), codes)
    verdict = condition["verdict"]["verdict"] or "no codes to judge"
    title = f"{describe_condition(condition)}: {verdict}"
    axes.set_title(title.replace(", which", ",\nwhich"))
    return image
