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

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .mel_spectrogram import check_waveform, num_frames

LOWEST_SAMPLING_RATE, HIGHEST_SAMPLING_RATE = 8000, 48000
FULL_SCALE = 32768.0  # all levels below are those of 16-bit samples
NOISE_LEVEL = 50.0  # standard deviation
NOISE_SEED = 0

WINDOW_SECONDS = 0.0075  # reference window of the NCCF
DECIMATED_RATE = 2000.0  # Hz
DECIMATION_FILTER_SECONDS = 0.005
READ_SECONDS = 0.2
PEAK_THRESHOLD = 0.3  # of the frame's highest NCCF
MAX_CANDIDATES = 19  # voiced ones
PATCH = 7  # lags searched around a coarse period
ADDED_ENERGY = 1e4  # in the fine NCCF: favours loud frames
LAG_WEIGHT = 0.3  # favours short periods
VOICE_BIAS = 0.0

FREQUENCY_WEIGHT = 0.02  # cost of a change of F0, for a frame of one second
OCTAVE_COST = 0.35
VOICING_COST = 0.005
VOICING_STATIONARITY_COST = 0.5
VOICING_ENERGY_COST = 0.5

STATIONARITY_WINDOW_SECONDS = 0.030
STATIONARITY_GAP_SECONDS = 0.020
PRE_EMPHASIS = 0.4
WHITE_NOISE_DB = -30.0  # added to the autocorrelation

BLOCK_FRAMES = 256
BLOCK_STEPS = 32


def check_f0_range(sampling_rate: int, f0_min: float, f0_max: float) -> None:
    """Reject a sampling rate or an F0 range that RAPT is not defined for.

    Args:
        sampling_rate: in Hz, 8000 to 48000.
        f0_min: lowest F0 in Hz, at least a ten-thousandth of the sampling rate.
        f0_max: highest F0 in Hz, at most a quarter of the sampling rate.

    Raises:
        ValueError: if one of these does not hold, or so few periods lie between the two limits
            that the search at the decimated rate can find no maximum.
    """
    if not LOWEST_SAMPLING_RATE <= sampling_rate <= HIGHEST_SAMPLING_RATE:
        raise ValueError(
            f"sampling rate of {sampling_rate} Hz, expected {LOWEST_SAMPLING_RATE} to "
            f"{HIGHEST_SAMPLING_RATE} Hz. Resample the waveform first."
        )
    if not sampling_rate / 10000 <= f0_min < f0_max <= sampling_rate / 4:
        raise ValueError(
            f"F0 range of {f0_min:g} to {f0_max:g} Hz, expected an ascending range within "
            f"{sampling_rate / 10000:g} and {sampling_rate / 4:g} Hz at a sampling rate of "
            f"{sampling_rate} Hz."
        )
    num_lags = _round(sampling_rate / f0_min) - _round(sampling_rate / f0_max) + 1
    needed = 3 * int(sampling_rate / DECIMATED_RATE)
    if num_lags < needed:
        raise ValueError(
            f"F0 range of {f0_min:g} to {f0_max:g} Hz holds {num_lags} periods of whole samples, "
            f"expected at least {needed}. Widen the range."
        )


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
    settings = _settings(sampling_rate, f0_min, f0_max, hop_length)
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


def _round(value: float) -> int:
    return int(np.floor(value + 0.5))


@dataclass(frozen=True)
class _Settings:
    """Lengths, lags and windows that follow from the arguments of `rapt`, in samples."""

    sampling_rate: int
    hop_length: int
    window: int
    first_lag: int
    last_lag: int
    decimation: int
    decimation_filter: np.ndarray
    stationarity_window: int
    stationarity_gap: int
    stationarity_taper: np.ndarray
    prediction_taper: np.ndarray

    @property
    def num_lags(self) -> int:
        return self.last_lag - self.first_lag + 1

    @property
    def span(self) -> int:
        """What one frame's NCCF reads."""
        return self.window + self.last_lag + 1

    @property
    def coarse_window(self) -> int:
        return 1 + self.window // self.decimation

    @property
    def coarse_first_lag(self) -> int:
        return max(1, self.first_lag // self.decimation)

    @property
    def coarse_num_lags(self) -> int:
        return 1 + self.num_lags // self.decimation

    @property
    def coarse_span(self) -> int:
        return self.coarse_window + self.coarse_first_lag + self.coarse_num_lags - 1

    @property
    def stationarity_offset(self) -> int:
        """From a frame's sample to its stationarity window; towards zero, as in C."""
        return int((self.stationarity_gap - self.stationarity_window) / 2)

    @property
    def prediction_order(self) -> int:
        return int(2 + self.sampling_rate / 1000)

    @property
    def read_ahead(self) -> int:
        """Samples get_f0 demands after a frame's sample: half a filter and the longest window."""
        half_filter = (int(self.sampling_rate * DECIMATION_FILTER_SECONDS) + 1) // 2
        return half_filter + max(self.stationarity_window + self.stationarity_offset, self.span)

    @property
    def frames_per_read(self) -> int:
        """Frames of one of get_f0's reading blocks of 0.2 s."""
        samples = int(READ_SECONDS * self.sampling_rate)
        overlap = self.span - self.hop_length if self.span >= self.hop_length else 0
        return max(1, (samples - overlap) // self.hop_length)

    @property
    def decimated_per_read(self) -> int:
        """Decimated samples that the frames of a reading block need."""
        return (self.frames_per_read - 1) * self.hop_length // self.decimation + self.coarse_span

    def samples_read(self, count: int) -> int:
        """Samples that `count` frames, filled up to whole reading blocks, need."""
        num_reads = -(-count // self.frames_per_read)
        stride = self.frames_per_read * self.hop_length
        return num_reads * stride + self.read_ahead + 2 * self.decimation


@lru_cache(maxsize=16)
def _settings(sampling_rate: int, f0_min: float, f0_max: float, hop_length: int) -> _Settings:
    decimation = int(sampling_rate / DECIMATED_RATE)
    stationarity_window = int(STATIONARITY_WINDOW_SECONDS * sampling_rate)
    return _Settings(
        sampling_rate=sampling_rate,
        hop_length=hop_length,
        window=_round(WINDOW_SECONDS * sampling_rate),
        first_lag=_round(sampling_rate / f0_max),
        last_lag=_round(sampling_rate / f0_min),
        decimation=decimation,
        decimation_filter=_low_pass(
            int(sampling_rate * DECIMATION_FILTER_SECONDS) | 1, 0.5 / decimation
        ),
        stationarity_window=stationarity_window,
        stationarity_gap=int(STATIONARITY_GAP_SECONDS * sampling_rate),
        stationarity_taper=_hann(stationarity_window).astype(np.float32),
        # one sample is lost to pre-emphasis
        prediction_taper=_hann(stationarity_window - 1).astype(np.float32),
    )


def _hann(size: int) -> np.ndarray:
    """Hann window that is symmetric about its middle and nowhere zero."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(size) + 0.5) / size)


def _low_pass(num_taps: int, cutoff: float) -> np.ndarray:
    """Symmetric Hann-windowed low-pass filter, cut-off in cycles per sample."""
    positions = np.arange(num_taps) - num_taps // 2
    return (2 * cutoff * np.sinc(2 * cutoff * positions) * _hann(num_taps)).astype(np.float32)


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


class _Candidates(NamedTuple):
    """Pitch periods of N frames; the columns beyond a frame's number of candidates are 0."""

    lags: np.ndarray  # (N, K) whole samples
    heights: np.ndarray  # (N, K) NCCF
    f0_hz: np.ndarray  # (N, K)
    maxima: np.ndarray  # (N,) highest NCCF


def _track(
    signal: np.ndarray,
    counts: np.ndarray,
    settings: _Settings,
    f0_hz: np.ndarray,
    strength: np.ndarray,
) -> None:
    """F0 and strength of the first `counts` frames of each utterance, written in place."""
    rows, frames = np.nonzero(np.arange(counts.max()) < counts[:, None])  # (N,) each
    candidates = _all_candidates(signal, rows, frames, settings)
    onset, offset = _voicing_change_costs(signal, rows, frames, settings)
    local = _local_costs(candidates, settings)
    chosen = _best_path(local, candidates.lags, onset, offset, rows, frames, settings)
    everyone = np.arange(len(rows))
    unvoiced = np.zeros((len(rows), 1), np.float32)
    f0_hz[rows, frames] = np.hstack([unvoiced, candidates.f0_hz])[everyone, chosen]
    heights = np.hstack([candidates.maxima[:, None], candidates.heights])
    strength[rows, frames] = np.clip(heights[everyone, chosen], 0, 1)  # 1 up to rounding


def _all_candidates(
    signal: np.ndarray, rows: np.ndarray, frames: np.ndarray, settings: _Settings
) -> _Candidates:
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
    return _Candidates(
        *(
            np.concatenate([_widen(getattr(block, name), most) for block in blocks])
            for name in _Candidates._fields
        )
    )


def _widen(values: np.ndarray, num_columns: int) -> np.ndarray:
    if values.ndim == 1:
        return values
    return np.pad(values, ((0, 0), (0, num_columns - values.shape[1])))


def _decimate(signal: np.ndarray, settings: _Settings) -> np.ndarray:
    """Low-passed signal at every `decimation`-th sample, without delay, rounded away from 0.

    get_f0 reads the signal in blocks of 0.2 s and starts counting anew in each, which matters for
    hops that are no multiple of the decimation; hence one row for each block, with what its last
    frame needs of the next.

    Args:
        signal: (B, S).
        settings: of the analysis.

    Returns:
        (B, reading blocks, decimated samples).
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
    """Normalised cross-correlation (Talkin 1995), of each of N frames or patches.

    Args:
        reference: (N, window), mean removed.
        segment: (N, window + L - 1) from the first lag on, the reference's mean removed.
        added_energy: to the product of energies.

    Returns:
        values in [-1, 1], shape (N, L).
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
    decimated: np.ndarray, positions: np.ndarray, settings: _Settings
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
    settings: _Settings,
) -> _Candidates:
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
    candidates = _Candidates(
        np.zeros(shape, np.int64), np.zeros(shape, np.float32), np.zeros(shape, np.float32), maxima
    )
    before, height, after = (nccf[frames, indices + step] for step in (-1, 0, 1))
    candidates.lags[frames, ranks] = first_lag + indices
    candidates.heights[frames, ranks] = height
    shift, _ = _parabola(before, height, after)
    candidates.f0_hz[frames, ranks] = settings.sampling_rate / (first_lag + indices + shift)
    return candidates


def _local_costs(candidates: _Candidates, settings: _Settings) -> np.ndarray:
    """(N, K + 1): unvoiced, low for low maxima; then voiced, low for high peaks at short lags."""
    weights = 1 - candidates.lags * (LAG_WEIGHT / settings.last_lag)
    voiced = np.where(candidates.lags > 0, 1 - candidates.heights * weights, np.inf)
    return np.hstack([VOICE_BIAS + candidates.maxima[:, None], voiced])


class _WindowStatistics(NamedTuple):
    """Linear prediction and level of N windows."""

    autocorrelation: np.ndarray  # (N, order + 1), 1 at lag 0
    predictor: np.ndarray  # (N, order + 1), 1 at lag 0
    error: np.ndarray  # (N,) of the prediction, of energy 1
    rms: np.ndarray  # (N,)


def _voicing_change_costs(
    signal: np.ndarray, rows: np.ndarray, frames: np.ndarray, settings: _Settings
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
    signal: np.ndarray, rows: np.ndarray, starts: np.ndarray, settings: _Settings
) -> _WindowStatistics:
    # Windows that begin before the utterance are not used: any place will do.
    samples = rows * signal.shape[1] + np.maximum(starts, 0)
    blocks = [
        _window_statistics(signal.ravel(), samples[start : start + BLOCK_FRAMES], settings)
        for start in range(0, len(rows), BLOCK_FRAMES)
    ]
    return _WindowStatistics(*map(np.concatenate, zip(*blocks, strict=True)))


def _window_statistics(
    signal: np.ndarray, samples: np.ndarray, settings: _Settings
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


def _best_path(
    local: np.ndarray,
    lags: np.ndarray,
    onset: np.ndarray,
    offset: np.ndarray,
    rows: np.ndarray,
    frames: np.ndarray,
    settings: _Settings,
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
    local_costs = by_time(local, only_unvoiced)  # (T, B, K + 1)
    log_lags = by_time(np.log(np.maximum(lags, 1)), 0.0)  # (T, B, K)
    onsets, offsets = by_time(onset, 0.0), by_time(offset, 0.0)  # (T, B)
    most = np.isfinite(local_costs).sum(axis=2).max(axis=1)  # (T,)

    totals = np.full_like(local_costs, np.inf)
    totals[0] = local_costs[0]
    pointers = np.zeros(local_costs.shape, np.int8)
    for start in range(1, shape[0], BLOCK_STEPS):
        now = slice(start, start + BLOCK_STEPS)
        width = most[start - 1 : now.stop].max()
        past = slice(start - 1, min(now.stop, shape[0]) - 1)
        costs = np.zeros((past.stop - past.start, width, shape[1], width))  # (T, K then, B, K now)
        costs[:, 1:, :, 1:] = _f0_change_costs(
            log_lags[past, :, : width - 1], log_lags[now, :, : width - 1], settings
        )
        costs[:, 0, :, 1:] = onsets[now, :, None]
        costs[:, 1:, :, 0] = offsets[now, None]
        costs += local_costs[now, None, :, :width]
        for step, cost in enumerate(costs):
            cost += totals[past.start + step, :, :width].T[:, :, None]
            np.minimum.reduce(cost, axis=0, out=totals[start + step, :, :width])
        pointers[now, :, :width] = costs.argmin(axis=1)

    utterances = np.arange(shape[1])
    path = np.zeros(shape, np.int64)
    for time in range(shape[0] - 1, 0, -1):
        path[time - 1] = pointers[time, utterances, path[time]]
    return path[frames, rows]


def _f0_change_costs(before: np.ndarray, now: np.ndarray, settings: _Settings) -> np.ndarray:
    """(T, B, K) log periods to costs (T, K before, B, K now); octaves are cheaper than fifths."""
    change = np.abs(now[:, None] - before.transpose(0, 2, 1)[..., None])
    weight = FREQUENCY_WEIGHT * settings.sampling_rate / settings.hop_length
    return weight * np.minimum(change, OCTAVE_COST + np.abs(change - np.log(2)))
