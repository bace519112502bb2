import pyarrow.parquet
import pytest
from support.planted_runs import LABELS, corpus_rows, plant_pretraining, plant_row, plant_run
from support.records import edit_record, seal_again

from processing.errors import InputError
from train_scripts.reports.rows import group_rows
from train_scripts.runs.finished_runs import RowKey, read_runs


def rows_of(*folders):
    scored, _, _ = read_runs(folders)
    return group_rows(scored)


def test_folds_and_seeds_share_a_row_and_settings_make_another(tmp_path):
    plant_row(tmp_path, "table3_ours", seeds=(0, 1))
    other = ("model.timbre_input=raw",)
    plant_row(tmp_path / "raw", "table3_ours", seeds=(0, 1), overrides=other)
    plain, raw = rows_of(tmp_path)
    assert plain.seeds == [0, 1] and plain.folds == ["1", "2", "3", "4", "5"]
    assert len(plain.runs) == 10 and not plain.missing
    assert plain.key == RowKey("planted", "speaker-5", "table3_ours", "small", ())
    assert raw.key.overrides == other and raw.key.slug != plain.key.slug


def test_folders_given_twice_are_read_once(tmp_path):
    plant_run(tmp_path / "a" / "b")
    (row,) = rows_of(tmp_path, tmp_path / "a")
    assert len(row.runs) == 1


def test_pretraining_and_foreign_results_are_told_apart(tmp_path):
    plant_run(tmp_path / "run")
    plant_pretraining(tmp_path / "pretrained")
    plant_run(tmp_path / "evaluated", preset="x", fold=2)
    edit_record(tmp_path / "evaluated", preset=None)
    scored, pretrained, passed_over = read_runs([tmp_path])
    assert [run.folder.name for run in scored] == ["run"]
    assert [run.folder.name for run in pretrained] == ["pretrained"]
    assert len(passed_over) == 1 and "evaluated" in passed_over[0]


def test_missing_folds_seeds_and_turns_are_named(tmp_path):
    plant_row(tmp_path, "table3_ours", seeds=(0, 1))
    plant_row(tmp_path, "table3_m4", seeds=(0,), folds=(1, 3))
    plant_row(tmp_path, "baseline_compare", seeds=(0,), size=None)
    baseline, m4, ours = rows_of(tmp_path)
    assert not ours.missing and not baseline.missing
    assert m4.missing[0] == "seed 0: fold 2, 4, 5" and m4.missing[1] == "seed 1"
    assert m4.missing[2] == "72 of the corpus's 120 turns are in no tested fold"


def test_a_fold_that_no_row_has_is_still_missed(tmp_path):
    plant_row(tmp_path, "table3_ours", seeds=(0,), folds=(1, 2, 3, 4), protocol="speaker")
    (row,) = rows_of(tmp_path)
    assert row.missing == ["24 of the corpus's 120 turns are in no tested fold"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["angry", "happy", "neutral", "sad"]}, "other labels"),
        ({"pretrained": "pretrained"}, "other pre-training"),
        ({"settings": {"preset": "table3_ours", "learning_rate": 0.1}}, "other settings"),
    ],
)
def test_what_cannot_share_a_row_is_refused(tmp_path, changes, message):
    plant_run(tmp_path / "a")
    plant_run(tmp_path / "b", fold=2, **changes)
    with pytest.raises(InputError, match=message) as error:
        rows_of(tmp_path)
    assert str(tmp_path / "a") in str(error.value) and str(tmp_path / "b") in str(error.value)


def test_another_split_of_the_same_fold_is_refused(tmp_path):
    plant_run(tmp_path / "a", seed=0)
    plant_run(tmp_path / "b", seed=1)
    edit_record(tmp_path / "b", protocol={"hash": "other"})
    with pytest.raises(InputError, match="hash of the protocol's fold 1 .*other"):
        rows_of(tmp_path)


def test_folds_of_two_versions_of_a_corpus_are_refused(tmp_path):
    plant_run(tmp_path / "a", fold=1)
    plant_run(tmp_path / "b", fold=2, rows=corpus_rows(turns_each=8))
    with pytest.raises(InputError, match="number of turns of the corpus"):
        rows_of(tmp_path)


def test_the_same_fold_and_seed_twice_is_refused(tmp_path):
    plant_run(tmp_path / "a")
    plant_run(tmp_path / "b")
    with pytest.raises(InputError, match="both are fold 1, seed 0"):
        rows_of(tmp_path)


def test_damaged_and_missing_files_are_named(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        read_runs([tmp_path / "nowhere"])
    with pytest.raises(InputError, match="no finished run"):
        read_runs([tmp_path])
    plant_run(tmp_path / "a")
    path = tmp_path / "a" / "predictions.parquet"
    table = pyarrow.parquet.read_table(path)
    pyarrow.parquet.write_table(table.slice(1), path)
    with pytest.raises(InputError, match=r"predictions.parquet: was changed after the run"):
        read_runs([tmp_path])
    seal_again(tmp_path / "a")
    with pytest.raises(InputError, match="23 turns, expected the 24"):
        read_runs([tmp_path])
    path.write_bytes(b"PAR1")
    seal_again(tmp_path / "a")
    with pytest.raises(InputError, match="cannot be read"):
        read_runs([tmp_path])
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        read_runs([tmp_path])
    (tmp_path / "a" / "results.json").write_text("{")
    with pytest.raises(InputError, match=r"results.json: cannot be read"):
        read_runs([tmp_path])


def test_labels_come_from_the_results(tmp_path):
    plant_run(tmp_path / "a")
    (row,) = rows_of(tmp_path)
    assert row.labels == LABELS
