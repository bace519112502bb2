"""Loading and the first answer in a fresh process, against the stock wav2vec2 classifier.

    python tests/benchmarks/startup.py [--size SIZE] [--rounds N]

saves random weights of a size: *Ours* with all its parts, M1 (the same backbone with an emotion
head alone, of equal size), and `Wav2Vec2ForSequenceClassification` with its feature extractor. Each
round answers an array of 4.5 s by each in turn, in a process that has imported torch, transformers
and what the stock pipeline needs of it, and nothing else (it is forked there, so that the imports
are not paid again and again). All are loaded by the same call of `pipeline`, ours with the code
from its folder. A ratio is the median over the rounds of processor times, and of the clock in
brackets, which other work on the machine disturbs. The imports of our own packages are measured the
same way.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SECONDS = 4.5
MOST_TIMES = 1.3
MOST_IMPORT_SECONDS = 0.3
REPOSITORY = Path(__file__).parents[2]


def import_libraries() -> None:
    """What the stock pipeline imports; not of our own."""
    import torch
    from transformers import (  # noqa: F401
        AudioClassificationPipeline,
        AutoFeatureExtractor,
        AutoModelForAudioClassification,
        AutoTokenizer,
        PreTrainedModel,
        ProcessorMixin,
        SequenceFeatureExtractor,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2ForSequenceClassification,
        pipeline,
    )

    torch.set_num_threads(1)


def save_models(folder: Path, size: str) -> None:
    """Save the three under their names."""
    import torch
    from datasets import Dataset
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

    from modeling_decomp_ser import DecompSerForAudioClassification
    from processing import DecompSerFeatureExtractor, DecompSerProcessor
    from processing.text import ENGLISH_VOCABULARY
    from train_scripts.runs.run_folder import save_model
    from train_scripts.runs.settings import build_config, load_settings

    torch.manual_seed(0)
    rows = Dataset.from_dict({"id": ["a"], "speaker": ["a"]})
    speakers = [f"speaker {i}" for i in range(9)]
    for name, preset in (("M1", "table3_m1"), ("Ours", "table3_ours")):
        settings = load_settings(preset, [f"size={size}"])
        config = build_config(settings, speakers=speakers, emotion_head_trained=True)
        # ln Hz, which a training set would tell
        extractor = DecompSerFeatureExtractor(f0_deviation=0.25, **settings.features)
        processor = DecompSerProcessor.from_vocabulary(extractor, ENGLISH_VOCABULARY, folder / name)
        save_model(folder / name, DecompSerForAudioClassification(config), processor, rows)
    stock: Any = config.speech_config
    stock.num_labels = 4
    Wav2Vec2ForSequenceClassification(stock).save_pretrained(folder / "stock")
    Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder / "stock")


def answer(folder: Path) -> list[float]:
    """Load and answer; returns processor and clock seconds after each."""
    from transformers import pipeline

    clip = 0.1 * np.random.default_rng(0).standard_normal(round(16000 * SECONDS))
    remote = folder.name != "stock"
    recognize = pipeline("audio-classification", model=str(folder), trust_remote_code=remote)
    times = [time.process_time(), time.perf_counter()]
    recognize(clip)
    return [*times, time.process_time(), time.perf_counter()]


def import_own() -> list[float]:
    """Import our packages; returns processor and clock seconds after it."""
    import modeling_decomp_ser.pipeline_decomp_ser  # noqa: F401
    import processing  # noqa: F401

    return [time.process_time(), time.perf_counter()]


def run(function: Callable, *arguments: Any) -> np.ndarray:
    """Call a function in a fork of this process; returns its times from the beginning on."""

    def call(sender):
        begin = [time.process_time(), time.perf_counter()]
        times = function(*arguments)
        sender.send(None if times is None else np.subtract(times, begin * (len(times) // 2)))

    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=call, args=(sender,))
    process.start()
    sender.close()
    times = receiver.recv()  # EOFError where the process failed, which says why
    process.join()
    return times


def report(rounds: dict[str, list[np.ndarray]]) -> None:
    """Print medians and ratios."""
    added = statistics.median(row[0] for row in rounds.pop("imports"))
    print(f"own imports: {added:.3f} s (bar {MOST_IMPORT_SECONDS})")
    stock = np.array(rounds["stock"])
    for name, rows in rounds.items():
        times = np.array(rows)
        load, load_clock, both, both_clock = np.median(times / stock, axis=0)
        medians = np.median(times, axis=0)
        print(
            f"{name:5} loaded after {medians[0]:.2f} s, answered after {medians[2]:.2f} s; of "
            f"stock: loaded {load:.2f} ({load_clock:.2f}), answered {both:.2f} ({both_clock:.2f}), "
            f"bar {MOST_TIMES}"
        )


def main() -> None:
    """Save, measure in turn, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=("tiny", "small", "paper"), default="paper")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    sys.path.insert(0, str(REPOSITORY))
    with tempfile.TemporaryDirectory() as temporary:
        # read when the libraries are imported: where the code of models is kept
        os.environ["HF_HOME"] = str(Path(temporary) / "home")
        os.environ["HF_HUB_OFFLINE"] = "1"
        import_libraries()
        run(save_models, Path(temporary), arguments.size)
        rounds: dict[str, list[np.ndarray]] = {}
        for _ in range(arguments.rounds + 1):
            rounds.setdefault("imports", []).append(run(import_own))
            for name in ("stock", "M1", "Ours"):
                rounds.setdefault(name, []).append(run(answer, Path(temporary) / name))
        report({name: rows[1:] for name, rows in rounds.items()})  # the first fills the caches


if __name__ == "__main__":
    main()
