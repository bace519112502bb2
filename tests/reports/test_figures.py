import numpy as np
import pytest

from train_scripts.reports.figures import curve_of, mean_curve, plot_pretraining, row_label
from train_scripts.reports.pages import short_names


def test_the_mean_curve_ends_with_the_shortest_and_lies_between():
    short = np.array([[10, 1.0], [20, 3.0]])
    long = np.array([[5, 0.0], [10, 3.0], [20, 5.0], [30, 9.0]])
    mean = mean_curve([short, long])
    assert mean[:, 0].tolist() == [5, 10, 20]
    assert mean[1:, 1] == pytest.approx([2.0, 4.0])


def test_lines_without_a_loss_are_no_points():
    lines = [{"step": 1, "loss_speaker": 2.0}, {"step": 2, "train_runtime": 1.0}]
    assert curve_of(lines, "loss_speaker").tolist() == [[1.0, 2.0]]
    assert len(curve_of(lines, "loss_reconstruction")) == 0


def test_a_pretraining_without_speakers_is_drawn(tmp_path):
    curves = [[{"step": 1, "loss_reconstruction": 0.1}, {"step": 2, "loss_reconstruction": 0.05}]]
    plot_pretraining(curves, tmp_path / "figure.png", title="one loss")
    assert (tmp_path / "figure.png").stat().st_size > 5000


def row(preset, *overrides, **changes):
    protocol = {"leaks": False}
    complete = {"size": "small", "complete": True, "protocol": protocol, "overrides": overrides}
    return {"title": " ".join([preset, *overrides]), "preset": preset, **complete, **changes}


def test_labels_have_what_differs_between_the_rows_and_no_markdown():
    epochs, raw = "finetuning.epochs=21", "model.timbre_input=raw"
    rows = [
        row("table3_m4", epochs),
        row("table3_ours", epochs, raw, complete=False, protocol={"leaks": True}),
        row("baseline_compare", size=None),
    ]
    names = short_names(rows)
    m4, ours, baseline = (row_label(r, names, {"small"}) for r in rows)
    assert (m4, baseline) == ("table3_m4", "baseline_compare")
    assert ours.split() == ["table3_ours", raw, "(leaks,", "incomplete)"]
    assert row_label(rows[0], names, {"small", "tiny"}) == "table3_m4 (small)"
    long = row_label(rows[0], {rows[0]["title"]: "word " * 30}, ())
    assert max(map(len, long.splitlines())) <= 36 and long.split() == ["word"] * 30
