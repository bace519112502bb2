import numpy as np
import pytest
import torch
from support.tiny_turns import tiny_turns
from torch import nn

from train_scripts.baselines.network_training import (
    Schedule,
    answer_turns,
    balanced_weights,
    epoch_batches,
    fit,
    seeded,
    validation_score,
)
from train_scripts.training.step_batches import StepBatches


class Stub(nn.Module):
    """Its weight counts epochs; dropout shows in which mode it answers."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.dropout = nn.Dropout(0.5)

    def forward(self, batch):
        return self.dropout(batch.vectors[:, :4]) + 0 * self.weight


def count_epochs(network):
    return lambda epoch: network.weight.data.fill_(float(epoch + 1))


def test_the_network_ends_with_its_best_epoch_and_not_with_its_last():
    network, scores = Stub(), iter([0.2, 0.7, 0.5, 0.7, 0.1])
    fitted = fit(
        network,
        lambda batch: None,
        tiny_turns(8, seed=0),
        Schedule(5, 4),
        seed=0,
        score=lambda: next(scores),
        begin_epoch=count_epochs(network),
    )
    assert (fitted.epochs, fitted.best_epoch, network.weight.item()) == (5, 2, 2.0)
    assert not network.training
    assert fitted.describe(network)["selected_by"] == "validation"


def test_without_validation_the_last_epoch_is_kept_and_said_to_be():
    network = Stub()
    options = {"seed": 0, "begin_epoch": count_epochs(network)}
    fitted = fit(network, lambda batch: None, tiny_turns(8, seed=0), Schedule(3, 4), **options)
    assert network.weight.item() == 3.0
    assert fitted.describe(network)["selected_by"] == "last"


def test_patience_ends_training_early():
    network, scores = Stub(), iter([0.5, 0.4, 0.3, 0.9])
    turns = tiny_turns(8, seed=0)
    options = {"seed": 0, "score": lambda: next(scores)}
    fitted = fit(network, lambda batch: None, turns, Schedule(9, 4, 2), **options)
    assert (fitted.epochs, fitted.best_epoch) == (3, 1)


def test_steps_see_the_projects_order_in_training_mode():
    seen, modes, network = [], [], Stub()
    turns = tiny_turns(10, seed=0)

    def step(batch):
        seen.extend(batch.vectors[:, 0].tolist())
        modes.append(network.training)

    fit(network, step, turns, Schedule(2, 4), seed=3, score=lambda: 0.0)
    order = StepBatches(10, 4, 1, 1, 0, 3, lambda: 0)
    expected = [turns.vectors[i, 0].item() for batch in order for i in batch]
    assert seen[:10] == expected and sorted(seen[10:]) == sorted(expected)
    assert seen[10:] != expected and all(modes)


def test_turns_of_similar_length_share_a_step():
    turns = tiny_turns(64, seed=0, frames=True)
    spans = [np.ptp([turns.lengths[i] for i in b]) for b in epoch_batches(turns, 4, 0, 0)]
    assert np.mean(spans) < 3


def test_answers_are_given_without_dropout_and_in_the_order_of_the_turns():
    network, turns = Stub(), tiny_turns(70, seed=1)
    network.train()
    found = answer_turns(network, turns)
    assert np.allclose(found, turns.vectors[:, :4].numpy())
    assert network.training
    frames = tiny_turns(70, seed=1, frames=True)
    by_turn = answer_turns(network, frames, lambda batch: batch.lengths[:, None].float())
    assert by_turn[:, 0].tolist() == frames.lengths


def test_the_score_of_a_task_leaves_out_turns_without_its_label():
    network, turns = Stub(), tiny_turns(40, seed=1, clear=9.0)
    assert validation_score(network, turns)() == 1.0
    turns.emotions[:8] = -100
    assert validation_score(network, turns)() == 1.0
    turns.emotions[:] = -100
    assert validation_score(network, turns) is None


def test_balanced_weights_leave_an_absent_class_out():
    found = balanced_weights(torch.tensor([0, 0, 0, 2, -100]), 3)
    assert found.tolist() == pytest.approx([2 / 3, 0, 2])


def test_seeds_are_nobody_elses():
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    first = torch.rand(1)
    with seeded(1):
        drawn = torch.rand(3)
    assert torch.equal(torch.cat([first, torch.rand(1)]), expected)
    with seeded(1):
        assert torch.equal(torch.rand(3), drawn)
