import json
import re

import pytest
import yaml
from huggingface_hub import EvalResult
from huggingface_hub.repocard_data import eval_results_to_model_index
from support.planted_runs import plant_pretraining, plant_row, plant_run

from processing.errors import InputError
from train_scripts.baselines.systems import is_system
from train_scripts.cli import run
from train_scripts.report import app
from train_scripts.reports.writing import PAPER_TABLES, parse_pair, report
from train_scripts.runs.settings import load_settings, preset_names


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Runs of a small campaign, and their report: (folder of runs, folder of report, content)."""
    root = tmp_path_factory.mktemp("campaign")
    for preset, right in (("table3_m3", 0.5), ("table3_ours", 0.7)):
        plant_row(root / "runs", preset, seeds=(0, 1), right=right, words=preset == "table3_ours")
    plant_row(root / "runs", "table3_m4", seeds=(0,), folds=(1, 2), right=0.5)
    plant_row(root / "runs", "baseline_compare", seeds=(0,), size=None, right=0.6)
    for fold in (1, 2):
        plant_pretraining(root / "runs" / "pretrained" / f"fold-{fold}", fold=fold)
    pairs = [("every", "table3_m3"), ("table3_ours", "table3_m4")]
    content = report([root / "runs"], root / "report", pairs=pairs, num_resamples=2000)
    return root / "runs", root / "report", content


def cells_of(markdown, name):
    """Cells of the first line of a table that begins with a name."""
    line = next(line for line in markdown.splitlines() if line.startswith(f"| {name}"))
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_every_file_it_speaks_of_exists_and_no_other(planted):
    _, folder, content = planted
    text = (folder / "report.md").read_text()
    linked = set(re.findall(r"\]\(([^)]+)\)", text))
    assert linked == {path.name for path in folder.glob("*.png")}
    assert json.loads((folder / "report.json").read_text()) == content


def test_figures_stand_beside_those_of_the_paper(planted):
    _, folder, content = planted
    text = (folder / "report.md").read_text()
    rows = {row["preset"]: row for row in content["rows"]}
    ours = rows["table3_ours"]["metrics"]
    cells = cells_of(text, "Ours (`table3_ours`)")
    assert cells[1] == "98.60 %" and cells[5] == "77.59 %" and cells[7] == "77.50 %"
    assert cells[8].startswith(f"{100 * ours['weighted_accuracy']['pooled']:.2f} % [")
    assert cells[6] == f"{100 * (1 - ours['word_error_rate']['pooled']):.2f} %"
    # One model stands in two tables.
    assert "run as `table3_m3`, the same model" in cells_of(text, "All (`table2_all`)")[-1]
    assert "not run" in cells_of(text, "Z_F (`table2_pitch`)")
    assert "INCOMPLETE" in cells_of(text, "M4 (`table3_m4`)")[-1]
    assert cells_of(text, "ProgNet [19]")[1] == "65.70 % (unverified)"
    assert cells_of(text, "angry") == ["angry", "1103", "83.0", "30", "1.0"]
    assert cells_of(text, "total") == ["total", "5531", "419.3", "120", "7.0"]


def test_rows_say_whether_they_resampled_and_were_pretrained(tmp_path):
    for preset, changes, pretrained in (
        ("table3_ours", ["model.resampling_in_finetuning=false"], None),
        ("table3_m4", [], None),
        ("table3_m3", ["pretraining.max_steps=2500"], "x"),
    ):
        settings = load_settings(preset, ["size=small", *changes]).as_dict()
        settings = json.loads(json.dumps({**settings, "overrides": changes}))
        plant_run(tmp_path / preset, preset=preset, settings=settings, pretrained=pretrained)
    plant_run(tmp_path / "baseline", preset="baseline_compare", size=None)
    content = report([tmp_path], tmp_path / "report", num_resamples=2000)
    text = (tmp_path / "report" / "report.md").read_text()
    told = {row["preset"]: (row["resampled"], row["pretraining_steps"]) for row in content["rows"]}
    assert told["table3_ours"] == (False, 0) and told["table3_m3"] == (True, 2500)
    assert told["table3_m4"] == (None, 0)  # its encoder reads the input as it is
    assert told["baseline_compare"] == (None, None)
    assert cells_of(text, "`table3_ours")[2:4] == ["off", "none"]
    assert cells_of(text, "`table3_m3")[2:4] == ["on", "2,500 steps"]
    assert cells_of(text, "`table3_m4`")[2:4] == ["-", "none"]
    assert cells_of(text, "`baseline_compare`")[2:4] == ["-", "-"]
    assert cells_of(text, "Ours (`table3_ours`)")[-3:-1] == ["off", "none"]


def test_the_captions_say_what_intervals_leave_out_and_padding_counts(planted):
    _, folder, content = planted
    text = (folder / "report.md").read_text()
    words = " ".join(text.split())
    assert "counts speakers only (2000 bootstrap resamples" in words
    assert "and leaves out the noise of seeds" in words
    assert "Intervals count speakers and seeds, and speakers only where a row has one seed" in words
    counts = {tuple(c["titles"]): c["interval_counts"] for c in content["comparisons"]}
    assert counts["baseline_compare", "table3_m3"] == "speakers and seeds"  # M3 has two
    assert counts["table3_m4", "table3_m3"] == "speakers"
    for (first, second), counted in counts.items():
        assert cells_of(text, f"`{first}` against `{second}`")[8] == counted
    assert "counts every frame of padding as right" in words
    (ours,) = [row for row in content["rows"] if row["preset"] == "table3_ours"]
    low, high = sorted(ours["metrics"]["weighted_accuracy"]["per_seed"].values())
    assert cells_of(text, "`table3_ours`")[8] == f"{low:.3f} to {high:.3f}"


def test_tables_have_as_many_cells_in_every_line(planted):
    _, folder, _ = planted
    for block in (folder / "report.md").read_text().split("\n\n"):
        widths = {line.count(" | ") for line in block.splitlines() if line.startswith("| ")}
        assert len(widths) <= 1, block
        assert not widths or block.splitlines()[1].startswith("| ---")


def test_every_number_says_what_it_rests_on(planted):
    *_, content = planted
    for row in content["rows"]:
        for entry in ("num_turns", "seeds", "folds", "commits"):
            assert row[entry]
        assert row["protocol"]["name"] == "speaker-5" and len(row["protocol"]["hash"]) == 16
    assert len(content["comparisons"]) == 4
    for comparison in content["comparisons"]:
        assert comparison["num_turns"] and comparison["num_speakers"] and comparison["seeds"]


def test_pretraining_is_reported_with_its_last_losses(planted):
    *_, content = planted
    (curve,) = content["pretraining"]
    assert (curve["num_runs"], curve["steps"], curve["folds"]) == (2, 100, ["1", "2"])
    expected = (0.1 / 100 + 0.001 + 0.1 / 100 + 0.002) / 2
    assert curve["last"]["loss_reconstruction"] == pytest.approx(expected)


def test_results_for_the_card_are_what_the_hub_reads(planted):
    *_, content = planted
    entry = next(e for e in content["model_index"] if "table3_ours" in e["row"])
    results = [EvalResult(**arguments) for arguments in entry["results"]]
    (model,) = eval_results_to_model_index("ours", results)
    kinds = {metric["type"] for result in model["results"] for metric in result["metrics"]}
    assert kinds == {"accuracy", "recall", "f1", "wer"}
    row = next(row for row in content["rows"] if row["preset"] == "table3_ours")
    accuracy = next(e for e in entry["results"] if e["metric_type"] == "accuracy")
    assert accuracy["metric_value"] == row["metrics"]["weighted_accuracy"]["pooled"]
    interval = row["metrics"]["weighted_accuracy"]["interval_95"]
    assert accuracy["metric_args"]["interval_95"] == interval


def test_the_same_runs_give_the_same_report(planted, tmp_path):
    runs, *_ = planted
    for name in ("a", "b"):
        report([runs / "table3_m4"], tmp_path / name, num_resamples=2000)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_no_path_of_the_machine_is_in_the_report(planted):
    runs, folder, _ = planted
    for name in ("report.md", "report.json"):
        assert str(runs.parent) not in (folder / name).read_text()


def test_every_preset_of_the_paper_exists():
    paper = yaml.safe_load(PAPER_TABLES.read_text(encoding="utf-8"))
    lines = [line for name in ("table2", "table3", "table4") for line in paper[name]["rows"]]
    wanted = {line["preset"] for line in lines if "preset" in line}
    systems = {name for name in wanted if is_system(name)}
    assert len(systems) == 4 and len(wanted - systems) == 10
    assert wanted - systems <= set(preset_names())
    assert not any("tables" in name for name in preset_names())
    classes = paper["table1"]["rows"]
    assert sum(row["turns"] for name, row in classes.items() if name != "total") == 5531


def test_pretraining_alone_makes_a_report(tmp_path):
    plant_pretraining(tmp_path / "run")
    content = report([tmp_path / "run"], tmp_path / "report")
    assert content["rows"] == [] and len(content["pretraining"]) == 1
    assert "No row of the paper's Tables 2 and 3" in (tmp_path / "report/report.md").read_text()


def test_the_command_prints_rows_and_names_its_file(planted, tmp_path, capsys):
    runs, *_ = planted
    options = ["--output", str(tmp_path / "out"), "--resamples", "2000"]
    folders = [str(runs / preset) for preset in ("table3_ours", "table3_m4")]
    with pytest.raises(SystemExit) as ended:
        run(app, [*folders, *options, "--compare", "table3_ours:table3_m4"], "report")
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "planted speaker-5 table3_ours: WA 0." in printed and "report.md" in printed
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [c["titles"] for c in content["comparisons"]] == [["table3_ours", "table3_m4"]]


def test_wrong_input_is_said_in_one_line(planted, tmp_path, capsys):
    runs, *_ = planted
    for arguments, message in (
        ([str(tmp_path / "none"), "--output", str(tmp_path)], "no such folder"),
        ([str(runs), "--output", str(tmp_path), "--resamples", "10"], "at least 2000"),
        ([str(runs), "--output", str(tmp_path), "--compare", "a"], "expected FIRST:SECOND"),
    ):
        with pytest.raises(SystemExit) as ended:
            run(app, arguments, "report")
        assert ended.value.code == 2
        error = capsys.readouterr().err.strip()
        assert message in error and "\n" not in error
    with pytest.raises(InputError):
        parse_pair("a:")


def test_figures_of_others_on_the_same_folds_are_quoted_with_and_without_their_spread(
    planted, tmp_path, monkeypatch
):
    lines = [
        {"name": "one figure", "parameters": None, "value": 0.4},
        {"name": "ten runs", "parameters": "61 M", "value": 0.5, "spread": 0.01},
    ]
    place = {"corpus": "planted", "protocol": "speaker-5", "num_labels": 4}
    table = {**place, "source": "somebody, somewhere", "rows": lines}
    monkeypatch.setattr("train_scripts.reports.published.published_figures", lambda: [table])
    runs, _, _ = planted
    report([runs], tmp_path, num_resamples=2000)
    page = (tmp_path / "report.md").read_text()
    quoted = [line for line in page.splitlines() if line.startswith("| *quoted:*")]
    assert quoted == [
        "| *quoted:* one figure | - | stated by others, UAR, same folds | - | 40.00 % | - | - | "
        "quoted, not run here |",
        "| *quoted:* ten runs | - | stated by others, UAR, same folds | - | 50.00 % ± 1.00 % | "
        "61 M | - | quoted, not run here |",
    ]
