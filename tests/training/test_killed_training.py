"""A run that was killed, restarted, killed again ... ends as the one that was left alone."""

import multiprocessing
import os
import signal
from pathlib import Path

import torch
from safetensors.torch import load_file
from support.warm_python import draw_own_bars

import train_scripts.runs.results
import train_scripts.training.finetuning
from train_scripts.training.finetuning import finetune
from train_scripts.training.pretraining import pretrain
from train_scripts.training.stage import read_log
from train_scripts.training.trainer import DecompSerTrainer


def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_step(step):
    """Kill the process in the middle of an optimiser step."""

    def plant():
        compute_loss = DecompSerTrainer.compute_loss

        def planted(self, *args, **kwargs):
            at_step = self.state.global_step == step
            return die() if at_step else compute_loss(self, *args, **kwargs)

        DecompSerTrainer.compute_loss = planted

    return plant


def die_while_saving(name):
    """Kill the process when a part of a checkpoint is half written."""

    def plant():
        save = torch.save

        def planted(content, path, *args, **kwargs):
            save(content, path, *args, **kwargs)
            if Path(path).name == name:
                os.truncate(path, os.path.getsize(path) // 2)
                die()

        torch.save = planted

    return plant


def die_before(function):
    """Kill the process where finetune calls a function."""

    def plant():
        setattr(train_scripts.training.finetuning, function, die)

    return plant


def die_while_writing_results():
    """Kill the process when the results are half written."""

    def planted(path, content, **options):
        path.with_name(f"{path.name}.part").write_text("{")
        die()

    train_scripts.runs.record.write_json = planted


def kill(plant, call):
    """Run in another process, which kills itself where it was told to."""

    def run():
        draw_own_bars()
        plant()
        call()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def checkpoints(folder):
    return sorted(path.name for path in (folder / "checkpoints").glob("checkpoint-*"))


def assert_same_model(folder, other):
    weights, expected = (load_file(f / "model.safetensors") for f in (folder, other))
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(weights[name], value), name


def test_killed_anywhere_finetuning_ends_the_same(
    trained_run, corpus_folder, fold, quick_settings, tmp_path
):
    pretrained, model, whole = trained_run
    folder = tmp_path / "model"

    def run():
        return finetune(
            "base",
            data=str(corpus_folder),
            protocol="speaker",
            fold=fold,
            output=folder,
            pretrained=str(pretrained),
            overrides=quick_settings,
        )

    steps = max(line["step"] for line in read_log(model))
    per_epoch = steps // 2
    kill(die_at_step(1), run)
    assert checkpoints(folder) == []
    kill(die_while_saving("scheduler.pt"), run)
    assert checkpoints(folder) == [f"checkpoint-{per_epoch}"]
    # the half-written one is no hindrance, and the next is whole
    kill(die_at_step(per_epoch + 1), run)
    (folder / "log.jsonl").open("a").write('{"step": 1, "lo')
    kill(die_while_saving("rng_state.pth"), run)
    assert len(checkpoints(folder)) == 2
    kill(die_before("store_training_mean"), run)
    kill(die_before("write_predictions"), run)
    kill(die_while_writing_results, run)
    assert not (folder / "results.json").exists()

    results = run()
    assert results.metrics == whole.metrics
    assert results.confusion == whole.confusion
    assert_same_model(folder, model)
    # a line for each step, whose terms are those of this step also right after an interruption
    names = ("step", "loss", "loss_emotion", "loss_ctc", "loss_speaker", "loss_reconstruction")
    lines = [
        [[line[name] for name in names] for line in read_log(f) if "loss" in line]
        for f in (folder, model)
    ]
    assert len(lines[0]) == steps
    assert lines[0] == lines[1]


def test_killed_in_the_middle_of_an_epoch_pretraining_ends_the_same(
    trained_run, corpus_folder, fold, quick_settings, tmp_path
):
    folder = tmp_path / "pretrained"

    def run():
        pretrain(
            "base",
            data=str(corpus_folder),
            protocol="speaker",
            fold=fold,
            output=folder,
            overrides=[*quick_settings, "pretraining.save_steps=1"],
        )

    kill(die_at_step(3), run)
    assert checkpoints(folder) == ["checkpoint-2", "checkpoint-3"]
    kill(die_while_saving("optimizer.pt"), run)
    run()
    assert_same_model(folder, trained_run[0])
