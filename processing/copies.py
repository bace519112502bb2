"""Find clips that are one recording, also after a change of gain, length, coding, band or speed.

Two recordings of one sentence never have the same waveform, even by one speaker, while a copy keeps
it through gain, trimming, resampling and lossy coding, up to a shift. So each clip is compared, by
normalised cross-correlation below 1.9 kHz, with the clips whose average spectrum is most alike. Of
a short piece, of another band and of another speed neither stays; these are found by `landmarks`.

`tests/benchmarks/copy_detection.py` measures what is found.

Axes: N clips, S samples at FINGERPRINT_RATE, D bands, P landmarks.
"""

import hashlib
import itertools
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.signal
from sklearn.neighbors import NearestNeighbors

from processing.audio_files import read_audio
from processing.landmarks import aligned_pairs, find_landmarks, landmark_agreement

FINGERPRINT_RATE = 4000
"""Hz. What lies below 2 kHz passes through telephone bandwidth and low bit rates."""

COPY_CORRELATION = 0.7
"""Pairs of clips whose waveforms correlate at least so much, at the best shift, are copies."""

NUM_CANDIDATES = 12
"""Clips with the most similar spectrum that each clip is compared with."""

LEAST_AGREEMENT = 0.5
"""Aligned clips of which at least this share of the landmarks agree are copies."""

_NUM_BANDS = 32
_FFT_SIZE = 256


class StoredWaveforms(Sequence[np.ndarray]):
    """Waveforms as float16 in a temporary file, which is gone with the object: of a large corpus
    they would fill the memory.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115, lives as long as this
        self._ends = [0]  # in bytes

    def append(self, waveform: np.ndarray) -> None:
        """Store (S,) samples."""
        content = waveform.astype(np.float16).tobytes()
        self._file.write(content)
        self._ends.append(self._ends[-1] + len(content))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: Any) -> Any:
        """Samples of a clip, (S,) float16."""
        start, end = self._ends[index], self._ends[index + 1]
        return np.frombuffer(os.pread(self._file.fileno(), end - start, start), np.float16)


@dataclass(frozen=True)
class Fingerprints:
    """What `find_copies` compares of N clips."""

    ids: list[str]
    digests: list[str]  # SHA-256 of the samples at 16 kHz and 16 bit, whatever the file format
    spectra: np.ndarray  # average power spectrum in dB up to a constant, (N, D)
    waveforms: Sequence[np.ndarray]  # (S,), band-limited, at FINGERPRINT_RATE, unit energy, float16
    landmarks: list[np.ndarray]  # of each clip, (P, 2)


def fingerprint_audio(rows: Iterable[Any]) -> Fingerprints:
    """Decode every clip of rows with "id" and "audio" and keep what is needed to recognise a copy
    of it: 8 kB on disk for each second. An InputError names a clip that cannot be decoded.
    """
    return fingerprint_waveforms((row["id"], read_audio(row["audio"])) for row in rows)


def fingerprint_waveforms(clips: Iterable[tuple[str, np.ndarray]]) -> Fingerprints:
    """The same of ids and samples at 16 kHz."""
    ids, digests, spectra, landmarks, waveforms = [], [], [], [], StoredWaveforms()
    for row_id, waveform in clips:
        narrow = _narrow_band(waveform)
        ids.append(row_id)
        digests.append(_digest(waveform))
        spectra.append(_average_spectrum(narrow))
        waveforms.append(narrow)
        landmarks.append(find_landmarks(waveform))
    bands = np.array(spectra).reshape(len(ids), _NUM_BANDS)
    return Fingerprints(ids, digests, bands, waveforms, landmarks)


def find_copies(fingerprints: Fingerprints) -> list[tuple[str, str, float]]:
    """Sorted pairs of clips that are one recording: (id, id, likeness) with the first id the
    smaller; 1.0 for identical samples, less for copies that were changed: the correlation of the
    waveforms, or the share of landmarks that agree, whichever is larger and enough.
    """
    likeness = {**_like_landmarks(fingerprints.landmarks)}
    for pair, correlation in _like_waveforms(fingerprints).items():
        likeness[pair] = max(correlation, likeness.get(pair, 0.0))
    # Rounding can bring a changed copy to 1; that value means identical samples.
    likeness = {pair: min(share, 0.9999) for pair, share in likeness.items()}
    likeness |= dict.fromkeys(_equal_pairs(fingerprints.digests), 1.0)
    ids = fingerprints.ids
    pairs = ((sorted((ids[a], ids[b])), share) for (a, b), share in likeness.items())
    return sorted((first, second, round(share, 4)) for (first, second), share in pairs)


def _like_waveforms(fingerprints: Fingerprints) -> dict[tuple[int, int], float]:
    """Correlation of the pairs of clips that correlate enough."""
    found = {}
    for a, b in _candidate_pairs(fingerprints):
        correlation = _correlation(fingerprints.waveforms[a], fingerprints.waveforms[b])
        if correlation >= COPY_CORRELATION:
            found[a, b] = correlation
    return found


def _like_landmarks(landmarks: Sequence[np.ndarray]) -> dict[tuple[int, int], float]:
    """Agreement of the pairs of clips whose landmarks agree enough."""
    found: dict[tuple[int, int], float] = {}
    for first, second, speed, shift in aligned_pairs(landmarks):
        share = landmark_agreement(landmarks[first], landmarks[second], speed, shift)
        pair = min(first, second), max(first, second)
        if share >= max(LEAST_AGREEMENT, found.get(pair, 0.0)):
            found[pair] = share
    return found


def digest_audio(rows: Iterable[Any]) -> dict[str, str]:
    """Row id to a digest of the samples at 16 kHz and 16 bit, equal for identical audio only; rows
    have "id" and "audio", and an InputError names a clip that cannot be decoded.

    About 1.5 ms of processor time for a clip of 4 s, so every run can afford it; `find_copies`
    takes ten times as long.
    """
    return {row["id"]: _digest(read_audio(row["audio"])) for row in rows}


def _digest(waveform: np.ndarray) -> str:
    """SHA-256 of the samples, (S,), at 16 bit."""
    samples = np.clip(np.round(waveform * 32768.0), -32768, 32767).astype(np.int16)
    return hashlib.sha256(samples.tobytes()).hexdigest()


def _narrow_band(waveform: np.ndarray) -> np.ndarray:
    """Waveform at FINGERPRINT_RATE from 100 to 1900 Hz with unit energy, (S,); zero for silence.

    Below 100 Hz, mains hum would make any two quiet clips alike. The first difference evens out
    speech's falling spectrum, so that the correlation does not rest on the fundamental alone.
    """
    narrow = scipy.signal.resample_poly(waveform, 1, 16000 // FINGERPRINT_RATE)
    bandpass = scipy.signal.butter(4, (100, 1900), "bandpass", fs=FINGERPRINT_RATE, output="sos")
    narrow = np.diff(scipy.signal.sosfilt(bandpass, narrow), prepend=0.0)
    return narrow / max(float(np.linalg.norm(narrow)), 1e-8)


def _average_spectrum(narrow: np.ndarray) -> np.ndarray:
    """Average power of bands in dB with zero mean, (D,): loud frames count, silence does not."""
    _, _, stft = scipy.signal.stft(narrow, nperseg=_FFT_SIZE, noverlap=_FFT_SIZE // 2, padded=True)
    power = (np.abs(stft) ** 2).mean(axis=1)[1:]  # (_FFT_SIZE / 2,)
    bands = 10 * np.log10(power.reshape(_NUM_BANDS, -1).mean(axis=1) + 1e-12)
    return bands - bands.mean()


def _candidate_pairs(fingerprints: Fingerprints) -> list[tuple[int, int]]:
    """Each clip with its NUM_CANDIDATES nearest spectra."""
    pairs: set[tuple[int, int]] = set()
    nearest = min(NUM_CANDIDATES, len(fingerprints.ids) - 1)
    if nearest > 0:
        search = NearestNeighbors(n_neighbors=nearest).fit(fingerprints.spectra)
        for a, row in enumerate(search.kneighbors(return_distance=False)):
            pairs.update((min(a, b), max(a, b)) for b in row.tolist())
    return sorted(pairs)


def _equal_pairs(digests: Sequence[str]) -> Iterable[tuple[int, int]]:
    in_order = sorted(range(len(digests)), key=digests.__getitem__)
    for _, same in itertools.groupby(in_order, key=digests.__getitem__):
        yield from itertools.combinations(same, 2)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Largest absolute cross-correlation of two unit-energy waveforms over all shifts, 0 to 1."""
    a, b = a.astype(np.float32), b.astype(np.float32)
    return float(np.abs(scipy.signal.correlate(a, b, method="fft")).max())
