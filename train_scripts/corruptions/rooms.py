"""Synthetic rooms by pyroomacoustics: what a microphone hears across a room."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torchaudio import functional as audio

from modeling_decomp_ser.keyed_random import fold_in, mix, uniform
from processing.corpora.schema import SAMPLING_RATE

NUM_ROOMS = 8
"""Rooms of each reverberation time; a turn's key chooses one."""

SMALLEST, LARGEST = (4.0, 3.0, 2.4), (8.0, 6.0, 3.5)
"""Metres of length, width and height."""

FROM_WALL, NEAR, FAR = 0.5, 1.0, 2.5
"""Metres that speaker and microphone keep from the walls, and least and most from each other."""


def in_room(waveform: Tensor, seconds: float, key: Tensor) -> Tensor:
    """What is heard across a room whose sound falls by 60 dB in `seconds`: (S,), the direct sound
    as loud as before and not delayed.
    """
    number = int(uniform(fold_in(key, 12)[None], 1).item() * NUM_ROOMS)
    response = torch.from_numpy(room_response(seconds, number)).to(waveform)
    return audio.fftconvolve(waveform, response)[: len(waveform)]


@lru_cache(maxsize=8 * NUM_ROOMS)
def room_response(seconds: float, number: int) -> np.ndarray:
    """Impulse response of a shoebox by the image method, float32, from the direct sound on.

    Args:
        seconds: reverberation time (60 dB), 0.2 to 1.5.
        number: of the room, which draws its size and where speaker and microphone are.
    """
    import pyroomacoustics

    draws = uniform(mix(torch.tensor([number + 1])), 8)[0].double().numpy()
    size = np.array(SMALLEST) + (np.array(LARGEST) - SMALLEST) * draws[:3]
    speaker, microphone = places(size, draws[3:])
    absorption, order = pyroomacoustics.inverse_sabine(seconds, size)
    material = pyroomacoustics.Material(absorption)
    room = pyroomacoustics.ShoeBox(size, SAMPLING_RATE, materials=material, max_order=order)
    room.add_source(speaker)
    room.add_microphone(microphone)
    room.compute_rir()
    response = np.asarray(room.rir[0][0], np.float32)  # type: ignore[index]
    direct = int(np.abs(response).argmax())
    return response[direct:] / response[direct]


def places(size: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where speaker and microphone are, in metres; both at the height of people who sit."""
    distance, angle = NEAR + (FAR - NEAR) * draws[0], 2 * np.pi * draws[1]
    step = distance * np.array([np.cos(angle), np.sin(angle), 0.0])
    inner = np.maximum(size - 2 * FROM_WALL - np.abs(step), 0.0)
    start = FROM_WALL + np.maximum(-step, 0.0) + inner * [draws[2], draws[3], 0.0]
    start[2] = 1.2
    return start, np.clip(start + step, 0.1, size - 0.1)
