# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy>=2", "scipy>=1.14", "soundfile>=0.13", "librosa>=0.11"]
# ///
"""Log-mel spectrograms in double precision with librosa's filters: golden numbers of the tests.

    uv run tests/assets/mel/reference.py

writes `reference.npz` beside this file. The tests import `signals` from here, which needs none of
the packages but numpy and soundfile.
"""

from pathlib import Path

import numpy as np
import soundfile

FOLDER = Path(__file__).parent
SAMPLING_RATE = 16000


def signals() -> dict[str, np.ndarray]:
    """Speech, tones in silence, noise shorter than a window, and a multiple of the hop."""
    speech, _ = soundfile.read(FOLDER.parent / "rapt" / "middle.flac", frames=16000)
    time = np.arange(10000) / SAMPLING_RATE
    tones = 0.3 * np.sin(2 * np.pi * 440 * time) + 0.01 * np.sin(2 * np.pi * 6000 * time)
    tones[:4000] = 0
    noise = 0.1 * np.random.RandomState(0).standard_normal(600)
    return {"speech": speech, "tones": tones, "short": noise, "whole hops": speech[4000:5024]}


def log_mel(waveform: np.ndarray) -> np.ndarray:
    """SpeechSplit's chain, frame by frame, without its dither."""
    import librosa
    from scipy.signal import butter, filtfilt

    if len(waveform) % 256 == 0:
        waveform = np.append(waveform, 1e-6)
    filtered = 0.96 * filtfilt(*butter(5, 30 / 8000, "high"), waveform)
    padded = np.pad(filtered, 512, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    filters = librosa.filters.mel(
        sr=16000, n_fft=1024, n_mels=80, fmin=90, fmax=7600, dtype=np.float64
    )
    frames = []
    for start in range(0, len(filtered) + 1, 256):
        magnitude = np.abs(np.fft.rfft(padded[start : start + 1024] * window))
        decibels = 20 * np.log10(np.maximum(1e-5, filters @ magnitude)) - 16
        frames.append((decibels + 100) / 100)
    return np.clip(frames, 0, 1)


def main() -> None:
    """Write the golden numbers."""
    mels = {name: log_mel(waveform).astype(np.float32) for name, waveform in signals().items()}
    np.savez_compressed(FOLDER / "reference.npz", **mels)


if __name__ == "__main__":
    main()
