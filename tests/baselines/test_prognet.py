import importlib.util
from pathlib import Path

import pytest
import torch
from support.tiny_turns import tiny_turns
from torch.nn import functional as F

from train_scripts.baselines.network_training import answer_turns, seeded
from train_scripts.baselines.prognet import Column, ProgNet, Settings, train_columns
from train_scripts.baselines.turn_tensors import Standardization

SMALL = Settings(
    hidden_size=24,
    dropout=0.1,
    num_epochs=40,
    batch_size=16,
    learning_rate=1e-2,
    late_learning_rate=5e-4,
)


@pytest.fixture(scope="module")
def turns():
    return [tiny_turns(n, seed=s, clear=4.0) for n, s in ((96, 0), (48, 1), (240, 2))]


@pytest.fixture(scope="module")
def trained(turns):
    with seeded(0):
        return train_columns(turns[0], turns[1], 4, SMALL, 0)


def uar(network, turns):
    answers = torch.from_numpy(answer_turns(network, turns)).argmax(1)
    return sum((answers[turns.emotions == c] == c).float().mean().item() for c in range(4)) / 4


@pytest.fixture(scope="module")
def reference():
    path = Path(__file__).parents[1] / "assets" / "prognet" / "reference.py"
    spec = importlib.util.spec_from_file_location("prognet_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_plain_restatement_of_the_same_weights_gives_the_same_scores(turns, trained, reference):
    network, stacks = trained[0], []
    for column, outputs in ((network.source, 2), (network.target, 4)):
        stack = reference.Stack(12, outputs, 24, lateral=len(column.lateral) > 0)
        own = (stack.w1, stack.w2, stack.w3, stack.w4, stack.out)
        for layer, trained_layer in zip(own, column.own, strict=True):
            layer.load_state_dict(trained_layer.state_dict())
        if stack.lateral:
            lateral = (stack.u2, stack.u3, stack.u4, stack.u_out)
            for layer, trained_layer in zip(lateral, column.lateral, strict=True):
                layer.load_state_dict(trained_layer.state_dict())
        stacks.append(stack)
    batch = turns[2].batch(range(240))
    x = network.standardize(batch.vectors)
    network.eval()
    expected = stacks[1].scores(x, stacks[0].layers(x))
    assert torch.allclose(network(batch), expected, atol=1e-5)


def test_training_gets_about_as_far_as_a_plain_restatement(turns, trained, reference):
    """Another order and other weights: one seed on so small a fold differs by more than .1."""
    splits = [(t.vectors, t.emotions, t.genders) for t in turns]
    options = {"hidden": 24, "epochs": 40, "rate": 1e-2, "batch": 16, "p": 0.1}
    plain = [reference.run(*splits, **options, seed=s) for s in (0, 1)]
    assert plain[0] > 0.7  # the fold can be learnt, so that the comparison says something
    assert uar(trained[0], turns[2]) == pytest.approx(sum(plain) / 2, abs=0.2)


def test_a_layer_of_the_second_column_reads_both():
    with seeded(0):
        column = Column(3, 2, Settings(hidden_size=4, dropout=0.0), beside=4)
    x, others = torch.randn(5, 3), [torch.rand(5, 4) for _ in range(4)]
    logits, hidden = column(x, others)
    expected = torch.sigmoid(column.own[0](x))
    for k in range(1, 4):
        expected = torch.sigmoid(
            column.own[k](expected) + others[k - 1] @ column.lateral[k - 1].weight.T
        )
        assert torch.allclose(hidden[k], expected)
    assert torch.allclose(logits, column.own[4](expected) + others[3] @ column.lateral[3].weight.T)


def test_the_first_column_is_frozen_dropout_included(turns):
    with seeded(0):
        network = ProgNet(Standardization.of_vectors(turns[0]), 2, 4, SMALL)
    network.freeze_source()
    network.train()
    assert network.target.dropout.training and not network.source.dropout.training
    F.cross_entropy(network(turns[0].batch(range(8))), turns[0].emotions[:8]).backward()
    assert all(p.grad is None for p in network.source.parameters())
    assert all(p.grad is not None for p in network.target.parameters())


def test_what_the_first_column_knows_reaches_the_answer(turns, trained):
    network, _ = trained
    before = answer_turns(network, turns[1])
    source = {k: v.clone() for k, v in network.source.state_dict().items()}
    for weights in network.source.parameters():
        weights.data.zero_()
    assert abs(before - answer_turns(network, turns[1])).max() > 1e-3
    network.source.load_state_dict(source)


def test_answers_are_logits_and_dropout_is_off(turns, trained):
    network, described = trained
    network.train()
    first, second = (answer_turns(network, turns[2]) for _ in range(2))
    assert (first == second).all()
    # a softmax inside would bound the loss of a sure answer from below
    assert first.min() < 0 and abs(first.sum(1) - 1).min() > 1e-6
    assert described["selected_by"] == "validation" and 1 <= described["best_epoch"] <= 40
    assert described["n_parameters"] == sum(p.numel() for p in network.parameters())
