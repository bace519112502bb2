"""Figure 3 of a report: the losses of pre-training over its steps, from the logs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train_scripts.reports.cells import grouped
from train_scripts.reports.figures import plot_pretraining
from train_scripts.runs.finished_runs import Run
from train_scripts.training.stage import read_log


def report_pretraining(runs: Sequence[Run], folder: Path) -> list[dict[str, Any]]:
    """Figure 3 for each kind of pre-training: all folds and seeds in one figure."""
    curves = []
    for key, same in grouped(runs, lambda run: run.key.slug):
        logs = [read_log(run.folder) for run in same]
        first = same[0]
        name = f"figure3_{key}.png"
        where = f"{first.key.corpus}, {first.key.protocol}, {first.key.size}"
        runs_in_words = f"{len(same)} run{'s' if len(same) > 1 else ''}"
        plot_pretraining(
            logs, folder / name, title=f"Pre-training {first.key.title} ({where}; {runs_in_words})"
        )
        curves.append(
            {
                "row": key,
                "title": first.key.title,
                "corpus": first.key.corpus,
                "protocol": first.key.protocol,
                "size": first.key.size,
                "seeds": sorted({run.cell[0] for run in same}),
                "folds": sorted({run.cell[1] for run in same}),
                "num_runs": len(same),
                "steps": max((line["step"] for log in logs for line in log), default=0),
                "last": {
                    loss: mean_of_last(logs, loss)
                    for loss in ("loss_reconstruction", "loss_speaker")
                },
                "metrics": {
                    metric: mean_or_none([getattr(run.results.metrics, metric) for run in same])
                    for metric in ("speech_mse", "speech_mse_padded", "speaker_accuracy")
                },
                "figure": name,
            }
        )
    return curves


def mean_of_last(logs: Sequence[Sequence[dict]], loss: str) -> float | None:
    """Mean over runs of the last logged value of a loss; None where none has it."""
    values = [[line[loss] for line in log if loss in line] for log in logs]
    return mean_or_none([v[-1] for v in values if v])


def mean_or_none(values: Sequence[float | None]) -> float | None:
    """Mean of what is known."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
