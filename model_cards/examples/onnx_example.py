"""Run an exported model: python onnx_example.py EXPORT_FOLDER SOUND...

Needs onnxruntime, soundfile and the project's feature extractor, whose code is in the folder; no
model code, and no weights but those of the ONNX file.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
from transformers import AutoFeatureExtractor


def recognize(folder: str, files: list[str]) -> list[dict[str, float]]:
    """Probability of each emotion in each file; all of them in one batch."""
    description = json.loads((Path(folder) / "export.json").read_text(encoding="utf-8"))
    extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=True)
    session = onnxruntime.InferenceSession(Path(folder) / "model.onnx")
    waveforms = []
    for file in files:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
        waveforms += extractor.prepare_waveforms([samples], rate)  # one channel, 16 kHz
    features = extractor(waveforms, sampling_rate=extractor.sampling_rate, return_tensors="np")
    inputs = {port["name"]: features[port["name"]] for port in description["inputs"]}
    probabilities = np.asarray(session.run(["probabilities"], inputs)[0])
    return [dict(zip(description["labels"], row, strict=True)) for row in probabilities.tolist()]


if __name__ == "__main__":
    for file, answer in zip(sys.argv[2:], recognize(sys.argv[1], sys.argv[2:]), strict=True):
        print(file, *(f"{label} {value:.3f}" for label, value in answer.items()), sep="  ")
