"""Long files: memory and time of a tiny and of the full network, on CPU.

    python tests/benchmarks/inference.py [--minutes N ...]

writes files of synthetic sound, recognises each in a process of its own, and prints the peak memory
above that of the process with its model and one answer, and the processor time. Memory must not
grow with the file, time must grow in proportion. The first of the lengths is the measure of the
others.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from modeling_decomp_ser import DecompSerForAudioClassification  # noqa: E402
from modeling_decomp_ser.pipeline_decomp_ser import DecompSerPipeline  # noqa: E402
from processing import DecompSerFeatureExtractor  # noqa: E402
from train_scripts.arguments import build_config, load_settings  # noqa: E402

RATE = 16000
MOST_MEGABYTES = 600


def build_pipeline(size: str) -> DecompSerPipeline:
    """A pipeline on random weights."""
    torch.manual_seed(0)
    settings = load_settings("base", [f"size={size}"])
    speakers = [f"speaker {i}" for i in range(9)]
    config = build_config(settings, speakers=speakers, emotion_head_trained=True)
    return DecompSerPipeline(
        model=DecompSerForAudioClassification(config).eval(),
        feature_extractor=DecompSerFeatureExtractor(**settings.features),
        task="audio-classification",
    )


def write_sound(path: Path, minutes: float) -> None:
    """Bursts of a gliding tone in noise, a second at a time."""
    random = np.random.default_rng(0)
    seconds = np.arange(RATE) / RATE
    with soundfile.SoundFile(path, "w", RATE, 1, subtype="PCM_16") as file:
        for i in range(round(60 * minutes)):
            tone = np.sin(2 * np.pi * (100 + i % 50) * seconds * (1 + 0.1 * seconds))
            file.write(0.2 * tone * (seconds > 0.3) + 0.02 * random.standard_normal(RATE))


def peak_megabytes() -> float:
    """Most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def recognize_one_file(minutes: float, size: str, batch_size: int) -> None:
    """Print the peak memory in MB above that of the model and an answer for 0.5 s, and the seconds
    of processor time.
    """
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.wav"
        write_sound(path, minutes)
        recognize = build_pipeline(size)
        recognize(np.ones(RATE // 2, np.float32))
        before, begin = peak_megabytes(), time.process_time()
        answer = recognize(str(path), return_timeline=True, batch_size=batch_size)
        seconds = time.process_time() - begin
    expected = max(1, round(60 * minutes / 5) - 1)
    assert len(answer["timeline"]) == expected, len(answer["timeline"])
    print(peak_megabytes() - before, seconds)


def compare(minutes: list[float], size: str, batch_size: int) -> None:
    """Print a line a length."""
    first = None
    for length in minutes:
        options = ["--one-file-of", str(length), "--size", size, "--batch-size", str(batch_size)]
        command = [sys.executable, __file__, *options]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        megabytes, seconds = map(float, done.stdout.split())
        per_minute = seconds / length
        first = first or per_minute
        print(
            f"{size:5} batch {batch_size} {length:5g} min: {megabytes:4.0f} MB (bar "
            f"{MOST_MEGABYTES}), {seconds:6.1f} s, {60 / per_minute:4.0f} x real time, "
            f"{per_minute / first:4.2f} of the first's time a minute",
            flush=True,
        )


def main() -> None:
    """Compare lengths, or measure one in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, nargs="+", default=[2, 10, 60])
    parser.add_argument("--size", choices=("tiny", "small", "paper"), default="tiny")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--one-file-of", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one_file_of is not None:
        recognize_one_file(arguments.one_file_of, arguments.size, arguments.batch_size)
        return
    compare(arguments.minutes, arguments.size, arguments.batch_size)
    if arguments.size == "tiny":
        compare([1, 2], "paper", 1)


if __name__ == "__main__":
    main()
