import pytest
import torch
from support.tiny_turns import tiny_turns

from train_scripts.baselines.network_training import answer_turns, seeded
from train_scripts.baselines.turn_tensors import Standardization
from train_scripts.baselines.two_stream_ae import Settings, TwoStreamAE, train_network

SMALL = Settings(
    channels=16, code_size=8, hidden_size=16, num_epochs=15, batch_size=16, learning_rate=5e-3
)


def both(num_turns, seed):
    turns = tiny_turns(num_turns, seed=seed, frames=True)
    turns.vectors = tiny_turns(num_turns, seed=seed + 50, clear=2.5).vectors
    return turns


@pytest.fixture
def network():
    turns = both(32, 0)
    with seeded(0):
        made = TwoStreamAE(
            (Standardization.of_frames(turns), Standardization.of_vectors(turns)), 4, SMALL
        )
    return made.eval()


def test_it_learns_a_tiny_fold_and_answers_without_dropout():
    turns = [both(96, 0), both(32, 1), both(120, 2)]
    with seeded(0):
        trained, _ = train_network(turns[0], turns[1], 4, SMALL, 0)
    found = answer_turns(trained, turns[2])
    assert (found.argmax(1) == turns[2].emotions.numpy()).mean() > 0.7
    trained.train()
    assert (answer_turns(trained, turns[2]) == found).all()
    assert abs(found.sum(1) - 1).min() > 1e-6  # logits


def test_an_answer_does_not_depend_on_the_turns_beside_it(network):
    turns = both(8, 0)
    together = network(turns.batch(range(8)))
    alone = torch.cat([network(turns.batch([k])) for k in range(8)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_the_emotion_stream_does_not_hear_the_level_of_a_band(network):
    batch = both(8, 0).batch(range(8))
    lengths = torch.full((8,), 12)
    x = torch.nn.functional.pad(network.read(batch), (0, 0, 0, 12 - batch.frames.shape[1]))
    # away from the edges, where zeros stand for what is not there
    louder = 3 * x
    own, _ = network.emotion_stream(x, lengths)
    for convolution in network.emotion_stream.convolutions:
        convolution.bias.data.zero_()
    first, _ = network.emotion_stream(x, lengths)
    second, _ = network.emotion_stream(louder, lengths)
    assert torch.allclose(first, second, atol=1e-2)
    others = [network.other_stream(y, lengths)[0] for y in (x, louder)]
    assert not torch.allclose(*others, atol=1e-2)
    assert own.shape == (8, 3, 8)


def test_both_streams_restore_and_only_one_tells_emotion(network):
    batch = both(8, 0).batch(range(8))
    emotion, reconstruction = network.losses(batch)
    emotion.backward(retain_graph=True)
    other = network.other_stream.convolutions[0].weight
    assert other.grad is None
    assert network.emotion_stream.convolutions[0].weight.grad.abs().sum() > 0
    network.zero_grad()
    reconstruction.backward()
    assert other.grad.abs().sum() > 0
    assert network.emotion_stream.convolutions[0].weight.grad.abs().sum() > 0
    assert network.classifier[1].weight.grad is None


@pytest.mark.parametrize("frames", [1, 2, 5, 9])
def test_every_length_is_restored(network, frames):
    turns = both(8, 0)
    turns.sequences = [torch.randn(frames, 12) for _ in turns.sequences]
    emotion, reconstruction = network.losses(turns.batch(range(8)))
    assert torch.isfinite(emotion) and torch.isfinite(reconstruction)
