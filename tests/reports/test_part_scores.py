import csv
import shutil

import numpy as np
import pytest
import torch
from support.planted_runs import plant_run

from modeling_decomp_ser import DecompSerForAudioClassification
from processing.errors import InputError
from train_scripts.reports.pages import render
from train_scripts.reports.part_scores import describe_parts, part_scores

PARTS = ["wav2vec2", "rhythm", "content", "pitch", "timbre"]


@pytest.fixture(scope="module")
def scored(trained_run, corpus_folder):
    return part_scores([trained_run[1]], str(corpus_folder), num_resamples=200)


def test_all_parts_give_the_stored_answers_and_none_gives_one_answer_to_all(scored, trained_run):
    row, results = scored["rows"][0], trained_run[2]
    assert list(row["parts"]) == PARTS
    assert row["answers_changed"] == 0
    assert row["uar"] == pytest.approx(results.metrics.unweighted_average_recall)
    assert row["uar_of_none"] == pytest.approx(1 / len(results.labels))
    assert row["protocol"] == vars(results.protocol) and row["folds"] == [results.fold]


def test_gains_sum_to_what_all_parts_add(scored):
    row = scored["rows"][0]
    gains = [part["gain"]["value"] for part in row["parts"].values()]
    assert sum(gains) == pytest.approx(row["uar"] - row["uar_of_none"])
    for part in row["parts"].values():
        assert part["change_without"]["value"] == pytest.approx(part["without"] - row["uar"])
        assert part["gain"]["interval_95"] is None  # of the one speaker that was tested


def test_what_the_head_does_not_read_is_worth_nothing(trained_run, corpus_folder, tmp_path):
    run = shutil.copytree(trained_run[1], tmp_path / "model")
    model = DecompSerForAudioClassification.from_pretrained(run)
    with torch.no_grad():
        for weight in model.emotion_head.weight.split(model.part_sizes, dim=1)[:-1]:
            weight.zero_()
    model.save_pretrained(run)
    row = part_scores([run], str(corpus_folder), num_resamples=200)["rows"][0]
    *silent, timbre = row["parts"].values()
    for part in silent:
        assert part["gain"]["value"] == 0 and part["without"] == row["uar"]
        assert part["alone"] == row["uar_of_none"]
    assert timbre["alone"] == row["uar"] and timbre["without"] == row["uar_of_none"]


def test_intervals_are_those_of_the_same_resamples():
    uar = np.array([0.25, 0.5, 0.25, 0.75])  # none, first, second, both
    shifts = np.linspace(-0.1, 0.1, 1001)[:, None]
    parts = describe_parts(["first", "second"], uar, uar + shifts * [0, 1, 0, 1], 1000)
    assert parts["first"]["gain"]["value"] == pytest.approx(0.375)
    assert parts["second"]["gain"]["value"] == pytest.approx(0.125)
    # where the first part varies with the speakers, the gain of the second does not
    assert parts["second"]["gain"]["interval_95"] == pytest.approx([0.125, 0.125])
    assert parts["first"]["gain"]["interval_95"] == pytest.approx([0.28, 0.47], abs=2e-3)
    assert parts["second"]["change_without"] == {
        "value": -0.25,
        "interval_95": pytest.approx([-0.25, -0.25]),
    }


def test_another_corpus_and_a_baseline_are_refused(trained_run, corpus_folder, tmp_path):
    smaller = shutil.copytree(corpus_folder, tmp_path / "corpus")
    with (smaller / "metadata.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    with (smaller / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines[:-1])
    with pytest.raises(InputError, match="another split.*--data"):
        part_scores([trained_run[1]], str(smaller))
    plant_run(tmp_path / "baseline", preset="baseline_majority", size=None)
    with pytest.raises(InputError, match="a baseline has no parts"):
        part_scores([tmp_path / "baseline"], str(corpus_folder))


def test_the_table_names_what_the_figures_depend_on(scored):
    row = scored["rows"][0]
    text = render("parts", **scored)
    rhythm = row["parts"]["rhythm"]
    assert f"| rhythm | {rhythm['gain']['value']:+.3f} | {rhythm['without']:.3f} |" in text
    for item in ("`base` size `tiny`", "`speaker` version 1", "seeds 0", row["commits"][0][:12]):
        assert item in text
    assert "not those of the run" not in text
    changed = {**scored, "rows": [{**row, "answers_changed": 2}]}
    assert "2 of 12 answers are not those of the run." in render("parts", **changed)
