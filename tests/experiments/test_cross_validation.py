import io
from contextlib import redirect_stderr, redirect_stdout

import pytest
from datasets import Dataset
from support.records import make_record, plant_record

from processing.errors import InputError
from train_scripts.cli import run
from train_scripts.cross_validate import app
from train_scripts.experiments.cross_validation import (
    Progress,
    choose_folds,
    format_seconds,
    open_output,
    pool_confusions,
    summarize_units,
)
from train_scripts.experiments.units import Unit
from train_scripts.runs.record import read_record


@pytest.fixture(scope="module")
def campaign(corpus_folder, fold, quick_settings, tmp_path_factory):
    """A cross-validation of one fold and two presets, of which one cannot run."""
    output = tmp_path_factory.mktemp("campaign")
    broken = output.parent / "broken.yaml"
    broken.write_text("extends: table3_m1\nspeech_encoder: /nowhere\n")
    arguments = ["base", str(broken), *quick_settings, "--data", str(corpus_folder)]
    arguments += ["--protocol", "speaker", "--seeds", "1", "--folds", fold, "--jobs", "1"]
    return output, [*arguments, "--output", str(output)]


def call(arguments):
    """Exit code, standard output and standard error of a call."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        run(app, arguments, "cross-validate")
    return ended.value.code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def first_call(campaign):
    return call(campaign[1])


def test_a_unit_is_what_pretrain_and_finetune_would_have_made(
    campaign, first_call, trained_run, fold
):
    folder = campaign[0] / "base" / "seed-0" / f"fold-{fold}"
    results = read_record(folder)
    assert vars(results.metrics) == pytest.approx(vars(trained_run[2].metrics), abs=1e-6)
    assert results.confusion == trained_run[2].confusion
    assert "seed=0" in results.settings["overrides"]
    assert "100%" in (folder / "log.txt").read_text()
    pretrained = next((campaign[0] / "pretrained").glob("*/seed-0/*/results.json"))
    stored = read_record(trained_run[0])
    assert vars(read_record(pretrained).metrics) == pytest.approx(vars(stored.metrics), abs=1e-6)


def test_what_was_of_use_only_while_training_is_deleted(campaign, first_call):
    assert not list(campaign[0].rglob("checkpoints"))


def test_a_unit_that_failed_is_reported_and_its_traceback_kept(campaign, first_call, fold):
    code, out, err = first_call
    assert code == 1
    folder = campaign[0] / "broken" / "seed-0" / f"fold-{fold}"
    assert f"FAILED broken seed 0 fold {fold}: InputError: speech_encoder=/nowhere" in err
    assert str(folder / "error.txt") in err
    assert "Traceback" in (folder / "error.txt").read_text()
    assert [line.split()[0] for line in out.splitlines()] == ["preset", "base", "Saved"]
    assert f"[3/3] broken seed 0 fold {fold}: FAILED" in err


def test_the_second_call_runs_only_what_is_not_finished(campaign, first_call, monkeypatch):
    left = []

    def record(units, *args, **kwargs):
        left.extend(unit.row for unit in units)
        return {}

    monkeypatch.setattr("train_scripts.experiments.cross_validation.run_on_this_machine", record)
    code, out, _ = call(campaign[1])
    assert (code, left) == (0, ["broken"])
    assert out == first_call[1]


def test_other_data_or_settings_in_the_same_folder_are_refused(campaign, first_call):
    output, arguments = campaign
    code, _, err = call([*arguments, "finetuning.num_train_epochs=3"])
    assert code == 2 and "finetuning.num_train_epochs=2.0 there and 3.0 now" in err
    rows = Dataset.from_dict({"id": ["a"], "emotion": ["sad"]})
    with pytest.raises(InputError, match=r"48 turns\), not 'speaker' on other \(1 turns\)"):
        open_output(output, rows, "other", "speaker")


def test_wrong_arguments_are_refused_before_anything_runs(corpus_folder, tmp_path):
    arguments = ["--data", str(corpus_folder), "--protocol", "speaker", "--seeds", "1"]
    arguments += ["--output", str(tmp_path / "out")]
    for wrong, message in (
        (["size=tiny"], "no preset is given"),
        (["base", "--folds", "nobody"], "no fold 'nobody'"),
        (["base", "size=huge"], "size='huge', expected one of"),
    ):
        code, _, err = call([*wrong, *arguments])
        assert code == 2 and message in err
    assert not (tmp_path / "out").exists()


def test_all_folds_are_run_where_none_are_named(corpus):
    assert choose_folds(corpus, "speaker", None) == sorted(set(corpus["speaker"]))


def unit(folder, row, seed, fold):
    return Unit("finetune", row, row, seed, fold, folder / row / f"{seed}-{fold}", "", "speaker")


def test_the_summary_pools_folds_and_then_means_over_seeds(tmp_path):
    # seed 0: folds of 1 and 3 turns, all right and 1 of 3 right; seed 1: all right
    confusions = {
        (0, "a"): [[1, 0], [0, 0]],
        (0, "b"): [[1, 1], [1, 0]],
        (1, "a"): [[1, 0], [0, 0]],
        (1, "b"): [[2, 0], [0, 1]],
    }
    units = [unit(tmp_path, "ours", seed, fold) for seed, fold in confusions]
    for one in units:
        plant_record(one.folder, labels=["x", "y"], confusion=confusions[one.seed, one.fold])
    row = summarize_units([*units, unit(tmp_path, "unfinished", 0, "a")]).splitlines()[1:]
    assert len(row) == 1
    assert row[0].split() == ["ours", "0.7500", "0.6667", "2", "2"]


def test_labels_of_folds_are_matched_by_name():
    results = [
        make_record(labels=["x", "y"], confusion=[[1, 2], [3, 4]]),
        make_record(labels=["y", "z"], confusion=[[10, 20], [30, 40]]),
    ]
    assert pool_confusions(results).tolist() == [[1, 2, 0], [3, 14, 20], [0, 30, 40]]


def test_the_time_left_comes_from_units_of_the_same_row(tmp_path):
    progress = Progress(total=6, done=0, jobs=2, left={"ours": 2, "other": 1})
    assert progress.time_left() == "unknown time"
    progress.seconds["ours"] += [100.0, 140.0]
    # two of 120 s, and one of a row that has not been seen, over two jobs
    assert progress.time_left() == format_seconds(180)
