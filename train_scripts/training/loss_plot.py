"""Plot the losses of a run from its log (figure 3 of the paper)."""

from pathlib import Path

from matplotlib.figure import Figure

TITLES = {
    "loss_emotion": "emotion (cross entropy)",
    "loss_ctc": "speech recognition (CTC)",
    "loss_speaker": "speaker (cross entropy)",
    "loss_reconstruction": "reconstruction (MSE)",
}


def plot_losses(log: list[dict], path: Path, *, title: str) -> None:
    """Draw each task loss over the steps, one panel a task.

    Args:
        log: lines with `step` and `loss_*`.
        path: of the PNG.
        title: of the figure.
    """
    series = {}
    for name in TITLES:
        points = [(line["step"], line[name]) for line in log if name in line]
        if points:
            series[name] = points
    if not series:
        return
    figure = Figure(figsize=(3.4 * len(series), 3.2), layout="constrained")
    figure.suptitle(f"{title}: unweighted training losses")
    for axes, (name, points) in zip(
        figure.subplots(1, len(series), squeeze=False)[0], series.items(), strict=True
    ):
        axes.plot(*zip(*points, strict=True), linewidth=1.2)
        axes.set(title=TITLES[name], xlabel="step")
        if name == "loss_reconstruction":
            axes.set_yscale("log")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


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
