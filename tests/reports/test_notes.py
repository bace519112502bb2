import pytest
from support.planted_runs import plant_row, plant_run
from support.records import edit_record

from train_scripts.reports.notes import note_other_splits, transcript_notes
from train_scripts.reports.rows import group_rows
from train_scripts.reports.scores import score_row
from train_scripts.runs.archive import read_archive, write_archive
from train_scripts.runs.finished_runs import read_runs
from train_scripts.runs.record import read_record

LEAKING = {"leaks": True}


def notes_of(folder):
    (row,) = group_rows(read_runs([folder])[0])
    return score_row(row, num_resamples=2000, seed=0)["notes"]


def test_a_clean_row_has_no_note(tmp_path):
    plant_row(tmp_path, "table3_ours", seeds=(0,), words=True)
    assert notes_of(tmp_path) == []


def test_leaks_come_first_and_name_their_kind(tmp_path):
    plant_run(tmp_path / "rule")
    edit_record(tmp_path / "rule", protocol=LEAKING)
    assert notes_of(tmp_path / "rule")[0].startswith("LEAKS by its protocol")
    plant_run(tmp_path / "overlap")
    edit_record(tmp_path / "overlap", protocol=LEAKING, pretraining_overlap="3 of the test turns")
    notes = notes_of(tmp_path / "overlap")
    assert notes[0] == "LEAKS by pre-training in 1 of 1 runs: 3 of the test turns"
    assert not any("by its protocol" in note for note in notes)
    plant_run(tmp_path / "copies")
    leaks = {"in_train": {"identical_audio": 2, "near_identical_audio": 3}}
    edit_record(tmp_path / "copies", leaks=leaks)
    (note,) = [n for n in notes_of(tmp_path / "copies") if n.startswith("LEAKS")]
    assert "2 test turns have a copy in training" in note
    plant_run(tmp_path / "shared")
    edit_record(tmp_path / "shared", leaks={"shared_speakers": ["s00"]})
    assert notes_of(tmp_path / "shared")[0] == "LEAKS: test speakers are in training"


def test_selection_by_the_test_fold_is_said(tmp_path):
    plant_run(tmp_path / "a", selected_by="test")
    plant_run(tmp_path / "b", fold=2)
    assert "SELECTED BY THE TEST FOLD in 1 of 2 runs" in notes_of(tmp_path)


def test_training_on_validation_speakers_is_said(tmp_path):
    plant_row(tmp_path, "table3_ours", seeds=(0,))
    for path in list(tmp_path.rglob("results.json")):
        settings = read_record(path).settings
        edit_record(path.parent, settings={**settings, "train_on_validation": True})
    assert notes_of(tmp_path) == ["trained on validation speakers as well"]


@pytest.mark.parametrize(("memorised", "noted"), [(0, False), (2, False), (3, True), (24, True)])
def test_memorised_sentences_are_decided_by_their_share(tmp_path, memorised, noted):
    plant_run(tmp_path / "a", words=True, memorised=memorised)
    notes = [n for n in notes_of(tmp_path) if "memorised" in n]
    assert bool(notes) == noted
    if noted:
        assert f"{memorised / 24:.0%} of the test turns" in notes[0] and "of 3 in all" in notes[0]


def test_an_archive_which_keeps_no_words_does_not_count_sentences(tmp_path):
    plant_run(tmp_path / "a", words=True, memorised=24)
    write_archive(read_runs([tmp_path / "a"])[0], tmp_path / "runs.parquet")
    (row,) = group_rows(read_archive(tmp_path / "runs.parquet"))
    (note,) = [n for n in transcript_notes(list(row.runs.values())) if "memorised" in n]
    assert note.endswith("100% of the test turns say one of training's")


def test_a_row_without_words_says_nothing_of_them(tmp_path):
    plant_run(tmp_path / "a", memorised=24)
    assert not any("memorised" in note for note in notes_of(tmp_path))


def test_tasks_and_commits_are_noted(tmp_path):
    plant_run(tmp_path / "a", tasks_switched_off={"ctc": "no text"})
    plant_run(tmp_path / "b", fold=2, commit="d" * 40 + "+changes")
    notes = notes_of(tmp_path)
    assert "task ctc switched off for lack of labels" in notes
    assert "runs of 2 commits" in notes and "source differed from its commit" in notes


def test_rows_of_other_splits_are_marked():
    rows = [
        {"title": title, "notes": [], "protocol": {"hash_of_fold": hashes}, "training": None}
        for title, hashes in (("a", {"1": "x"}), ("b", {"1": "x", "2": "y"}), ("c", {"2": "z"}))
    ]
    note_other_splits(rows)
    assert [row["notes"] for row in rows[:2]] == [[], []]
    assert rows[2]["notes"] == ["OTHER SPLITS than b: not to be compared with it"]
