import json

import pytest
from scipy import stats
from support.planted_runs import LABELS, corpus_rows, fold_rows, plant_row, plant_run
from support.records import edit_record

from processing.errors import InputError
from train_scripts.reports.comparisons import (
    DEFAULT_PAIRS,
    EVERY,
    choose_pairs,
    compare,
    correct_p_values,
)
from train_scripts.reports.pages import comparison_notes
from train_scripts.reports.rows import group_rows
from train_scripts.runs.finished_runs import read_runs
from train_scripts.runs.settings import load_settings


def rows_of(folder):
    return group_rows(read_runs([folder])[0])


def names(pairs):
    return [(first.key.title, second.key.title) for first, second in pairs]


def compared(first, second):
    return compare(first, second, num_resamples=2000, seed=0)


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
    edit_record(tmp_path / "d" / "table3_m4" / "seed-0" / "fold-1", protocol={"hash": "other"})
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
    # Every speaker has three turns of each class, so that UAR is WA.
    test = result["wilcoxon_speakers"]["unweighted_average_recall"]
    assert (test["n"], test["positive"], test["negative"]) == (10, 6, 3)
    assert test["mean"] == pytest.approx(sum(differences) / 10)
    expected = stats.wilcoxon(differences, method=stats.PermutationMethod(n_resamples=100_000))
    assert test["p"] == pytest.approx(float(expected.pvalue), abs=1e-6)
    # One seed says nothing of other seeds.
    assert result["interval_counts"] == "speakers" and result["test"]["p"] == test["p"]
    value = result["difference"]["weighted_accuracy"]
    assert value["value"] == pytest.approx(15 / 120)
    low, high = value["interval_95"]
    assert low < 15 / 120 < high
    # Signs turn with the order.
    back = compared(m1, ours)
    assert back["difference"]["weighted_accuracy"]["value"] == pytest.approx(-15 / 120)
    assert back["wilcoxon_speakers"]["unweighted_average_recall"]["p"] == pytest.approx(test["p"])


def test_pairing_is_by_turn_and_not_by_place(tmp_path):
    plant_answers(tmp_path, "table3_ours", lambda speaker, turn: True)
    plant_row(tmp_path, "table3_m1", seeds=(0,), folds=(2, 3))
    m1, ours = rows_of(tmp_path)
    result = compared(ours, m1)
    assert (result["num_turns"], result["num_speakers"]) == (48, 4)
    assert result["folds"] == ["2", "3"] and not result["complete"]


def test_a_deterministic_baseline_meets_every_seed(tmp_path):
    plant_answers(tmp_path, "table3_ours", lambda speaker, turn: turn > 1, seeds=(0, 1, 2))
    plant_answers(tmp_path, "table3_m1", lambda speaker, turn: turn > 4)
    m1, ours = rows_of(tmp_path)
    result = compared(ours, m1)
    assert result["seeds"] == [[0, 1, 2], [0]]
    assert result["difference"]["weighted_accuracy"]["per_seed"] == pytest.approx([3 / 12] * 3)
    assert result["interval_counts"] == "speakers"  # M1 is a network, and has one seed


def test_seeds_are_counted_of_networks_and_none_is_asked_of_a_baseline(tmp_path):
    late = [set(), {1, 2}, {1, 2, 3, 4}]
    for seed, missed in enumerate(late):
        plant_answers(
            tmp_path, "table3_ours", lambda speaker, turn, m=missed: turn not in m, seeds=(seed,)
        )
    plant_answers(tmp_path, "baseline_compare", lambda speaker, turn: turn % 8 != speaker % 5)
    baseline, ours = rows_of(tmp_path)
    result = compared(ours, baseline)
    assert result["interval_counts"] == "speakers and seeds"
    difference = result["difference"]["weighted_accuracy"]
    # Speakers of the baseline miss two turns, and some one; seeds of the network none, two, four.
    assert difference["per_seed"] == pytest.approx([(1.8 - s) / 12 for s in (0, 2, 4)])
    low, high = difference["interval_95"]
    seeds_alone = 4.30 * (2 / 12) / 3**0.5
    assert seeds_alone * 0.9 < (high - low) / 2 < seeds_alone * 1.1
    assert (result["test"]["p"] < 0.05) == (low > 0 or high < 0)
    assert result["test"]["p"] == pytest.approx(0.88, abs=0.05)
    assert result["wilcoxon_speakers"]["unweighted_average_recall"]["p"] != result["test"]["p"]
    back = compared(baseline, ours)["difference"]["weighted_accuracy"]["interval_95"]
    assert back == pytest.approx([-high, -low])


def test_relabelled_turns_are_refused(tmp_path):
    other = [{**r, "emotion": "sad"} if r["id"] == "s00-00" else r for r in corpus_rows()]
    plant_row(tmp_path, "table3_m1", seeds=(0,), folds=(1,))
    plant_row(tmp_path, "table3_ours", seeds=(0,), folds=(1,), rows=other)
    m1, ours = rows_of(tmp_path)
    with pytest.raises(InputError, match="turn 's00-00' has another label"):
        compared(ours, m1)


def comparison(corpus, p):
    return {"corpus": corpus, "test": {"p": p}}


def test_correction_is_within_the_comparisons_of_a_corpus():
    comparisons = [comparison("a", 0.01), comparison("a", 0.04), comparison("b", 0.03)]
    correct_p_values(comparisons)
    tests = [c["test"] for c in comparisons]
    assert [test["p_holm"] for test in tests] == pytest.approx([0.02, 0.04, 0.03])
    assert [test["comparisons"] for test in tests] == [2, 2, 1]


def test_differences_of_seeds_stand_beside_their_mean(tmp_path):
    plant_answers(tmp_path, "table3_ours", lambda speaker, turn: True, seeds=(0, 1))
    plant_answers(tmp_path / "0", "table3_m1", lambda speaker, turn: turn >= 3, seeds=(0,))
    plant_answers(tmp_path / "1", "table3_m1", lambda speaker, turn: turn >= 6, seeds=(1,))
    m1, ours = rows_of(tmp_path)
    difference = compared(ours, m1)["difference"]["weighted_accuracy"]
    assert difference["per_seed"] == pytest.approx([3 / 12, 6 / 12])
    assert difference["value"] == pytest.approx(4.5 / 12)


def plant_with_settings(folder, preset, *, overrides=(), commit="c" * 40, **model):
    """A run with the settings of its preset, some of the model's changed in another way."""
    settings = load_settings(preset, ["size=small", *overrides]).as_dict()
    settings = {**settings, "model": {**settings["model"], **model}, "overrides": list(overrides)}
    plant_run(folder, preset=preset, settings=json.loads(json.dumps(settings)), commit=commit)


def test_rows_before_and_after_a_change_of_a_shared_setting_are_not_compared(tmp_path):
    plant_with_settings(tmp_path / "a", "table3_m4", num_f0_bins=256, commit="a" * 40)
    plant_with_settings(tmp_path / "b", "table3_ours", commit="b" * 40)
    rows = rows_of(tmp_path)
    pairs, refused = choose_pairs(rows, DEFAULT_PAIRS)
    assert not pairs and len(refused) == 1
    for words in ("model.num_f0_bins: 8 and 256", "a" * 12, "b" * 12, "--allow-mixed"):
        assert words in refused[0]
    pairs, refused = choose_pairs(rows, DEFAULT_PAIRS, allow_mixed=True)
    assert names(pairs) == [("table3_ours", "table3_m4")] and not refused
    result = compared(*pairs[0])
    assert result["settings_not_shared"] == ["model.num_f0_bins: 8 and 256"]
    assert "MIXED" in comparison_notes(result)


def test_a_shared_setting_that_one_file_does_not_name_has_its_default(tmp_path):
    plant_with_settings(tmp_path / "a", "table3_m4")
    plant_with_settings(tmp_path / "b", "table3_ours")
    path = tmp_path / "a" / "results.json"
    results = json.loads(path.read_text())
    del results["digests"]  # as of an earlier version
    del results["settings"]["finetuning"]["lora_rank"]  # none, as ever
    path.write_text(json.dumps(results))
    assert choose_pairs(rows_of(tmp_path), DEFAULT_PAIRS)[1] == []
    del results["settings"]["model"]["num_f0_bins"]  # 256 by default
    path.write_text(json.dumps(results))
    assert "model.num_f0_bins: 8 and 256" in choose_pairs(rows_of(tmp_path), DEFAULT_PAIRS)[1][0]


def test_settings_of_version_0_1_are_read_by_their_present_names(tmp_path):
    plant_with_settings(tmp_path / "a", "table3_m4")
    plant_with_settings(tmp_path / "b", "table3_ours")
    path = tmp_path / "a" / "results.json"
    results = json.loads(path.read_text())
    del results["digests"]
    own = results["settings"]["finetuning"]
    own["epochs"] = int(own.pop("num_train_epochs"))
    own["group_by_length"] = own.pop("train_sampling_strategy") == "group_by_length"
    path.write_text(json.dumps(results))
    assert choose_pairs(rows_of(tmp_path), DEFAULT_PAIRS)[1] == []
    own["epochs"] = 7
    path.write_text(json.dumps(results))
    (refused,) = choose_pairs(rows_of(tmp_path), DEFAULT_PAIRS)[1]
    assert "finetuning.num_train_epochs: 30.0 and 7" in refused


def test_other_commits_and_what_names_show_may_be_compared(tmp_path):
    epochs = "finetuning.num_train_epochs=3"
    plant_with_settings(tmp_path / "a", "table3_m4", commit="a" * 40)
    plant_with_settings(tmp_path / "b", "table3_ours", overrides=(epochs,), commit="b" * 40)
    plant_run(tmp_path / "c", preset="baseline_compare", size=None)
    pairs, refused = choose_pairs(rows_of(tmp_path), DEFAULT_PAIRS)
    assert not refused and (f"table3_ours {epochs}", "table3_m4") in names(pairs)
    assert (f"table3_ours {epochs}", "baseline_compare") in names(pairs)
    (pair,) = [pair for pair in pairs if pair[1].key.preset == "table3_m4"]
    result = compared(*pair)
    assert result["commits"] == [["b" * 40], ["a" * 40]]
    assert result["settings_not_shared"] == []
    assert result["settings_overridden"] == ["finetuning.num_train_epochs: 3.0 and 30.0"]
