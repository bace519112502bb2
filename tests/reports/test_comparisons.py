import json
from math import comb

import pytest
from scipy import stats
from support.planted_runs import LABELS, corpus_rows, fold_rows, plant_row, plant_run

from processing.errors import InputError
from train_scripts.reports.comparisons import (
    DEFAULT_PAIRS,
    EVERY,
    Pair,
    choose_pairs,
    compare,
    correct_p_values,
)
from train_scripts.reports.rows import group_rows
from train_scripts.reports.turn_table import tabulate
from train_scripts.runs.finished_runs import read_runs


def rows_of(folder):
    return group_rows(read_runs([folder])[0])


def names(pairs):
    return [(first.key.title, second.key.title) for first, second in pairs]


def compared(first, second):
    pair = Pair(first, second, tabulate(first), tabulate(second))
    return compare(pair, num_resamples=2000, seed=0)


def plant_answers(root, preset, right_turns, seeds=(0,)):
    """A row that recognises the turns that a rule says, and takes others for the next label."""
    for seed in seeds:
        for fold in range(1, 6):
            answers = {
                row["id"]: row["emotion"]
                if right_turns(int(row["speaker"][1:]), int(row["id"][-2:]))
                else LABELS[(LABELS.index(row["emotion"]) + 1) % 4]
                for row in fold_rows(corpus_rows(), fold)
            }
            folder = root / preset / f"{seed}-{fold}"
            plant_run(folder, preset=preset, seed=seed, fold=fold, answers=answers)


def test_default_pairs_ask_the_papers_question(tmp_path):
    for preset in ("table3_m1", "table3_m4", "table3_ours", "encoders_alone"):
        plant_row(tmp_path, preset, seeds=(0,), folds=(1,))
    raw = "model.timbre_input=raw"
    plant_row(tmp_path / "x", "table3_ours", seeds=(0,), folds=(1,), overrides=(raw,))
    plant_row(tmp_path, "baseline_compare", seeds=(0,), folds=(1,), size=None)
    pairs, refused = choose_pairs(rows_of(tmp_path), DEFAULT_PAIRS)
    assert not refused
    assert set(names(pairs)) == {
        ("baseline_compare", "table3_m1"),
        ("encoders_alone", "table3_m1"),
        ("table3_m4", "table3_m1"),
        ("table3_ours", "table3_m1"),
        (f"table3_ours {raw}", "table3_m1"),
        ("table3_ours", "table3_m4"),
        ("table3_ours", "encoders_alone"),
        ("table3_ours", "baseline_compare"),
    }
    ablations, _ = choose_pairs(rows_of(tmp_path), [("table3_ours", "table3_ours")])
    assert names(ablations) == [(f"table3_ours {raw}", "table3_ours")]


def test_the_reference_has_the_same_changes_if_there_is_one(tmp_path):
    epochs = ("finetuning.num_train_epochs=3",)
    for preset in ("table3_m1", "table3_m4"):
        plant_row(tmp_path / "a", preset, seeds=(0,), folds=(1,))
        plant_row(tmp_path / "b", preset, seeds=(0,), folds=(1,), overrides=epochs)
    pairs, _ = choose_pairs(rows_of(tmp_path), [(EVERY, "table3_m1")])
    assert (
        "table3_m4 finetuning.num_train_epochs=3",
        "table3_m1 finetuning.num_train_epochs=3",
    ) in names(pairs)
    assert ("table3_m4", "table3_m1") in names(pairs)


def test_sizes_corpora_protocols_and_splits_are_not_mixed(tmp_path):
    plant_row(tmp_path, "table3_m1", seeds=(0,), folds=(1,))
    plant_row(tmp_path / "a", "table3_ours", seeds=(0,), folds=(1,), size="tiny")
    plant_row(tmp_path / "b", "table3_ours", seeds=(0,), folds=(1,), corpus="other")
    plant_row(tmp_path / "c", "table3_ours", seeds=(0,), folds=(1,), protocol="speaker")
    plant_row(tmp_path / "d", "table3_m4", seeds=(0,), folds=(1,))
    path = tmp_path / "d" / "table3_m4" / "seed-0" / "fold-1" / "results.json"
    results = json.loads(path.read_text())
    results["protocol"]["hash"] = "other"
    path.write_text(json.dumps(results))
    pairs, refused = choose_pairs(rows_of(tmp_path), DEFAULT_PAIRS)
    assert pairs == []
    assert len(refused) == 1 and "table3_m4" in refused[0] and "another split" in refused[0]


def test_tests_have_the_answers_of_a_hand_computation(tmp_path):
    # Of 12 turns: the first recognises all but `speaker` many of speakers 0 to 9, the second 6.
    plant_answers(tmp_path, "table3_ours", lambda speaker, turn: turn >= speaker)
    plant_answers(tmp_path, "table3_m1", lambda speaker, turn: turn >= 6)
    m1, ours = rows_of(tmp_path)
    result = compared(ours, m1)
    differences = [(6 - speaker) / 12 for speaker in range(10)]
    test = result["wilcoxon_speakers"]["weighted_accuracy"]
    assert (test["n"], test["positive"], test["negative"]) == (10, 6, 3)
    assert test["mean"] == pytest.approx(sum(differences) / 10)
    expected = stats.wilcoxon(differences, method=stats.PermutationMethod(n_resamples=100_000))
    assert test["p"] == pytest.approx(float(expected.pvalue), abs=1e-6)
    # Turns that one alone recognises: 6 - s for s < 6, and s - 6 for s > 6.
    (turns,) = result["mcnemar"]["seed_pairs"]
    assert (turns["first_only"], turns["second_only"], turns["num_turns"]) == (21, 6, 120)
    p = 2 * sum(comb(27, k) for k in range(7)) / 2**27
    assert result["mcnemar"]["p"] == pytest.approx(p)
    folds = result["wilcoxon_folds"]["weighted_accuracy"]
    # Fold f tests speakers f - 1 and f + 4.
    assert folds["n"] == 5 and folds["mean"] == pytest.approx(sum(differences) / 10)
    value = result["difference"]["weighted_accuracy"]
    assert value["value"] == pytest.approx(15 / 120)
    low, high = value["interval_95"]
    assert low < 15 / 120 < high
    # Signs turn with the order.
    back = compared(m1, ours)
    assert back["difference"]["weighted_accuracy"]["value"] == pytest.approx(-15 / 120)
    assert back["wilcoxon_speakers"]["weighted_accuracy"]["p"] == pytest.approx(test["p"])


def test_pairing_is_by_turn_and_not_by_place(tmp_path):
    plant_answers(tmp_path, "table3_ours", lambda speaker, turn: True)
    plant_row(tmp_path, "table3_m1", seeds=(0,), folds=(2, 3))
    m1, ours = rows_of(tmp_path)
    result = compared(ours, m1)
    assert (result["num_turns"], result["num_speakers"]) == (48, 4)
    assert result["folds"] == ["2", "3"] and not result["complete"]
    assert result["wilcoxon_folds"]["weighted_accuracy"]["n"] == 2


def test_a_deterministic_baseline_meets_every_seed(tmp_path):
    plant_answers(tmp_path, "table3_ours", lambda speaker, turn: turn > 1, seeds=(0, 1, 2))
    plant_answers(tmp_path, "table3_m1", lambda speaker, turn: turn > 4)
    m1, ours = rows_of(tmp_path)
    result = compared(ours, m1)
    assert [test["seeds"] for test in result["mcnemar"]["seed_pairs"]] == [[0, 0], [1, 0], [2, 0]]
    assert result["seeds"] == [[0, 1, 2], [0]]


def test_relabelled_turns_are_refused(tmp_path):
    other = [{**r, "emotion": "sad"} if r["id"] == "s00-00" else r for r in corpus_rows()]
    plant_row(tmp_path, "table3_m1", seeds=(0,), folds=(1,))
    plant_row(tmp_path, "table3_ours", seeds=(0,), folds=(1,), rows=other)
    m1, ours = rows_of(tmp_path)
    with pytest.raises(InputError, match="turn 's00-00' has another label"):
        compared(ours, m1)


def comparison(corpus, p):
    tests = {"weighted_accuracy": {"p": p}, "unweighted_average_recall": {"p": p}}
    return {
        "corpus": corpus,
        "mcnemar": {"p": p},
        "wilcoxon_speakers": {k: dict(v) for k, v in tests.items()},
        "wilcoxon_folds": {k: dict(v) for k, v in tests.items()},
    }


def test_correction_is_within_the_comparisons_of_a_corpus():
    comparisons = [comparison("a", 0.01), comparison("a", 0.04), comparison("b", 0.03)]
    correct_p_values(comparisons)
    assert [c["mcnemar"]["p_holm"] for c in comparisons] == pytest.approx([0.02, 0.04, 0.03])
    speakers = comparisons[0]["wilcoxon_speakers"]["weighted_accuracy"]
    assert speakers["p_holm"] == 0.02 and speakers["comparisons"] == 2
