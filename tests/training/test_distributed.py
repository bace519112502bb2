"""Two processes that share each step against one that accumulates: the same learning rates, losses
and weights, warm-up included; and against two of which one was killed.
"""

import json
import os
import shlex
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from support.elastic import die_once, launch
from support.typed_page import read_blocks
from torch.distributed.fsdp import FSDPModule

from modeling_decomp_ser import DecompSerForAudioClassification
from processing.errors import InputError
from train_scripts.runs.record import read_record
from train_scripts.training import finetuning
from train_scripts.training.finetuning import finetune
from train_scripts.training.stage import check_sharding, gather, read_log

REPOSITORY = Path(__file__).parents[2]
# what draws from torch's generator is off: dropout, and SpecAugment in this size anyway
CALM = [
    "model.head_dropout=0.0",
    "model.speech_config.hidden_dropout=0.0",
    "model.speech_config.attention_dropout=0.0",
]
SETTINGS = [
    "finetuning.num_train_epochs=2",
    "finetuning.per_device_train_batch_size=3",
    # 3 of 8 steps, of which a process that counts its own batches alone would make 6
    "finetuning.warmup_steps=0.3",
]
ACCUMULATED = "finetuning.gradient_accumulation_steps=2"
WITHOUT_GRADIENT = ("k_proj.bias",)
"""The softmax over keys does not feel a bias of the keys: its true gradient is zero, and Adam makes
steps of what rounding leaves of it."""


@pytest.fixture(scope="module")
def train(corpus_folder, fold, quick_settings, tmp_path_factory):
    """A call that fine-tunes in a folder of its own, and that folder."""
    root = tmp_path_factory.mktemp("distributed")

    def prepared(name, *settings, preset="base"):
        options = {"data": str(corpus_folder), "protocol": "speaker", "fold": fold}
        overrides = [*quick_settings, *SETTINGS, *settings]
        folder = root / name
        return folder, partial(finetune, preset, output=folder, overrides=overrides, **options)

    return prepared


def lines_of(folder: Path) -> list[dict]:
    return [line for line in read_log(folder) if "loss" in line]


def assert_same_weights(folder: Path, other: Path, tolerance: float) -> None:
    weights = [load_file(f / "model.safetensors") for f in (folder, other)]
    differences = {k: float((v - weights[1][k]).abs().max()) for k, v in weights[0].items()}
    print(f"largest difference of a weight {max(differences.values()):.2e}")
    assert all(
        d <= tolerance for k, d in differences.items() if not k.endswith(WITHOUT_GRADIENT)
    ), differences


@pytest.fixture(scope="module")
def two(train):
    """Folder of a run of two processes."""
    folder, call = train("two", *CALM)
    assert launch(call) == 0
    return folder


def watched(trainer, model):
    layers = model.speech_encoder.encoder.layers
    assert all(isinstance(part, FSDPModule) for part in (model, *layers))
    return gather(trainer, model)


def shard(state_dict: str, call):
    """A call whose model FSDP shards, as `accelerate launch --use_fsdp` would have it."""
    import support.fsdp_on_cpu  # noqa: F401

    os.environ.update(
        ACCELERATE_USE_FSDP="true",
        FSDP_VERSION="2",
        FSDP_AUTO_WRAP_POLICY="TRANSFORMER_BASED_WRAP",
        FSDP_STATE_DICT_TYPE=state_dict,
    )
    finetuning.gather = watched
    call()


def die(step, call):
    """A call of which one process is killed at a step, the first time."""
    die_once(step)
    call()


def test_two_processes_train_what_one_does_by_accumulation(train, two):
    one, call = train("one", *CALM, ACCUMULATED)
    call()
    logs = lines_of(one), lines_of(two)
    rates = [[(x["step"], x["learning_rate"]) for x in log] for log in logs]
    assert rates[0] == rates[1]
    highest = max(rate for _, rate in rates[0])
    warming = [rate / highest for _, rate in rates[0]]
    assert len(warming) == 8 and warming[:4] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    terms = ["loss", *(k for k in logs[0][0] if k.startswith("loss_"))]
    assert len(terms) == 5
    worst = max(abs(a[k] - b[k]) / abs(a[k]) for a, b in zip(*logs, strict=True) for k in terms)
    print(f"largest relative difference of a loss {worst:.2e}")
    assert worst < 1e-6
    assert_same_weights(one, two, 1e-6)
    assert read_record(two).confusion is not None and torch.get_num_threads() == 1


@pytest.mark.slow
def test_a_model_that_was_trained_in_shards_is_saved_in_one_piece(train, two):
    folder, call = train("sharded", *CALM)
    assert launch(partial(shard, "FULL_STATE_DICT", call)) == 0
    assert_same_weights(two, folder, 1e-5)
    for line, expected in zip(lines_of(folder), lines_of(two), strict=True):
        kept = {k: v for k, v in expected.items() if not k.startswith("gradient_norm_")}
        assert line == pytest.approx(kept, rel=1e-4)
    assert {path.name for path in folder.glob("*.py")} == {path.name for path in two.glob("*.py")}
    configs = [json.loads((f / "config.json").read_text("utf-8")) for f in (two, folder)]
    assert configs[0]["auto_map"] == configs[1]["auto_map"]
    assert read_record(folder).n_parameters == read_record(two).n_parameters
    [checkpoint] = (folder / "checkpoints").glob("checkpoint-8")
    for place in (folder, checkpoint):
        DecompSerForAudioClassification.from_pretrained(place)


@pytest.mark.parametrize(
    ("version", "rank", "message"),
    [
        (0, 0, "FSDP was asked for.*over GPUs"),
        (1, 0, "version 1 is not supported.*--fsdp_version 2"),
        (2, 4, "lora_rank=4.*not trained with FSDP"),
        (2, 0, None),
    ],
)
def test_what_would_not_be_sharded_is_told(version, rank, message, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    accelerator = SimpleNamespace(is_fsdp2=version == 2)
    trainer = SimpleNamespace(is_fsdp_enabled=version > 0, accelerator=accelerator)
    told = pytest.raises(InputError, match=message) if message else nullcontext()
    with told:
        check_sharding(trainer, rank)


@pytest.mark.slow
@pytest.mark.parametrize("state_dict", [None, "FULL_STATE_DICT", "SHARDED_STATE_DICT"])
def test_after_a_worker_dies_all_are_restarted_and_end_the_same(train, state_dict):
    # with dropout, whose generator each process has to find again where its checkpoint left it
    name = state_dict or "whole"
    folders = []
    for kind in ("left_alone", "restarted"):
        folder, call = train(f"{name}_{kind}")
        folders.append(folder)
        prepared = call if state_dict is None else partial(shard, state_dict, call)
        alone = kind == "left_alone"
        planned = prepared if alone else partial(die, 6, prepared)
        assert launch(planned, restarts=0 if alone else 1) == 0
    whole, restarted = folders
    # the steps of the second epoch that were done are done again
    text = (restarted / "log.jsonl").read_text("utf-8")
    assert text.count('{"step": 5,') == text.count('{"step": 6,') == 2
    assert text.count('{"step": 4,') == 1
    assert_same_weights(whole, restarted, 0.0)
    assert read_record(restarted).metrics == read_record(whole).metrics
    assert [x["loss"] for x in lines_of(restarted)] == [x["loss"] for x in lines_of(whole)]


PAGE = REPOSITORY / "docs" / "how-to" / "cluster.md"


@pytest.mark.slow
@pytest.mark.parametrize("program", ["torchrun", "accelerate"])
def test_the_commands_of_the_page_train_and_torchrun_restarts_a_worker_that_dies(
    program, corpus_folder, fold, quick_settings, tmp_path
):
    [block] = [b for b in read_blocks(PAGE.read_text("utf-8")) if f"{program} " in b.code]
    options = shlex.split(block.code.replace("\\\n", ""))
    chosen = dict(word.split("=") for word in options[: options.index(program)])
    options = options[options.index(program) :]
    assert options[options.index("-m") + 1] == "train_scripts.finetune"
    script = REPOSITORY / "tests" / "support" / "elastic.py"
    command = [Path(sys.executable).parent / program, *options[1 : options.index("-m")], script]
    dies_at = 6 if program == "torchrun" else 1000
    command += [dies_at, "table3_m1", *quick_settings, *SETTINGS, "--data", corpus_folder]
    command += ["--protocol", "speaker", "--fold", fold, "--output", tmp_path / "run"]
    folders = [str(REPOSITORY), str(REPOSITORY / "tests")]
    sharded = {"FSDP_ON_CPU": "1"} if program == "accelerate" else {}
    answer = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **chosen, **sharded, "PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert answer.stdout.count("WA (correct / all)") == 1
    text = (tmp_path / "run" / "log.jsonl").read_text("utf-8")
    assert text.count('{"step": 5,') == (2 if program == "torchrun" else 1)
    DecompSerForAudioClassification.from_pretrained(tmp_path / "run")
