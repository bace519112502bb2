"""Figure 3 of a report: the losses of pre-training over its steps, from the logs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train_scripts.reports.figures import plot_pretraining
from train_scripts.reports.pages import grouped
from train_scripts.runs.finished_runs import Run
from train_scripts.training.stage import read_log


def report_pretraining(runs: Sequence[Run], folder: Path) -> list[dict[str, Any]]:
    """Figure 3 for each kind of pre-training, in a folder: all folds and seeds in one figure.

    Returns:
        What report.json says of each kind: the runs, their steps, the means over runs of the last
        logged losses and of the metrics, and the name of the figure.
    """
    curves = []
    for slug, same in grouped(runs, lambda run: run.key.slug):
        logs = [read_log(run.folder) for run in same]
        key = same[0].key
        figure = f"figure3_{slug}.png"
        count = f"{len(same)} run{'s' if len(same) > 1 else ''}"
        where = f"{key.corpus}, {key.protocol}, {key.size}; {count}"
        plot_pretraining(logs, folder / figure, title=f"Pre-training {key.title} ({where})")
        curves.append(
            {
                "row": slug,
                **{name: getattr(key, name) for name in ("title", "corpus", "protocol", "size")},
                "seeds": sorted({run.cell[0] for run in same}),
                "folds": sorted({run.cell[1] for run in same}),
                "num_runs": len(same),
                "steps": max((line["step"] for log in logs for line in log), default=0),
                "last": {
                    loss: mean_of_known([last_of(log, loss) for log in logs])
                    for loss in ("loss_reconstruction", "loss_speaker")
                },
                "metrics": {
                    name: mean_of_known([getattr(run.results.metrics, name) for run in same])
                    for name in ("speech_mse", "speech_mse_padded", "speaker_accuracy")
                },
                "figure": figure,
            }
        )
    return curves


def last_of(log: Sequence[dict[str, Any]], name: str) -> float | None:
    """The last logged value of a loss."""
    return next((line[name] for line in reversed(log) if name in line), None)


def mean_of_known(values: Sequence[float | None]) -> float | None:
    """Mean without None; None where nothing else is left."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
