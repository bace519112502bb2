import numpy as np
import pytest

from processing import DecompSerDataCollator, DecompSerFeatureExtractor, DecompSerProcessor
from processing.features import add_signals
from processing.text import make_vocabulary
from train_scripts.runs import rows_in_memory
from train_scripts.runs.fold_data import with_arrays
from train_scripts.runs.rows_in_memory import (
    RowsInMemory,
    keep_in_memory,
    loader_processes,
    num_bytes,
)


@pytest.fixture(scope="module")
def rows(corpus):
    extractor = DecompSerFeatureExtractor(f0_method="dio")
    return with_arrays(add_signals(corpus.select(range(4)), extractor, num_proc=1))


def test_batches_from_memory_equal_those_from_disk(rows, corpus, tmp_path):
    processor = DecompSerProcessor.from_vocabulary(
        DecompSerFeatureExtractor(), make_vocabulary(corpus["text"]), tmp_path
    )
    collator = DecompSerDataCollator(
        processor, labels=["angry", "happy", "sad", "neutral"], with_row_keys=True
    )
    kept = keep_in_memory(rows, sampling_rate=16000, with_waveform=True)
    assert isinstance(kept, RowsInMemory) and len(kept) == 4
    from_memory, from_disk = collator([kept[i] for i in range(4)]), collator(list(rows))
    assert set(from_memory) == set(from_disk)
    for name, value in from_disk.items():
        assert np.array_equal(from_memory[name].numpy(), value.numpy()), name
    assert kept["duration"] == list(rows["duration"])


def test_the_size_is_that_of_the_arrays(rows):
    kept = RowsInMemory(rows, 16000)
    found = sum(row["mel"].nbytes + row["f0_hz"].nbytes + row["waveform"].nbytes for row in kept)
    assert num_bytes(rows["duration"], 16000, True) == pytest.approx(found, rel=0.02)


def test_what_does_not_fit_stays_on_the_disk(rows, monkeypatch):
    monkeypatch.setattr(rows_in_memory, "LARGEST_BYTES", 1000)
    assert keep_in_memory(rows, sampling_rate=16000, with_waveform=True) is rows


@pytest.mark.parametrize(
    ("method", "processors", "expected"), [("fork", 8, 2), ("fork", 1, 1), ("spawn", 8, 0)]
)
def test_rows_on_the_disk_are_read_ahead(rows, monkeypatch, method, processors, expected):
    monkeypatch.setattr(rows_in_memory.multiprocessing, "get_start_method", lambda: method)
    monkeypatch.setattr(
        rows_in_memory.os, "sched_getaffinity", lambda _: set(range(processors)), raising=False
    )
    assert loader_processes(rows) == expected
    assert loader_processes(RowsInMemory(rows, 16000)) == 0
