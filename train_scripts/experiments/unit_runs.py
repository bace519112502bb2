"""Run one unit of a cross-validation: locked, logged, and with its failure kept in its folder."""

import fcntl
import gc
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import yaml

from processing.corpora.mixture import Mixture
from train_scripts.experiments.units import Unit
from train_scripts.runs.run_folder import CHECKPOINTS

ERROR = "error.txt"
MIXTURE = "mixture.yaml"
LOG = "log.txt"
LOCK_SUFFIX = ".lock"
"""Ends the name of the file beside a unit's folder that is locked while the unit runs."""
STOP_SECONDS = 20.0
"""How long processes that share a step are given to stop."""


def attempt_unit(unit: Unit) -> str | None:
    """Run a unit with its output in its log, and keep the traceback of a failure in its folder;
    returns why it failed in one line, or None. Where another process runs it, this waits.
    """
    unit.folder.mkdir(parents=True, exist_ok=True)
    with locked(unit.folder.with_name(unit.folder.name + LOCK_SUFFIX)):
        (unit.folder / ERROR).unlink(missing_ok=True)
        try:
            if not unit.finished:
                with output_to(unit.folder / LOG):
                    run_unit(unit)
        except Exception as error:
            (unit.folder / ERROR).write_text(traceback.format_exc(), encoding="utf-8")
            return f"{type(error).__name__}: {error}"
        # of use only until the results exist, and most of what a run occupies
        shutil.rmtree(unit.folder / CHECKPOINTS, ignore_errors=True)
    return None


def run_unit(unit: Unit) -> None:
    """Run a unit in this process, or in several that share its steps."""
    names = ("data", "protocol", "fold", "skip_bad")
    options = {"output": unit.folder, **{name: getattr(unit, name) for name in names}}
    write_preset(unit)
    if unit.kind == "baseline":
        from train_scripts.baselines.baseline_runs import run_baseline

        run_baseline(unit.preset, seed=unit.seed, **options)
    elif unit.processes > 1:
        run_distributed(unit)
    elif unit.kind == "pretrain":
        from train_scripts.training.pretraining import pretrain

        pretrain(unit.preset, overrides=list(unit.overrides), **options)
    else:
        from train_scripts.training.finetuning import finetune

        pretrained = str(unit.pretrained) if unit.pretrained else None
        finetune(unit.preset, pretrained=pretrained, overrides=list(unit.overrides), **options)
    # what a run leaves behind is in the way of the next run of this process
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def write_preset(unit: Unit) -> None:
    """Write the preset that was made for a unit; others may be writing the same one."""
    path = Path(unit.preset)
    if unit.preset_text and not path.is_file():
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.write_text(unit.preset_text, encoding="utf-8")
        part.replace(path)


def write_mixture(unit: Unit) -> str:
    """What --data names for a unit: its corpus, or the file of its mixture, which is written."""
    if not isinstance(unit.data, Mixture):
        return unit.data
    path = unit.folder / MIXTURE
    content = unit.data.describe()
    if any(source.weight for source in unit.data.sources):
        del content["sampling"]
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return str(path)


def run_distributed(unit: Unit) -> None:
    """Run a unit in several processes that share each step (DDP)."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", str(unit.processes), "-m", f"train_scripts.{unit.kind}"]
    command += [unit.preset, *unit.overrides]
    command += ["--data", write_mixture(unit)]
    for name in ("protocol", "fold"):
        command += [f"--{name}", getattr(unit, name)]
    command += ["--output", str(unit.folder)]
    if unit.pretrained is not None:
        command += ["--pretrained", str(unit.pretrained)]
    if unit.skip_bad:
        command.append("--skip-bad")
    process = subprocess.Popen(command)
    try:
        code = process.wait()
    finally:
        stop_process(process)
    if code:
        raise RuntimeError(f"torch.distributed.run ended with exit code {code}, see {LOG}.")


def stop_process(process: subprocess.Popen) -> None:
    """Stop a process that still runs: first as torchrun asks for, which stops its own."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes; it is free when its process ends, however it ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def output_to(path: Path) -> Iterator[None]:
    """Append standard output and error to a file, those of child processes and C code included."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.dup2(file, 1)
        os.dup2(file, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, old in zip((1, 2), kept, strict=True):
            os.dup2(old, number)
            os.close(old)
        os.close(file)
