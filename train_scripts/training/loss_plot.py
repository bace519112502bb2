"""Plot the losses of a run from its log (figure 3 of the paper)."""

from collections.abc import Iterable
from pathlib import Path

from matplotlib.figure import Figure

TITLES = {
    "loss_emotion": "emotion (cross entropy)",
    "loss_ctc": "speech recognition (CTC)",
    "loss_speaker": "speaker (cross entropy)",
    "loss_reconstruction": "reconstruction (MSE)",
    "loss_contrastive": "contrastive (cross entropy)",
    "loss_diversity": "diversity (share of codes unused)",
}

VALIDATION = {
    "eval_unweighted_average_recall": "UAR",
    "eval_weighted_accuracy": "WA",
}
"""What is measured after each epoch where the epoch is chosen on validation turns."""


def plot_losses(log: list[dict], path: Path, *, title: str) -> None:
    """Draw each task loss over the steps, one panel a task, and beside them the scores of the
    validation turns, where the run measured any.

    Args:
        log: lines with `step` and `loss_*`, or `step` and `eval_*`.
        path: of the PNG.
        title: of the figure.
    """
    losses, scores = (find_series(log, names) for names in (TITLES, VALIDATION))
    if not losses:
        return
    number = len(losses) + bool(scores)
    figure = Figure(figsize=(3.4 * number, 3.2), layout="constrained")
    figure.suptitle(f"{title}: unweighted training losses{', validation scores' if scores else ''}")
    panels = figure.subplots(1, number, squeeze=False)[0]
    for axes, (name, points) in zip(panels, losses.items(), strict=False):
        axes.plot(*zip(*points, strict=True), linewidth=1.2)
        axes.set(title=TITLES[name], xlabel="step")
        if name == "loss_reconstruction":
            axes.set_yscale("log")
        axes.grid(alpha=0.3)
    if scores:
        for name, points in scores.items():
            steps, values = zip(*points, strict=True)
            panels[-1].plot(steps, values, marker=".", linewidth=1.2, label=VALIDATION[name])
        panels[-1].set(title="validation turns", xlabel="step", ylim=(0, 1))
        panels[-1].grid(alpha=0.3)
        panels[-1].legend(fontsize="small")
    figure.savefig(path, dpi=150)


def find_series(log: list[dict], names: Iterable[str]) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of each name that the log has."""
    found = {n: [(line["step"], line[n]) for line in log if n in line] for n in names}
    return {name: points for name, points in found.items() if points}


def plot_omega(rows: list[dict], path: Path) -> None:
    """Draw both results of pre-training over omega (section 3.2).

    Args:
        rows: with `omega`, `speech_mse` and `speaker_accuracy` (which may be None).
        path: of the PNG.
    """
    figure = Figure(figsize=(6.8, 3.2), layout="constrained")
    figure.suptitle("Weight of the speaker loss in pre-training (equation 7)")
    for axes, (name, title) in zip(
        figure.subplots(1, 2),
        (
            ("speech_mse", "reconstruction MSE, validation turns"),
            ("speaker_accuracy", "speaker accuracy, held-out turns"),
        ),
        strict=True,
    ):
        points = [(row["omega"], row[name]) for row in rows if row[name] is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o")
        axes.set(title=title, xlabel="omega")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
