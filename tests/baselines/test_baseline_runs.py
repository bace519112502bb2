import numpy as np
import pyarrow.parquet
import pytest
from datasets import concatenate_datasets

from processing.errors import InputError
from train_scripts.baselines import functional_machine, prognet
from train_scripts.baselines.baseline_runs import run_baseline
from train_scripts.cli import run
from train_scripts.reports.rows import group_rows
from train_scripts.run_baselines import app
from train_scripts.runs.finished_runs import read_runs
from train_scripts.runs.record import read_record

EMOTIONS = ("angry", "happy", "sad", "neutral")
SPEAKERS = "source_task=speaker"
"""The training speakers of the fold may be of one gender."""


@pytest.fixture
def planted_functionals(monkeypatch):
    """Functionals that carry emotion and speaker, instead of openSMILE's."""

    def add(corpus, feature_set, *, skip_bad):
        generator = np.random.default_rng(0)
        speakers = sorted(set(corpus["speaker"]))
        values = 0.5 * generator.standard_normal((len(corpus), 8))
        values[:, :4] += 3 * np.eye(4)[[EMOTIONS.index(e) for e in corpus["emotion"]]]
        values[:, 4:] += np.eye(4)[[speakers.index(s) for s in corpus["speaker"]]]
        return corpus.add_column("functionals", list(values))

    for module in (functional_machine, prognet):
        monkeypatch.setattr(module, "add_functionals", add)


def options(corpus, fold):
    return {"data": corpus, "protocol": "speaker", "fold": fold}


def test_majority_answers_the_largest_training_class(corpus, fold, tmp_path):
    places = [i for i, speaker in enumerate(corpus["speaker"]) if speaker != fold]
    dropped = []
    for emotion in ("angry", "happy", "neutral"):
        dropped += [i for i in places if corpus["emotion"][i] == emotion][::2]
    few = corpus.select(sorted(set(range(len(corpus))) - set(dropped)))
    results = run_baseline("baseline_majority", output=tmp_path / "run", **options(few, fold))
    turns = pyarrow.parquet.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    assert set(turns["prediction"]) == {"sad"}
    sad = turns["label"].count("sad") / len(turns["label"])
    assert results.metrics.weighted_accuracy == pytest.approx(sad)
    assert results.metrics.unweighted_average_recall == pytest.approx(0.25)
    probabilities = [turns[f"probability_{e}"][0] for e in results.labels]
    assert sum(probabilities) == pytest.approx(1) and max(probabilities) > 0.25


def test_a_run_looks_for_test_turns_that_are_copied_in_training(corpus, fold, tmp_path):
    clean = run_baseline("baseline_majority", output=tmp_path / "a", **options(corpus, fold))
    splits = [clean.leaks.in_train["identical_audio"], clean.leaks.in_validation["identical_audio"]]
    assert splits == [0, 0] and clean.leaks.in_train["near_identical_audio"] is None
    others = sorted(set(corpus["speaker"]) - {fold})
    copies = corpus.select([list(corpus["speaker"]).index(fold)] * len(others))
    for name, values in (("id", [f"copy of {other}" for other in others]), ("speaker", others)):
        copies = copies.remove_columns(name).add_column(name, values)
    planted = concatenate_datasets([corpus, copies.select_columns(corpus.column_names)])
    found = run_baseline("baseline_majority", output=tmp_path / "b", **options(planted, fold))
    assert found.leaks.in_train["identical_audio"] == 1


def test_a_machine_has_the_results_of_a_run(corpus, fold, tmp_path, planted_functionals):
    results = run_baseline("baseline_compare", output=tmp_path / "run", **options(corpus, fold))
    assert read_record(tmp_path / "run") == results
    assert results.metrics.weighted_accuracy > 0.8
    for name in ("word_error_rate", "speaker_accuracy", "speech_mse", "speech_mse_padded"):
        assert getattr(results.metrics, name) is None
    assert results.protocol.name == "speaker" and results.fold == fold
    assert results.leaks.in_train["speaker"] == 0
    assert results.chosen["inner_uar"] > 0.8 and results.temperature > 0
    turns = pyarrow.parquet.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    assert set(turns["speaker"]) == {fold}
    sums = sum(np.array(turns[f"probability_{e}"]) for e in results.labels)
    assert sums == pytest.approx(1)
    (row,) = group_rows(read_runs([tmp_path])[0])
    assert row.key.size is None and row.key.preset == "baseline_compare"


def test_the_test_turns_change_nothing_that_was_learnt(
    corpus, fold, tmp_path, planted_functionals, monkeypatch
):
    first = run_baseline("baseline_egemaps", output=tmp_path / "a", **options(corpus, fold))
    add = functional_machine.add_functionals

    def disturb(rows, feature_set, *, skip_bad):
        found = add(rows, feature_set, skip_bad=skip_bad)
        return found.map(
            lambda row: {"functionals": [1e3] * 8} if row["speaker"] == fold else {},
        )

    monkeypatch.setattr(functional_machine, "add_functionals", disturb)
    second = run_baseline("baseline_egemaps", output=tmp_path / "b", **options(corpus, fold))
    assert first.chosen == second.chosen and first.temperature == second.temperature
    assert first.metrics != second.metrics


def test_a_network_leaves_behind_what_a_preset_does(corpus, fold, tmp_path, planted_functionals):
    settings = ["num_epochs=40", "hidden_size=16", "batch_size=8", "dropout=0.0"]
    settings += ["learning_rate=1e-2", SPEAKERS]
    record = run_baseline(
        "table4_prognet", output=tmp_path / "run", overrides=settings, **options(corpus, fold)
    )
    assert read_record(tmp_path / "run") == record
    assert record.metrics.unweighted_average_recall > 0.6
    assert record.selected_by == "validation" and record.precision == "float32"
    assert record.calibration.ece_test_before is not None
    assert record.validation_metrics.num_turns == record.leaks.turns["validation"]
    assert record.settings["reconstruction"] == ["source_task", "late_from"]
    assert record.settings["hidden_size"] == 16 and record.settings["overrides"] == settings
    names = ("predictions.parquet", "validation_predictions.parquet")
    tables = [pyarrow.parquet.read_table(tmp_path / "run" / n).to_pydict() for n in names]
    assert set(tables[0]["speaker"]) == {fold} and fold not in tables[1]["speaker"]
    assert set(tables[0]) == set(tables[1])
    (row,) = group_rows(read_runs([tmp_path])[0])
    assert row.key.size is None and not row.is_deterministic and row.key.overrides


def test_test_turns_change_nothing_of_a_network(
    corpus, fold, tmp_path, planted_functionals, monkeypatch
):
    settings = ["num_epochs=3", "hidden_size=8", SPEAKERS]
    runs = {"overrides": settings, **options(corpus, fold)}
    first = run_baseline("table4_prognet", output=tmp_path / "a", **runs)
    add = prognet.add_functionals

    def disturb(rows, feature_set, *, skip_bad):
        found = add(rows, feature_set, skip_bad=skip_bad)
        return found.map(
            lambda row: {"functionals": [1e3] * 8} if row["speaker"] == fold else {},
        )

    monkeypatch.setattr(prognet, "add_functionals", disturb)
    second = run_baseline("table4_prognet", output=tmp_path / "b", **runs)
    assert first.validation_metrics == second.validation_metrics
    assert first.calibration.fitted_temperature == second.calibration.fitted_temperature


def test_seeds_draw_other_networks_and_the_same_one_again(
    corpus, fold, tmp_path, planted_functionals
):
    runs = {"overrides": ["num_epochs=2", "hidden_size=8", SPEAKERS], **options(corpus, fold)}
    logits = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run_baseline("table4_prognet", output=tmp_path / name, seed=seed, **runs)
        table = pyarrow.parquet.read_table(tmp_path / name / "predictions.parquet")
        logits.append(np.array(table["probability_sad"]))
    assert (logits[0] == logits[1]).all() and (logits[0] != logits[2]).any()


@pytest.mark.parametrize("system", ["table4_prognet", "table4_multitask_aae"])
def test_a_gender_task_without_genders_is_refused_in_one_line(
    system, corpus, fold, tmp_path, planted_functionals, monkeypatch
):
    from train_scripts.baselines import multitask_aae

    monkeypatch.setattr(multitask_aae, "add_functionals", prognet.add_functionals)
    unknown = corpus.remove_columns("gender").add_column("gender", [None] * len(corpus))
    with pytest.raises(InputError, match=f"{system}: its task 'gender' needs") as refused:
        run_baseline(system, output=tmp_path / "run", **options(unknown, fold))
    assert "The row is not run" in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "run" / "results.json").exists()


def test_a_protocol_without_validation_will_do(corpus, fold, tmp_path, planted_functionals):
    wanted = {**options(corpus, fold), "protocol": "speaker-paper"}
    results = run_baseline("baseline_compare", output=tmp_path / "run", **wanted)
    assert results.leaks.turns["validation"] == 0
    assert results.metrics.weighted_accuracy > 0.8


def test_finished_and_unknown_runs_are_refused(corpus, fold, tmp_path):
    run_baseline("baseline_majority", output=tmp_path / "run", **options(corpus, fold))
    with pytest.raises(InputError, match="finished run"):
        run_baseline("baseline_majority", output=tmp_path / "run", **options(corpus, fold))
    with pytest.raises(InputError, match="no baseline 'baseline_x'. Choose one of: baseline_maj"):
        run_baseline("baseline_x", output=tmp_path / "x", **options(corpus, fold))
    assert not (tmp_path / "x").exists()


def test_the_command_runs_all_folds_and_goes_on(corpus_folder, corpus, tmp_path, capsys):
    arguments = ["baseline_majority", "--data", str(corpus_folder), "--protocol", "speaker"]
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            run(app, [*arguments, "--output", str(tmp_path)])
        assert ended.value.code == 0
    folders = sorted(path.name for path in (tmp_path / "baseline_majority" / "seed-0").iterdir())
    assert folders == [f"fold-{speaker}" for speaker in sorted(set(corpus["speaker"]))]
    (row,) = group_rows(read_runs([tmp_path])[0])
    assert not row.missing


def test_several_systems_run_and_what_is_refused_is_listed(
    corpus_folder, fold, tmp_path, capsys, planted_functionals, monkeypatch
):
    def refuse(data, task, name):
        raise InputError(f"{name}: its task '{task}' needs the {task}.")

    monkeypatch.setattr(prognet, "require_labels", refuse)
    arguments = ["baseline_majority", "table4_prognet", "--data", str(corpus_folder)]
    arguments += ["--protocol", "speaker-paper", "--folds", fold, "--seeds", "2"]
    with pytest.raises(SystemExit) as ended:
        run(app, [*arguments, "--output", str(tmp_path)])
    assert ended.value.code == 3
    assert "NOT RUN: table4_prognet: its task 'gender'" in capsys.readouterr().err
    assert len(list(tmp_path.rglob("results.json"))) == 1  # one seed is enough for the majority
