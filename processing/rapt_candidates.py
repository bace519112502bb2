"""Candidates of RAPT: the pitch periods at which a frame resembles what follows it.

Axes: B utterances, S samples, N frames of a block or of all utterances, L lags, P coarse periods, K
candidates.
"""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .rapt_settings import BLOCK_FRAMES, LAG_WEIGHT, RaptSettings

PEAK_THRESHOLD = 0.3  # of the frame's highest NCCF
MAX_CANDIDATES = 19  # voiced ones
PATCH = 7  # lags searched around a coarse period
ADDED_ENERGY = 1e4  # in the fine NCCF: favours loud frames


class Candidates(NamedTuple):
    """Pitch periods of N frames; the columns beyond a frame's number of candidates are 0."""

    lags: np.ndarray  # (N, K) whole samples
    heights: np.ndarray  # (N, K) NCCF
    f0_hz: np.ndarray  # (N, K)
    maxima: np.ndarray  # (N,) highest NCCF


def all_candidates(
    signal: np.ndarray, rows: np.ndarray, frames: np.ndarray, settings: RaptSettings
) -> Candidates:
    """Both searches, block by block, and the blocks side by side."""
    samples = rows * signal.shape[1] + frames * settings.hop_length
    decimated = _decimate(signal, settings)  # (B, reading blocks, samples)
    reads, frames = np.divmod(frames, settings.frames_per_read)
    positions = (rows * decimated.shape[1] + reads) * decimated.shape[2]
    positions += frames * settings.hop_length // settings.decimation
    blocks = []
    for start in range(0, len(rows), BLOCK_FRAMES):
        block = slice(start, start + BLOCK_FRAMES)
        found_in, periods = _coarse_periods(decimated.ravel(), positions[block], settings)
        blocks.append(_fine_candidates(signal.ravel(), samples[block], found_in, periods, settings))
    most = max(block.lags.shape[1] for block in blocks)
    return Candidates(
        *(
            np.concatenate([_widen(getattr(block, name), most) for block in blocks])
            for name in Candidates._fields
        )
    )


def _widen(values: np.ndarray, num_columns: int) -> np.ndarray:
    if values.ndim == 1:
        return values
    return np.pad(values, ((0, 0), (0, num_columns - values.shape[1])))


def _decimate(signal: np.ndarray, settings: RaptSettings) -> np.ndarray:
    """Low-passed signal (B, S) at every `decimation`-th sample, without delay, rounded away from 0:
    (B, reading blocks, decimated samples).

    get_f0 reads the signal in blocks of 0.2 s and starts counting anew in each, which matters for
    hops that are no multiple of the decimation; hence one row for each block, with what its last
    frame needs of the next.
    """
    num_taps = len(settings.decimation_filter)
    padded = np.pad(signal, ((0, 0), (num_taps // 2, num_taps // 2)))
    span = (settings.decimated_per_read - 1) * settings.decimation + num_taps
    stride = settings.frames_per_read * settings.hop_length
    reads = sliding_window_view(padded, span, axis=1)[:, ::stride]
    windows = sliding_window_view(reads, num_taps, axis=2)[:, :, :: settings.decimation]
    filtered = np.vecdot(windows, settings.decimation_filter)
    # get_f0 adds the half that rounding to integers needed, and then does not round.
    return filtered + np.where(filtered < 0, np.float32(-0.5), np.float32(0.5))


def _nccf(reference: np.ndarray, segment: np.ndarray, added_energy: float) -> np.ndarray:
    """Normalised cross-correlation (Talkin 1995) in [-1, 1], (N, L), of each of N frames or
    patches: of the reference (N, window), mean removed, with a segment (N, window + L - 1) from the
    first lag on, the reference's mean removed. `added_energy` is added to the product of energies.
    """
    windows = sliding_window_view(segment, reference.shape[1], axis=1)  # (N, L, window)
    products = np.vecdot(windows, reference[:, None])
    # Noise keeps energies above 1 by far; the bound only makes the division safe.
    energies = np.maximum(np.vecdot(windows, windows), 1)
    reference_energy = np.maximum(np.vecdot(reference, reference), 1)[:, None]
    return products / np.sqrt(added_energy + reference_energy * energies)


def _peaks(nccf: np.ndarray, maxima: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frame and lag index of local maxima, plateaus and shoulders above the threshold.

    The last inner lag is left out, as in get_f0.
    """
    inner = nccf[:, 1:-2]
    found = inner > (PEAK_THRESHOLD * maxima)[:, None]
    found &= inner >= nccf[:, :-3]
    found &= inner >= nccf[:, 2:-1]
    frames, indices = np.nonzero(found)
    return frames, indices + 1


def _strongest(frames: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Indices of the peaks to keep: all, or the best 19 of a frame that has more."""
    counts = np.bincount(frames)
    if counts.max(initial=0) <= MAX_CANDIDATES:
        return np.arange(len(frames))
    crowded = counts[frames] > MAX_CANDIDATES
    order = np.lexsort((np.where(crowded, -scores, np.arange(len(frames))), frames))
    return order[_rank_in_frame(frames) < MAX_CANDIDATES]


def _rank_in_frame(frames: np.ndarray) -> np.ndarray:
    """0, 1, ... within each run of equal, ascending frame numbers."""
    counts = np.bincount(frames)
    return np.arange(len(frames)) - np.repeat(np.cumsum(counts) - counts, counts)


def _coarse_periods(
    decimated: np.ndarray, positions: np.ndarray, settings: RaptSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Frame (P,) and period in full-rate samples (P,) of the peaks at the decimated rate."""
    window, first_lag = settings.coarse_window, settings.coarse_first_lag
    segment = sliding_window_view(decimated, settings.coarse_span)[positions]
    segment -= segment[:, :window].mean(axis=1, keepdims=True)
    nccf = _nccf(segment[:, :window], segment[:, first_lag:], added_energy=0.0)
    frames, indices = _peaks(nccf, np.maximum(nccf.max(axis=1), 0))
    before, height, after = (nccf[frames, indices + step] for step in (-1, 0, 1))
    shift, height = _parabola(before, height, after)
    # Truncated towards zero after adding a half, as in C.
    periods = settings.decimation * (first_lag + indices) + np.trunc(
        0.5 + settings.decimation * shift
    ).astype(np.int64)
    kept = _strongest(frames, height * (1 - LAG_WEIGHT / settings.num_lags * periods))
    return frames[kept], periods[kept]


def _parabola(
    before: np.ndarray, middle: np.ndarray, after: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Abscissa and height of the vertex of the parabola through values at -1, 0 and 1."""
    curvature = after - middle + 0.5 * (before - after)
    flat = np.abs(curvature) <= 1e-6
    shift = np.where(flat, 0, (before - after) / (4 * np.where(flat, 1, curvature)))
    return shift, middle - curvature * shift**2


def _fine_candidates(
    signal: np.ndarray,
    samples: np.ndarray,
    found_in: np.ndarray,
    periods: np.ndarray,
    settings: RaptSettings,
) -> Candidates:
    """Candidates of the frames at `samples` (N,), near the coarse `periods` (P,) alone."""
    window, first_lag = settings.window, settings.first_lag
    reference = sliding_window_view(signal, window)[samples]  # (N, window)
    mean = reference.mean(axis=1, keepdims=True)
    reference -= mean
    patch_lags = np.maximum(periods - PATCH // 2, first_lag)
    patches = sliding_window_view(signal, window + PATCH - 1)[samples[found_in] + patch_lags]
    patches -= mean[found_in]
    # Between the patches the NCCF counts as 0, so that a patch's edge can be a peak.
    nccf = np.zeros((len(samples), settings.num_lags), np.float32)
    columns = (patch_lags - first_lag)[:, None] + np.arange(PATCH)
    nccf[found_in[:, None], columns] = _nccf(reference[found_in], patches, ADDED_ENERGY)
    maxima = nccf.max(axis=1)
    frames, indices = _peaks(nccf, maxima)
    kept = _strongest(frames, nccf[frames, indices])
    frames, indices = frames[kept], indices[kept]
    ranks = _rank_in_frame(frames)

    shape = (len(samples), ranks.max(initial=-1) + 1)
    candidates = Candidates(
        np.zeros(shape, np.int64), np.zeros(shape, np.float32), np.zeros(shape, np.float32), maxima
    )
    before, height, after = (nccf[frames, indices + step] for step in (-1, 0, 1))
    candidates.lags[frames, ranks] = first_lag + indices
    candidates.heights[frames, ranks] = height
    shift, _ = _parabola(before, height, after)
    candidates.f0_hz[frames, ranks] = settings.sampling_rate / (first_lag + indices + shift)
    return candidates
