"""The path of RAPT: one candidate, or "unvoiced", in each frame, by dynamic programming.

Axes: B utterances, T frames, N frames of all utterances, K candidates.
"""

import numpy as np

from .rapt_candidates import Candidates
from .rapt_settings import LAG_WEIGHT, RaptSettings

VOICE_BIAS = 0.0
FREQUENCY_WEIGHT = 0.02  # cost of a change of F0, for a frame of one second
OCTAVE_COST = 0.35
BLOCK_STEPS = 32


def local_costs(candidates: Candidates, settings: RaptSettings) -> np.ndarray:
    """(N, K + 1): unvoiced, low for low maxima; then voiced, low for high peaks at short lags."""
    weights = 1 - candidates.lags * (LAG_WEIGHT / settings.last_lag)
    voiced = np.where(candidates.lags > 0, 1 - candidates.heights * weights, np.inf)
    return np.hstack([VOICE_BIAS + candidates.maxima[:, None], voiced])


def best_path(
    local: np.ndarray,
    lags: np.ndarray,
    onset: np.ndarray,
    offset: np.ndarray,
    rows: np.ndarray,
    frames: np.ndarray,
    settings: RaptSettings,
) -> np.ndarray:
    """Candidate (N,) of each frame on the cheapest path, 0 for unvoiced (Viterbi's algorithm).

    All utterances advance together. Beyond its end an utterance can only be unvoiced, at no cost,
    so that the first such frame points at the cheapest end.

    Args:
        local: costs of being unvoiced and of each candidate, (N, K + 1).
        lags: of the candidates, (N, K), 0 for none.
        onset: costs of unvoiced to voiced, (N,).
        offset: costs of voiced to unvoiced, (N,).
        rows: utterance of each frame, (N,).
        frames: number of each frame in its utterance, (N,).
        settings: of the analysis.
    """
    shape = (frames.max() + 2, rows.max() + 1)  # one frame beyond the longest utterance

    def by_time(values: np.ndarray, fill: float | np.ndarray) -> np.ndarray:
        padded = np.full((*shape, *values.shape[1:]), fill, np.float64)
        padded[frames, rows] = values
        return padded

    only_unvoiced = np.where(np.arange(local.shape[1]) > 0, np.inf, 0.0)
    pointers = _pointers(
        by_time(local, only_unvoiced),
        by_time(np.log(np.maximum(lags, 1)), 0.0),
        by_time(onset, 0.0),
        by_time(offset, 0.0),
        settings,
    )
    utterances = np.arange(shape[1])
    path = np.zeros(shape, np.int64)
    for time in range(shape[0] - 1, 0, -1):
        path[time - 1] = pointers[time, utterances, path[time]]
    return path[frames, rows]


def _pointers(
    local: np.ndarray,
    log_lags: np.ndarray,
    onsets: np.ndarray,
    offsets: np.ndarray,
    settings: RaptSettings,
) -> np.ndarray:
    """The best candidate before each candidate, (T, B, K + 1) int8: from the costs of being
    unvoiced and of each candidate (T, B, K + 1), the log periods (T, B, K), and the costs of onsets
    and offsets (T, B).
    """
    num_steps, num_rows, _ = local.shape
    most = np.isfinite(local).sum(axis=2).max(axis=1)  # (T,)
    totals = np.full_like(local, np.inf)
    totals[0] = local[0]
    pointers = np.zeros(local.shape, np.int8)
    for start in range(1, num_steps, BLOCK_STEPS):
        now = slice(start, start + BLOCK_STEPS)
        width = most[start - 1 : now.stop].max()
        past = slice(start - 1, min(now.stop, num_steps) - 1)
        costs = np.zeros((past.stop - past.start, width, num_rows, width))  # (T, K then, B, K now)
        costs[:, 1:, :, 1:] = _f0_change_costs(
            log_lags[past, :, : width - 1], log_lags[now, :, : width - 1], settings
        )
        costs[:, 0, :, 1:] = onsets[now, :, None]
        costs[:, 1:, :, 0] = offsets[now, None]
        costs += local[now, None, :, :width]
        for step, cost in enumerate(costs):
            cost += totals[past.start + step, :, :width].T[:, :, None]
            np.minimum.reduce(cost, axis=0, out=totals[start + step, :, :width])
        pointers[now, :, :width] = costs.argmin(axis=1)
    return pointers


def _f0_change_costs(before: np.ndarray, now: np.ndarray, settings: RaptSettings) -> np.ndarray:
    """(T, B, K) log periods to costs (T, K before, B, K now); octaves are cheaper than fifths."""
    change = np.abs(now[:, None] - before.transpose(0, 2, 1)[..., None])
    weight = FREQUENCY_WEIGHT * settings.sampling_rate / settings.hop_length
    return weight * np.minimum(change, OCTAVE_COST + np.abs(change - np.log(2)))
