"""Voicing in RAPT: how cheap a change between voiced and unvoiced is at each frame.

Axes: B utterances, S samples, N frames of all utterances.
"""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .rapt_settings import BLOCK_FRAMES, RaptSettings

VOICING_COST = 0.005
VOICING_STATIONARITY_COST = 0.5
VOICING_ENERGY_COST = 0.5
PRE_EMPHASIS = 0.4
WHITE_NOISE_DB = -30.0  # added to the autocorrelation


class _WindowStatistics(NamedTuple):
    """Linear prediction and level of N windows."""

    autocorrelation: np.ndarray  # (N, order + 1), 1 at lag 0
    predictor: np.ndarray  # (N, order + 1), 1 at lag 0
    error: np.ndarray  # (N,) of the prediction, of energy 1
    rms: np.ndarray  # (N,)


def voicing_change_costs(
    signal: np.ndarray, rows: np.ndarray, frames: np.ndarray, settings: RaptSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Costs (N,) of unvoiced to voiced and of voiced to unvoiced at each frame.

    Changes are cheap where the spectrum changes (Itakura's distance between this window and an
    earlier one) and, in the right direction, where the level does.
    """
    starts = frames * settings.hop_length + settings.stationarity_offset
    gap = settings.stationarity_gap
    reuse = gap // settings.hop_length
    now = _all_window_statistics(signal, rows, starts, settings)
    if reuse:  # get_f0 takes the last frame that is no more than the gap away
        index = np.maximum(np.arange(len(rows)) - reuse, 0)
        before = _WindowStatistics(*(values[index] for values in now))
    else:
        before = _all_window_statistics(signal, rows, starts - gap, settings)
    stationarity = 0.2 / (_itakura(now.predictor, before) - 0.8)
    ratio = (0.001 + now.rms) / before.rms
    early = starts < gap
    stationarity[early] = np.where(starts[early] < 0, 0.002, 0.02)
    ratio[early] = 1
    cost = VOICING_COST + VOICING_STATIONARITY_COST * stationarity
    return cost + VOICING_ENERGY_COST / ratio, cost + VOICING_ENERGY_COST * ratio


def _all_window_statistics(
    signal: np.ndarray, rows: np.ndarray, starts: np.ndarray, settings: RaptSettings
) -> _WindowStatistics:
    # Windows that begin before the utterance are not used: any place will do.
    samples = rows * signal.shape[1] + np.maximum(starts, 0)
    blocks = [
        _window_statistics(signal.ravel(), samples[start : start + BLOCK_FRAMES], settings)
        for start in range(0, len(rows), BLOCK_FRAMES)
    ]
    return _WindowStatistics(*map(np.concatenate, zip(*blocks, strict=True)))


def _window_statistics(
    signal: np.ndarray, samples: np.ndarray, settings: RaptSettings
) -> _WindowStatistics:
    order = settings.prediction_order
    windows = sliding_window_view(signal, settings.stationarity_window)[samples]
    tapered = windows * settings.stationarity_taper
    rms = np.sqrt(np.vecdot(tapered, tapered) / settings.stationarity_window)
    emphasised = (windows[:, 1:] - PRE_EMPHASIS * windows[:, :-1]) * settings.prediction_taper
    products = _autocorrelation(emphasised, order)
    # Noise keeps the energy above 1 by far; the bound only makes the division safe.
    autocorrelation = products / np.maximum(products[:, :1], 1)
    autocorrelation[:, 1:] /= 1 + 10 ** (WHITE_NOISE_DB / 20)
    predictor, error = _levinson_durbin(autocorrelation)
    return _WindowStatistics(autocorrelation, predictor, error, rms)


def _autocorrelation(values: np.ndarray, max_lag: int) -> np.ndarray:
    """(N, S) to sums of products at lags 0 to `max_lag`, (N, max_lag + 1)."""
    padded = np.pad(values, ((0, 0), (0, max_lag)))
    return np.vecdot(sliding_window_view(padded, values.shape[1], axis=1), values[:, None])


def _levinson_durbin(autocorrelation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predictor (N, order + 1) and prediction error (N,) of normalised autocorrelations."""
    lags = np.ascontiguousarray(autocorrelation.T, np.float64)  # (order + 1, N)
    predictor = np.zeros_like(lags)
    predictor[0] = 1
    error = lags[0].copy()
    for order in range(1, len(lags)):
        reflection = -np.vecdot(predictor[:order].T, lags[order:0:-1].T) / error
        predictor[1 : order + 1] += reflection * predictor[:order][::-1]
        error *= 1 - reflection**2
    return np.ascontiguousarray(predictor.T), error


def _itakura(predictor: np.ndarray, before: _WindowStatistics) -> np.ndarray:
    """Error (N,) of predicting the earlier windows by later ones' predictors, 1 at best."""
    weights = _autocorrelation(predictor, predictor.shape[1] - 1)
    weights[:, 1:] *= 2
    return np.vecdot(weights, before.autocorrelation.astype(np.float64)) / before.error
