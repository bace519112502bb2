"""What the paper's experiments on IEMOCAP cost, from measured step costs: a page of Markdown.

    python tests/benchmarks/reproduction_cost.py [--gpu-tflops N] [--seeds N]

Steps are those of the presets and of `size=paper` on ten folds of `speaker-paper`; seconds of
processors, memory and GFLOP a forward pass come from step_costs.json, which says where they were
measured. Hours of a GPU were not measured: they are the arithmetic of all steps (three times the
forward pass) over what the GPU is assumed to sustain.
"""

import argparse
import json
from pathlib import Path

import torch

from modeling_decomp_ser import DecompSerForAudioClassification, DecompSerForPreTraining
from train_scripts.experiments.units import plan_units
from train_scripts.runs.settings import build_config, load_settings

COSTS = Path(__file__).with_name("step_costs.json")
ROWS = [
    *("table2_pitch", "table2_content", "table2_rhythm", "table2_timbre"),
    *("table3_m1", "table3_m2", "table3_m3", "table3_m4", "table3_ours"),
]
HELDOUT = 0.1  # of each training speaker's turns, for speaker accuracy alone
FRAMES_A_SECOND = 62.5
CROP_FRAMES = 125  # about the longest of sixteen crops of 64 to 128 frames
BYTES = 4
CHECKPOINTS = 2  # kept of a running unit; each holds the weights and the two moments of Adam


def count_parameters(preset: str, kind) -> int:
    """Parameters of a preset at the paper's size."""
    speakers = [f"speaker {i}" for i in range(9)]
    with torch.device("meta"):
        model = kind(build_config(load_settings(preset), speakers=speakers))
    return sum(p.numel() for p in model.parameters())


def finetuning_gflop(preset: str, costs: dict) -> float:
    """Of one step on one turn."""
    forward, config = costs["forward_gflop"], build_config(load_settings(preset))
    parts = [forward["wav2vec2"]]
    if config.components:
        parts += [forward["encoders"], forward["decoder"]]
    return 3 * sum(parts)


def pretraining_gflop(costs: dict, batch_size: int) -> float:
    """Of one step."""
    forward, turn_frames = costs["forward_gflop"], costs["turn_seconds"] * FRAMES_A_SECOND
    return 3 * batch_size * (forward["encoders"] + forward["decoder"]) * CROP_FRAMES / turn_frames


def core_seconds(preset: str, costs: dict) -> float:
    """Of one fine-tuning step; every row with a decomposition is counted as the dearest."""
    known = {"table3_m1": "m1", "table3_m2": "m2"}
    return costs["finetuning_core_seconds"][known.get(preset, "four_tasks")]


def count_units(seeds: int, folds: int) -> tuple[int, int]:
    """Fine-tunings and pre-trainings of all rows."""
    names = [str(k) for k in range(folds)]
    units = plan_units(ROWS, names, seeds, Path("runs"), data="iemocap", protocol="speaker-paper")
    pretrainings = sum(unit.kind == "pretrain" for unit in units)
    return len(units) - pretrainings, pretrainings


def describe(costs: dict, seeds: int, gpu_tflops: float) -> str:
    """The page."""
    corpus, paper = costs["corpus"], load_settings("base")
    pretraining, finetuning = paper.pretraining.arguments, paper.finetuning.arguments
    folds = corpus["speakers"]
    turns = round(corpus["turns"] * (folds - 1) / folds * (1 - HELDOUT))
    steps = turns * finetuning["num_train_epochs"]
    finetunings, pretrainings = count_units(seeds, folds)
    hours = gpu_tflops * 3.6e6  # GFLOP of one GPU-hour
    pre = {
        "steps": pretraining["max_steps"],
        "gpu": pretraining["max_steps"]
        * pretraining_gflop(costs, pretraining["per_device_train_batch_size"]),
        "core": pretraining["max_steps"] * costs["pretraining_core_seconds"] / 3600,
    }
    pre["gpu"] /= hours
    rows = {
        row: (steps * finetuning_gflop(row, costs) / hours, steps * core_seconds(row, costs) / 3600)
        for row in ROWS
    }
    gpu = folds * seeds * sum(r[0] for r in rows.values()) + pretrainings * pre["gpu"]
    core = folds * seeds * sum(r[1] for r in rows.values()) + pretrainings * pre["core"]
    sizes = {row: count_parameters(row, DecompSerForAudioClassification) for row in ROWS}
    small = count_parameters("base", DecompSerForPreTraining)
    kept = folds * seeds * sum(sizes.values()) * BYTES + pretrainings * small * BYTES
    running = max(sizes.values()) * BYTES * 3 * CHECKPOINTS
    signals = corpus["hours"] * 3600 * FRAMES_A_SECOND * 81 * BYTES
    memory = costs["memory_gb"]
    pair = sum(r[0] for r in rows.values()) + pretrainings / (folds * seeds) * pre["gpu"]
    lines = [
        f"All rows of Tables 2 and 3 ({len(ROWS)} presets, {folds} folds, {seeds} seed"
        f"{'s' * (seeds > 1)}; {corpus['name']}, {corpus['turns']:,} turns) are {finetunings} "
        f"fine-tunings of {steps:,} steps (batch 1, "
        f"{finetuning['num_train_epochs']} epochs "
        f"of {turns:,} turns) and {pretrainings} pre-trainings of {pre['steps']:,} steps (batch "
        f"{pretraining['per_device_train_batch_size']}), shared where rows have the same "
        "decomposition.",
        "",
        "| | steps | GPU-hours | core-hours |",
        "|---|---:|---:|---:|",
        f"| a pre-training | {pre['steps']:,} | {pre['gpu']:.1f} | {pre['core']:,.0f} |",
        f"| a fold of M1 | {steps:,} | {rows['table3_m1'][0]:.1f} | {rows['table3_m1'][1]:,.0f} |",
        f"| a fold of *Ours* | {steps:,} | {rows['table3_ours'][0]:.1f} "
        f"| {rows['table3_ours'][1]:,.0f} |",
        f"| *Ours*, all folds | {folds * (pre['steps'] + steps):,} "
        f"| {folds * (pre['gpu'] + rows['table3_ours'][0]):,.0f} "
        f"| {folds * (pre['core'] + rows['table3_ours'][1]):,.0f} |",
        f"| everything | | {gpu:,.0f} | {core:,.0f} |",
        "",
        f"- **Time.** Core-hours are measured step costs ({costs['machine']}) times steps. "
        f"GPU-hours were not measured: they are the arithmetic over {gpu_tflops:g} TFLOP/s "
        "sustained, which small batches and recurrent layers reach on few GPUs; divide by what "
        "yours does.",
        f"- **Disk.** {kept / 1e9:,.0f} GB of models and results stay (weights only: checkpoints "
        f"are deleted when a unit is finished), {running / 1e9:.1f} GB a unit while it runs, "
        f"{signals / 1e9:.1f} GB of stored signals.",
        f"- **Memory.** A turn of {costs['turn_seconds']} s at batch 1 took {memory['m1']} GB for "
        f"M1 and {memory['four_tasks']} GB for four tasks in all, {memory['four_tasks_batch_8']} "
        "GB at batch 8; the longest turns (34 s) are as long as a batch of 8. Pre-training needs "
        "less.",
        f"- **Spreading it.** One command; each of the {folds * seeds} (seed, fold) pairs is "
        f"independent and takes about {pair:,.0f} GPU-hours, so {folds * seeds} machines are as "
        "many as help:",
        "",
        "```",
        f"decomp-ser cross-validate {' '.join(ROWS)} \\",
        f"    --data IEMOCAP --protocol speaker-paper --seeds {seeds} --output runs/iemocap \\",
        f"    --cluster slurm --nodes {folds * seeds} --slurm partition=gpu "
        "--slurm gpus_per_node=1",
        "```",
        "",
        "Without `--cluster` it takes the GPUs of one machine, a unit each. `--processes-per-fold "
        "N` shares the steps of a unit between N GPUs instead; divide the accumulation by N, "
        "and the results stay the same. Interrupted, the same command goes on.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gpu-tflops", type=float, default=10.0, help="sustained, default 10")
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    costs = json.loads(COSTS.read_text(encoding="utf-8"))
    print(describe(costs, arguments.seeds, arguments.gpu_tflops))


if __name__ == "__main__":
    main()
