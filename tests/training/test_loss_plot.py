from matplotlib.figure import Figure

from train_scripts.training.loss_plot import plot_losses


def test_scores_of_validation_turns_are_drawn_beside_the_losses(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **kwargs: drawn.append(self))
    log = [{"step": s, "loss_emotion": 1 / s} for s in (1, 2, 3)]
    plot_losses(log, tmp_path / "losses.png", title="Fine-tuning")
    log += [{"step": s, "eval_unweighted_average_recall": 0.2 * s} for s in (2, 3)]
    plot_losses(log, tmp_path / "losses.png", title="Fine-tuning")
    without, with_scores = (figure.axes for figure in drawn)
    assert len(without) == 1 and len(with_scores) == 2
    (line,) = with_scores[1].lines
    assert line.get_xydata().tolist() == [[2, 0.4], [3, 0.6000000000000001]]
    assert line.get_label() == "UAR"
