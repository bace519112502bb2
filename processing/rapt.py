"""RAPT, the robust algorithm for pitch tracking, over one utterance or a padded batch.

Talkin, "A robust algorithm for pitch tracking (RAPT)", in Kleijn and Paliwal (eds.), Speech Coding
and Synthesis, Elsevier 1995, chapter 14. Constants and details are those of his program get_f0, as
the Speech Signal Processing Toolkit (SPTK 3) ships it and SpeechSplit uses it:

1. noise is added to the signal, so that silence is aperiodic and no energy is zero;
2. the normalised cross-correlation function (NCCF) of the signal decimated to about 2 kHz gives
   coarse pitch periods: its low-pass removes the formants that mislead a full-rate search;
3. the NCCF at the full rate around these gives the frame's candidates, and their number of samples;
4. stationarity and energy say how cheap a change of voicing is in each frame;
5. dynamic programming picks one candidate, or "unvoiced", in each frame;
6. a parabola through the NCCF refines the period chosen.

NumPy rather than torch: the time goes into many short inner products and into a recursion over
frames with a few dozen numbers in each, where the cost of a call decides; and it runs unchanged in
the worker processes that prepare a corpus. All steps but the recursion work on a flat list of the
frames of all utterances, in blocks that fit the cache, and no step mixes frames, so that the result
for an utterance does not depend on its batch. Axes: B utterances, S samples, T frames, N frames of
a block or of all utterances, L lags, P coarse periods, K candidates.
"""

from typing import Literal

import numpy as np

from .mel_spectrogram import check_waveform, num_frames
from .rapt_candidates import all_candidates
from .rapt_path import best_path, local_costs
from .rapt_settings import RaptSettings, check_f0_range, make_settings
from .rapt_voicing import voicing_change_costs

FULL_SCALE = 32768.0  # all levels are those of 16-bit samples
NOISE_LEVEL = 50.0  # standard deviation
NOISE_SEED = 0


def rapt(
    waveform: np.ndarray,
    sampling_rate: int,
    *,
    f0_min: float,
    f0_max: float,
    hop_length: int,
    lengths: np.ndarray | None = None,
    noise: Literal["seeded", "sptk"] = "seeded",
    tail: Literal["extend", "sptk"] = "extend",
) -> np.ndarray:
    """F0 of one utterance or of a padded batch (Talkin 1995; get_f0's constants).

    Frame i correlates 7.5 ms from sample `i * hop_length` on with what follows; its F0 therefore
    belongs to the time of sample `i * hop_length + window / 2 + period / 2`. An utterance too
    short for one frame (7.5 ms and the longest period, 27.5 ms with `f0_min` 50) is unvoiced.

    Args:
        waveform: samples at full scale 1.0, shape (S,) or, zero-padded, (B, S).
        sampling_rate: in Hz, 8000 to 48000.
        f0_min: lowest F0 in Hz.
        f0_max: highest F0 in Hz, at most a quarter of the sampling rate.
        hop_length: step between frames in samples.
        lengths: samples of each utterance, shape (B,); by default S for all. What lies beyond
            them is not read.
        noise: added to the signal at -56 dB of full scale, the same for every utterance and call:
            "seeded" by NumPy's generator, "sptk" by SPTK's (for comparisons).
        tail: "extend" gives `num_frames(S)` frames and continues the utterance by noise, so that
            all can be voiced; "sptk" gives `ceil(S / hop_length)` frames and leaves those whose
            windows exceed the utterance, the last 30 to 50 ms, unvoiced.

    Returns:
        float32 F0 in Hz, 0 where unvoiced or beyond the utterance, shape (T,) or (B, T).

    Raises:
        ValueError: if an utterance is empty, holds NaN or infinity, or is far beyond full scale;
            if shapes, `lengths`, the hop or the sampling rate are out of range; if the F0 range
            does not ascend, exceeds a quarter of the sampling rate or is too narrow.

    Examples:
        >>> tone = 0.5 * np.sin(2 * np.pi * 200 * np.arange(4000) / 16000)
        >>> rapt(tone, 16000, f0_min=50, f0_max=600, hop_length=1000).round()
        array([200., 200., 200., 200.,   0.], dtype=float32)
    """
    f0_hz, _ = rapt_with_strength(
        waveform,
        sampling_rate,
        f0_min=f0_min,
        f0_max=f0_max,
        hop_length=hop_length,
        lengths=lengths,
        noise=noise,
        tail=tail,
    )
    return f0_hz


def rapt_with_strength(
    waveform: np.ndarray,
    sampling_rate: int,
    *,
    f0_min: float,
    f0_max: float,
    hop_length: int,
    lengths: np.ndarray | None = None,
    noise: Literal["seeded", "sptk"] = "seeded",
    tail: Literal["extend", "sptk"] = "extend",
) -> tuple[np.ndarray, np.ndarray]:
    """F0 and the strength of voicing; arguments and errors as of `rapt`.

    Returns:
        F0 as of `rapt`, and float32 values in [0, 1] of the same shape: the NCCF at the chosen
        period where voiced, its highest value near any coarse period where unvoiced, 0 beyond
        the utterance. Near 1 the signal repeats itself, below about 0.5 it does not.
    """
    if hop_length < 1:
        raise ValueError(f"hop of {hop_length} samples, expected at least 1.")
    if noise not in ("seeded", "sptk"):
        raise ValueError(f"noise {noise!r}, expected 'seeded' or 'sptk'.")
    if tail not in ("extend", "sptk"):
        raise ValueError(f"tail {tail!r}, expected 'extend' or 'sptk'.")
    check_f0_range(sampling_rate, f0_min, f0_max)
    batch, lengths = _as_batch(np.asarray(waveform), lengths)
    settings = make_settings(sampling_rate, f0_min, f0_max, hop_length)
    if tail == "extend":
        width = num_frames(batch.shape[1], hop_length)
        counts = np.where(lengths < settings.span, 0, lengths // hop_length + 1)
    else:
        width = -(-batch.shape[1] // hop_length)
        counts = np.maximum(lengths - settings.read_ahead, 0) // hop_length
        counts[lengths < 2 * hop_length + settings.window] = 0
    f0_hz = np.zeros((len(batch), width), np.float32)
    strength = np.zeros((len(batch), width), np.float32)
    if counts.any():
        signal = _add_noise(batch, lengths, settings.samples_read(counts.max()), noise)
        _track(signal, counts, settings, f0_hz, strength)
    shape = (*np.shape(waveform)[:-1], width)
    return f0_hz.reshape(shape), strength.reshape(shape)


def _as_batch(waveform: np.ndarray, lengths: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """(B, S) samples and (B,) lengths, checked."""
    if waveform.ndim not in (1, 2):
        raise ValueError(
            f"waveform of shape {waveform.shape}, expected (samples,) or (utterances, samples)."
        )
    batch = np.atleast_2d(waveform)
    lengths = np.full(len(batch), batch.shape[1]) if lengths is None else np.atleast_1d(lengths)
    if lengths.shape != (len(batch),) or lengths.dtype.kind not in "iu":
        raise ValueError(
            f"lengths of shape {lengths.shape} and type {lengths.dtype}, expected one integer for "
            f"each of {len(batch)} utterances."
        )
    if (lengths > batch.shape[1]).any():
        raise ValueError(f"length {lengths.max()} exceeds the {batch.shape[1]} samples given.")
    for index, length in enumerate(lengths):
        try:
            check_waveform(batch[index, : max(length, 0)])
        except ValueError as error:
            raise ValueError(f"utterance {index}: {error}") from None
    return batch, lengths.astype(np.int64)


def _add_noise(batch: np.ndarray, lengths: np.ndarray, num_samples: int, noise: str) -> np.ndarray:
    """16-bit-scaled utterances plus noise, cut or extended to `num_samples` (B, S)."""
    num_samples = max(num_samples, int(lengths.max()))
    normal = _seeded_normal(num_samples) if noise == "seeded" else _sptk_normal(num_samples)
    signal = np.tile((NOISE_LEVEL * normal).astype(np.float32), (len(batch), 1))
    for row, samples, length in zip(signal, batch, lengths, strict=True):
        row[:length] += FULL_SCALE * samples[:length].astype(np.float32)
    return signal


def _seeded_normal(count: int) -> np.ndarray:
    return np.random.default_rng(NOISE_SEED).standard_normal(count, dtype=np.float32)


def _sptk_normal(count: int) -> np.ndarray:
    """SPTK's normal variates: a linear congruential generator and Marsaglia's polar method.

    SPTK keeps the second variate of a pair for the next call, so its own result for an odd number
    of samples alternates between two sequences; this is the first.
    """
    # Of the pairs drawn pi / 4 lie within the circle: 0.64 pairs a value, and some to spare.
    num_draws = 2 * int(0.7 * count + 100)
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


def _track(
    signal: np.ndarray,
    counts: np.ndarray,
    settings: RaptSettings,
    f0_hz: np.ndarray,
    strength: np.ndarray,
) -> None:
    """F0 and strength of the first `counts` frames of each utterance, written in place."""
    rows, frames = np.nonzero(np.arange(counts.max()) < counts[:, None])  # (N,) each
    candidates = all_candidates(signal, rows, frames, settings)
    onset, offset = voicing_change_costs(signal, rows, frames, settings)
    local = local_costs(candidates, settings)
    chosen = best_path(local, candidates.lags, onset, offset, rows, frames, settings)
    everyone = np.arange(len(rows))
    unvoiced = np.zeros((len(rows), 1), np.float32)
    f0_hz[rows, frames] = np.hstack([unvoiced, candidates.f0_hz])[everyone, chosen]
    heights = np.hstack([candidates.maxima[:, None], candidates.heights])
    strength[rows, frames] = np.minimum(heights[everyone, chosen], 1)  # 1 up to rounding
