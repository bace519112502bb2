import torch
from support.tiny_turns import tiny_turns

from modeling_decomp_ser.multitask_losses import IGNORED
from train_scripts.baselines.multitask_cnn import MultiTaskCNN, Settings, train_network
from train_scripts.baselines.network_training import answer_turns, seeded
from train_scripts.baselines.turn_tensors import Standardization

CLASSES = {"emotions": 4, "genders": 2, "speakers": 3}
SMALL = Settings(channels=4, num_epochs=12, batch_size=16, learning_rate=1e-2)
WEIGHTS = {"emotions": 1.0, "genders": 0.5, "speakers": 0.5}


def make_network(turns):
    with seeded(0):
        return MultiTaskCNN(Standardization.of_frames(turns), CLASSES, SMALL)


def test_it_learns_a_tiny_fold_and_answers_without_dropout():
    turns = [tiny_turns(n, seed=s, frames=True, clear=5.0) for n, s in ((96, 0), (32, 1), (80, 2))]
    with seeded(0):
        network, described = train_network(turns[0], turns[1], CLASSES, SMALL, 0)
    found = answer_turns(network, turns[2])
    assert (found.argmax(1) == turns[2].emotions.numpy()).mean() > 0.7
    network.train()
    assert (answer_turns(network, turns[2]) == found).all()
    assert abs(found.sum(1) - 1).min() > 1e-6  # logits
    assert described["task_weights"] == {"emotions": 1.0, "genders": 0.3, "speakers": 0.3}


def test_an_answer_does_not_depend_on_the_turns_beside_it():
    turns = tiny_turns(8, seed=0, frames=True)
    network = make_network(turns).eval()
    together = network(turns.batch(range(8)))
    alone = torch.cat([network(turns.batch([k])) for k in range(8)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_every_task_reaches_the_convolutions_by_its_weight():
    turns = tiny_turns(16, seed=0, frames=True)
    network = make_network(turns).eval()
    for task in CLASSES:
        weights = {name: float(name == task) for name in CLASSES}
        network.zero_grad()
        network.loss(turns.batch(range(16)), weights).backward()
        assert network.convolutions[0].conv.weight.grad.abs().sum() > 0
        assert network.heads[task].weight.grad.abs().sum() > 0


def test_turns_without_a_label_count_nothing_in_its_task():
    turns = tiny_turns(16, seed=0, frames=True)
    network = make_network(turns).eval()
    batch = turns.batch(range(16))
    whole = network.loss(batch, {**WEIGHTS, "speakers": 0.0})
    batch.speakers[:] = IGNORED
    assert torch.allclose(network.loss(batch, WEIGHTS), whole)
