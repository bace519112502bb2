import numpy as np
import pyarrow.parquet
import pytest
from datasets import concatenate_datasets

from processing.errors import InputError
from train_scripts.baselines import baseline_runs as baselines
from train_scripts.baselines.baseline_runs import run_baseline
from train_scripts.cli import run
from train_scripts.reports.rows import group_rows
from train_scripts.run_baselines import app
from train_scripts.runs.finished_runs import read_runs
from train_scripts.runs.record import read_record

EMOTIONS = ("angry", "happy", "sad", "neutral")


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

    monkeypatch.setattr(baselines, "add_functionals", add)


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
    add = baselines.add_functionals

    def disturb(rows, feature_set, *, skip_bad):
        found = add(rows, feature_set, skip_bad=skip_bad)
        return found.map(
            lambda row: {"functionals": [1e3] * 8} if row["speaker"] == fold else {},
        )

    monkeypatch.setattr(baselines, "add_functionals", disturb)
    second = run_baseline("baseline_egemaps", output=tmp_path / "b", **options(corpus, fold))
    assert first.chosen == second.chosen and first.temperature == second.temperature
    assert first.metrics != second.metrics


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
