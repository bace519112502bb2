"""Training rows kept in memory, decoded once, so that a step never waits for the disk."""

import multiprocessing
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from datasets.utils import tqdm
from torch.utils.data import Dataset as TorchDataset

from processing.audio_files import read_audio

LOADER_PROCESSES = 2
LARGEST_BYTES = 3 * 2**30
"""Rows that would take more stay on the disk, from where they are memory-mapped."""


class RowsInMemory(TorchDataset):
    """Rows of a corpus with their signals and, where asked for, the decoded waveform.

    Args:
        rows: with the columns `mel` and `f0_hz`.
        sampling_rate: of the waveforms, in Hz; None decodes none.
    """

    def __init__(self, rows: Dataset, sampling_rate: int | None):
        self.rows: list[dict[str, Any]] = []
        for row in tqdm(rows, desc="Reading turns", unit="turn", leave=False):
            content = dict(row)
            if sampling_rate is not None:
                content["waveform"] = read_audio(row["audio"], sampling_rate=sampling_rate)
            del content["audio"]
            self.rows.append(content)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | str) -> Any:
        """A row by its number, or a column by its name."""
        if isinstance(index, str):
            return [row[index] for row in self.rows]
        return self.rows[index]


def keep_in_memory(
    rows: Dataset, *, sampling_rate: int, with_waveform: bool
) -> Dataset | RowsInMemory:
    """Rows in memory if they fit in LARGEST_BYTES, else as they are.

    Args:
        rows: with signals.
        sampling_rate: of the waveforms, in Hz.
        with_waveform: decode the audio too.
    """
    if num_bytes(rows["duration"], sampling_rate, with_waveform) > LARGEST_BYTES:
        return rows
    return RowsInMemory(rows, sampling_rate if with_waveform else None)


def loader_processes(rows: Dataset | RowsInMemory) -> int:
    """Processes that read rows while the model computes: none for rows in memory. Started by
    `fork`, for what rows are perturbed by is not sent to them; elsewhere the main process reads.
    """
    can_fork = multiprocessing.get_start_method() == "fork"
    if isinstance(rows, RowsInMemory) or not can_fork:
        return 0
    return min(LOADER_PROCESSES, len(os.sched_getaffinity(0)))


def num_bytes(seconds: Sequence[float], sampling_rate: int, with_waveform: bool) -> int:
    """Memory of rows of these durations: float32, 81 numbers a frame of 16 ms, and the samples."""
    a_second = 81 / 0.016 + (sampling_rate if with_waveform else 0)
    return int(np.sum(seconds) * 4 * a_second)
