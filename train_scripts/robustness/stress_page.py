"""The page and the figure of a stress test."""

from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from train_scripts.corruptions.conditions import CORRUPTIONS
from train_scripts.runs.templates import fill_template

STRESS, PAGE, FIGURE = "stress.json", "stress.md", "stress.png"
BLUE, RED = "#4477aa", "#ee6677"


def write_pages(report: Mapping[str, Any], folder: Path) -> None:
    """Write stress.md and stress.png.

    Args:
        report: content of stress.json.
        folder: to write to.
    """
    (folder / PAGE).write_text(render_stress(report) + "\n", encoding="utf-8")
    plot_stress(report, folder / FIGURE)


def render_stress(report: Mapping[str, Any]) -> str:
    """The table in Markdown, with what it is of."""
    functions = {"score": score, "share": share, "flags_of": flags_of}
    template = Path(__file__).with_name("stress.md.jinja")
    return fill_template(template, functions, report=report).rstrip("\n")


def score(entry: Mapping[str, Any], form: str = ".3f") -> str:
    """A value with its interval.

    Examples:
        >>> score({"value": -0.1, "interval_95": [-0.2, 0.0]}, "+.3f")
        '-0.100 [-0.200, +0.000]'
    """
    bounds = entry["interval_95"]
    text = f"{entry['value']:{form}}"
    return f"{text} [{bounds[0]:{form}}, {bounds[1]:{form}}]" if bounds else text


def share(value: float) -> str:
    """A fraction in per cent.

    Examples:
        >>> share(0.0654)
        '6.5 %'
    """
    return f"{100 * value:.1f} %"


def flags_of(condition: Mapping[str, Any]) -> str:
    """The share of turns with each flag, in words."""
    told = (
        f"{name.replace('_', ' ')} {share(value)}" for name, value in condition["flags"].items()
    )
    return ", ".join(told) or "none"


def summarize_stress(report: Mapping[str, Any]) -> str:
    """Short summary for standard output: clean, and each corruption at its strongest."""
    clean, *others = report["conditions"]
    strongest = [list(same)[-1] for _, same in groupby(others, key=lambda c: c["corruption"])]
    lines = [f"{'':32} {'UAR':>6} {'change':>7} {'unchanged':>9} {'ECE':>6} {'flagged':>8}"]
    lines += [
        f"{c['title']:32} {c['uar']['value']:6.3f} {c['change']['value']:+7.3f} "
        f"{share(c['unchanged']):>9} {c['ece']:6.3f} {share(c['flagged']):>8}"
        for c in (clean, *strongest)
    ]
    return "\n".join(lines)


def plot_stress(report: Mapping[str, Any], path: Path) -> None:
    """Draw UAR with its interval, and the share of unchanged answers, by strength; a panel a
    corruption.
    """
    clean, *others = report["conditions"]
    kinds = [(name, list(same)) for name, same in groupby(others, key=lambda c: c["corruption"])]
    columns = min(5, max(1, len(kinds)))
    rows = max(1, -(-len(kinds) // columns))
    figure = Figure(figsize=(2.6 * columns, 2.1 * rows + 0.9), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in panels.flat[len(kinds) :]:
        axes.set_axis_off()
    for axes, (name, conditions) in zip(panels.flat, kinds, strict=False):
        places = range(len(conditions))
        axes.axhline(clean["uar"]["value"], color=RED, linestyle=":", linewidth=1)
        for place, condition in zip(places, conditions, strict=True):
            if condition["uar"]["interval_95"]:
                axes.plot([place] * 2, condition["uar"]["interval_95"], color=RED, linewidth=2)
        axes.plot(places, [c["uar"]["value"] for c in conditions], "s-", color=RED, label="UAR")
        unchanged = [c["unchanged"] for c in conditions]
        axes.plot(places, unchanged, "o--", color=BLUE, label="unchanged answers")
        kind = CORRUPTIONS[name]
        ticks = [f"{c['strength']:g}" if kind.unit else "" for c in conditions]
        axes.set_xticks(list(places), ticks)
        axes.set_xlim(-0.5, len(conditions) - 0.5)
        axes.set_ylim(0, 1.02)
        axes.set_title(kind.title + (f" ({kind.unit})" if kind.unit else ""), fontsize=9)
        axes.grid(alpha=0.3)
    figure.suptitle(
        f"{report['model']} on {report['num_turns']} turns of {report['num_speakers']} speakers "
        f"({report['corpus']}); dotted: UAR of the turns as they are",
        fontsize=10,
    )
    if kinds:
        handles, names = panels.flat[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=2, fontsize="small")
    figure.savefig(path, dpi=110)
