import shutil

import numpy as np
import pytest
from support.planted_runs import LABELS, corpus_rows, fold_rows, plant_row, plant_run
from support.records import edit_record

from processing.errors import InputError
from train_scripts.reports.rows import group_rows
from train_scripts.reports.scores import score_row
from train_scripts.runs.finished_runs import read_runs


def scored(folder, **options):
    (row,) = group_rows(read_runs([folder])[0])
    return score_row(row, **{"num_resamples": 2000, "seed": 0, **options})


def answers_of(rows, wrong):
    """Every turn right, but those of `wrong`, which are taken for the next label."""
    return {
        row["id"]: LABELS[(LABELS.index(row["emotion"]) + (row["id"] in wrong)) % 4] for row in rows
    }


def test_known_answers_give_known_figures_in_both_poolings(tmp_path):
    # Speakers 0 to 4 with 12 turns each, speaker 0 (fold 1) with 4 of them only: folds of 4 and 12.
    rows = [r for r in corpus_rows(5) if r["speaker"] != "s00" or int(r["id"][-2:]) < 4]
    wrong = {"s00-00", "s00-01", "s01-00"}
    for fold in range(1, 6):
        answers = answers_of(rows, wrong)
        plant_run(tmp_path / f"a{fold}", rows=rows, fold=fold, seed=0, answers=answers)
        answers = answers_of(rows, set())
        plant_run(tmp_path / f"b{fold}", rows=rows, fold=fold, seed=1, answers=answers)
    row = scored(tmp_path)
    metrics = row["metrics"]
    wa = metrics["weighted_accuracy"]
    assert wa["per_seed"] == pytest.approx({"0": 49 / 52, "1": 1.0})
    assert wa["pooled"] == pytest.approx((49 / 52 + 1) / 2)
    first_seed = (0.5 + 11 / 12 + 3) / 5
    assert wa["fold_mean"] == pytest.approx((first_seed + 1) / 2)
    assert wa["sd_over_seeds"] == pytest.approx(np.std([first_seed, 1.0], ddof=1))
    # 13 turns a label: angry lacks two, happy one.
    uar = metrics["unweighted_average_recall"]["per_seed"]
    assert uar["0"] == pytest.approx((11 / 13 + 12 / 13 + 2) / 4)
    assert row["per_speaker"]["s00"]["weighted_accuracy"] == pytest.approx(0.75)
    assert row["per_speaker"]["s00"]["fold"] == "1"
    assert row["confusion"][0] == pytest.approx([12, 1, 0, 0])
    assert row["per_class"]["angry"]["recall"] == pytest.approx(12 / 13)
    assert (row["num_turns"], row["num_speakers"], row["seeds"]) == (52, 5, [0, 1])
    assert row["commits"] == ["c" * 40] and row["complete"]
    assert set(row["protocol"]["hash_of_fold"]) == {"1", "2", "3", "4", "5"}
    low, high = wa["interval_95"]
    assert low < wa["pooled"] < high <= 1.0


def test_the_ensemble_asks_all_seeds_for_each_turn(tmp_path):
    rows = corpus_rows(5)
    for seed, wrong in enumerate([{"s00-00", "s01-00"}, {"s00-00"}, {"s02-01"}]):
        answers = answers_of(rows, wrong)
        for fold in range(1, 6):
            plant_run(tmp_path / f"{seed}-{fold}", rows=rows, fold=fold, seed=seed, answers=answers)
    metrics = scored(tmp_path)["metrics"]
    # two of three take s00-00, an angry one, for another
    assert metrics["weighted_accuracy"]["ensemble"] == pytest.approx(59 / 60)
    assert metrics["unweighted_average_recall"]["ensemble"] == pytest.approx((14 / 15 + 3) / 4)
    assert metrics["weighted_accuracy"]["pooled"] == pytest.approx(1 - 4 / 180)
    shutil.rmtree(tmp_path / "2-5")
    assert scored(tmp_path)["metrics"]["weighted_accuracy"]["ensemble"] is None
    for fold in range(1, 6):
        shutil.rmtree(tmp_path / f"1-{fold}")
        shutil.rmtree(tmp_path / f"2-{fold}", ignore_errors=True)
    assert scored(tmp_path)["metrics"]["weighted_accuracy"]["ensemble"] is None


def test_intervals_follow_the_seed_of_the_bootstrap(tmp_path):
    plant_row(tmp_path, "table3_ours", seeds=(0,), rows=corpus_rows(15, 13))
    first, again, other = (
        scored(tmp_path, seed=seed)["metrics"]["unweighted_average_recall"]["interval_95"]
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_intervals_count_seeds_where_every_seed_tested_every_turn(tmp_path):
    rows = corpus_rows(10)
    for seed, wrong in enumerate([set(), {row["id"] for row in rows if row["id"] > "s04-08"}]):
        answers = answers_of(rows, wrong)
        for fold in range(1, 6):
            plant_run(tmp_path / f"{seed}-{fold}", rows=rows, fold=fold, seed=seed, answers=answers)
    row = scored(tmp_path)
    assert row["interval_counts"] == "speakers and seeds"
    wa = row["metrics"]["weighted_accuracy"]
    low, high = wa["interval_95"]
    assert wa["per_seed"] == pytest.approx({"0": 1.0, "1": 57 / 120})
    # two figures have one degree of freedom, and say next to nothing
    assert (low, high) == (0.0, 1.0) and wa["degrees_of_freedom"] < 2
    shutil.rmtree(tmp_path / "1-5")
    row = scored(tmp_path)
    assert row["interval_counts"] == "speakers" and not row["complete"]
    assert "degrees_of_freedom" not in row["metrics"]["weighted_accuracy"]
    for fold in range(1, 5):
        shutil.rmtree(tmp_path / f"1-{fold}")
    assert scored(tmp_path)["interval_counts"] == "speakers"


def test_cells_of_speakers_and_seeds_sum_to_both(tmp_path):
    plant_row(tmp_path, "table3_ours", seeds=(0, 1, 2))
    (row,) = group_rows(read_runs([tmp_path])[0])
    cells = row.turns.by_speaker_and_seed()
    assert cells.shape == (10, 3, 4, 4) and row.turns.is_crossed()
    assert (cells.sum(axis=0) == row.turns.by_seed()).all()
    assert cells.mean(axis=1) == pytest.approx(row.turns.by_speaker())
    assert not row.turns.select(np.arange(len(row.turns.ids)) > 0).is_crossed()


def test_other_metrics_are_pooled_over_turns_and_null_where_absent(tmp_path):
    plant_row(tmp_path, "table3_ours", seeds=(0,), words=True)
    path = tmp_path / "table3_ours"
    metrics = scored(path)["metrics"]
    # The first word of every second turn is wrong; the sentences have 6, 5 and 5 words.
    tested = [row for fold in range(1, 6) for row in fold_rows(corpus_rows(), fold)]
    words = sum(len(row["text"].split()) for row in tested)
    assert metrics["word_error_rate"]["pooled"] == pytest.approx(60 / words)
    assert metrics["speech_mse"]["pooled"] is None and metrics["speaker_accuracy"]["pooled"] is None
    assert 0 < metrics["ece"]["pooled"] < 1


def test_means_of_folds_are_weighted_by_their_turns(tmp_path):
    rows = [r for r in corpus_rows(2) if r["speaker"] != "s00" or int(r["id"][-2:]) < 4]
    for fold, value in ((1, 0.1), (2, 0.3)):
        folder = tmp_path / str(fold)
        plant_run(folder, rows=rows, fold=fold)
        edit_record(folder, metrics={"speech_mse": value, "speech_mse_padded": value})
    mse = scored(tmp_path)["metrics"]["speech_mse"]["pooled"]
    assert mse == pytest.approx((4 * 0.1 + 12 * 0.3) / 16)


def test_an_incomplete_row_is_scored_on_what_it_has_and_says_so(tmp_path):
    plant_row(tmp_path, "table3_ours", seeds=(0, 1), folds=(1, 2))
    plant_run(tmp_path / "more", fold=3, seed=1)
    row = scored(tmp_path)
    assert not row["complete"] and row["num_turns"] == 72
    (note,) = [n for n in row["notes"] if n.startswith("INCOMPLETE")]
    assert "seed 0: fold 3, 4, 5" in note and "seed 1: fold 4, 5" in note


def test_unknown_speakers_are_turns_by_themselves(tmp_path):
    rows = [{**r, "speaker": None, "split": "test"} for r in corpus_rows(4)]
    plant_run(tmp_path / "a", rows=rows, test=rows[:24], protocol="predefined", right=0.5)
    plant_run(tmp_path / "b", rows=rows, test=rows[:24], protocol="predefined", right=0.5, seed=1)
    row = scored(tmp_path)
    assert row["num_speakers"] == 0 and row["per_speaker"] == {}
    assert row["interval_counts"] == "speakers"
    assert "speakers unknown: the interval takes turns for independent" in row["notes"]
    assert row["complete"]


def test_one_speaker_has_no_interval(tmp_path):
    rows = corpus_rows(5)
    for seed in (0, 1):
        plant_run(tmp_path / str(seed), rows=rows, seed=seed)
    row = scored(tmp_path)
    assert row["metrics"]["weighted_accuracy"]["interval_95"] is None
    assert "one speaker only: no interval" in row["notes"]


def test_a_turn_with_two_labels_is_refused(tmp_path):
    rows = corpus_rows()
    other = [{**r, "emotion": "sad"} if r["id"] == "s00-00" else r for r in rows]
    plant_run(tmp_path / "a", rows=rows, seed=0)
    plant_run(tmp_path / "b", rows=other, seed=1)
    (row,) = group_rows(read_runs([tmp_path])[0])
    with pytest.raises(InputError, match=r"turn 's00-00' is sad, s00, fold 1; elsewhere .* angry"):
        _ = row.turns


def test_minutes_are_counted_once_a_turn(tmp_path):
    plant_row(tmp_path, "table3_ours", seeds=(0, 1))
    minutes = scored(tmp_path)["minutes"]
    assert minutes == pytest.approx({label: 30 * (2 + k) / 60 for k, label in enumerate(LABELS)})
