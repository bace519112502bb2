"""Long files: memory, time and answers of a network on CPU.

    python tests/benchmarks/inference.py [--minutes N ...] [--size SIZE | --model RUN] [--clips DIR]

writes files of synthetic sound, or of the clips of a corpus one after the other, recognises each in
a process of its own, and prints the peak memory above that of the process with its model and one
answer, the processor time, and how many of the windows that were compared have another label alone.
Memory must not grow with the file, time must grow in proportion. The first of the lengths is the
measure of the others. Last comes the computing of an answer of a live stream, by windows of 3 s
every second, which adds to its latency.
"""

import argparse
import itertools
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from modeling_decomp_ser import DecompSerForAudioClassification  # noqa: E402
from modeling_decomp_ser.pipeline_decomp_ser import DecompSerPipeline  # noqa: E402
from processing import DecompSerFeatureExtractor  # noqa: E402
from processing.audio_files import read_audio  # noqa: E402
from train_scripts.runs.run_folder import load_model  # noqa: E402
from train_scripts.runs.settings import build_config, load_settings  # noqa: E402

RATE = 16000
MOST_MEGABYTES = 600
MOST_COMPARED = 60
STREAM_WINDOW, STREAM_HOP, STREAM_SECONDS = 3.0, 1.0, 30


def build_pipeline(size: str, model_name: str | None) -> DecompSerPipeline:
    """A pipeline on a trained model, or on random weights of a size."""
    torch.manual_seed(0)
    if model_name is not None:
        model, processor = load_model(model_name)
        extractor = processor.feature_extractor
    else:
        settings = load_settings("base", [f"size={size}"])
        speakers = [f"speaker {i}" for i in range(9)]
        config = build_config(settings, speakers=speakers, emotion_head_trained=True)
        model = DecompSerForAudioClassification(config).eval()
        # ln Hz, which a training set would tell
        extractor = DecompSerFeatureExtractor(f0_deviation=0.25, **settings.features)
    return DecompSerPipeline(model=model, feature_extractor=extractor, task="audio-classification")


def synthetic_seconds() -> Iterator[np.ndarray]:
    """Bursts of a gliding tone in noise, a second at a time."""
    random = np.random.default_rng(0)
    seconds = np.arange(RATE) / RATE
    for i in itertools.count():
        tone = np.sin(2 * np.pi * (100 + i % 50) * seconds * (1 + 0.1 * seconds))
        yield 0.2 * tone * (seconds > 0.3) + 0.02 * random.standard_normal(RATE)


def clips_of(folder: str) -> Iterator[np.ndarray]:
    """The clips of a corpus in random order, over and over."""
    paths = sorted(p for p in Path(folder).rglob("*") if p.suffix in (".wav", ".flac"))
    random = np.random.default_rng(0)
    while True:
        for i in random.permutation(len(paths)):
            yield read_audio(paths[i], sampling_rate=RATE)


def write_sound(path: Path, minutes: float, pieces: Iterator[np.ndarray]) -> None:
    """Write the pieces, one after the other, up to a length."""
    missing = round(60 * minutes * RATE)
    with soundfile.SoundFile(path, "w", RATE, 1, subtype="PCM_16") as file:
        while missing > 0:
            piece = next(pieces)[:missing]
            file.write(piece)
            missing -= len(piece)


def peak_megabytes() -> float:
    """Most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def recognize_one_file(minutes: float, arguments: argparse.Namespace) -> None:
    """Print the peak memory in MB above that of the model and an answer for 0.5 s, the seconds of
    processor time, the number of windows, how many were compared, how many of these have another
    label alone, and the largest difference of a probability.
    """
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.wav"
        pieces = clips_of(arguments.clips) if arguments.clips else synthetic_seconds()
        write_sound(path, minutes, pieces)
        recognize = build_pipeline(arguments.size, arguments.model)
        recognize(np.ones(RATE // 2, np.float32))
        before, begin = peak_megabytes(), time.process_time()
        options = {"return_timeline": True, "top_k": None}
        answer = recognize(str(path), batch_size=arguments.batch_size, **options)
        seconds, peak = time.process_time() - begin, peak_megabytes() - before
        timeline = answer["timeline"]
        expected = max(1, round(60 * minutes / 5) - 1)
        assert len(timeline) == expected, len(timeline)
        compared = timeline[:: max(1, len(timeline) // MOST_COMPARED)]
        others, largest = compare_windows(recognize, path, compared)
    print(peak, seconds, len(timeline), len(compared), others, largest)


def compare_windows(recognize, path: Path, windows: list[dict]) -> tuple[int, float]:
    """How many windows have another label where they are read and answered alone, and the largest
    difference of a probability.
    """
    others, largest = 0, 0.0
    for window in windows:
        start, stop = (round(window[name] * RATE) for name in ("start", "end"))
        samples, _ = soundfile.read(path, start=start, stop=stop, dtype="float32")
        alone = {e["label"]: e["score"] for e in recognize(samples, top_k=None)}
        others += max(alone, key=alone.__getitem__) != window["scores"][0]["label"]
        largest = max(largest, *(abs(alone[e["label"]] - e["score"]) for e in window["scores"]))
    return others, largest


def compare(minutes: list[float], arguments: argparse.Namespace, size: str) -> None:
    """Print a line a length."""
    first = None
    name = arguments.model or size
    for length in minutes:
        options = ["--one-file-of", str(length), "--batch-size", str(arguments.batch_size)]
        options += ["--size", size] if arguments.model is None else ["--model", arguments.model]
        options += ["--clips", arguments.clips] if arguments.clips else []
        command = [sys.executable, __file__, *options]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        megabytes, seconds, windows, compared, others, largest = map(float, done.stdout.split())
        per_minute = seconds / length
        first = first or per_minute
        print(
            f"{name} batch {arguments.batch_size} {length:5g} min: {megabytes:4.0f} MB (bar "
            f"{MOST_MEGABYTES}), {seconds:6.1f} s, {60 / per_minute:4.0f} x real time, "
            f"{per_minute / first:4.2f} of the first's time a minute; {others:.0f} of "
            f"{compared:.0f} windows (of {windows:.0f}) differ alone, by {largest:.1g}",
            flush=True,
        )


def time_stream(arguments: argparse.Namespace, size: str) -> None:
    """Print how long each answer of a stream takes."""
    torch.set_num_threads(1)
    recognize = build_pipeline(size, arguments.model)
    stream = recognize.stream(RATE, window_seconds=STREAM_WINDOW, hop_seconds=STREAM_HOP)
    pieces = clips_of(arguments.clips) if arguments.clips else synthetic_seconds()
    sound = np.concatenate(list(itertools.islice(pieces, STREAM_SECONDS)))
    times = []
    for start in range(0, STREAM_SECONDS * RATE, RATE // 10):
        begin = time.process_time(), time.perf_counter()
        if stream.push(sound[start : start + RATE // 10]):
            times.append([time.process_time() - begin[0], time.perf_counter() - begin[1]])
    processor, clock = np.median(times[1:], axis=0)
    slowest = max(row[0] for row in times[1:])
    print(
        f"{arguments.model or size} stream, {STREAM_WINDOW:g} s every {STREAM_HOP:g} s: an answer "
        f"takes {processor:.3f} s of the processor ({clock:.3f} s by the clock), {slowest:.3f} s "
        "at most"
    )


def main() -> None:
    """Compare lengths, or measure one in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, nargs="+", default=[2, 10, 60])
    parser.add_argument("--size", choices=("tiny", "small", "paper"), default="tiny")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--model", help="folder of a run, instead of random weights")
    parser.add_argument("--clips", help="folder of speech, instead of synthetic sound")
    parser.add_argument("--one-file-of", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one_file_of is not None:
        recognize_one_file(arguments.one_file_of, arguments)
        return
    compare(arguments.minutes, arguments, arguments.size)
    time_stream(arguments, arguments.size)
    if arguments.size == "tiny" and arguments.model is None:
        compare([1, 2], arguments, "paper")
        time_stream(arguments, "paper")


if __name__ == "__main__":
    main()
