"""A pipeline on a tiny network with random weights, the same as a folder, and its sounds."""

import io

import numpy as np
import soundfile
from datasets import Dataset
from support.tiny_networks import tiny_classifier

from modeling_decomp_ser.pipeline_decomp_ser import DecompSerPipeline
from processing import DecompSerFeatureExtractor, DecompSerProcessor
from processing.text import ENGLISH_VOCABULARY
from train_scripts.runs.run_folder import save_model

RATE = 16000


def trained_classifier(variant="table3_ours", **fields):
    """A network that says it was trained."""
    return tiny_classifier(variant, emotion_head_trained=True, **fields).eval()


def tiny_pipeline(variant="table3_ours", *, options=None, f0_method="dio", **fields):
    return DecompSerPipeline(
        model=trained_classifier(variant, **fields),
        feature_extractor=DecompSerFeatureExtractor(f0_method=f0_method),
        task="audio-classification",
        **(options or {}),
    )


def save_tiny_model(folder, **fields):
    """The folder of a run that `finetune` would leave."""
    model = trained_classifier(**fields)
    extractor = DecompSerFeatureExtractor(f0_method="dio")
    processor = DecompSerProcessor.from_vocabulary(extractor, ENGLISH_VOCABULARY, folder)
    rows = Dataset.from_dict({"id": ["a"], "speaker": ["a"]})
    save_model(folder, model, processor, rows, protocol={"name": "speaker"}, fold="a")
    return model, processor


def voice(seconds: float, rate: int = RATE, *, seed=0, f0_hz=150.0) -> np.ndarray:
    """Harmonics that come and go and glide, with noise between: voiced and unvoiced in turn."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(f0_hz * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * time))) / rate
    voiced = sum(np.sin(k * phase) / k for k in range(1, 9))
    syllables = np.clip(np.sin(2 * np.pi * 2.3 * time + random.uniform(0, 6)), 0, None)
    noise = 0.02 * random.standard_normal(len(time))
    return (0.15 * syllables * voiced + noise).astype(np.float32)


def encode(samples: np.ndarray, rate: int = RATE, form="WAV", **options) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form, **options)
    return buffer.getvalue()


def as_dict(scores: list[dict]) -> dict[str, float]:
    return {entry["label"]: entry["score"] for entry in scores}
