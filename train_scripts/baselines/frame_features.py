"""MFCC and chroma of every frame: 34 coefficients and 12 pitch classes, as Krasnoproshin and
Vashkevich take them (DSPA 2026, arXiv 2606.03359).

They state a Fourier transform of 4,096 samples every 2,048 at 48 kHz. Our corpora have 16 kHz, so
the same seconds are taken: a window of 85.3 ms every 42.7 ms. What lies above 8 kHz is lost.

Axes: S samples, T frames, F frequencies.
"""

import json
from functools import cache
from typing import Any

import numpy as np
import torch
import torchaudio
from datasets import Array2D, Dataset, Features, Value
from torch import Tensor

from processing.audio_files import audio_name, read_audio
from processing.corpora.schema import SAMPLING_RATE
from processing.errors import InputError
from processing.features import add_columns

NUM_MFCC, NUM_CHROMA = 34, 12
NUM_FRAME_FEATURES = NUM_MFCC + NUM_CHROMA
WINDOW = round(4096 / 48_000 * SAMPLING_RATE)  # samples: 85.3 ms
HOP = round(2048 / 48_000 * SAMPLING_RATE)  # samples: 42.7 ms
FFT_SIZE = 2048
NUM_MEL_BANDS = 128
REFERENCE_PITCH = 440.0  # Hz, of pitch class A, which is number 9
CENTRE_OCTAVE, OCTAVE_WIDTH = 5.0, 2.0
"""Octave, counted from 27.5 Hz, that counts most, and how fast others count less."""


def add_frame_features(corpus: Dataset, **options: Any) -> Dataset:
    """Add the column `frames` (T, 46) to a corpus.

    Args:
        corpus: rows of the schema.
        options: cache_folder, num_proc and skip_bad of `add_signals`.

    Raises:
        InputError: if a clip cannot be used; names it.
    """
    values = [SAMPLING_RATE, WINDOW, HOP, FFT_SIZE, NUM_MFCC, NUM_CHROMA, NUM_MEL_BANDS]
    settings = ["frames", 1, *values, REFERENCE_PITCH, CENTRE_OCTAVE, OCTAVE_WIDTH]
    return add_columns(
        corpus,
        extract_frames,
        {},
        columns=Features(
            {
                "frames": Array2D((None, NUM_FRAME_FEATURES), "float32"),
                "problem": Value("string"),
            }
        ),
        settings=json.dumps(settings),
        title="Frames",
        **options,
    )


def extract_frames(row: dict) -> dict:
    """Frames of one row, or why there are none."""
    try:
        waveform = read_audio(row["audio"], sampling_rate=SAMPLING_RATE)
    except InputError as error:
        name = audio_name(row["audio"])
        problem = str(error) if name in str(error) else f"{name}: {error}"
        empty = np.zeros((0, NUM_FRAME_FEATURES), np.float32)
        return {"frames": empty, "problem": f"row '{row['id']}': {problem}"}
    return {"frames": frame_features(torch.from_numpy(waveform)).numpy(), "problem": None}


def frame_features(waveform: Tensor) -> Tensor:
    """MFCC and chroma of a waveform (S,) at 16 kHz: (T, 46). A frame is centred on every HOP-th
    sample; silence surrounds the waveform.
    """
    power = power_spectrum(waveform)
    mfcc = cepstrum(power)
    return torch.cat([mfcc, chroma(power)], dim=-1)


def power_spectrum(waveform: Tensor) -> Tensor:
    """(S,) -> (T, F)."""
    spectrum = torch.stft(
        waveform,
        FFT_SIZE,
        hop_length=HOP,
        win_length=WINDOW,
        window=torch.hann_window(WINDOW),
        pad_mode="constant",
        return_complex=True,
    )
    return spectrum.abs().square().T


def cepstrum(power: Tensor) -> Tensor:
    """Cosine transform of the mel spectrum in dB, cut 80 dB below its peak: (T, F) -> (T, 34)."""
    decibels = torchaudio.functional.amplitude_to_DB(
        (power @ mel_bands())[None], 10.0, 1e-10, 0.0, top_db=80.0
    )[0]
    return decibels @ torchaudio.functional.create_dct(NUM_MFCC, NUM_MEL_BANDS, "ortho")


@cache
def mel_bands() -> Tensor:
    """Triangles of equal area on Slaney's mel scale, (F, bands)."""
    return torchaudio.functional.melscale_fbanks(
        FFT_SIZE // 2 + 1,
        0.0,
        SAMPLING_RATE / 2,
        NUM_MEL_BANDS,
        SAMPLING_RATE,
        norm="slaney",
        mel_scale="slaney",
    )


def chroma(power: Tensor) -> Tensor:
    """Share of each pitch class, C first, of the largest: (T, F) -> (T, 12), zeros in silence."""
    energies = power @ chroma_filters()
    return energies / energies.amax(-1, keepdim=True).clamp(min=1e-10)


@cache
def chroma_filters() -> Tensor:
    """How much each frequency counts for each pitch class, (F, 12).

    Formula: w(f, c) = exp(-0.5 (2 d / b)^2) / n(f) * exp(-0.5 ((o - 5) / 2)^2), with d the distance
    in semitones of f to the nearest note of class c; b the distance in semitones to the next
    frequency of the transform, 1 at least; o the octaves of f above 27.5 Hz; and n(f) the root of
    the sum of squares over the classes. The constant part counts for none.
    """
    frequencies = torch.arange(FFT_SIZE // 2 + 1, dtype=torch.float64) * SAMPLING_RATE / FFT_SIZE
    frequencies[0] = frequencies[1] / 2
    semitones = 12 * torch.log2(frequencies / REFERENCE_PITCH) + 9  # 0 is a C
    width = semitones.diff(append=semitones[-1:]).clamp(min=1.0)
    apart = semitones[:, None] - torch.arange(NUM_CHROMA)
    apart = torch.remainder(apart + 6, 12) - 6
    filters = torch.exp(-0.5 * (2 * apart / width[:, None]) ** 2)
    filters /= filters.square().sum(1, keepdim=True).sqrt()
    octaves = torch.log2(frequencies / (REFERENCE_PITCH / 16))
    filters *= torch.exp(-0.5 * ((octaves - CENTRE_OCTAVE) / OCTAVE_WIDTH) ** 2)[:, None]
    filters[0] = 0.0
    return filters.float()
