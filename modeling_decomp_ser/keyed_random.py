"""Random numbers that depend on a key alone: not on the batch, the process or the order of calls.

Each row of a batch carries a 64-bit key (made from the run's seed, the epoch and the row's id). A
draw is a hash of (key, stream, counter), so an utterance is perturbed in the same way alone or in a
batch, in one process or in many, before or after a restart, and no device has to wait for the host.
The hash is the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014).

Axes: B batch, N draws.
"""

import torch
from torch import Tensor

# 64-bit constants of SplitMix64, as the signed integers torch computes with.
_GOLDEN_GAMMA = 0x9E3779B97F4A7C15 - 2**64
_MULTIPLIER_1 = 0xBF58476D1CE4E5B9 - 2**64
_MULTIPLIER_2 = 0x94D049BB133111EB - 2**64


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift; torch's own shifts the sign bit in."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def mix(x: Tensor) -> Tensor:
    """Hash 64-bit integers of any shape (SplitMix64's finaliser; a bijection)."""
    x = (x ^ _shift_right(x, 30)) * _MULTIPLIER_1
    x = (x ^ _shift_right(x, 27)) * _MULTIPLIER_2
    return x ^ _shift_right(x, 31)


def fold_in(keys: Tensor, number: int) -> Tensor:
    """Derive new int64 keys of the same shape from keys and a number, such as an epoch or the index
    of a layer, that tells them from others derived from the same keys.
    """
    return mix(keys + (number + 1) * _GOLDEN_GAMMA % 2**63)


def uniform(keys: Tensor, count: int) -> Tensor:
    """Draw N = `count` numbers a key, (B,) int64 -> (B, N) float32, uniform in [0, 1), multiples of
    2**-24. The first n of them do not depend on N.
    """
    counter = torch.arange(1, count + 1, device=keys.device)
    bits = mix(keys[:, None] + counter * _GOLDEN_GAMMA)
    return _shift_right(bits, 40).to(torch.float32) * 2.0**-24


def draw_keys(batch_size: int, generator: torch.Generator | None = None, device=None) -> Tensor:
    """Draw int64 keys (B,) for rows that have none, on `device` (default: the processor) and from
    `generator` of that device (default: torch's own), so that the host waits for nothing.
    """
    return torch.randint(2**62, (batch_size,), generator=generator, device=device)
