"""How much two codes tell of each other, beside codes whose turns are shuffled.

Canonical correlation sees linear dependence; the Hilbert-Schmidt independence criterion (Gretton,
Bousquet, Smola and Schoelkopf, ALT 2005) sees any. Codes of natural speech depend on each other
also through what the factors themselves share, such as gender and pitch.

Axes: N turns, D features, R principal components.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

from train_scripts.explanations.linear_probes import project

CCA_COMPONENTS = 16
"""Directions of each code that are correlated: few beside the number of turns."""

MOST_TURNS = 1000
"""Turns of the kernel matrices; of more, as many are drawn."""

NUM_SHUFFLES = 100


def measure_dependence(features: Mapping[str, np.ndarray], seed: int) -> list[dict[str, Any]]:
    """Dependence of every pair of codes.

    Args:
        features: by code, (N, D), the same turns in the same order.
        seed: of turns drawn and shuffles.

    Returns:
        For each pair {"codes", "num_turns", and for "cca" (mean canonical correlation) and "hsic"
        (normalised: 1 for equal codes) the value, the mean of the shuffled ones and p}.
    """
    rng = np.random.default_rng(seed)
    number = len(next(iter(features.values())))
    chosen = np.sort(rng.permutation(number)[:MOST_TURNS])
    orders = [rng.permutation(len(chosen)) for _ in range(NUM_SHUFFLES)]
    reduced = {name: project(x[chosen], x[chosen])[0] for name, x in features.items()}
    bases = {name: np.linalg.qr(x[:, :CCA_COMPONENTS])[0] for name, x in reduced.items()}
    kernels = {name: centered_kernel(x) for name, x in reduced.items()}
    pairs = []
    for a, b in combinations(features, 2):
        cca = [canonical_correlation(bases[a], bases[b][order]) for order in orders]
        hsic = [hsic_of(kernels[a], kernels[b][np.ix_(order, order)]) for order in orders]
        pairs.append(
            {
                "codes": [a, b],
                "num_turns": len(chosen),
                "cca": beside_chance(canonical_correlation(bases[a], bases[b]), cca),
                "hsic": beside_chance(hsic_of(kernels[a], kernels[b]), hsic),
            }
        )
    return pairs


def beside_chance(value: float, shuffled: list[float]) -> dict[str, float]:
    """A value, the mean of those by chance, and the share of all that are no smaller (p)."""
    p = (1 + sum(other >= value for other in shuffled)) / (1 + len(shuffled))
    return {"value": value, "shuffled": float(np.mean(shuffled)), "p": p}


def canonical_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Mean of the canonical correlations of two orthonormal bases, (N, R) and (N, R')."""
    return float(np.linalg.svd(a.T @ b, compute_uv=False).mean())


def centered_kernel(x: np.ndarray) -> np.ndarray:
    """Gaussian kernel as wide as the median distance, centred, of norm 1; (N, D) -> (N, N)."""
    squares = (x**2).sum(1)
    distances = np.maximum(squares[:, None] + squares - 2 * x @ x.T, 0.0)
    width = np.median(distances[np.triu_indices(len(x), 1)])
    kernel = np.exp(-distances / (2 * max(width, 1e-12)))
    kernel = kernel - kernel.mean(0) - kernel.mean(1, keepdims=True) + kernel.mean()
    return kernel / max(np.linalg.norm(kernel), 1e-12)


def hsic_of(a: np.ndarray, b: np.ndarray) -> float:
    """Normalised HSIC of two kernels of `centered_kernel`, in [0, 1]."""
    return float((a * b).sum())
