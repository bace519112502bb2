"""What the paper's experiments on IEMOCAP cost, from measured step costs: a page of Markdown.

    python tests/benchmarks/reproduction_cost.py [--gpu-tflops N] [--seeds N]
    OMP_NUM_THREADS=1 python tests/benchmarks/reproduction_cost.py --measure [--machine TEXT]

Steps are those of the presets, of `size=paper` and of `size=paper-fast`, on ten folds of
`speaker-paper`; seconds of processors, memory and GFLOP a forward pass come from step_costs.json,
whose seconds --measure writes (some minutes on one quiet core). Hours of a GPU were not measured:
they are the arithmetic of all steps (three times the forward pass) over what the GPU is assumed to
sustain.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from network import build, crops_of, random_inputs, training_step

from modeling_decomp_ser import DecompSerForAudioClassification, DecompSerForPreTraining
from modeling_decomp_ser.keyed_random import draw_keys
from train_scripts.experiments.units import plan_units
from train_scripts.runs.settings import build_config, load_settings
from train_scripts.training.random_crops import draw_crop_lengths

COSTS = Path(__file__).with_name("step_costs.json")
ROWS = [
    *("table2_pitch", "table2_content", "table2_rhythm", "table2_timbre"),
    *("table3_m1", "table3_m2", "table3_m3", "table3_m4", "table3_ours"),
]
SIZES = ("paper", "paper-fast")
HELDOUT = 0.1  # of each training speaker's turns, for speaker accuracy alone
FRAMES_A_SECOND = 62.5
BYTES = 4
CHECKPOINTS = 2  # kept of a running unit; each holds the weights and the two moments of Adam
MACHINE = f"one core, torch {torch.__version__.split('+')[0]}, fp32, random weights"
EPOCH_STEPS = 50  # steps whose crops are grouped by length together


def grouped_crops() -> tuple[list[torch.Tensor], list[int]]:
    """Lengths of the crops of each step, grouped as in training, and the frames of the longest
    resampled one.
    """
    model = DecompSerForPreTraining(build_config(load_settings("base"), speakers=["a"]))
    keys = draw_keys(16 * EPOCH_STEPS, torch.Generator().manual_seed(0))
    lengths = draw_crop_lengths(torch.full_like(keys, 500), keys, 64, 128)
    order = lengths.argsort().view(EPOCH_STEPS, 16)
    resampled = [model.count_resampled_frames(lengths[step], keys[step]) for step in order]
    return [lengths[step] for step in order], resampled


def measure(machine: str) -> dict:
    """Seconds of a processor that steps take, each the median of five."""
    costs = json.loads(COSTS.read_text(encoding="utf-8"))
    presets = {"m1": "table3_m1", "m2": "table3_m2", "four_tasks": "table3_ours"}
    found: dict[str, dict[str, float]] = {"1": {}, "8": {}}
    for name, preset in presets.items():
        model = build(preset)
        for size, times in found.items():
            batch = random_inputs(int(size))
            if preset == "table3_m1":
                batch = {k: batch[k] for k in ("input_values", "attention_mask", "labels")}
            elif preset == "table3_m2":
                kept = ("input_values", "attention_mask", "labels", "ctc_labels")
                batch = {k: batch[k] for k in kept}
            times[name] = median_seconds(training_step(model, batch))
    lengths, resampled = grouped_crops()
    speakers = [f"speaker {i}" for i in range(9)]
    model = DecompSerForPreTraining(build_config(load_settings("base"), speakers=speakers))
    thirds = [EPOCH_STEPS * k // 6 for k in (1, 3, 5)]
    seconds = [
        median_seconds(
            training_step(model, {**crops_of(lengths[i]), "resampled_frames": resampled[i]})
        )
        for i in thirds
    ]
    return {
        **costs,
        "machine": machine,
        "finetuning_core_seconds": found,
        "pretraining_core_seconds": round(statistics.mean(seconds), 2),
    }


def median_seconds(step) -> float:
    """Of processor time, of five calls after a first one."""
    step()
    times = []
    for _ in range(5):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    return round(statistics.median(times), 2)


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
    """Of one step: the decoder reads the longest crop, the encoders the longest resampled one."""
    forward, turn_frames = costs["forward_gflop"], costs["turn_seconds"] * FRAMES_A_SECOND
    lengths, resampled = grouped_crops()
    decoded = statistics.mean(int(crops.max()) for crops in lengths)
    frames = forward["encoders"] * statistics.mean(resampled) + forward["decoder"] * decoded
    return 3 * batch_size * frames / turn_frames


def core_seconds(preset: str, batch_size: int, costs: dict) -> float:
    """Of one fine-tuning step; every row with a decomposition is counted as the dearest."""
    known = {"table3_m1": "m1", "table3_m2": "m2"}
    return costs["finetuning_core_seconds"][str(batch_size)][known.get(preset, "four_tasks")]


def count_units(seeds: int, folds: int) -> tuple[int, int]:
    """Fine-tunings and pre-trainings of all rows."""
    names = [str(k) for k in range(folds)]
    units = plan_units(ROWS, names, seeds, Path("runs"), data="iemocap", protocol="speaker-paper")
    pretrainings = sum(unit.kind == "pretrain" for unit in units)
    return len(units) - pretrainings, pretrainings


def hours(size: str, costs: dict, seeds: int, gpu_tflops: float) -> dict:
    """Steps, GPU-hours and core-hours of a size by what they are for."""
    settings = load_settings("base", [f"size={size}"])
    pretraining, finetuning = settings.pretraining.arguments, settings.finetuning.arguments
    folds, of_gpu = costs["corpus"]["speakers"], gpu_tflops * 3.6e6  # GFLOP of one GPU-hour
    turns = round(costs["corpus"]["turns"] * (folds - 1) / folds * (1 - HELDOUT))
    batch, pre_batch = (stage["per_device_train_batch_size"] for stage in (finetuning, pretraining))
    steps = -(-turns // batch) * int(finetuning["num_train_epochs"])
    pre_steps = pretraining["max_steps"]
    of_row = {
        row: (
            steps * batch * finetuning_gflop(row, costs) / of_gpu,
            steps * core_seconds(row, batch, costs) / 3600,
        )
        for row in ROWS
    }
    pre = (
        pre_steps * pretraining_gflop(costs, pre_batch) / of_gpu,
        pre_steps * costs["pretraining_core_seconds"] / 3600,
    )
    pretrainings = count_units(seeds, folds)[1]
    total = [
        folds * seeds * sum(row[k] for row in of_row.values()) + pretrainings * pre[k]
        for k in (0, 1)
    ]
    one_pair = sum(row[0] for row in of_row.values()) + pretrainings / (folds * seeds) * pre[0]
    ours = of_row["table3_ours"]
    return {
        "one_pair": one_pair,
        "epochs": int(finetuning["num_train_epochs"]),
        "turns": turns,
        "batch": batch,
        "rows": {
            "a pre-training": (pre_steps, *pre),
            "a fold of M1": (steps, *of_row["table3_m1"]),
            "a fold of *Ours*": (steps, *ours),
            "*Ours*, all folds": (
                folds * (pre_steps + steps),
                *(folds * (a + b) for a, b in zip(pre, ours, strict=True)),
            ),
            "everything": (
                pretrainings * pre_steps + folds * seeds * len(ROWS) * steps,
                *total,
            ),
        },
    }


def describe(costs: dict, seeds: int, gpu_tflops: float) -> str:
    """The page."""
    corpus = costs["corpus"]
    folds = corpus["speakers"]
    finetunings, pretrainings = count_units(seeds, folds)
    of_size = {size: hours(size, costs, seeds, gpu_tflops) for size in SIZES}
    sizes = {row: count_parameters(row, DecompSerForAudioClassification) for row in ROWS}
    small = count_parameters("base", DecompSerForPreTraining)
    kept = folds * seeds * sum(sizes.values()) * BYTES + pretrainings * small * BYTES
    running = max(sizes.values()) * BYTES * 3 * CHECKPOINTS
    signals = corpus["hours"] * 3600 * FRAMES_A_SECOND * 81 * BYTES
    memory = costs["memory_gb"]
    paper, fast = of_size["paper"], of_size["paper-fast"]
    lines = [
        f"All rows of Tables 2 and 3 ({len(ROWS)} presets, {folds} folds, {seeds} seed"
        f"{'s' * (seeds > 1)}; {corpus['name']}, {corpus['turns']:,} turns) are {finetunings} "
        f"fine-tunings (batch {paper['batch']}, {paper['epochs']} epochs of {paper['turns']:,} "
        f"turns) and {pretrainings} pre-trainings, shared where rows have the same decomposition. "
        f"`size=paper-fast` trains the same networks in fewer steps (batch {fast['batch']}, "
        f"{fast['epochs']} epochs). It is a choice of this project, and nobody has compared its "
        "scores with the paper's.",
        "",
        *(
            line
            for size, found in of_size.items()
            for line in (
                f"| `size={size}` | steps | GPU-hours | core-hours |",
                "|---|---:|---:|---:|",
                *(
                    f"| {name} | {steps:,} | {gpu:,.1f} | {core:,.0f} |"
                    for name, (steps, gpu, core) in found["rows"].items()
                ),
                "",
            )
        ),
        f"- **Time.** Core-hours are measured step costs ({costs['machine']}) times steps. "
        f"GPU-hours were not measured: they are the arithmetic over {gpu_tflops:g} TFLOP/s "
        "sustained, which small batches and recurrent layers reach on few GPUs; divide by what "
        "yours does. A pre-training step is that of crops grouped by length, which are padded "
        "little.",
        f"- **Disk.** {kept / 1e9:,.0f} GB of models and results stay (weights only: checkpoints "
        f"are deleted when a unit is finished), {running / 1e9:.1f} GB a unit while it runs, "
        f"{signals / 1e9:.1f} GB of stored signals.",
        f"- **Memory.** A turn of {costs['turn_seconds']} s at batch 1 took {memory['m1']} GB for "
        f"M1 and {memory['four_tasks']} GB for four tasks in all, {memory['four_tasks_batch_8']} "
        "GB at batch 8; the longest turns (34 s) are as long as a batch of 8. Pre-training needs "
        "less.",
        f"- **Spreading it.** One command; each of the {folds * seeds} (seed, fold) pairs is "
        f"independent and takes about {paper['one_pair']:,.0f} GPU-hours "
        f"({fast['one_pair']:,.0f} with `size=paper-fast`), so {folds * seeds} machines are as "
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
    parser.add_argument("--measure", action="store_true", help="write step_costs.json")
    parser.add_argument("--machine", default=MACHINE, help="what it is measured on, in words")
    arguments = parser.parse_args()
    if arguments.measure:
        COSTS.write_text(json.dumps(measure(arguments.machine), indent=2) + "\n", encoding="utf-8")
    costs = json.loads(COSTS.read_text(encoding="utf-8"))
    print(describe(costs, arguments.seeds, arguments.gpu_tflops))


if __name__ == "__main__":
    main()
