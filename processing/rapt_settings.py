"""RAPT's settings: the constants of get_f0, and the lengths, lags and windows they give."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

LOWEST_SAMPLING_RATE, HIGHEST_SAMPLING_RATE = 8000, 48000
WINDOW_SECONDS = 0.0075  # reference window of the NCCF
DECIMATED_RATE = 2000.0  # Hz
DECIMATION_FILTER_SECONDS = 0.005
READ_SECONDS = 0.2
STATIONARITY_WINDOW_SECONDS = 0.030
STATIONARITY_GAP_SECONDS = 0.020
LAG_WEIGHT = 0.3  # favours short periods, in the choice of candidates and of the path
BLOCK_FRAMES = 256  # frames whose arrays fit the cache


def check_f0_range(sampling_rate: int, f0_min: float, f0_max: float) -> None:
    """Reject a sampling rate or an F0 range, all in Hz, that RAPT is not defined for.

    Raises:
        ValueError: if the rate is not 8000 to 48000 Hz, the range does not ascend from at least a
            ten-thousandth of it to at most a quarter, or so few periods lie between the two limits
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


def _round(value: float) -> int:
    return int(np.floor(value + 0.5))


@dataclass(frozen=True)
class RaptSettings:
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
        """Periods of whole samples between the limits of the F0 range."""
        return self.last_lag - self.first_lag + 1

    @property
    def span(self) -> int:
        """What one frame's NCCF reads."""
        return self.window + self.last_lag + 1

    @property
    def coarse_window(self) -> int:
        """The reference window at the decimated rate."""
        return 1 + self.window // self.decimation

    @property
    def coarse_first_lag(self) -> int:
        """The shortest period at the decimated rate."""
        return max(1, self.first_lag // self.decimation)

    @property
    def coarse_num_lags(self) -> int:
        """Periods at the decimated rate."""
        return 1 + self.num_lags // self.decimation

    @property
    def coarse_span(self) -> int:
        """What one frame's NCCF reads at the decimated rate."""
        return self.coarse_window + self.coarse_first_lag + self.coarse_num_lags - 1

    @property
    def stationarity_offset(self) -> int:
        """From a frame's sample to its stationarity window; towards zero, as in C."""
        return int((self.stationarity_gap - self.stationarity_window) / 2)

    @property
    def prediction_order(self) -> int:
        """Coefficients of the linear prediction."""
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
def make_settings(
    sampling_rate: int, f0_min: float, f0_max: float, hop_length: int
) -> RaptSettings:
    """The settings that follow from the arguments of `rapt`."""
    decimation = int(sampling_rate / DECIMATED_RATE)
    stationarity_window = int(STATIONARITY_WINDOW_SECONDS * sampling_rate)
    return RaptSettings(
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
