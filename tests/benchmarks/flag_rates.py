"""How often the signal flags are raised, on speech and on what is none.

    python tests/benchmarks/flag_rates.py [--corpus NAME=FOLDER ...] [--output JSON]

A corpus is a folder of WAV or FLAC clips. All are tried as they are, and every tenth 20 dB quieter
and under white noise 10 dB and 0 dB below its level. The sounds that nobody said are made from a
seed, 100 of 3 s of each kind; babble is the sum of eight clips of the first corpus, and is speech.
Flags are those with the detector of speech where it is installed; what the rules alone say is
counted beside.
The statement of the rates in Markdown is printed, and the counts are written as JSON.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[2]))

from modeling_decomp_ser.signal_flags import (  # noqa: E402
    NOT_SPEECH_LIKE,
    SEVERAL_VOICES,
    TOO_QUIET,
    TOO_SHORT,
    signal_flags,
)
from modeling_decomp_ser.speech_activity import (  # noqa: E402
    detector_is_installed,
    speech_probabilities,
)
from processing import DecompSerFeatureExtractor  # noqa: E402
from processing.audio_files import read_audio  # noqa: E402
from train_scripts.reports.pages import render  # noqa: E402

RATE = 16000
SECONDS = 3.0
SOUNDS_EACH = 100
BABBLE_VOICES = 8
CHANGED_EVERY = 10
FLAGS = (TOO_SHORT, TOO_QUIET, NOT_SPEECH_LIKE, SEVERAL_VOICES)
BY_RULES = "not_speech_like_by_rules"
"""What the rules say, which decide where no detector is installed."""

Random = np.random.Generator


def time_axis() -> np.ndarray:
    """Seconds of each sample."""
    return np.arange(round(SECONDS * RATE)) / RATE


def at_level(samples: np.ndarray, random: Random) -> np.ndarray:
    """Samples at a random level between -45 and -10 dB of full scale, clipped."""
    level = 10 ** (random.uniform(-45, -10) / 20)
    return np.clip(samples * level / np.sqrt(np.mean(samples**2)), -1, 1)


def coloured_noise(random: Random, slope: float) -> np.ndarray:
    """Noise whose power falls with frequency to this power."""
    white = np.fft.rfft(random.standard_normal(len(time_axis())))
    shape = np.arange(1, len(white) + 1) ** (-slope / 2)
    return np.fft.irfft(white * shape, len(time_axis()))


def white_noise(random: Random) -> np.ndarray:
    """White noise."""
    return coloured_noise(random, 0)


def pink_noise(random: Random) -> np.ndarray:
    """Pink noise, falling by 3 dB an octave."""
    return coloured_noise(random, 1)


def brown_noise(random: Random) -> np.ndarray:
    """Brown noise, falling by 6 dB an octave, as rumble and wind."""
    return coloured_noise(random, 2)


def waves(random: Random) -> np.ndarray:
    """Noise that comes and goes at the rate of syllables, or more slowly."""
    rate = random.uniform(0.5, 8)
    return pink_noise(random) * (1 + 0.9 * np.sin(2 * np.pi * rate * time_axis()))


def tone(random: Random) -> np.ndarray:
    """A steady sine between 60 and 4000 Hz."""
    return np.sin(2 * np.pi * np.exp(random.uniform(np.log(60), np.log(4000))) * time_axis())


def beeps(random: Random) -> np.ndarray:
    """A sine that is switched on and off."""
    return tone(random) * ((time_axis() * random.uniform(1, 5)) % 1 < 0.5)


def hum(random: Random) -> np.ndarray:
    """Mains of 50 or 60 Hz with harmonics."""
    base = random.choice([50, 60])
    return sum(
        random.uniform(0.3, 1) / k * np.sin(2 * np.pi * base * k * time_axis())
        for k in range(1, 12)
    )


def chords(random: Random) -> np.ndarray:
    """Music-like: three notes with harmonics that decay, a chord every half second."""
    time, out = time_axis(), np.zeros(len(time_axis()))
    for start in np.arange(0, SECONDS, 0.5):
        root = 110 * 2 ** (random.integers(24) / 12)
        since = np.clip(time - start, 0, None)
        envelope = (time >= start) * np.exp(-3 * since) * np.clip(since / 0.01, 0, 1)
        for interval in (0, random.choice([3, 4]), 7):
            note = root * 2 ** (interval / 12)
            partials = [np.sin(2 * np.pi * note * k * since) / k**1.5 for k in range(1, 9)]
            out += envelope * sum(partials)
    return out


def clicks(random: Random) -> np.ndarray:
    """Impulses at random times, 2 to 30 a second."""
    pulses = np.zeros(len(time_axis()))
    pulses[random.integers(len(pulses), size=random.integers(2, 30) * round(SECONDS))] = 1
    return pulses


def silence(random: Random) -> np.ndarray:
    """The noise floor of a recorder: below -65 dB, or nothing at all."""
    return 10 ** (random.uniform(-100, -65) / 20) * random.standard_normal(len(time_axis()))


SOUNDS: dict[str, Callable[[Random], np.ndarray]] = {
    "white noise": white_noise,
    "pink noise": pink_noise,
    "brown noise": brown_noise,
    "noise in waves": waves,
    "tones": tone,
    "beeps": beeps,
    "mains hum": hum,
    "chords": chords,
    "clicks": clicks,
}


def babble(paths: list[Path], random: Random) -> np.ndarray:
    """Several people at once."""
    out = np.zeros(len(time_axis()))
    for i in random.choice(len(paths), BABBLE_VOICES, replace=False):
        clip = np.resize(read_audio(paths[i], sampling_rate=RATE), len(out))
        out += clip / max(1e-6, float(np.sqrt(np.mean(clip**2))))
    return out


def under_noise(clip: np.ndarray, ratio_db: float, random: Random) -> np.ndarray:
    """A clip with white noise this far below its level."""
    level = np.sqrt(np.mean(np.square(clip))) * 10 ** (-ratio_db / 20)
    return clip + level * random.standard_normal(len(clip))


def made_sounds(paths: list[Path], random: Random) -> Iterator[tuple[str, np.ndarray]]:
    """Sounds that nobody said, and babble; with the name of their kind."""
    for _ in range(SOUNDS_EACH):
        for name, make in SOUNDS.items():
            yield name, at_level(make(random), random)
        yield "silence", silence(random)
        if paths:
            yield f"babble of {BABBLE_VOICES} voices", at_level(babble(paths, random), random)


def spoken_sounds(name: str, paths: list[Path], random: Random) -> Iterator[tuple[str, np.ndarray]]:
    """Every clip of a corpus, and what noise and distance make of it."""
    for i, path in enumerate(paths):
        clip = read_audio(path, sampling_rate=RATE)
        yield name, clip
        if i % CHANGED_EVERY:
            continue
        yield f"{name}, 20 dB quieter", clip / 10
        yield f"{name}, noise 10 dB below", under_noise(clip, 10, random)
        yield f"{name}, noise as loud", under_noise(clip, 0, random)


def count_flags(
    sounds: Iterator[tuple[str, np.ndarray]], total: float, f0_method: str
) -> dict[str, dict[str, int]]:
    """Numbers of sounds, and of those with each flag, by kind."""
    extractor = DecompSerFeatureExtractor(f0_method=f0_method)
    counts: dict[str, Counter] = {}
    for kind, samples in tqdm(sounds, total=total, unit="sound"):
        waveform = np.asarray(samples, np.float32)
        features = extractor(waveform, sampling_rate=RATE, return_tensors="np")
        signals = (features[name][0] for name in ("mel", "log_f0", "voiced"))
        arguments = {"seconds": len(waveform) / RATE}
        rules = signal_flags(waveform, *(signals := list(signals)), **arguments)
        speech = speech_probabilities([waveform]) if detector_is_installed() else None
        flags = signal_flags(waveform, *signals, **arguments, speech=speech)
        names = ["sounds", *flags, *(["any"] if flags else [])]
        names += [BY_RULES] if NOT_SPEECH_LIKE in rules else []
        counts.setdefault(kind, Counter()).update(names)
    names = ("sounds", *FLAGS, BY_RULES, "any")
    return {kind: {name: counter[name] for name in names} for kind, counter in counts.items()}


def clips_in(folder: str) -> list[Path]:
    """Sound files of a corpus, in order."""
    return sorted(p for p in Path(folder).rglob("*") if p.suffix in (".wav", ".flac"))


def main() -> None:
    """Count, write and state."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", action="append", default=[], help="NAME=FOLDER")
    parser.add_argument("--f0-method", default="rapt")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    corpora = {
        name: clips_in(folder)
        for name, _, folder in (corpus.partition("=") for corpus in arguments.corpus)
    }
    random = np.random.default_rng(0)
    voices = next(iter(corpora.values()), [])
    number = SOUNDS_EACH * (len(SOUNDS) + 1 + bool(voices))
    detector = f"silero-vad {version('silero-vad')}" if detector_is_installed() else None
    result: dict[str, Any] = {"f0_method": arguments.f0_method, "detector": detector}
    result |= {"no_speech": {}, "speech": {}}
    made = count_flags(made_sounds(voices, random), number, arguments.f0_method)
    for kind, counts in made.items():
        result["speech" if "babble" in kind else "no_speech"][kind] = counts
    for name, paths in corpora.items():
        sounds = spoken_sounds(name, paths, random)
        result["speech"] |= count_flags(
            sounds, len(paths) + 3 * -(-len(paths) // CHANGED_EVERY), arguments.f0_method
        )
    if arguments.output is not None:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(render("flag_rates", result=result).rstrip())


if __name__ == "__main__":
    main()
