import json

import pytest
from support.planted_runs import plant_row
from support.records import make_record

from processing.folds import RAVDESS_PUBLISHED
from train_scripts.cli import run
from train_scripts.report import app
from train_scripts.reports.leaderboard import advantage, leaderboard
from train_scripts.reports.published import published_figures, quoted_beside


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    root = tmp_path_factory.mktemp("board")
    for corpus, right in (("one", 0.7), ("other", 0.4)):
        options = {"corpus": corpus, "right": right}
        plant_row(root / "runs" / corpus, "table3_ours", seeds=(0, 1), **options)
        plant_row(root / "runs" / corpus, "baseline_compare", seeds=(0,), size=None, **options)
    plant_row(root / "runs" / "only", "table4_prognet", seeds=(0,), size=None, corpus="one")
    return root, leaderboard([root / "runs"], root / "page", num_resamples=2000)


def lines_of(root):
    return (root / "page" / "leaderboard.md").read_text().splitlines()


def test_rows_are_systems_and_columns_corpora(board):
    root, content = board
    assert [(c["corpus"], c["num_labels"]) for c in content["columns"]] == [
        ("one", 4),
        ("other", 4),
    ]
    header = next(line for line in lines_of(root) if line.startswith("| system"))
    assert header == (
        "| system | one, 4 emotions, `speaker-5` | other, 4 emotions, `speaker-5` | parameters |"
    )
    cells = {s["name"]: s["cells"] for s in content["systems"]}
    assert set(cells) == {"table3_ours", "baseline_compare", "table4_prognet"}
    assert cells["table4_prognet"][1] is None and cells["table3_ours"][0]["interval_95"]
    ours = next(line for line in lines_of(root) if line.startswith("| `table3_ours`"))
    for cell in cells["table3_ours"]:
        low, high = cell["interval_95"]
        assert f" {cell['value']:.3f} [{low:.3f}, {high:.3f}] |" in ours
    assert "| - |" in next(line for line in lines_of(root) if line.startswith("| `table4_prognet`"))


def test_a_missing_seed_is_said(board):
    root, _ = board
    prognet = next(line for line in lines_of(root) if line.startswith("| `table4_prognet`"))
    assert "incomplete" not in prognet  # rows of presets are of a size, and have other seeds
    assert json.loads((root / "page" / "leaderboard.json").read_text())["systems"]


def test_table_lines_have_as_many_cells_as_the_header(board):
    root, _ = board
    widths = {line.count(" |") for line in lines_of(root) if line.startswith("| ")}
    assert widths == {4}
    assert (root / "page" / "leaderboard.png").stat().st_size > 5000


def test_a_system_is_measured_against_the_columns_that_it_has():
    assert advantage([{"value": 0.7}, None], [0.5, 0.1]) == pytest.approx(0.2)
    assert advantage([{"value": 0.7}, {"value": 0.2}], [0.5, 0.1]) == pytest.approx(0.15)


def test_quoted_figures_stand_on_their_own_folds_only():
    (table,) = published_figures()
    assert table["protocol"] == "ravdess-published" and len(RAVDESS_PUBLISHED) == 5
    assert all(0 < line["value"] < 1 for line in table["rows"]) and "arXiv" in table["source"]
    labels = [str(k) for k in range(8)]
    row = {
        "corpus": "ravdess",
        "labels": labels,
        "protocol": vars(make_record().protocol) | {"name": "ravdess-published"},
    }
    assert quoted_beside(row) == [table]
    assert quoted_beside({**row, "labels": labels[:4]}) == []
    assert quoted_beside({**row, "protocol": {"name": "speaker-5"}}) == []
    assert quoted_beside({**row, "corpus": "nemo"}) == []


def test_the_command_writes_the_page(board, tmp_path, capsys):
    root, _ = board
    options = ["--leaderboard", "--output", str(tmp_path / "out"), "--resamples", "2000"]
    options += ["--fuse", "table3_ours+baseline_compare"]
    with pytest.raises(SystemExit) as ended:
        run(app, [str(root / "runs"), *options], "report")
    assert ended.value.code == 0 and "leaderboard.md" in capsys.readouterr().out
    assert "`table3_ours+baseline_compare`" in (tmp_path / "out" / "leaderboard.md").read_text()
