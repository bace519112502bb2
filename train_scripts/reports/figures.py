"""Figures of a report: rows with their intervals, confusion, speakers, and pre-training losses."""

import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from train_scripts.reports.pages import interval_caption
from train_scripts.runs.metrics import METRIC_TITLES

BLUE, RED = "#4477aa", "#ee6677"
MEASURES = {"weighted_accuracy": (BLUE, "o"), "unweighted_average_recall": (RED, "s")}


def plot_rows(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str], path: Path) -> None:
    """Draw WA and UAR of each row of one corpus and protocol with their intervals, and each seed as
    a small dot; `names` are those of `short_names`.
    """
    rows = sorted(rows, key=lambda row: row["metrics"]["weighted_accuracy"]["pooled"])
    figure = Figure(figsize=(9, 1.8 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(rows))
    for shift, (name, (colour, marker)) in zip((0.15, -0.15), MEASURES.items(), strict=True):
        scores = [row["metrics"][name] for row in rows]
        for height, score in zip(places + shift, scores, strict=True):
            if score["interval_95"]:
                axes.plot(score["interval_95"], [height] * 2, color=colour, linewidth=2)
            seeds = list(score["per_seed"].values())
            if len(seeds) > 1:
                axes.plot(seeds, [height] * len(seeds), "|", color="black", zorder=3)
        pooled = [score["pooled"] for score in scores]
        label = METRIC_TITLES[name]
        axes.plot(pooled, places + shift, marker, color=colour, markersize=5, label=label)
    sizes = {row["size"] for row in rows if row["size"]}
    axes.set_yticks(places, [row_label(row, names, sizes) for row in rows], fontsize=8)
    chance = 1 / len(rows[0]["labels"])
    axes.axvline(chance, color="grey", linestyle=":", label="UAR of a constant answer")
    title = f"{rows[0]['corpus']}, protocol {rows[0]['protocol']['name']}"
    below = "pooled over folds; line: 95 % interval; black: single seeds"
    axes.set(title=title, xlabel=f"{below}\n{interval_caption(rows)}")
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, fontsize="small")
    figure.savefig(path, dpi=130)


def plot_confusion(row: Mapping[str, Any], name: str, path: Path) -> None:
    """Draw the confusion matrix of a row: share of each reference class, and turns, which are means
    over seeds.
    """
    counts = np.array(row["confusion"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12)
    labels = row["labels"]
    side = 2.6 + 0.85 * len(labels)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(*counts.shape):
        number = f"{counts[i, j]:.1f}".removesuffix(".0")
        text = f"{100 * shares[i, j]:.0f} %\n{number}"
        colour = "white" if shares[i, j] > 0.55 else "black"
        axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    seeds = len(row["seeds"])
    below = "turns" if seeds == 1 else f"turns, mean of {seeds} seeds"
    axes.set(xlabel="recognised", ylabel="reference")
    axes.set_title(f"{row_heading(row, name)}\nshare of each class; below: {below}", fontsize=9)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the reference class")
    figure.savefig(path, dpi=130)


def plot_speakers(row: Mapping[str, Any], name: str, path: Path) -> None:
    """Draw WA and UAR of each speaker of a row, the best recognised first."""
    speakers = sorted(
        row["per_speaker"].items(), key=lambda item: (-item[1]["weighted_accuracy"], item[0])
    )
    figure = Figure(figsize=(max(6, 2 + 0.34 * len(speakers)), 4.2), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(speakers))
    lowest = 1.0
    for shift, (metric, (colour, marker)) in zip((-0.12, 0.12), MEASURES.items(), strict=True):
        values = [scores[metric] for _, scores in speakers]
        lowest = min(lowest, *values)
        pooled = row["metrics"][metric]["pooled"]
        label = METRIC_TITLES[metric]
        axes.plot(places + shift, values, marker, color=colour, label=label, markersize=6)
        axes.axhline(pooled, color=colour, lw=1, ls="--", label=f"pooled {pooled:.3f}")
    names = [f"{speaker} ({scores['num_turns']})" for speaker, scores in speakers]
    axes.set_xticks(places, names, rotation=90 if len(names) > 6 else 0, fontsize=8)
    axes.set_ylim(max(0.0, lowest - 0.1), 1.02)
    axes.set(xlabel="test speaker (turns)", ylabel="seeds averaged")
    axes.set_title(row_heading(row, name), fontsize=10)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper right", ncols=2, fontsize="small")
    figure.savefig(path, dpi=130)


def plot_pretraining(
    curves: Sequence[Sequence[Mapping[str, Any]]], path: Path, *, title: str
) -> None:
    """Draw both losses of pre-training over the steps, as Figure 3 does, from the log lines of each
    fold and seed.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    figure.suptitle(title, fontsize=10)
    losses = (
        ("loss_reconstruction", "reconstruction, $L_{MSE}$", BLUE),
        ("loss_speaker", "speaker, $L_S$ (cross entropy)", RED),
    )
    for axes, (name, label, colour) in zip(figure.subplots(1, 2), losses, strict=True):
        series = [curve_of(lines, name) for lines in curves]
        series = [points for points in series if len(points)]
        for points in series:
            alpha = 1.0 if len(series) == 1 else 0.35
            axes.plot(points[:, 0], points[:, 1], color=colour, linewidth=1, alpha=alpha)
        if len(series) > 1:
            mean = mean_curve(series)
            axes.plot(mean[:, 0], mean[:, 1], color="black", linewidth=1.6, label="mean")
            axes.legend()
        if not series:
            axes.text(0.5, 0.5, "not trained", ha="center", transform=axes.transAxes)
        elif name == "loss_reconstruction":
            axes.set_yscale("log")
        axes.set(title=label, xlabel="step")
        axes.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=130)


def curve_of(lines: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """Steps and values of one loss, (points, 2)."""
    return np.array([(line["step"], line[name]) for line in lines if name in line], dtype=float)


def mean_curve(series: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of curves over the steps that all of them reach, (points, 2)."""
    longest = max(series, key=len)
    steps = longest[longest[:, 0] <= min(points[-1, 0] for points in series), 0]
    values = [np.interp(steps, points[:, 0], points[:, 1]) for points in series]
    return np.stack([steps, np.mean(values, axis=0)], axis=1)


def row_label(row: Mapping[str, Any], names: Mapping[str, str], sizes: Collection[str]) -> str:
    """A row on an axis: its name, its size where the rows have several sizes, and a warning."""
    size = [row["size"]] if row["size"] and len(sizes) > 1 else []
    leaks = ["leaks"] if row["protocol"]["leaks"] else []
    marks = size + leaks + ([] if row["complete"] else ["incomplete"])
    return textwrap.fill(names[row["title"]], 36) + (f" ({', '.join(marks)})" if marks else "")


def row_heading(row: Mapping[str, Any], name: str) -> str:
    """A row above a figure of its own."""
    where = f"{row['corpus']}, {row['protocol']['name']}, {row['num_turns']} turns"
    label = row_label(row, {row["title"]: name}, ())
    return f"{label}\n{where}, {row['num_speakers']} speakers"
