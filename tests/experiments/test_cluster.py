"""Shares over submitit's local processes, and what SLURM would be asked for."""

import os
import signal
from pathlib import Path

import pytest

from processing.errors import InputError
from train_scripts.experiments.cluster import (
    Share,
    build_executor,
    deal_out,
    run_on_cluster,
    submit,
)
from train_scripts.experiments.units import Unit
from train_scripts.runs.run_folder import RESULTS


def unit(folder, seed, fold, row="ours", pretrained=None):
    kind = "pretrain" if row == "pre" else "finetune"
    place = folder / row / f"{seed}-{fold}"
    return Unit(kind, row, row, seed, fold, place, "data", "speaker", pretrained=pretrained)


def attempt(unit):
    """Finish, fail, or take the whole task along, as the name says."""
    if unit.row == "takes_all":
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    if unit.row == "fails":
        return "it failed"
    unit.folder.mkdir(parents=True)
    (unit.folder / RESULTS).write_text(os.environ["SUBMITIT_LOCAL_JOB_ID"])
    return None


def test_shares_hold_whole_pairs_of_seed_and_fold(tmp_path):
    units = [unit(tmp_path, s, f, row) for s in (0, 1) for f in "abc" for row in ("pre", "ours")]
    shares = deal_out(units, 4)
    assert [len(share) for share in shares] == [4, 4, 2, 2]
    assert sorted(map(str, units)) == sorted(str(u) for share in shares for u in share)
    pairs = [{(u.seed, u.fold) for u in share} for share in shares]
    assert sum(map(len, pairs)) == len(set.union(*pairs)) == 6
    assert len(deal_out(units, 100)) == 6


def test_tasks_run_their_shares_and_one_that_dies_loses_only_its_own(tmp_path, monkeypatch):
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    first = [unit(tmp_path, 0, "a", "pre"), unit(tmp_path, 0, "a", "fails")]
    first.append(unit(tmp_path, 0, "a", pretrained=first[0].folder))
    second = [unit(tmp_path, 0, "b"), unit(tmp_path, 0, "b", "takes_all")]
    ended = {}
    failed = run_on_cluster(
        [*first, *second],
        attempt,
        cluster="local",
        nodes=2,
        folder=tmp_path / "tasks",
        jobs=1,
        threads=1,
        ended=lambda unit, problem: ended.update({unit: problem}),
        poll_seconds=0.2,
    )
    assert failed.keys() == {first[1], second[1]}
    assert failed[first[1]] == "it failed"
    assert "its task" in failed[second[1]]
    assert ended == {u: failed.get(u) for u in (*first, *second)}
    tasks = {u: (u.folder / RESULTS).read_text() for u in (first[0], first[2], second[0])}
    assert tasks[first[0]] == tasks[first[2]] != tasks[second[0]]


def test_slurm_is_asked_for_one_array_with_the_parameters_given(tmp_path, monkeypatch):
    for name in ("srun", "sbatch", "sacct"):
        program = tmp_path / name
        program.write_text('#!/bin/sh\ncp "$1" "$0.txt"\necho Submitted batch job 12\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    parameters = ["partition=gpu", "gpus_per_node=2", "time=90"]
    executor = build_executor("slurm", tmp_path / "tasks", parameters)
    shares = [Share([unit(tmp_path, 0, fold)], attempt) for fold in "abc"]
    jobs = submit(shares, executor)
    assert [job.job_id for job in jobs] == ["12_0", "12_1", "12_2"]
    asked = (tmp_path / "sbatch.txt").read_text()
    for line in ("array=0-2", "partition=gpu", "gpus-per-node=2", "time=90"):
        assert f"#SBATCH --{line}" in asked, line


def test_what_cannot_be_submitted_is_wrong_input(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="--cluster slurm: .*slurm cluster"):
        build_executor("slurm", tmp_path, [])
    with pytest.raises(InputError, match="--cluster mesos: expected one of slurm, local"):
        build_executor("mesos", tmp_path, [])
    with pytest.raises(InputError, match="--slurm gpu: expected key=value"):
        build_executor("local", tmp_path, ["gpu"])
    with pytest.raises(InputError, match="--cluster local: .*slurm_partitoin"):
        build_executor("local", tmp_path, ["partitoin=gpu"])
