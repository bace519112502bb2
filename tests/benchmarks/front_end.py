"""Accuracy and speed of the signal front end beside get_f0, the C program of RAPT's author.

    python tests/benchmarks/front_end.py

prints each measured figure beside its bar. Speed is a ratio to pysptk's copy of get_f0 within the
same run, both on one thread, and needs pysptk; where it is missing, times alone are printed. pysptk
compiles C and is kept out of the environment of the project:

    pip install --target /tmp/pysptk cython wheel decorator
    export PYTHONPATH=/tmp/pysptk
    pip install --target /tmp/pysptk --no-build-isolation --no-deps pysptk==1.0.1
    python tests/benchmarks/front_end.py
"""

import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import soundfile
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from processing.mel_spectrogram import high_pass, log_mel_spectrogram  # noqa: E402
from processing.pitch import F0_RANGES, f0_contours  # noqa: E402
from processing.rapt import rapt  # noqa: E402

RATE, HOP = 16000, 256
F0_RANGE = F0_RANGES["unified"]
NUM_TURNS, TURN_SECONDS = 64, (1, 10)
ROUNDS = 7
MEL = {
    "sampling_rate": RATE,
    "n_fft": 1024,
    "win_length": 1024,
    "hop_length": HOP,
    "num_mel_bins": 80,
    "f_min": 90.0,
    "f_max": 7600.0,
}


def load_reference(subject: str) -> ModuleType:
    """The module that made the golden numbers of a subject."""
    path = ROOT / "tests" / "assets" / subject / "reference.py"
    spec = importlib.util.spec_from_file_location(f"{subject}_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def report(name: str, value: float, bar: float, unit: str = "") -> None:
    """One line: what, how much, the bar, and whether it is kept."""
    verdict = "ok" if value <= bar else "MISSED"
    print(f"{name:44} {value:10.2g} {unit:6} bar {bar:<8g} {verdict}")


def report_rapt_accuracy() -> None:
    """RAPT against the stored contours of get_f0."""
    reference = load_reference("rapt")
    golden = reference.golden()

    def errors_of(condition: str, noise: str):
        return reference.compare(
            [
                (
                    rapt(
                        case.waveform,
                        case.sampling_rate,
                        f0_min=case.f0_range[0],
                        f0_max=case.f0_range[1],
                        hop_length=case.hop_length,
                        noise=noise,
                        tail="sptk",
                    ),
                    contour,
                )
                for case, contour in golden
                if case.condition == condition
            ]
        )

    for condition in dict.fromkeys(case.condition for case, _ in golden):
        errors = errors_of(condition, "sptk")
        report(f"RAPT, {condition}: voicing errors", 100 * errors.voicing, 0.1, "%")
        report(f"RAPT, {condition}: gross errors", 100 * errors.gross, 0.05, "%")
        report(f"RAPT, {condition}: mean difference", errors.mean_cents, 0.1, "cents")
    errors = errors_of("clean", "seeded")
    report("RAPT, own noise, clean: voicing errors", 100 * errors.voicing, 1, "%")
    report("RAPT, own noise, clean: gross errors", 100 * errors.gross, 0.5, "%")
    report("RAPT, own noise, clean: mean difference", errors.mean_cents, 3, "cents")


def report_mel_accuracy() -> None:
    """Mel spectrograms against the stored ones in double precision."""
    stored = np.load(ROOT / "tests" / "assets" / "mel" / "reference.npz")
    for dtype, bar in ((torch.float32, 2e-4), (torch.float64, 1e-5)):
        worst = 0.0
        for name, waveform in load_reference("mel").signals().items():
            filtered = high_pass(waveform, RATE, hop_length=HOP)
            mel = log_mel_spectrogram(filtered, **MEL, dtype=dtype)
            worst = max(worst, float(np.abs(mel - stored[name]).max()))
        report(f"mel, {str(dtype).removeprefix('torch.')}: largest difference", worst, bar)


def make_turns() -> list[np.ndarray]:
    """Turns of 1 to 10 s cut from the sentences spoken in turn, at random levels."""
    reference = load_reference("rapt")
    sentences = [
        soundfile.read(reference.FOLDER / f"{name}.flac")[0] for name in reference.SENTENCES
    ]
    speech = np.tile(np.concatenate(sentences), 3)
    random = np.random.RandomState(0)
    turns = []
    for seconds in random.uniform(*TURN_SECONDS, NUM_TURNS):
        num_samples = int(seconds * RATE) // 2 * 2
        start = random.randint(len(speech) - num_samples)
        turns.append(random.uniform(0.2, 1) * speech[start : start + num_samples])
    return [turn.astype(np.float32) for turn in turns]


def front_end(turns: list[np.ndarray]) -> None:
    """All signals of all turns."""
    filtered = [high_pass(turn, RATE, hop_length=HOP) for turn in turns]
    for samples in filtered:
        log_mel_spectrogram(samples, **MEL)
    f0_contours(filtered, RATE, f0_range=F0_RANGE, hop_length=HOP)


def report_speed() -> None:
    """Times of the same turns, taken in alternation; the least of several rounds counts."""
    turns = make_turns()
    seconds = sum(map(len, turns)) / RATE
    print(f"{NUM_TURNS} turns, {seconds:.0f} s of audio, one thread, unified range")
    programs: dict[str, Callable] = {
        "RAPT in batches": lambda: f0_contours(turns, RATE, f0_range=F0_RANGE, hop_length=HOP),
        "RAPT one by one": lambda: [
            f0_contours([turn], RATE, f0_range=F0_RANGE, hop_length=HOP) for turn in turns
        ],
        "high-pass, mel and RAPT": lambda: front_end(turns),
    }
    bars = {"RAPT in batches": 2, "high-pass, mel and RAPT": 3}
    try:
        import pysptk

        low, high = F0_RANGE
        programs["get_f0"] = lambda: [
            pysptk.sptk.rapt(32768 * turn, RATE, HOP, min=low, max=high, otype="f0")
            for turn in turns
        ]
    except ImportError:
        print("pysptk is not installed: no ratios (see the head of this file)")
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, program in programs.items():
            start = time.process_time()
            program()
            times[name].append(time.process_time() - start)
    for name, rounds in times.items():
        milliseconds = 1000 * min(rounds) / seconds
        print(f"{name:44} {milliseconds:10.2f} ms for a second of audio")
    for name in programs if "get_f0" in programs else ():
        if name != "get_f0":
            ratio = min(times[name]) / min(times["get_f0"])
            report(f"{name} / get_f0", ratio, bars.get(name, np.inf), "times")


def main() -> None:
    """Print all figures."""
    torch.set_num_threads(1)
    report_rapt_accuracy()
    report_mel_accuracy()
    report_speed()


if __name__ == "__main__":
    main()
