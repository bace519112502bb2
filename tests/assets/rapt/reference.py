# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "numpy>=2", "scipy>=1.14", "soundfile>=0.13", "espeakng-loader>=0.2.4", "pysptk==1.0.1",
# ]
# ///
"""F0 of get_f0, the program RAPT's author wrote, by way of pysptk: the golden numbers of the tests.

pysptk compiles C and needs an old setuptools at build time, hence an environment of its own:

    python -m venv /tmp/pysptk && . /tmp/pysptk/bin/activate
    pip install "setuptools<81" wheel cython numpy scipy soundfile espeakng-loader
    pip install --no-build-isolation pysptk==1.0.1
    python tests/assets/rapt/reference.py

writes `reference.npz` beside this file, and the spoken sentences as FLAC where they are missing.
The tests import `golden` from here, which needs none of the packages but numpy, scipy, soundfile.
"""

import ctypes
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from scipy.signal import butter, resample_poly, sosfiltfilt

FOLDER = Path(__file__).parent
SAMPLING_RATE = 16000
# Voice, pitch (0 to 99) and text for espeak-ng: two low and two high voices.
SENTENCES = {
    "low": ("en-us", 15, "The birch canoe slid on the smooth planks."),
    "middle": ("en", 50, "It's easy to tell the depth of a well."),
    "high": ("en+f2", 60, "Glue the sheet to the dark blue background."),
    "highest": ("en+f3", 80, "These days a chicken leg is a rare dish!"),
}
RANGES = ((50, 250), (100, 600))
# At rates and hops that are and that are not multiples of RAPT's decimation. Even hops only: with
# an odd number of random variates pysptk's answer depends on the calls before.
OTHER_RATES = (
    (8000, 80), (8000, 186), (11025, 176), (12000, 280), (22050, 256), (22050, 514),
    (24000, 384), (32000, 746), (44100, 706), (44100, 1544), (48000, 1118), (16000, 160),
    (16000, 322), (16000, 560),
)  # fmt: skip


class Case(NamedTuple):
    """A signal and what is asked of the pitch tracker."""

    condition: str
    waveform: np.ndarray  # float32, (S,), an even number of samples of 16 bits
    sampling_rate: int
    f0_range: tuple[int, int]
    hop_length: int


def speak(voice: str, pitch: int, text: str) -> np.ndarray:
    """Waveform of a sentence by espeak-ng, 16 kHz."""
    import espeakng_loader

    espeak = ctypes.CDLL(espeakng_loader.get_library_path())
    callback_type = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
    )
    chunks = []

    @callback_type
    def receive(samples, count, _events):
        if samples and count > 0:
            chunks.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        return 0

    synchronous, characters, pitch_parameter = 2, 1, 3
    rate = espeak.espeak_Initialize(synchronous, 0, espeakng_loader.get_data_path().encode(), 0)
    assert rate == 22050
    espeak.espeak_SetSynthCallback(receive)
    assert espeak.espeak_SetVoiceByName(voice.encode()) == 0
    espeak.espeak_SetParameter(pitch_parameter, pitch, 0)
    data = text.encode()
    espeak.espeak_Synth(data, len(data) + 1, 0, characters, 0, 1, None, None)
    espeak.espeak_Synchronize()
    return resample_poly(np.concatenate(chunks) / 32768, 320, 441)


def sixteen_bits(waveform: np.ndarray) -> np.ndarray:
    """Rounded to 16 bits and cut to an even length, so that every machine gets the same samples."""
    rounded = np.round(np.clip(waveform, -1, 1 - 2**-15) * 32768) / 32768
    return rounded[: len(rounded) // 2 * 2].astype(np.float32)


def degraded(speech: np.ndarray) -> dict[str, np.ndarray]:
    """The conditions of the comparison."""
    # RandomState's stream is frozen, unlike that of Generator.
    noise = np.random.RandomState(0).standard_normal(len(speech))
    silence = np.zeros(SAMPLING_RATE // 4)
    telephone = butter(4, (300, 3400), btype="bandpass", fs=SAMPLING_RATE, output="sos")
    middle = len(speech) // 2
    conditions = {
        "clean": speech,
        "10 dB": speech + noise * np.sqrt(np.mean(speech**2) / 10),
        "telephone": sosfiltfilt(telephone, speech),
        "clipped": np.clip(speech, -0.25, 0.25) * np.abs(speech).max(),
        "quiet": 0.01 * speech,
        "offset": 0.5 * speech + 0.2,
        "silence at the ends": np.concatenate([silence, speech, silence]),
        "0.5 s": speech[middle : middle + SAMPLING_RATE // 2],
        "80 ms": speech[middle : middle + SAMPLING_RATE * 8 // 100],
    }
    return {name: sixteen_bits(waveform) for name, waveform in conditions.items()}


def cases() -> list[Case]:
    """All comparisons, in the order of the golden numbers."""
    found = []
    for name in SENTENCES:
        speech, _ = soundfile.read(FOLDER / f"{name}.flac")
        for condition, waveform in degraded(speech).items():
            for f0_range in RANGES:
                found.append(Case(condition, waveform, SAMPLING_RATE, f0_range, 256))
    speech, _ = soundfile.read(FOLDER / "middle.flac")
    for sampling_rate, hop_length in OTHER_RATES:
        divisor = np.gcd(sampling_rate, SAMPLING_RATE)
        waveform = resample_poly(speech, sampling_rate // divisor, SAMPLING_RATE // divisor)
        found.append(
            Case("other rates", sixteen_bits(waveform), sampling_rate, (60, 400), hop_length)
        )
    # So low that many frames have more maxima than candidates are kept.
    noisy = degraded(speech)["10 dB"]
    found.append(Case("wide range", noisy, SAMPLING_RATE, (20, 600), 256))
    return found


def golden() -> list[tuple[Case, np.ndarray]]:
    """Each comparison with get_f0's contour, as written by `main`."""
    stored = np.load(FOLDER / "reference.npz")
    contours = np.split(stored["f0_hz"], np.cumsum(stored["num_frames"])[:-1])
    return list(zip(cases(), contours, strict=True))


class Errors(NamedTuple):
    """What `compare` counts."""

    voicing: float  # share of frames voiced in one contour only
    gross: float  # share of the frames voiced in both that differ by more than 20 %
    mean_cents: float  # mean difference of the others


def compare(pairs: list[tuple[np.ndarray, np.ndarray]]) -> Errors:
    """Differences between contours and reference contours, over all frames of all pairs."""
    own, reference = (np.concatenate(contours) for contours in zip(*pairs, strict=True))
    both = (own > 0) & (reference > 0)
    ratio = own[both] / reference[both]
    gross = np.abs(ratio - 1) > 0.2
    return Errors(
        voicing=float(np.mean((own > 0) != (reference > 0))),
        gross=float(np.mean(gross)),
        mean_cents=float(np.mean(np.abs(1200 * np.log2(ratio[~gross])))),
    )


def main() -> None:
    """Write the sentences that are missing, and the golden numbers."""
    import pysptk

    for name, sentence in SENTENCES.items():
        if not (FOLDER / f"{name}.flac").exists():
            soundfile.write(FOLDER / f"{name}.flac", sixteen_bits(speak(*sentence)), SAMPLING_RATE)
    contours = [
        pysptk.sptk.rapt(
            32768 * case.waveform,
            case.sampling_rate,
            case.hop_length,
            min=case.f0_range[0],
            max=case.f0_range[1],
            otype="f0",
        )
        for case in cases()
    ]
    np.savez_compressed(
        FOLDER / "reference.npz",
        f0_hz=np.concatenate(contours).astype(np.float32),
        num_frames=np.array([len(contour) for contour in contours]),
    )


if __name__ == "__main__":
    main()
