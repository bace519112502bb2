"""Speech as F0, spectral envelope and aperiodicity: change one of them and put it together again.

The vocoder is WORLD (Morise, Yokomori and Ozawa, "WORLD: a vocoder-based high-quality speech
synthesis system for real-time applications", IEICE Transactions, 2016). Axes: S samples, T frames,
K frequency bins from 0 Hz to half the sampling rate. Every function returns new speech and leaves
its argument as it was.
"""

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    # Not an import statement, because a type checker cannot see into the compiled module.
    pyworld = importlib.import_module("pyworld")

FRAME_PERIOD_MS = 5.0
"""Milliseconds between frames."""

F0_RANGE_HZ = (60.0, 600.0)
"""F0 never leaves this range."""


@dataclass(frozen=True)
class VocodedSpeech:
    """An utterance as the parameters of WORLD."""

    f0_hz: np.ndarray  # Hz, 0 where unvoiced, (T,)
    log_envelope: np.ndarray  # natural log of the power spectral envelope, (T, K)
    aperiodicity: np.ndarray  # noise share of the amplitude in [0, 1], (T, K)
    sampling_rate: int  # Hz

    @property
    def voiced(self) -> np.ndarray:
        """True where the frame has an F0, shape (T,)."""
        return self.f0_hz > 0

    @property
    def log_f0(self) -> np.ndarray:
        """Natural log of F0 in Hz, 0 where unvoiced, shape (T,)."""
        return np.log(np.where(self.voiced, self.f0_hz, 1.0))

    @property
    def mean_log_f0(self) -> float:
        """Mean natural log of F0 in Hz over the voiced frames; ValueError if there is none."""
        if not self.voiced.any():
            raise ValueError("No frame is voiced, expected at least one: there is no mean F0.")
        return float(self.log_f0[self.voiced].mean())

    @property
    def frequencies_hz(self) -> np.ndarray:
        """Frequency of each bin, shape (K,)."""
        return np.linspace(0, self.sampling_rate / 2, self.log_envelope.shape[1])


def analyze(
    waveform: np.ndarray, sampling_rate: int, f0_range_hz: tuple[float, float] = F0_RANGE_HZ
) -> VocodedSpeech:
    """Analyse a waveform (S,) at full scale 1.0.

    F0 is sought within `f0_range_hz`; the range of the voice, if known, spares octave errors. It is
    by dio and stonemask: some 50 times faster than harvest, and as good on clean speech.
    """
    samples = np.ascontiguousarray(waveform, dtype=np.float64)
    f0_hz, times = pyworld.dio(samples, sampling_rate, *f0_range_hz, frame_period=FRAME_PERIOD_MS)
    f0_hz = pyworld.stonemask(samples, f0_hz, times, sampling_rate)
    envelope = pyworld.cheaptrick(samples, f0_hz, times, sampling_rate)
    aperiodicity = pyworld.d4c(samples, f0_hz, times, sampling_rate)
    return VocodedSpeech(f0_hz, np.log(envelope), aperiodicity, sampling_rate)


def synthesize(speech: VocodedSpeech) -> np.ndarray:
    """Waveform of vocoded speech, float64, shape (S,). Equal speech gives equal samples."""
    return pyworld.synthesize(
        speech.f0_hz,
        np.ascontiguousarray(np.exp(speech.log_envelope)),
        np.ascontiguousarray(speech.aperiodicity),
        speech.sampling_rate,
        FRAME_PERIOD_MS,
    )


def change_rate(speech: VocodedSpeech, rate: Callable[[np.ndarray], np.ndarray]) -> VocodedSpeech:
    """Change the rhythm, and neither pitch nor timbre. `rate` is the factor on the speaking rate,
    above 0, as a function of the time in the original utterance from 0 to 1; it is called with an
    array of times of shape (T,).
    """
    num_frames = len(speech.f0_hz)
    durations = 1.0 / rate(np.linspace(0, 1, num_frames))  # new frames for each old one, (T,)
    times = np.concatenate([[0.0], np.cumsum((durations[1:] + durations[:-1]) / 2)])
    return retime(speech, np.interp(np.arange(int(times[-1]) + 1), times, np.arange(num_frames)))


def retime(speech: VocodedSpeech, positions: np.ndarray) -> VocodedSpeech:
    """Read the frames of an utterance at other, fractional, positions (T',) in [0, T - 1]."""
    left = np.floor(positions).astype(int)
    right = np.minimum(left + 1, len(speech.f0_hz) - 1)
    weight = positions - left  # (T',)

    def interpolate(values: np.ndarray) -> np.ndarray:  # (T, K) -> (T', K)
        return values[left] * (1 - weight)[:, None] + values[right] * weight[:, None]

    # Between a voiced and an unvoiced frame there is no F0 to interpolate: the nearer one decides.
    f0_hz = np.where(
        speech.voiced[left] & speech.voiced[right],
        speech.f0_hz[left] * (1 - weight) + speech.f0_hz[right] * weight,
        speech.f0_hz[np.where(weight < 0.5, left, right)],
    )
    return replace(
        speech,
        f0_hz=f0_hz,
        log_envelope=interpolate(speech.log_envelope),
        aperiodicity=interpolate(speech.aperiodicity),
    )


def set_log_f0(speech: VocodedSpeech, log_f0: np.ndarray) -> VocodedSpeech:
    """Set the pitch of voiced frames: natural log of Hz (T,), limited to F0_RANGE_HZ."""
    f0_hz = np.clip(np.exp(log_f0), *F0_RANGE_HZ)
    return replace(speech, f0_hz=np.where(speech.voiced, f0_hz, 0.0))


def scale_formants(speech: VocodedSpeech, factor: float) -> VocodedSpeech:
    """Move formants from f to factor * f: the vocal tract is shorter above 1, longer below."""
    last = speech.log_envelope.shape[1] - 1
    bins = np.minimum(np.arange(last + 1) / factor, last)  # bin to read for each bin, (K,)
    left = np.minimum(np.floor(bins).astype(int), last - 1)
    weight = bins - left
    envelope = speech.log_envelope
    scaled = envelope[:, left] * (1 - weight) + envelope[:, left + 1] * weight
    return replace(speech, log_envelope=scaled)


def filter_spectrum(speech: VocodedSpeech, gain_db: np.ndarray) -> VocodedSpeech:
    """Add a gain in dB, shape (K,), to the envelope of every frame."""
    return replace(speech, log_envelope=speech.log_envelope + gain_db * (np.log(10) / 10))


def add_breath(speech: VocodedSpeech, amount: float) -> VocodedSpeech:
    """Change the voice quality of the voiced frames between pressed and breathy, by an amount in
    [-1, 1].

    Above 0, this share of the harmonic part turns into noise: a breathy voice. Below 0, this share
    of the noise goes: a pressed voice. The share holds above 4 kHz and falls to nothing at 0 Hz.
    """
    share = abs(amount) * np.minimum(speech.frequencies_hz / 4000, 1.0)  # (K,)
    noise = speech.aperiodicity
    changed = noise + (1 - noise) * share if amount > 0 else noise * (1 - share)
    return replace(speech, aperiodicity=np.where(speech.voiced[:, None], changed, noise))
