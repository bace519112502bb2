"""The same clips through this package and through what people use instead: time and memory.

    python tests/benchmarks/peers.py [--clips DIR] [--number N] [--rounds N] [--output JSON]

Every system answers every clip from its file, one after the other, on one thread in a process of
its own, the systems in turn. It has answered one clip before. Networks have random weights: time
does not depend on them, and accuracy is not measured here. Said is the median over the rounds of
processor seconds for an hour of sound, and the most memory that the process held.

openSMILE computes functionals only; a support vector machine on them takes no time beside that.
SpeechBrain is measured where it is installed (pip install speechbrain), with the modules of its own
recogniser of emotion: wav2vec2, statistics over time, one linear layer.
"""

import argparse
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

RATE = 16000
SECONDS = 4.5
Answer = Callable[[str], object]


def ours(size: str) -> Answer:
    """The pipeline of this package, with all parts of *Ours*."""
    from modeling_decomp_ser import DecompSerForAudioClassification
    from modeling_decomp_ser.pipeline_decomp_ser import DecompSerPipeline
    from processing import DecompSerFeatureExtractor
    from train_scripts.runs.settings import build_config, load_settings

    settings = load_settings("table3_ours", [f"size={size}"])
    config = build_config(settings, speakers=["a", "b"], emotion_head_trained=True)
    model = DecompSerForAudioClassification(config).eval()
    extractor = DecompSerFeatureExtractor(f0_deviation=0.25, **settings.features)
    return DecompSerPipeline(model=model, feature_extractor=extractor, task="audio-classification")


def stock() -> Answer:
    """The pipeline of transformers with wav2vec2-base and its own head."""
    from transformers import (
        AudioClassificationPipeline,
        Wav2Vec2Config,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForSequenceClassification,
    )

    model = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(num_labels=4)).eval()
    pipe = AudioClassificationPipeline(
        model=model, feature_extractor=Wav2Vec2FeatureExtractor(), task="audio-classification"
    )
    return lambda path: pipe(soundfile.read(path, dtype="float32")[0])


def opensmile_functionals(name: str) -> Answer:
    """Functionals of openSMILE."""
    import opensmile

    smile = opensmile.Smile(
        getattr(opensmile.FeatureSet, name), opensmile.FeatureLevel.Functionals, num_workers=1
    )
    return smile.process_file


def speechbrain_recognizer() -> Answer:
    """The parts of SpeechBrain's recogniser of emotion, around a saved wav2vec2-base."""
    import torch
    from speechbrain.lobes.models.huggingface_transformers.wav2vec2 import Wav2Vec2
    from speechbrain.nnet.linear import Linear
    from speechbrain.nnet.pooling import StatisticsPooling
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    with tempfile.TemporaryDirectory() as folder:
        Wav2Vec2Model(Wav2Vec2Config()).save_pretrained(folder)
        Wav2Vec2FeatureExtractor().save_pretrained(folder)
        encoder = Wav2Vec2(folder, folder, output_norm=True, freeze=True).eval()
    pool, head = StatisticsPooling(return_std=False), Linear(n_neurons=4, input_size=768)

    def answer(path: str) -> object:
        sound = torch.from_numpy(soundfile.read(path, dtype="float32")[0])[None]
        with torch.no_grad():
            return head(pool(encoder(sound))).softmax(-1)

    return answer


SYSTEMS: dict[str, tuple[str, Callable[[], Answer]]] = {
    "decomp-ser, paper's size": ("torch", lambda: ours("paper")),
    "decomp-ser, size small": ("torch", lambda: ours("small")),
    "wav2vec2-base, stock pipeline": ("torch", stock),
    "openSMILE ComParE 2016": ("opensmile", lambda: opensmile_functionals("ComParE_2016")),
    "openSMILE eGeMAPSv02": ("opensmile", lambda: opensmile_functionals("eGeMAPSv02")),
    "SpeechBrain, wav2vec2-base": ("speechbrain", speechbrain_recognizer),
}
"""The package that each needs, and what makes it."""


def write_clips(folder: Path, number: int) -> list[str]:
    """Clips of 4.5 s: bursts of a gliding tone in noise."""
    random = np.random.default_rng(0)
    times = np.arange(round(SECONDS * RATE)) / RATE
    paths = []
    for i in range(number):
        tone = np.sin(2 * np.pi * (100 + 5 * i) * times * (1 + 0.1 * times))
        sound = 0.2 * tone * (times % 1 > 0.3) + 0.02 * random.standard_normal(len(times))
        paths.append(str(folder / f"{i}.wav"))
        soundfile.write(paths[-1], sound, RATE)
    return paths


def measure_here(name: str, paths: list[str]) -> None:
    """Print processor seconds for all clips and peak memory in 10**6 bytes, as JSON."""
    answer = SYSTEMS[name][1]()
    answer(paths[0])
    begin = time.process_time()
    for path in paths:
        answer(path)
    seconds = time.process_time() - begin
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({"seconds": seconds, "megabytes": most}))


def measure(name: str, paths: list[str]) -> dict[str, float]:
    """`measure_here` in a process of its own."""
    command = [sys.executable, __file__, "--here", name, *paths]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure all systems, write and state."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, help="folder of WAV files, instead of made sound")
    parser.add_argument("--number", type=int, default=20, help="of clips")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--here", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        measure_here(arguments.here[0], arguments.here[1:])
        return
    names = [name for name, (needed, _) in SYSTEMS.items() if importlib.util.find_spec(needed)]
    with tempfile.TemporaryDirectory() as folder:
        paths = (
            [str(path) for path in sorted(arguments.clips.rglob("*.wav"))[: arguments.number]]
            if arguments.clips
            else write_clips(Path(folder), arguments.number)
        )
        hours = sum(soundfile.info(path).duration for path in paths) / 3600
        rounds = [{name: measure(name, paths) for name in names} for _ in range(arguments.rounds)]
    # not before: the peak that a process is told includes that of the one that started it
    from train_scripts.reports.pages import render
    from train_scripts.runs.record import git_commit, write_json

    systems = {
        name: {
            "seconds_an_hour": statistics.median(r[name]["seconds"] for r in rounds) / hours,
            "megabytes": statistics.median(r[name]["megabytes"] for r in rounds),
        }
        for name in names
    }
    result = {
        "systems": systems,
        "clips": len(paths),
        "seconds_of_sound": 3600 * hours,
        "made_sound": arguments.clips is None,
        "rounds": arguments.rounds,
        "commit": git_commit(),
    }
    if arguments.output is not None:
        write_json(arguments.output, result, indent=1)
    print(render("peers", result=result).rstrip())


if __name__ == "__main__":
    main()
