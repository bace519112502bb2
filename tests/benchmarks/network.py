"""Cost of the network: ratios of interleaved pairs, at real size with random weights.

    OMP_NUM_THREADS=1 GOMP_SPINCOUNT=0 python tests/benchmarks/network.py [--only NAME]

NAME is inference, fast, training, pretraining or memory; all take about 15 minutes on one core.

A ratio is the median over pairs run in turn, by processor time of the process (and by the clock in
brackets, which other work on the machine disturbs). Bars are those the project has set itself.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time

import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

from modeling_decomp_ser import (
    DecompSerConfig,
    DecompSerForAudioClassification,
    DecompSerForPreTraining,
)
from modeling_decomp_ser.keyed_random import draw_keys
from train_scripts.runs.settings import build_config, load_settings
from train_scripts.training.random_crops import draw_crop_lengths

SAMPLES = 72000  # 4.5 s, the mean turn of IEMOCAP
SPEAKERS = [f"speaker {i}" for i in range(9)]


def random_inputs(batch_size: int, samples: int = SAMPLES) -> dict[str, torch.Tensor]:
    """Turns of one length with all labels."""
    frames = samples // 256 + 1
    return {
        "input_values": torch.randn(batch_size, samples),
        "attention_mask": torch.ones(batch_size, samples, dtype=torch.int64),
        "mel": torch.rand(batch_size, frames, 80),
        "log_f0": torch.rand(batch_size, frames),
        "voiced": torch.rand(batch_size, frames) > 0.4,
        "frame_mask": torch.ones(batch_size, frames, dtype=torch.int64),
        "labels": torch.arange(batch_size) % 4,
        "speaker_labels": torch.arange(batch_size) % 9,
        "ctc_labels": torch.randint(1, 32, (batch_size, 50)),
    }


def build(preset: str) -> DecompSerForAudioClassification:
    """Model of a preset at the paper's size."""
    return DecompSerForAudioClassification(build_config(load_settings(preset), speakers=SPEAKERS))


def seconds(function) -> tuple[float, float]:
    """Processor time and clock time of one call."""
    cpu, clock = time.process_time(), time.perf_counter()
    function()
    return time.process_time() - cpu, time.perf_counter() - clock


def report(name: str, ours, theirs, bar: str, repetitions: int) -> None:
    """Print the median ratio ours / theirs of interleaved pairs."""
    ours(), theirs()  # warm up
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(repetitions)]
    cpu, clock = (statistics.median(a[i] / b[i] for a, b in pairs) for i in (0, 1))
    print(f"{name:<46} {cpu:5.3f} ({clock:5.3f})   bar {bar}", flush=True)


def benchmark_inference(repetitions: int) -> None:
    """Emotion alone against the stock classifier, same signal and mask."""
    ours = build("table3_ours").eval()
    stock = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(num_labels=4)).eval()
    for batch_size in (1, 8):
        batch = random_inputs(batch_size)
        labels = ("labels", "speaker_labels", "ctc_labels")
        inputs = {k: v for k, v in batch.items() if k not in labels}
        waveform = {k: batch[k] for k in ("input_values", "attention_mask")}
        with torch.inference_mode():
            report(
                f"inference, batch {batch_size}, over stock wav2vec2",
                lambda inputs=inputs: ours(**inputs),
                lambda waveform=waveform: stock(**waveform),
                "<= 1.08",
                repetitions,
            )


def benchmark_fast(repetitions: int) -> None:
    """Emotion in bfloat16, as `predict --fast` computes it, over the stock classifier in float32;
    of use where the processor has bfloat16.
    """
    ours = build("table3_ours").eval().to(torch.bfloat16)
    stock = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(num_labels=4)).eval()
    for batch_size in (1, 8):
        batch = random_inputs(batch_size)
        waveform = {k: batch[k] for k in ("input_values", "attention_mask")}
        names = (*waveform, "mel", "log_f0", "voiced", "frame_mask")
        inputs = {k: batch[k] for k in names}
        inputs["input_values"] = inputs["input_values"].bfloat16()
        with torch.inference_mode():
            report(
                f"bfloat16, batch {batch_size}, over stock wav2vec2 in float32",
                lambda inputs=inputs: ours(**inputs),
                lambda waveform=waveform: stock(**waveform),
                "<= 0.55",
                repetitions,
            )


def training_step(model, batch):
    """Forward and backward of one batch."""
    model.train()

    def step():
        model.zero_grad()
        model(**batch).loss.backward()

    return step


def benchmark_training(repetitions: int) -> None:
    """Four tasks against M1."""
    ours, first = build("table3_ours"), build("table3_m1")
    for model in (ours, first):
        model.config.speech_config.layerdrop = 0.0  # else the pairs drop other layers
    for batch_size, bar in ((1, "<= 1.32"), (8, "<= 1.18")):
        batch = random_inputs(batch_size)
        emotion = {k: batch[k] for k in ("input_values", "attention_mask", "labels")}
        report(
            f"four-task step, batch {batch_size}, over M1",
            training_step(ours, batch),
            training_step(first, emotion),
            bar,
            repetitions,
        )


def crops_of(lengths: torch.Tensor) -> dict[str, torch.Tensor]:
    """A batch of crops of these frames."""
    size = int(lengths.max())
    return {
        "mel": torch.rand(len(lengths), size, 80),
        "log_f0": torch.rand(len(lengths), size),
        "voiced": torch.rand(len(lengths), size) > 0.4,
        "frame_mask": (torch.arange(size) < lengths[:, None]).to(torch.int64),
        "speaker_labels": torch.arange(len(lengths)) % 9,
    }


def benchmark_pretraining(repetitions: int) -> None:
    """Crops of 64 to 128 frames in batches of 16: padded as in the reference against masked, with
    crops of any length together and grouped by length (the middle batch of each third of 50).
    """
    keys = draw_keys(800, torch.Generator().manual_seed(0))
    lengths = draw_crop_lengths(torch.full((800,), 500), keys, 64, 128)
    ways = {"any lengths": lengths, "grouped by length": lengths.sort().values}
    models = {
        padding: DecompSerForPreTraining(
            DecompSerConfig(pretraining_padding=padding, speakers=SPEAKERS)
        )
        for padding in ("padded192", "masked")
    }

    def steps(padding: str, way: str):
        model, each = models[padding], []
        for third in (8, 25, 41):
            lengths, keys = ways[way].view(50, 16)[third], draw_keys(16)
            batch = {**crops_of(lengths), "resampling_keys": keys}
            batch["resampled_frames"] = model.count_resampled_frames(lengths, keys)
            each.append(training_step(model, batch))
        return lambda: [step() for step in each]

    for way, bar in (("any lengths", ">= 1.35"), ("grouped by length", ">= 1.6")):
        name = f"pre-training step, 192 padded frames over {way}"
        report(name, steps("padded192", "any lengths"), steps("masked", way), bar, repetitions)


def benchmark_memory(repetitions: int) -> None:
    """Peak memory of two optimiser steps in a process of its own, four tasks over M1."""
    del repetitions
    peaks = []
    for preset in ("table3_ours", "table3_m1"):
        command = [sys.executable, __file__, "--peak-memory-of", preset]
        peaks.append(float(subprocess.run(command, capture_output=True, check=True).stdout))
    print(
        f"{'memory of the four-task step, batch 1, over M1':<46} {peaks[0] / peaks[1]:5.3f}"
        f" ({peaks[0]:.2f} / {peaks[1]:.2f} GB)   bar <= 1.10"
    )


def print_peak_memory(preset: str) -> None:
    """Two steps of Adam on one turn, then the most memory that the process held."""
    model = build(preset)
    optimizer = torch.optim.Adam(model.parameters(), 1e-5)
    step = training_step(model, random_inputs(1))
    for _ in range(2):
        step()
        optimizer.step()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


BENCHMARKS = {
    "inference": benchmark_inference,
    "fast": benchmark_fast,
    "training": benchmark_training,
    "pretraining": benchmark_pretraining,
    "memory": benchmark_memory,
}


def main() -> None:
    """Run all or one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--only", choices=BENCHMARKS)
    parser.add_argument("--peak-memory-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    if arguments.peak_memory_of:
        print_peak_memory(arguments.peak_memory_of)
        return
    for name, benchmark in BENCHMARKS.items():
        if arguments.only in (None, name):
            benchmark(arguments.repetitions)


if __name__ == "__main__":
    main()
