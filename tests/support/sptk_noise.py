"""The noise that SPTK's RAPT adds, for comparisons with it."""

import numpy as np


def sptk_normal(count: int) -> np.ndarray:
    """SPTK's normal variates: a linear congruential generator and Marsaglia's polar method.

    SPTK keeps the second variate of a pair for the next call, so its own result for an odd number
    of samples alternates between two sequences; this is the first.
    """
    # Of the pairs drawn pi / 4 lie within the circle; 5 % more than that are to spare.
    num_draws = 2 * int(0.5 * count * 4 / np.pi * 1.05 + 100)
    multiplier, increment = np.uint32(1103515245), np.uint32(12345)
    powers = np.cumprod(np.full(num_draws, multiplier), dtype=np.uint32)  # all modulo 2^32
    sums = np.cumsum(np.concatenate([np.ones(1, np.uint32), powers[:-1]]), dtype=np.uint32)
    states = powers + increment * sums
    uniform = ((states >> np.uint32(16)) & np.uint32(32767)) / 32767
    pairs = 2 * uniform.reshape(-1, 2) - 1
    radius = (pairs**2).sum(axis=1)
    inside = (radius <= 1) & (radius > 0)
    pairs, radius = pairs[inside], radius[inside]
    return (pairs * np.sqrt(-2 * np.log(radius) / radius)[:, None]).ravel()[:count]
