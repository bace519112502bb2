import numpy as np
import pytest

from train_scripts.reports.figures import curve_of, mean_curve, plot_pretraining, row_label, wrap


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


def test_labels_say_what_is_incomplete_or_leaks_and_keep_to_a_width():
    row = {
        "title": "table3_ours model.reconstruction_weight=0.0 finetuning.num_train_epochs=3",
        "size": "small",
        "complete": False,
        "protocol": {"leaks": True},
    }
    label = row_label(row)
    assert label.endswith("(small) *incomplete* *leaks*") and "\n" in label
    assert max(len(line) for line in wrap(row["title"], 44).splitlines()) <= 44
    assert wrap(row["title"], 44).split() == row["title"].split()
