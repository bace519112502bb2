import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from support.planted_runs import LABELS, corpus_rows, fold_rows, plant_row, plant_run
from support.records import edit_record, seal_again

from processing.errors import InputError
from train_scripts.reports.fusion import choose_weight, combine, fuse_rows
from train_scripts.reports.rows import group_rows
from train_scripts.reports.writing import report
from train_scripts.runs.finished_runs import read_runs

OURS, SVM = "table3_ours", "baseline_compare"


@pytest.fixture
def planted(tmp_path):
    plant_row(tmp_path, OURS, seeds=(0, 1), right=0.6, n_parameters=1000)
    plant_row(tmp_path, SVM, seeds=(0,), size=None, right=0.6, n_parameters=None)
    return tmp_path


def rows_of(folder):
    return group_rows(read_runs([folder])[0])


def set_probabilities(folder, rows, name="predictions.parquet"):
    """Write answers by hand: {id: probabilities}."""
    path = folder / name
    table = pyarrow.parquet.read_table(folder / "predictions.parquet").to_pydict()
    keep = [k for k, turn in enumerate(table["id"]) if turn in rows]
    table = {column: [values[k] for k in keep] for column, values in table.items()}
    for j, label in enumerate(LABELS):
        table[f"probability_{label}"] = [rows[turn][j] for turn in table["id"]]
    table["prediction"] = [LABELS[int(np.argmax(rows[turn]))] for turn in table["id"]]
    pyarrow.parquet.write_table(pyarrow.table(table), path)


def test_the_answer_is_that_of_the_mean_log_probability():
    first, second = np.array([[0.6, 0.4]]), np.array([[0.2, 0.8]])
    expected = np.sqrt(first * second) / np.sqrt(first * second).sum()
    assert np.allclose(combine(np.log(first), np.log(second), 0.5), expected)
    assert np.allclose(combine(np.log(first), np.log(second), 1.0), first)
    assert np.allclose(combine(np.log(first), np.log(second), 0.0), second)


def test_a_combination_is_a_row_of_its_own(planted):
    rows = rows_of(planted)
    (fused,) = fuse_rows(rows, [f"{OURS}+{SVM}"])
    assert fused.key.preset == f"{OURS}+{SVM}" and fused.key.size is None
    assert fused.seeds == [0, 1] and len(fused.folds) == 5 and not fused.missing
    assert not fused.is_deterministic
    run = fused.runs[1, "2"]
    assert "equal weights" in run.results.settings["fusion"]
    assert run.results.n_parameters is None and run.results.seed == 1
    # the one seed of the machine stands beside both of the network
    network, machine = rows[1].runs[1, "2"], rows[0].runs[0, "2"]
    assert network.key.preset == OURS
    expected = combine(
        *(
            np.log(np.transpose([r.turns[f"probability_{n}"] for n in LABELS]))
            for r in (network, machine)
        ),
        0.5,
    )
    found = np.transpose([run.turns[f"probability_{n}"] for n in LABELS])
    assert np.allclose(found, expected)
    assert run.turns["prediction"] == [LABELS[k] for k in expected.argmax(1)]


def test_turns_are_matched_by_id_and_not_by_place(planted):
    (before,) = fuse_rows(rows_of(planted), [f"{OURS}+{SVM}"])
    for path in (planted / SVM).rglob("predictions.parquet"):
        table = pyarrow.parquet.read_table(path)
        pyarrow.parquet.write_table(table.take(list(range(len(table)))[::-1]), path)
        seal_again(path.parent)
    (after,) = fuse_rows(rows_of(planted), [f"{OURS}+{SVM}"])
    assert before.runs[0, "1"].turns == after.runs[0, "1"].turns


def test_each_counts_at_the_temperature_that_validation_found(planted, tmp_path):
    from train_scripts.runs.record import Calibration

    loud = Calibration(
        temperature=100.0,
        fitted_temperature=100.0,
        kept=True,
        abstain_below=0.0,
        num_turns=1,
        ece_before=0.0,
        ece_after=0.0,
        nll_before=0.0,
        nll_after=0.0,
        wanted_risk=None,
        risk_coverage=[],
    )
    for path in (planted / OURS).rglob("results.json"):
        edit_record(path.parent, calibration=loud)
    rows = rows_of(planted)
    (fused,) = fuse_rows(rows, [f"{OURS}+{SVM}"])
    run, machine = fused.runs[0, "1"], rows[0].runs[0, "1"]
    assert run.turns["prediction"] == machine.turns["prediction"]  # the other hardly counts


def test_validation_turns_choose_the_weight_where_both_stored_them(tmp_path):
    turns = fold_rows(corpus_rows(), 1)
    for name in (OURS, SVM):
        plant_run(tmp_path / name, preset=name, size="small" if name == OURS else None)
    right = {t["id"]: np.where(np.eye(4)[LABELS.index(t["emotion"])] > 0, 0.7, 0.1) for t in turns}
    wrong = {turn: np.roll(values, 1) for turn, values in right.items()}
    for name, answers in ((OURS, wrong), (SVM, right)):
        set_probabilities(tmp_path / name, answers, "validation_predictions.parquet")
    rows = rows_of(tmp_path)
    (fused,) = fuse_rows(rows, [f"{OURS}+{SVM}"])
    # of the weights that are right everywhere the nearest to a half is taken
    assert "0.4 to 0.4, chosen by UAR" in fused.first.results.settings["fusion"]
    assert choose_weight(rows[0].first, rows[1].first) == 0.6
    (tmp_path / OURS / "validation_predictions.parquet").unlink()
    (fused,) = fuse_rows(rows_of(tmp_path), [f"{OURS}+{SVM}"])
    assert "equal weights" in fused.first.results.settings["fusion"]


def test_the_report_has_the_row_and_says_how_it_was_made(planted, tmp_path):
    content = report([planted], tmp_path / "report", fuse=[f"{OURS}+{SVM}"], num_resamples=2000)
    (row,) = [r for r in content["rows"] if "+" in r["preset"]]
    assert row["metrics"]["unweighted_average_recall"]["interval_95"] is not None
    assert any("mean of log-probabilities" in note for note in row["notes"])
    text = (tmp_path / "report" / "report.md").read_text()
    assert f"`{OURS}+{SVM}`" in text


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("table3_ours", r"expected FIRST\+SECOND"),
        ("table3_ours+baseline_egemaps", "no corpus and protocol has rows of both"),
        ("a+b+c", r"expected FIRST\+SECOND"),
    ],
)
def test_wrong_combinations_are_refused(planted, wanted, message):
    with pytest.raises(InputError, match=message):
        fuse_rows(rows_of(planted), [wanted])


def test_other_test_turns_are_not_fused(tmp_path):
    plant_run(tmp_path / "a", preset=OURS)
    plant_run(tmp_path / "b", preset=SVM, size=None, test=fold_rows(corpus_rows(), 2))
    with pytest.raises(InputError, match="tested on other turns"):
        fuse_rows(rows_of(tmp_path), [f"{OURS}+{SVM}"])
