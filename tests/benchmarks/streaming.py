"""A corpus too large for memory on its way to the model: memory, and what a step waits for.

    OMP_NUM_THREADS=1 python tests/benchmarks/streaming.py [--clips N] [--batches N] [--output JSON]

Clips of 8 s with their stored signals, 64 different ones repeated to N, stay on the disk; the
Trainer's own loader reads them in batches of 8, in the order of an epoch, by as many processes as
it takes by default. Memory is what this process holds of its own (RssAnon), after a tenth and after
all of the batches. The share of a step is beside a step of *Ours* at the paper's size on one core
(step_costs.json); a GPU is served in time if its step takes no less than the seconds of a batch.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import TrainingArguments

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

from network import build  # noqa: E402
from profile_parts import RATE, speechlike  # noqa: E402

from processing import (  # noqa: E402
    DecompSerDataCollator,
    DecompSerFeatureExtractor,
    DecompSerProcessor,
)
from processing.audio_files import encode_flac  # noqa: E402
from processing.corpora.rows import rows_to_dataset  # noqa: E402
from processing.features import add_signals  # noqa: E402
from processing.text import make_vocabulary  # noqa: E402
from train_scripts.reports.pages import render  # noqa: E402
from train_scripts.runs.fold_data import with_arrays  # noqa: E402
from train_scripts.runs.record import git_commit, write_json  # noqa: E402
from train_scripts.runs.rows_in_memory import (  # noqa: E402
    RowsInMemory,
    keep_in_memory,
    loader_processes,
)
from train_scripts.training.trainer import DecompSerTrainer  # noqa: E402

DISTINCT, SECONDS, BATCH = 64, 8, 8
COSTS = Path(__file__).with_name("step_costs.json")
LABELS = ["angry", "happy", "neutral", "sad"]


def make_rows(clips: int) -> Dataset:
    """Featured rows, the same 64 again and again."""
    random = np.random.default_rng(0)
    rows = [
        {
            "id": f"clip {i}",
            "audio": {
                "bytes": encode_flac(speechlike(SECONDS, random), sampling_rate=RATE),
                "path": f"{i}.flac",
            },
            "emotion": LABELS[i % 4],
            "speaker": f"speaker {i % 8}",
            "gender": "female",
            "text": "A SENTENCE OF SIX WORDS AT LEAST",
            "corpus": "made",
            "duration": float(SECONDS),
        }
        for i in range(DISTINCT)
    ]
    featured = add_signals(rows_to_dataset(rows), DecompSerFeatureExtractor(), num_proc=1)
    return with_arrays(featured.select(np.arange(clips) % DISTINCT))


def make_trainer(rows: Dataset, folder: Path) -> DecompSerTrainer:
    """As `finetune` builds it."""
    processor = DecompSerProcessor.from_vocabulary(
        DecompSerFeatureExtractor(), make_vocabulary(["A SENTENCE"]), folder
    )
    collator = DecompSerDataCollator(
        processor, labels=LABELS, speakers=sorted(set(rows["speaker"])), with_row_keys=True
    )
    kept = keep_in_memory(rows, sampling_rate=RATE, with_waveform=True)
    assert not isinstance(kept, RowsInMemory), "too few clips to be streamed"
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=BATCH,
        train_sampling_strategy="group_by_length",
        length_column_name="duration",
        remove_unused_columns=False,
        report_to=[],
        use_cpu=True,
        dataloader_pin_memory=False,
        dataloader_num_workers=loader_processes(kept),
    )
    return DecompSerTrainer(
        model=build("table3_ours"), args=arguments, train_dataset=kept, data_collator=collator
    )


def memory_mb() -> float:
    """What this process holds of its own."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def main() -> None:
    """Measure, write and state."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=200_000)
    parser.add_argument("--batches", type=int, default=500)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(make_rows(arguments.clips), Path(folder))
        begin = time.perf_counter()
        batches = iter(trainer.get_train_dataloader())
        next(batches)
        first, memory = time.perf_counter() - begin, []
        begin = time.perf_counter()
        for number in range(1, arguments.batches + 1):
            next(batches)
            if number in (arguments.batches // 10, arguments.batches):
                memory.append(memory_mb())
        seconds = (time.perf_counter() - begin) / arguments.batches
        costs = json.loads(COSTS.read_text(encoding="utf-8"))
        step = costs["finetuning_core_seconds"][str(BATCH)]["four_tasks"]
        result = {
            "clips": arguments.clips,
            "hours": arguments.clips * SECONDS / 3600,
            "processes": trainer.args.dataloader_num_workers,
            "first_batch_seconds": first,
            "batch_seconds": seconds,
            "step_seconds": step * SECONDS / costs["turn_seconds"],
            "memory_mb": memory,
            "batches": arguments.batches,
            "commit": git_commit(),
        }
    if arguments.output is not None:
        write_json(arguments.output, result, indent=1)
    print(render("streaming", result=result).rstrip())


if __name__ == "__main__":
    main()
