import numpy as np
import pytest
from support.planted_runs import corpus_rows, plant_run

from train_scripts.reports.group_scores import score_groups
from train_scripts.reports.pages import render
from train_scripts.reports.rows import group_rows
from train_scripts.reports.writing import report
from train_scripts.runs.finished_runs import read_runs

WRONG = {"angry": "sad", "sad": "angry", "happy": "neutral", "neutral": "happy"}


def plant(folder, wrong_of, rows=None, seeds=(0, 1)):
    """Runs that are right but for the turns that `wrong_of` picks by row and seed."""
    rows = corpus_rows() if rows is None else rows
    for seed in seeds:
        answers = {
            row["id"]: WRONG[row["emotion"]] if wrong_of(row, seed) else row["emotion"]
            for row in rows
        }
        for fold in (1, 2, 3, 4, 5):
            plant_run(folder / f"{seed}-{fold}", seed=seed, fold=fold, rows=rows, answers=answers)
    (row,) = group_rows(read_runs([folder])[0])
    return row


def test_each_turn_counts_once_however_many_seeds_answered_it(tmp_path):
    # men are never recognised with seed 0, women always
    row = plant(tmp_path, lambda r, seed: r["gender"] == "male" and seed == 0)
    genders = score_groups(row)["gender"]
    men, women = (genders["groups"][name] for name in ("male", "female"))
    assert men["num_turns"] == women["num_turns"] == 60
    assert women["unweighted_average_recall"] == 1
    assert men["unweighted_average_recall"] == pytest.approx(0.5)
    confidence = np.exp(2) / (np.exp(2) + 3)
    assert women["overconfidence"] == pytest.approx(confidence - 1)
    assert men["overconfidence"] == pytest.approx(confidence - 0.5)
    assert genders["fairness"]["worst"] == "male" and genders["fairness"]["uneven"]
    assert genders["fairness"]["spread"] == pytest.approx(0.5)


def test_a_model_that_errs_alike_on_all_is_not_called_uneven(tmp_path):
    # every twelfth turn of each speaker, of another emotion from one speaker to the next
    row = plant(tmp_path, lambda r, seed: (int(r["id"][-2:]) - int(r["id"][1:3])) % 12 == 0)
    found = score_groups(row)
    assert set(found) == {"speaker", "gender"}
    assert len(found["speaker"]["groups"]) == 10
    assert not found["gender"]["fairness"]["uneven"]
    assert not found["speaker"]["fairness"]["uneven"]


def test_a_turn_of_an_unknown_group_is_in_none(tmp_path):
    rows = corpus_rows()
    for row in rows[:24]:
        row["gender"] = None
    found = score_groups(plant(tmp_path, lambda r, seed: False, rows))
    assert {n: g["num_turns"] for n, g in found["gender"]["groups"].items()} == {
        "female": 48,
        "male": 48,
    }
    rows = [{**row, "gender": "female"} for row in rows]
    assert set(score_groups(plant(tmp_path / "one", lambda r, seed: False, rows))) == {"speaker"}


def test_the_page_tells_each_group_and_marks_what_is_uneven(tmp_path):
    plant(tmp_path / "runs", lambda r, seed: r["gender"] == "male" and seed == 0)
    content = report([tmp_path / "runs"], tmp_path / "out", num_resamples=2000)
    page = render("report", **content)
    line = next(text for text in page.splitlines() if "| gender |" in text)
    assert "female 1.000 (-0.289) of 60 turns, male 0.500 (+0.211) of 60 turns" in line
    assert "| 0.750 | male | **0.500** |" in line
    assert next(text for text in page.splitlines() if "| speaker |" in text).count("|") == 8
