import json

import pytest
from support.records import edit_record, plant_record

from processing.errors import InputError
from train_scripts.cli import run
from train_scripts.experiments.trials import compare_trials
from train_scripts.report import app
from train_scripts.reports.pages import render
from train_scripts.runs.record import Metrics, read_record


def plant(folder, preset, fold, validation_uar, *overrides, seed=0, turns=10, test_uar=0.5):
    plant_record(
        folder,
        preset=preset,
        fold=fold,
        seed=seed,
        settings={
            "seed": seed,
            "overrides": ["size=small", f"seed={seed}", *overrides],
            **dict(text.split("=") for text in overrides),
        },
        metrics=Metrics(weighted_accuracy=test_uar, unweighted_average_recall=test_uar),
        validation_metrics=Metrics(unweighted_average_recall=validation_uar, num_turns=turns),
    )


@pytest.fixture
def runs(tmp_path):
    plant(tmp_path / "a1", "ours", "1", 0.6, turns=30, test_uar=0.1)
    plant(tmp_path / "a2", "ours", "2", 0.2, turns=10, test_uar=0.1)
    plant(tmp_path / "b1", "ours", "1", 0.45, "x=2", turns=30, test_uar=0.9)
    plant(tmp_path / "b2", "ours", "2", 0.45, "x=2", turns=10, test_uar=0.9)
    plant(tmp_path / "other seed", "ours", "1", 0.99, "x=2", seed=1)
    plant(tmp_path / "m1", "m1", "1", 0.3, turns=30)
    plant(tmp_path / "m2", "m1", "2", 0.3, turns=10)
    return tmp_path


def test_the_best_on_validation_turns_is_chosen_whatever_the_test_turns_say(runs):
    trials = compare_trials([runs])["trials"]
    found = {(t["preset"], *t["settings"]): t for t in trials}
    assert found[("ours",)]["validation_uar"] == pytest.approx(0.5)  # (30 x .6 + 10 x .2) / 40
    assert found[("ours", "x=2")]["validation_uar"] == pytest.approx(0.45)
    assert {key for key, t in found.items() if t["chosen"]} == {("ours",), ("m1",)}
    assert found[("ours",)]["turns"] == 40


def test_the_table_marks_what_was_chosen(runs):
    table = render("trials", **compare_trials([runs]))
    assert "| `ours` | as the preset | 0.500 | yes |" in table
    assert "| `ours` | `x=2` | 0.450 |  |" in table
    assert "Seed 0, folds 1, 2, 40 validation turns." in table


def test_a_preset_that_changed_between_trials_is_told_apart(tmp_path):
    """The command line was the same, the preset's own settings were not."""
    components = ["rhythm", "content", "pitch", "timbre"]  # which is the default
    changes = {"part_dropout": 0.3}, {"num_f0_bins": 8, "components": components}
    for k, model in enumerate(changes):
        plant(tmp_path / str(k), "ours", "1", 0.5 + k / 10)
        settings = read_record(tmp_path / str(k)).settings
        edit_record(tmp_path / str(k), settings={**settings, "model": model})
    assert [t["settings"] for t in compare_trials([tmp_path])["trials"]] == [
        ["model.num_f0_bins=256", "model.part_dropout=0.3"],
        ["model.num_f0_bins=8", "model.part_dropout=0.0"],
    ]


def test_trials_on_other_folds_cannot_be_compared(runs):
    plant(runs / "c1", "m1", "1", 0.9, "y=1")
    with pytest.raises(InputError, match="preset 'm1': its trials were run on folds 1,2 and 1"):
        compare_trials([runs])


def test_runs_without_validation_speakers_are_no_trials(tmp_path):
    with pytest.raises(InputError, match="no run of seed 0 has scores of validation speakers"):
        plant(tmp_path / "a", "ours", "1", 0.6, seed=2)
        compare_trials([tmp_path])


def test_report_writes_the_comparison(runs, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(app, [str(runs), "--trials", "--output", str(runs / "out")])
    assert stopped.value.code == 0
    assert json.loads((runs / "out" / "trials.json").read_text()) == compare_trials([runs])
    assert "| `ours` | as the preset | 0.500 | yes |" in capsys.readouterr().out
