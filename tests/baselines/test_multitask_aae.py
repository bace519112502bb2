import pytest
import torch
from support.tiny_turns import tiny_turns

from train_scripts.baselines.multitask_aae import (
    AdversarialSteps,
    MultiTaskAAE,
    Settings,
    descend,
    train_network,
)
from train_scripts.baselines.network_training import answer_turns, seeded
from train_scripts.baselines.turn_tensors import Standardization

CLASSES = {"emotions": 4, "genders": 2, "speakers": 3}
SMALL = Settings(
    hidden_size=32, code_size=8, dropout=0.2, num_epochs=30, batch_size=32, learning_rate=5e-3
)


@pytest.fixture
def steps():
    turns = tiny_turns(32, seed=0)
    with seeded(0):
        network = MultiTaskAAE(Standardization.of_vectors(turns), CLASSES, SMALL)
    return AdversarialSteps(network, SMALL), turns.batch(range(32))


def weights_of(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_it_learns_a_tiny_fold_and_answers_without_dropout():
    turns = [tiny_turns(n, seed=s, clear=5.0) for n, s in ((128, 0), (48, 1), (160, 2))]
    with seeded(0):
        network, described = train_network(turns[0], turns[1], CLASSES, SMALL, 0)
    found = answer_turns(network, turns[2])
    assert (found.argmax(1) == turns[2].emotions.numpy()).mean() > 0.7
    network.train()
    assert (answer_turns(network, turns[2]) == found).all()
    assert abs(found.sum(1) - 1).min() > 1e-6  # logits
    assert described["n_parameters"] > 0


def test_the_prior_has_one_gaussian_an_emotion(steps):
    network = steps[0].network
    with seeded(1):
        drawn = network.draw_prior(torch.full((4000,), 2))
    assert drawn.mean(0)[2].item() == pytest.approx(4.0, abs=0.1)
    assert drawn.mean(0)[[0, 1, 3]].abs().max() < 0.1
    assert drawn.std(0).mean().item() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("side", ["critic", "generator"])
def test_each_side_of_the_contest_moves_only_itself(steps, side):
    steps, batch = steps
    network = steps.network
    x = network.standardize(batch.vectors)
    before = {n: weights_of(m) for n, m in network.named_children() if n != "standardize"}
    descend(getattr(steps, side), getattr(steps, f"{side}_loss")(x, batch))
    moved = {n for n, w in before.items() if not torch.equal(w, weights_of(getattr(network, n)))}
    assert moved == {"critic": {"discriminator"}, "generator": {"encoder"}}[side]


def test_the_discriminator_learns_to_tell_codes_from_the_prior(steps):
    steps, batch = steps
    network = steps.network.eval()
    x = network.standardize(batch.vectors)
    steps.critic.param_groups[0]["lr"] = 1e-2
    with seeded(0):
        first = steps.critic_loss(x, batch).item()
        for _ in range(100):
            descend(steps.critic, steps.critic_loss(x, batch))
        assert steps.critic_loss(x, batch).item() < 0.5 * first
    assert network.judge(network.encoder(x), batch.emotions).max() <= 1.0
