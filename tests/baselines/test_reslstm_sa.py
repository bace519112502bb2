import importlib.util
from pathlib import Path

import pytest
import torch
from support.tiny_turns import tiny_turns

from train_scripts.baselines.network_training import answer_turns, seeded
from train_scripts.baselines.reslstm_sa import ResLSTM, Settings, train_network
from train_scripts.baselines.turn_tensors import Standardization

SMALL = Settings(hidden_size=16, num_epochs=15, batch_size=16, restart_epochs=5, learning_rate=1e-2)


@pytest.fixture(scope="module")
def turns():
    sizes = ((64, 0), (32, 1), (160, 2))
    return [tiny_turns(n, seed=s, size=46, frames=True, clear=4.0) for n, s in sizes]


@pytest.fixture(scope="module")
def trained(turns):
    with seeded(0):
        return train_network(turns[0], turns[1], 4, SMALL, 0)


def test_it_has_as_many_parameters_as_the_paper_states(turns):
    network = ResLSTM(Standardization.of_frames(turns[0]), 8, Settings())
    assert sum(p.numel() for p in network.parameters()) == 46_772


def test_scores_are_those_of_a_plain_restatement(turns, trained):
    path = Path(__file__).parents[1] / "assets" / "reslstm_sa" / "reference.py"
    spec = importlib.util.spec_from_file_location("reslstm_reference", path)
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    splits = [(t.sequences, t.emotions) for t in turns]
    options = {"hidden": 16, "epochs": 15, "rate": 1e-2, "decay": 1e-4, "p": 0.3, "restart": 5}
    plain = [reference.run(*splits, **options, batch=16, seed=s) for s in (0, 1)]
    answers = torch.from_numpy(answer_turns(trained[0], turns[2])).argmax(1)
    found = sum((answers[turns[2].emotions == c] == c).float().mean().item() for c in range(4)) / 4
    assert plain[0] > 0.7
    assert found == pytest.approx(sum(plain) / 2, abs=0.05)


def test_an_answer_does_not_depend_on_the_turns_beside_it(turns, trained):
    network, _ = trained
    together = network(turns[2].batch(range(8)))
    alone = torch.cat([network(turns[2].batch([k])) for k in range(8)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_padding_does_not_count_in_what_is_normalised(turns):
    with seeded(0):
        network = ResLSTM(Standardization.of_frames(turns[0]), 4, SMALL)
    batch = turns[0].batch([0, 7])  # 5 and 12 frames
    network.train()
    network(batch)
    padded = network.norm.norm.running_mean.clone()
    with seeded(0):
        network = ResLSTM(Standardization.of_frames(turns[0]), 4, SMALL)
    batch.frames = torch.nn.functional.pad(batch.frames, (0, 0, 0, 30))
    network.train()
    network(batch)
    assert torch.allclose(network.norm.norm.running_mean, padded, atol=1e-6)


def test_answers_are_logits_and_dropout_is_off(turns, trained):
    network, described = trained
    network.train()
    first, second = (answer_turns(network, turns[2]) for _ in range(2))
    assert (first == second).all() and abs(first.sum(1) - 1).min() > 1e-6
    assert described["selected_by"] == "validation"
