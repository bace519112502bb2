"""Two processes that share each step against one that accumulates: the same losses and weights,
warm-up included."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from train_scripts.training.finetuning import finetune
from train_scripts.training.stage import read_log

# what draws from torch's generator is off: dropout, and SpecAugment in this size anyway
CALM = [
    "model.head_dropout=0.0",
    "model.speech_config.hidden_dropout=0.0",
    "model.speech_config.attention_dropout=0.0",
]
WITHOUT_GRADIENT = ("k_proj.bias",)
"""The softmax over keys does not feel a bias of the keys: its true gradient is zero, and Adam makes
steps of what rounding leaves of it."""


@pytest.mark.slow
def test_two_processes_train_what_one_does_by_accumulation(
    trained_run, corpus_folder, fold, quick_settings, tmp_path
):
    quiet = [*quick_settings, *CALM, "finetuning.num_train_epochs=2"]
    one = [
        *quiet,
        "finetuning.per_device_train_batch_size=3",
        "finetuning.gradient_accumulation_steps=2",
    ]
    two = [*quiet, "finetuning.per_device_train_batch_size=3"]
    options = {"data": str(corpus_folder), "protocol": "speaker", "fold": fold}
    options["pretrained"] = str(trained_run[0])
    results = finetune("base", output=tmp_path / "one", overrides=one, **options)

    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", "2", "-m", "train_scripts.finetune", "base", *two]
    command += [part for name, value in options.items() for part in (f"--{name}", value)]
    answer = subprocess.run(
        [*command, "--output", str(tmp_path / "two")],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert answer.stdout.count("WA (correct / all)") == 1

    logs = [
        [line for line in read_log(tmp_path / name) if "loss" in line] for name in ("one", "two")
    ]
    assert [x["step"] for x in logs[0]] == [x["step"] for x in logs[1]]
    terms = ["loss", *(k for k in logs[0][0] if k.startswith("loss_"))]
    assert len(terms) == 5
    worst = max(abs(a[k] - b[k]) / abs(a[k]) for a, b in zip(*logs, strict=True) for k in terms)
    print(f"largest relative difference of a loss {worst:.2e}")
    assert worst < 1e-6

    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    differences = {k: float((v - weights[1][k]).abs().max()) for k, v in weights[0].items()}
    free = {k: d for k, d in differences.items() if k.endswith(WITHOUT_GRADIENT)}
    print(f"largest difference of a weight {max(differences.values()):.2e}, with {free}")
    assert all(d < 1e-6 for k, d in differences.items() if k not in free), differences
    assert results.confusion is not None and torch.get_num_threads() == 1
