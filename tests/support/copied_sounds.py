"""Utterances that differ, and the bytes of files that hold them."""

import io

import numpy as np
import soundfile

RATE = 16000


def utterance(seed, seconds=1.2):
    """A voiced sound with gliding F0 and formants, pauses and breath; every seed another one."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    knots = np.linspace(0, seconds, 6)
    f0 = np.interp(time, knots, rng.uniform(100, 250, 6))
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    formants = [np.interp(time, knots, rng.uniform(*band, 6)) for band in ((300, 800), (900, 2400))]
    voice = np.zeros_like(time)
    for k in range(1, 25):
        gain = sum(1 / (1 + ((k * f0 - formant) / 120) ** 2) for formant in formants)
        voice += gain * np.sin(k * phase + rng.uniform(0, 2 * np.pi))
    level = np.interp(time, knots, rng.uniform(0.05, 1.0, 6))
    voice = level * voice / np.abs(voice).max() + 0.003 * rng.standard_normal(len(time))
    return 0.5 * voice


def encode(waveform, rate=RATE, file_format="WAV", subtype="PCM_16"):
    buffer = io.BytesIO()
    waveform = waveform if waveform.dtype == np.int16 else np.clip(waveform, -1, 1)
    soundfile.write(buffer, waveform, rate, format=file_format, subtype=subtype)
    return buffer.getvalue()


def rows_of(encoded):
    return [{"id": name, "audio": {"bytes": b, "path": None}} for name, b in encoded.items()]
