"""Speed of a model and of what `decomp-ser export onnx MODEL FOLDER [--int8]` wrote of it.

    python tests/benchmarks/onnx_speed.py MODEL FOLDER

prints milliseconds for a second of sound, one turn of 4.5 s at a time, without the feature
extractor: the least of several repetitions, which other processes have disturbed least.
"""

import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from train_scripts.exporting.onnx_graph import (  # noqa: E402
    OnnxClassifier,
    input_ports,
    random_inputs,
)
from train_scripts.exporting.onnx_parity import as_classifier  # noqa: E402
from train_scripts.runs.run_folder import load_model  # noqa: E402

TIMED_SAMPLES = 72000
"""A turn of 4.5 s at 16 kHz, the mean of IEMOCAP's."""
REPETITIONS = 7


def main() -> None:
    """Print a line for the model and for each file of the folder."""
    model, processor = load_model(sys.argv[1])
    hop_length = processor.feature_extractor.hop_length
    batch = random_inputs(input_ports(model), (TIMED_SAMPLES,), hop_length=hop_length)
    classifiers = {"torch": as_classifier(model)}
    classifiers |= {p.name: OnnxClassifier(p) for p in sorted(Path(sys.argv[2]).glob("*.onnx"))}
    for name, classifier in classifiers.items():
        classifier(batch)  # the first call also plans
        times = []
        for _ in range(REPETITIONS):
            begin = time.perf_counter()
            classifier(batch)
            times.append(time.perf_counter() - begin)
        per_second = 1000 * min(times) / (TIMED_SAMPLES / 16000)
        print(f"{name:16} {per_second:8.2f} ms per s, {torch.get_num_threads()} thread(s)")


if __name__ == "__main__":
    main()
