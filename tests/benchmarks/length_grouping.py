"""Audio that a training step gets through when batches hold turns of similar length.

    OMP_NUM_THREADS=1 GOMP_SPINCOUNT=0 python tests/benchmarks/length_grouping.py [--size base]

Lengths are drawn with IEMOCAP's distribution (median 3.6 s, mean 4.6 s, longest 34 s), and batches
are those of `StepBatches` for a corpus of its size. M1 on random weights takes a step on batches
from equal shares of an epoch (sorted by cost, the middle of each), random and grouped in turn. A
speed is the audio of these batches, without padding, per second of processor time of the process.
The bar is the one that the project has set itself, for wav2vec2-base; the reduced size keeps its
convolutions over time and an eighth of its width, and takes a few minutes on one processor.
"""

import argparse
import time

import numpy as np
import torch

from modeling_decomp_ser import DecompSerForAudioClassification
from train_scripts.runs.settings import build_config, load_settings
from train_scripts.training.step_batches import StepBatches

NUM_TURNS = 5531
MEDIAN_SECONDS, MEAN_SECONDS, LONGEST_SECONDS, SHORTEST_SECONDS = 3.6, 4.6, 34.0, 0.6
SAMPLING_RATE = 16000
SIZES = {
    "base": [],
    "reduced": [
        f"model.speech_config.{name}={value}"
        for name, value in (
            ("hidden_size", 192),
            ("num_hidden_layers", 6),
            ("num_attention_heads", 6),
            ("intermediate_size", 768),
            ("conv_dim", [128] * 7),
        )
    ],
}


def draw_lengths(seed: int = 0) -> np.ndarray:
    """Lengths of turns in seconds: lognormal with this median and mean, cut at the extremes."""
    spread = np.sqrt(2 * np.log(MEAN_SECONDS / MEDIAN_SECONDS))
    lengths = np.random.default_rng(seed).lognormal(np.log(MEDIAN_SECONDS), spread, NUM_TURNS)
    return lengths.clip(SHORTEST_SECONDS, LONGEST_SECONDS)


def choose_batches(lengths: np.ndarray, batch_size: int, grouped: bool, number: int) -> list:
    """Batches of one epoch from equal shares of it by padded length; and its padding."""
    batches = StepBatches(
        num_turns=len(lengths),
        batch_size=batch_size,
        accumulation=1,
        processes=1,
        rank=0,
        seed=0,
        epoch=lambda: 0,
        lengths=lengths if grouped else None,
    )
    found = sorted((lengths[batch] for batch in batches if len(batch) == batch_size), key=np.max)
    padding = sum(len(b) * b.max() for b in found) / sum(b.sum() for b in found)
    print(f"  {'grouped' if grouped else 'random'}: {padding:.2f} s computed per second of audio")
    return [found[int((k + 0.5) * len(found) / number)] for k in range(number)]


def build_model(size: str) -> DecompSerForAudioClassification:
    """M1 on random weights; every layer is run at every step."""
    model = DecompSerForAudioClassification(
        build_config(load_settings("table3_m1", ["speech_encoder=scratch", *SIZES[size]]))
    )
    model.config.speech_config.layerdrop = 0.0
    return model.train()


def seconds_of_step(model, optimizer, lengths: np.ndarray) -> float:
    """Processor time of one optimiser step on turns of these lengths."""
    samples = torch.tensor((lengths * SAMPLING_RATE).astype(int))
    mask = (torch.arange(int(samples.max())) < samples[:, None]).long()
    batch = {
        "input_values": torch.randn(mask.shape) * mask,
        "attention_mask": mask,
        "labels": torch.arange(len(lengths)) % 4,
    }
    begin = time.process_time()
    optimizer.zero_grad()
    model(**batch).loss.backward()
    optimizer.step()
    return time.process_time() - begin


def main() -> None:
    """Compare both kinds of batches of 4 and 8."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="reduced")
    parser.add_argument("--batches", type=int, default=8, help="of each kind")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = build_model(arguments.size)
    optimizer = torch.optim.Adam(model.parameters(), 1e-5)
    lengths = draw_lengths()
    print(
        f"{len(lengths)} turns: median {np.median(lengths):.2f} s, mean {lengths.mean():.2f} s, "
        f"longest {lengths.max():.1f} s; M1, {arguments.size}"
    )
    seconds_of_step(model, optimizer, np.array([2.0]))  # warm up
    for batch_size in (4, 8):
        print(f"batches of {batch_size}")
        kinds = {
            grouped: choose_batches(lengths, batch_size, grouped, arguments.batches)
            for grouped in (False, True)
        }
        spent = {False: 0.0, True: 0.0}
        for pair in zip(kinds[False], kinds[True], strict=True):
            for grouped, batch in zip((False, True), pair, strict=True):
                spent[grouped] += seconds_of_step(model, optimizer, batch)
        speeds = {k: sum(b.sum() for b in kinds[k]) / spent[k] for k in kinds}
        print(
            f"  audio per processor second: random {speeds[False]:.2f}, grouped {speeds[True]:.2f}"
            f"; ratio {speeds[True] / speeds[False]:.2f}   bar >= 1.9",
            flush=True,
        )


if __name__ == "__main__":
    main()
