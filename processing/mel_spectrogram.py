"""Log-mel spectrogram of SpeechSplit, and the high-pass filter that precedes every feature.

The settings are those of SpeechSplit (Qian et al., ICML 2020), the decomposition on which Hsu et
al. (Interspeech 2023, section 2.1) build: zero-phase 30 Hz high-pass, magnitude spectrogram, Slaney
mel filters, decibels mapped linearly to [0, 1]. Axes: S samples, T frames, D mel bands.
"""

from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from torchaudio.transforms import MelSpectrogram

HIGH_PASS_HZ = 30.0
HIGH_PASS_ORDER = 5
# filtfilt's default for a filter of six coefficients: three times as many samples at each end.
HIGH_PASS_PADDING = 3 * (HIGH_PASS_ORDER + 1)
# The filter takes so many samples at once, and so many of these blocks a matrix product: small
# enough for one thread, whose sums have one order.
HIGH_PASS_BLOCK, HIGH_PASS_BLOCKS = 64, 32
HEADROOM = 0.96
APPENDED_SAMPLE = 1e-6
# Full scale is 1.0; filters and sample-rate conversion overshoot it a little, integers by far.
LARGEST_PEAK = 16.0

AMPLITUDE_FLOOR = 1e-5  # -100 dB
REFERENCE_DB = 16.0
RANGE_DB = 100.0


def num_frames(num_samples: int, hop_length: int) -> int:
    """Number of frames of `num_samples` samples, for the mel spectrogram and the F0 contour alike.

    Frame i speaks of sample `i * hop_length`, and there is one frame for each such sample from 0
    to `num_samples` inclusive.

    Examples:
        >>> num_frames(16000, 256), num_frames(255, 256), num_frames(256, 256)
        (63, 1, 2)
    """
    return num_samples // hop_length + 1


def check_waveform(waveform: np.ndarray) -> None:
    """Reject what is not one channel of finite samples, (S,), around full scale 1.0.

    Raises:
        ValueError: if the waveform is empty, has several channels, holds NaN or infinity, or lies
            so far beyond full scale that it must be integer samples.
    """
    if waveform.ndim != 1:
        raise ValueError(
            f"waveform of shape {waveform.shape}, expected one channel of shape (samples,). "
            "Average the channels, or choose one."
        )
    if waveform.size == 0:
        raise ValueError("waveform of 0 samples, expected at least 1.")
    # One pass over the samples: NaN and infinity both survive a maximum of magnitudes.
    peak = max(float(waveform.max()), -float(waveform.min()))
    if not np.isfinite(peak):
        raise ValueError("waveform holds NaN or infinity, expected finite samples.")
    if peak > LARGEST_PEAK:
        raise ValueError(
            f"waveform with a peak of {peak:g}, expected full scale 1.0. Divide 16-bit integer "
            "samples by 32768."
        )


class _BlockFilter(NamedTuple):
    """A filter with distinct poles, block by block: x (N,) is a block, s (K,) the complex states of
    its poles when it begins, one of each conjugate pair. Real and imaginary parts lie side by side.
    """

    within: np.ndarray  # (N, N): what a block adds to its own output, x @ within
    entering: np.ndarray  # (N, 2 K): what it adds to the states after it, x @ entering
    leaving: np.ndarray  # (2 K, N): what the states add to its output, s @ leaving
    decay: np.ndarray  # (K,) complex: what is left of the states after a block


@lru_cache(maxsize=8)
def _high_pass_filter(sampling_rate: int) -> _BlockFilter:
    """The Butterworth filter.

    Designed by hand, because importing scipy.signal takes longer than loading a model: the poles of
    the analogue low-pass, turned into those of a high-pass at the warped corner frequency, by the
    bilinear transform; all zeros lie at 0 Hz. In partial fractions every pole is a filter of the
    first order, `s[n + 1] = pole s[n] + x[n]`.
    """
    order = HIGH_PASS_ORDER
    corner = np.tan(np.pi * HIGH_PASS_HZ / sampling_rate)
    angles = np.pi * (2 * np.arange(order) + order + 1) / (2 * order)
    analogue = corner / np.exp(1j * angles)
    poles = (1 + analogue) / (1 - analogue)
    gain = np.prod((1 + poles) / 2).real  # 1 at half the sampling rate
    apart = poles[:, None] - poles + np.eye(order)  # the pole itself counts as 1
    residues = gain * (poles - 1) ** order / apart.prod(1)

    n = np.arange(HIGH_PASS_BLOCK)
    powers = poles[:, None] ** n  # (order, N)
    response = np.concatenate([[gain], (residues @ powers).real[:-1]])  # (N,)
    delay = n - n[:, None]
    within = np.where(delay >= 0, response[delay.clip(min=0)], 0.0)

    upper = np.argsort(poles.imag)[order // 2 :]  # the real pole and one of each pair
    weights = residues[upper] * np.where(np.arange(len(upper)) == 0, 1, 2)
    entering = powers[upper, ::-1].T
    leaving = weights[:, None] * powers[upper]
    return _BlockFilter(
        within,
        np.concatenate([entering.real, entering.imag], 1),
        np.concatenate([leaving.real, -leaving.imag]),
        poles[upper] ** HIGH_PASS_BLOCK,
    )


def _filter_high_pass(signal: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Filter (S,) as if the first sample had been there for ever; the answer to that is 0."""
    filter_ = _high_pass_filter(sampling_rate)
    products = -(-signal.size // (HIGH_PASS_BLOCK * HIGH_PASS_BLOCKS))
    blocks = np.zeros((products, HIGH_PASS_BLOCKS, HIGH_PASS_BLOCK))
    np.subtract(signal, signal[0], out=blocks.reshape(-1)[: signal.size])
    added = (blocks @ filter_.entering).reshape(-1, 2 * len(filter_.decay))
    states = np.empty_like(added)
    for k, decay in enumerate(filter_.decay.tolist()):
        real, imaginary = k, k + len(filter_.decay)
        inputs = (added[:, real] + 1j * added[:, imaginary]).tolist()
        state = accumulate(inputs[:-1], lambda s, x, decay=decay: decay * s + x, initial=0j)
        states[:, [real, imaginary]] = np.array(list(state)).view(np.float64).reshape(-1, 2)
    states = states.reshape(products, HIGH_PASS_BLOCKS, -1)
    filtered = blocks @ filter_.within + states @ filter_.leaving
    return filtered.reshape(-1)[: signal.size]


def high_pass(waveform: np.ndarray, sampling_rate: int, *, hop_length: int) -> np.ndarray:
    """Waveform without what lies below 30 Hz, the common input of the mel spectrogram and of F0.

    SpeechSplit's preparation without its dither: one sample of 1e-6 is appended where
    `hop_length` divides the length, a fifth-order Butterworth filter runs forwards and backwards
    (no delay), and the result is scaled by 0.96. The filter extends the signal by 18 samples of
    odd reflection at each end, or by all it has where the signal is shorter than that.

    Args:
        waveform: samples at full scale 1.0, shape (S,), S >= 1.
        sampling_rate: in Hz, above 60.
        hop_length: of the frames to be computed from the result, in samples, at least 2.

    Returns:
        float64 samples, shape (S,), or (S + 1,) where `S % hop_length == 0`. Either way
        `num_frames` is the same as that of S.

    Raises:
        ValueError: if the waveform is not one channel of finite samples around full scale.
    """
    waveform = np.asarray(waveform)
    check_waveform(waveform)
    waveform = waveform.astype(np.float64)
    if waveform.size % hop_length == 0:
        waveform = np.append(waveform, APPENDED_SAMPLE)
    padding = min(HIGH_PASS_PADDING, waveform.size - 1)
    extended = np.pad(waveform, padding, mode="reflect", reflect_type="odd")
    forwards = _filter_high_pass(extended, sampling_rate)
    backwards = _filter_high_pass(forwards[::-1], sampling_rate)[::-1]
    return HEADROOM * backwards[padding : padding + waveform.size]


@lru_cache(maxsize=8)
def _mel_transform(
    sampling_rate: int,
    n_fft: int,
    win_length: int,
    hop_length: int,
    num_mel_bins: int,
    f_min: float,
    f_max: float,
    dtype: torch.dtype,
) -> MelSpectrogram:
    if not 0 <= f_min < f_max <= sampling_rate / 2:
        raise ValueError(
            f"mel bands from {f_min:g} to {f_max:g} Hz, expected an ascending range within "
            f"0 and {sampling_rate / 2:g} Hz, half the sampling rate."
        )
    transform = MelSpectrogram(
        sample_rate=sampling_rate,
        n_fft=n_fft,
        win_length=win_length,
        hop_length=hop_length,
        f_min=f_min,
        f_max=f_max,
        n_mels=num_mel_bins,
        power=1.0,
        norm="slaney",
        mel_scale="slaney",
        wkwargs={"dtype": dtype},
    )
    return transform.to(dtype)


def log_mel_spectrogram(
    filtered: np.ndarray,
    *,
    sampling_rate: int,
    n_fft: int,
    win_length: int,
    hop_length: int,
    num_mel_bins: int,
    f_min: float,
    f_max: float,
    dtype: torch.dtype = torch.float32,
) -> np.ndarray:
    """Log-mel spectrogram on SpeechSplit's scale: -84 dB is 0, +16 dB is 1, clipped to [0, 1].

    Magnitudes (not powers) of a Hann-windowed Fourier transform centred on the frame's sample, with
    reflected ends; mel bands on Slaney's scale with Slaney's normalisation; then
    `(20 log10(max(1e-5, mel)) - 16 + 100) / 100`. Input of no more than half a transform, too short
    to be reflected, is extended by zeros instead.

    Args:
        filtered: what `high_pass` returned, shape (S,).
        sampling_rate: in Hz.
        n_fft: length of the transform in samples.
        win_length: length of the window in samples, at most `n_fft`.
        hop_length: step between frames in samples.
        num_mel_bins: number of bands D.
        f_min: lower end of the lowest band in Hz.
        f_max: upper end of the highest band in Hz, at most half the sampling rate.
        dtype: precision of the computation.

    Returns:
        values in [0, 1], float32 (or of `dtype`), shape (T, D) with T = `num_frames(S)`.

    Raises:
        ValueError: if the bands do not lie within half the sampling rate.
    """
    transform = _mel_transform(
        sampling_rate, n_fft, win_length, hop_length, num_mel_bins, f_min, f_max, dtype
    )
    samples = torch.as_tensor(filtered).to(dtype)
    if samples.numel() <= n_fft // 2:
        samples = torch.nn.functional.pad(samples, (0, n_fft - samples.numel()))
    with torch.inference_mode():
        mel = transform(samples).T  # (T, D)
        decibels = 20 * torch.log10(mel.clamp(min=AMPLITUDE_FLOOR))
        scaled = ((decibels - REFERENCE_DB + RANGE_DB) / RANGE_DB).clamp(0, 1)
    return scaled[: num_frames(filtered.size, hop_length)].contiguous().numpy()
