"""Scheduling, with runs that take no time."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from train_scripts.experiments.unit_workers import run_units


@dataclass(frozen=True)
class Stub:
    """What a worker reads of a unit; a true one would import torch in every worker."""

    row: str
    folder: Path
    pretrained: Path | None = None


def unit(folder, name, pretrained=None):
    return Stub(name, folder / name, pretrained)


def attempt(unit):
    """Leave a file with who ran it, or end in the way that the name says."""
    if "killed" in unit.row:
        os.kill(os.getpid(), signal.SIGKILL)
    if "fails" in unit.row:
        return "it failed"
    if "sleeps" in unit.row:
        time.sleep(600)
    if "kills_idle" in unit.row:
        idle = unit.folder.with_name("idle")
        wait_for(lambda: idle.is_file() and idle.read_text())
        time.sleep(0.5)  # until it has told its result
        pid = int(idle.read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: is_dead(pid))
    if unit.pretrained is not None and not unit.pretrained.is_file():
        return "its pre-training is missing"
    variables = [os.environ.get(name, "") for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")]
    unit.folder.write_text(" ".join([str(os.getpid()), *variables]))
    return None


def run(units, jobs=2, **options):
    ended = []
    failed = run_units(
        units,
        attempt,
        jobs=jobs,
        threads=3,
        ended=lambda unit, problem: ended.append((unit.row, problem)),
        **options,
    )
    assert dict(ended) == {u.row: failed.get(u) for u in units}
    return {unit.row: problem for unit, problem in failed.items()}


def test_units_wait_for_their_pretraining_and_few_processes_run_all(tmp_path):
    later = [unit(tmp_path, f"fine{i}", tmp_path / "pre") for i in range(4)]
    assert run([*later, unit(tmp_path, "pre"), unit(tmp_path, "alone")], devices=["0,1", "5"]) == {}
    content = [path.read_text().split() for path in tmp_path.iterdir()]
    assert len(content) == 6
    assert {threads for _, threads, _ in content} == {"3"}
    # each process keeps its GPUs
    workers = {(pid, device) for pid, _, device in content}
    assert len({pid for pid, _ in workers}) == len(workers) <= 2
    assert {device for _, device in workers} <= {"0,1", "5"}


def test_what_fails_or_dies_loses_neither_the_others_nor_its_own_name(tmp_path):
    pre = tmp_path / "pre_fails"
    units = [unit(tmp_path, name) for name in ("killed", "fails", "good1", "pre_fails", "good2")]
    failed = run([*units, unit(tmp_path, "waits", pre)])
    assert set(failed) == {"killed", "fails", "pre_fails", "waits"}
    assert "exit code -9" in failed["killed"]
    assert failed["fails"] == "it failed"
    assert f"{pre} failed" in failed["waits"]
    assert (tmp_path / "good1").is_file() and (tmp_path / "good2").is_file()


def test_a_worker_that_dies_idle_is_replaced(tmp_path):
    killer = unit(tmp_path, "kills_idle")
    later = [unit(tmp_path, f"later{i}", killer.folder) for i in range(2)]
    assert run([unit(tmp_path, "idle"), killer, *later]) == {}
    assert all(each.folder.is_file() for each in later)


MAIN = """
import signal
import sys
from pathlib import Path
from test_unit_workers import attempt, unit
from train_scripts.cli import end_in_order
from train_scripts.experiments.unit_workers import run_units
if __name__ == "__main__":
    # a suite that runs in the background hands down that interrupts are ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    end_in_order()
    folder = Path(sys.argv[1])
    units = [unit(folder, f"sleeps{i}") for i in range(2)]
    def begun(unit):
        (folder / f"begun-{unit.row}").touch()
    run_units(units, attempt, jobs=2, threads=1, begun=begun)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_workers_end_with_the_command(how, tmp_path):
    script = tmp_path / "main.py"
    script.write_text(MAIN)
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_for(lambda: len(list(tmp_path.glob("begun-*"))) == 2)
    wait_for(lambda: len(children(process.pid)) >= 2)
    workers = children(process.pid)
    if how == signal.SIGINT:  # as a terminal sends it: to all at once
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode != 0
    if how in (signal.SIGTERM, signal.SIGHUP):  # in order, and not by the signal itself
        assert process.returncode == 128 + how
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def children(pid):
    """Processes that a process started."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(name) for name in path.read_text().split()] if path.exists() else []


def is_dead(pid):
    """Whether a process and all its threads have ended, though nobody has asked about it yet."""
    folder = Path(f"/proc/{pid}")
    dead = (folder / "stat").read_text().split()[2] == "Z"
    return dead and len(list((folder / "task").iterdir())) == 1


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
