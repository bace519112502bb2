import numpy as np
import pytest
import torch

from train_scripts.corruptions.rooms import NUM_ROOMS, in_room, room_response

pytest.importorskip("pyroomacoustics")


@pytest.mark.parametrize("number", range(NUM_ROOMS))
def test_a_room_takes_its_time_to_fall_silent(number):
    response = room_response(0.3, number).astype(np.float64)
    left = np.cumsum(response[::-1] ** 2)[::-1]
    decay = 10 * np.log10(left / left[0] + 1e-12)
    reached = [int(np.argmax(decay < level)) for level in (-5, -25)]
    assert 3 * (reached[1] - reached[0]) / 16000 == pytest.approx(0.3, rel=0.25)
    assert response[0] == 1.0


def test_direct_sound_is_not_delayed_and_keys_choose_rooms():
    impulse = torch.zeros(4000)
    impulse[100] = 1.0
    heard = [in_room(impulse, 0.3, torch.tensor(key)) for key in range(12)]
    for sound in heard:
        assert len(sound) == 4000
        assert sound.abs().argmax() == 100 and sound[100] == pytest.approx(1.0, abs=1e-4)
    assert len({tuple(sound[101:140].tolist()) for sound in heard}) > 3
    assert torch.equal(heard[0], in_room(impulse, 0.3, torch.tensor(0)))
