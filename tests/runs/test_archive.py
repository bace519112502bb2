import json
from pathlib import Path

import pyarrow.parquet
import pytest
from support.planted_runs import corpus_rows, plant_run
from typer.testing import CliRunner

from processing.errors import InputError
from train_scripts.experiments.cross_validation import not_archived
from train_scripts.experiments.units import plan_units
from train_scripts.report import app
from train_scripts.reports.writing import report
from train_scripts.runs.archive import read_archive, write_archive
from train_scripts.runs.finished_runs import read_runs
from train_scripts.runs.results import PREDICTIONS, VALIDATION_PREDICTIONS

ROWS = ("table3_ours", "table3_m1")


def plant_rows(folder: Path, seeds=(0, 1)) -> Path:
    for preset in ROWS:
        for seed in seeds:
            for fold in range(1, 6):
                place = folder / preset / str(seed) / str(fold)
                plant_run(place, preset=preset, seed=seed, fold=fold, words=True)
    return folder


@pytest.fixture(scope="module")
def archived(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    runs = plant_rows(folder / "runs")
    file = folder / "runs.parquet"
    arguments = [str(runs), "--output", str(folder / "report"), "--archive", str(file)]
    result = CliRunner().invoke(app, [*arguments, "--resamples", "2000"])
    assert result.exit_code == 0, result.output
    return runs, file


def figures(content):
    """Of each row and comparison what an archive keeps."""
    content = json.loads(json.dumps(content))
    rows = content["rows"]
    for row in rows:
        for name in ("minutes", "notes", "backbone"):
            del row[name]
        del row["metrics"]["word_error_rate"]
        for metric in row["metrics"].values():
            metric.pop("ensemble", None)  # planted probabilities tie, which float32 breaks
    return [rows, content["comparisons"]]


def test_a_report_of_an_archive_gives_the_figures_of_its_runs(archived, tmp_path):
    runs, file = archived
    of_runs = report([runs], tmp_path / "a", num_resamples=2000)
    of_file = report([file], tmp_path / "b", num_resamples=2000)
    assert figures(of_file) == approximately(figures(of_runs))
    pooled = [r["metrics"]["word_error_rate"]["pooled"] for r in of_file["rows"]]
    expected = [r["metrics"]["word_error_rate"]["pooled"] for r in of_runs["rows"]]
    assert pooled == pytest.approx(expected, abs=0.02)  # folds weigh by turns, not by words


def approximately(value):
    if isinstance(value, dict):
        return {k: approximately(v) for k, v in value.items()}
    if isinstance(value, list):
        return [approximately(v) for v in value]
    return pytest.approx(value, abs=1e-6) if isinstance(value, float) else value


def test_an_archive_holds_no_id_word_or_path_of_the_corpus(archived):
    runs, file = archived
    text = json.dumps(pyarrow.parquet.read_table(file).to_pylist())
    turns = [row["id"] for row in corpus_rows()]
    assert turns[0] == "s00-00"
    found = [*turns, *(w for row in corpus_rows() for w in row["text"].split())]
    assert [t for t in found if f'"{t}"' in text] == []
    assert str(runs) not in text


def test_runs_that_are_not_archived_yet_join_their_row(archived, tmp_path):
    _, file = archived
    later = plant_rows(tmp_path / "later", seeds=(2,))
    together = report([file, later], tmp_path / "a", num_resamples=2000)
    everything = report(
        [plant_rows(tmp_path / "all", seeds=(0, 1, 2))], tmp_path / "b", num_resamples=2000
    )
    assert figures(together) == approximately(figures(everything))
    assert all(row["seeds"] == [0, 1, 2] and row["complete"] for row in together["rows"])


def test_a_run_in_a_folder_and_in_the_archive_is_refused(archived, tmp_path):
    runs, file = archived
    with pytest.raises(InputError, match="is in the archive too"):
        report([file, runs], tmp_path, num_resamples=2000)


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="is no archive of runs"):
        read_archive(tmp_path / "x.parquet")


def test_archived_units_are_not_run_again(archived, tmp_path):
    units = plan_units(
        ["table3_m1"],
        ["1", "2"],
        3,
        tmp_path,
        overrides=["size=small"],
        data="d",
        protocol="speaker-5",
    )
    left = not_archived(units, read_archive(archived[1]))
    assert [(unit.seed, unit.fold) for unit in left] == [(2, "1"), (2, "2")]
    other = plan_units(
        ["table3_m1"],
        ["1"],
        1,
        tmp_path,
        overrides=["model.pooling=mean"],
        data="d",
        protocol="speaker-5",
    )
    assert not_archived(other, read_archive(archived[1])) == other


def test_an_archive_keeps_the_answers_that_weigh_a_fusion(tmp_path):
    folder = tmp_path / "runs" / "1"
    plant_run(folder, preset=ROWS[0], seed=0, fold=1, words=True)
    table = pyarrow.parquet.read_table(folder / PREDICTIONS).slice(0, 5)
    pyarrow.parquet.write_table(table, folder / VALIDATION_PREDICTIONS)
    file = tmp_path / "runs.parquet"
    write_archive(read_runs([folder])[0], file)
    (run,) = read_archive(file)
    stored = table.to_pydict()
    assert len(run.turns["id"]) > len(run.validation_turns["id"]) == 5
    for name in ("label", "prediction"):
        assert run.validation_turns[name] == stored[name]
    for name in [name for name in stored if name.startswith("probability_")]:
        assert run.validation_turns[name] == pytest.approx(stored[name])
    text = json.dumps(pyarrow.parquet.read_table(file).to_pylist())
    assert [turn for turn in stored["id"] if f'"{turn}"' in text] == []


def test_an_archive_keeps_the_groups_of_people_that_are_known(tmp_path):
    plant_run(tmp_path / "run", preset=ROWS[0], seed=0, fold=1)
    (run,) = read_runs([tmp_path / "run"])[0]
    run.turns["gender"] = ["female", None] * (len(run.turns["id"]) // 2)
    write_archive([run], tmp_path / "runs.parquet")
    (kept,) = read_archive(tmp_path / "runs.parquet")
    assert kept.turns["gender"] == run.turns["gender"] and "age" not in kept.turns
