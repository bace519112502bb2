import pytest
import torch

from modeling_decomp_ser.keyed_random import mix
from processing.errors import InputError
from train_scripts.corruptions.conditions import (
    CORRUPTIONS,
    check_corruptions,
    corrupt,
    other_turns,
)


def turn(number, size=6000):
    return 0.1 * torch.randn(size, generator=torch.Generator().manual_seed(number))


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name != "room"])
def test_every_corruption_changes_a_turn_by_its_key_alone(name):
    strength = CORRUPTIONS[name].strengths[-1]
    state = torch.random.get_rng_state()
    once, again = (
        corrupt(turn(0), name, strength, mix(torch.tensor(3)), other_turns(turn, 0, 20))
        for _ in range(2)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(once, again)
    assert torch.isfinite(once).all() and once.dtype == torch.float32
    assert once.shape != turn(0).shape or not torch.equal(once, turn(0))


def test_babble_is_made_of_other_turns_only():
    asked = []
    voices = other_turns(lambda number: asked.append(number) or turn(number), 4, 6)
    for key in range(20):
        corrupt(turn(4), "babble", 0.0, mix(torch.tensor(key)), voices)
    assert set(asked) == {0, 1, 2, 3, 5}
    with pytest.raises(InputError, match="at least 2, found 1"):
        other_turns(turn, 0, 1)


def test_an_unknown_corruption_is_named():
    with pytest.raises(InputError, match="augmentation.corruptions=hiss: expected one of white_n"):
        check_corruptions(["babble", "hiss"], "augmentation.corruptions")
