"""The turns of a split in memory, as networks of other systems read them.

Axes: N turns, B turns of a batch, T frames, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from modeling_decomp_ser.multitask_losses import IGNORED
from train_scripts.runs.fold_data import FoldData


@dataclass
class Batch:
    """Some turns; what a system does not read is None.

    Attributes:
        emotions: label ids, (B,).
        genders: ids of genders, (B,), IGNORED where unknown.
        speakers: ids of training speakers, (B,), IGNORED where it is none of them.
        vectors: one vector a turn, (B, D).
        frames: padded with zeros, (B, T, D).
        lengths: frames of each turn, (B,).
    """

    emotions: Tensor
    genders: Tensor
    speakers: Tensor
    vectors: Any = None
    frames: Any = None
    lengths: Any = None


@dataclass
class TurnTensors:
    """All turns of a split; see `Batch`. `sequences` has the frames of each turn, (T, D)."""

    emotions: Tensor
    genders: Tensor
    speakers: Tensor
    vectors: Tensor | None = None
    sequences: list[Tensor] | None = None

    def __len__(self) -> int:
        return len(self.emotions)

    @property
    def lengths(self) -> list[int] | None:
        """Frames of each turn."""
        return None if self.sequences is None else [len(x) for x in self.sequences]

    def batch(self, indices: Sequence[int]) -> Batch:
        """The turns of these numbers."""
        index = torch.as_tensor(indices, dtype=torch.long)
        batch = Batch(self.emotions[index], self.genders[index], self.speakers[index])
        if self.vectors is not None:
            batch.vectors = self.vectors[index]
        if self.sequences is not None:
            chosen = [self.sequences[i] for i in index.tolist()]
            batch.lengths = torch.tensor([len(x) for x in chosen])
            batch.frames = pad_sequence(chosen, batch_first=True)
        return batch


def read_turns(
    data: FoldData, rows: Dataset, *, vectors: str | None = None, sequences: str | None = None
) -> TurnTensors:
    """Turns of a split.

    Args:
        data: the fold, whose training turns give the ids of genders and speakers.
        rows: of the split.
        vectors: name of the column of one vector a turn.
        sequences: name of the column of frames.
    """
    genders = sorted(set(data.folds["train"]["gender"]) - {None})
    turns = TurnTensors(
        emotions=ids_of(rows["emotion"], data.labels),
        genders=ids_of(rows["gender"], genders),
        speakers=ids_of(rows["speaker"], data.speakers),
    )
    if vectors is not None:
        turns.vectors = torch.from_numpy(np.array(rows[vectors], dtype=np.float32))
    if sequences is not None:
        column: Any = rows.select_columns([sequences]).with_format("numpy")
        turns.sequences = [torch.from_numpy(np.array(x[sequences], np.float32)) for x in column]
    return turns


def ids_of(values: Sequence[str | None], names: Sequence[str]) -> Tensor:
    """Index of each value among the names, IGNORED where it is none of them; (N,)."""
    known = {name: i for i, name in enumerate(names)}
    return torch.tensor([known.get(v, IGNORED) if v is not None else IGNORED for v in values])


class Standardization(nn.Module):
    """Zero mean and unit variance by the turns that it was made from, and by no others."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor):
        super().__init__()
        self.register_buffer("mean", mean)
        # a feature that never changes stays where it is
        self.register_buffer("deviation", torch.where(deviation > 1e-6, deviation, 1.0))

    @classmethod
    def of_vectors(cls, turns: TurnTensors) -> "Standardization":
        """By the vectors of training turns."""
        values = turns.vectors
        if values is None:
            raise ValueError("the turns have no vectors.")
        return cls(values.mean(0), values.std(0, correction=0))

    @classmethod
    def of_frames(cls, turns: TurnTensors) -> "Standardization":
        """By all frames of training turns."""
        if turns.sequences is None:
            raise ValueError("the turns have no frames.")
        frames = torch.cat(turns.sequences)
        return cls(frames.mean(0), frames.std(0, correction=0))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return (x - self.mean) / self.deviation
