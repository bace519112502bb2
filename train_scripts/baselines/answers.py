"""What a trained system hands back: its answers, and what the record of the run says of it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from datasets import Dataset

from processing.errors import InputError
from train_scripts.runs.fold_data import FoldData


@dataclass
class Answers:
    """Logits of the turns of a fold, in the order of its rows.

    Attributes:
        test: (N, L).
        validation: (M, L), of a system that has not learnt these turns; None where there is none.
        entries: fields of `RunRecord`.
    """

    test: np.ndarray
    validation: np.ndarray | None = None
    entries: dict[str, Any] = field(default_factory=dict)


def label_ids(rows: Dataset, labels: list[str]) -> np.ndarray:
    """Label id of each row, (N,)."""
    return np.array([labels.index(emotion) for emotion in rows["emotion"]], dtype=np.int64)


def require_labels(data: FoldData, task: str, name: str) -> None:
    """Refuse a fold whose training turns lack the labels of a task.

    Args:
        data: the fold.
        task: "gender" or "speaker".
        name: of the system.

    Raises:
        InputError: says in one line which labels are lacking.
    """
    values = data.folds["train"][task]
    unknown, kinds = sum(value is None for value in values), len(set(values) - {None})
    if unknown or kinds < 2:
        raise InputError(
            f"{name}: its task '{task}' needs the {task} of every training turn and two of them at "
            f"least; {unknown} of {len(values)} are unknown, {kinds} occur. The row is not run: "
            f"fill the column '{task}', or leave {name} out."
        )
