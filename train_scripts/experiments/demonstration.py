"""`decomp-ser quickstart`: the whole job on the embedded corpus, from sound to answers."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
import typer

from processing.corpora.loading import load_corpus
from processing.corpora.preparation import prepare
from processing.corpora.shards import MANIFEST_NAME
from processing.corpora.synthetic import describe_corpus
from processing.features import add_signals
from processing.folds import load_folds
from processing.text import normalize_transcript
from train_scripts.runs.fold_data import with_arrays
from train_scripts.runs.metrics import word_error_rate
from train_scripts.runs.record import RESULTS, RunRecord, read_record, write_record
from train_scripts.runs.settings import build_feature_extractor, load_settings
from train_scripts.training.finetuning import finetune
from train_scripts.training.pretraining import pretrain

CORPUS = "num_speakers=10,num_sentences=8"
PROTOCOL, FOLD = "speaker-5", "1"
SETTINGS = ["size=tiny"]
LOWEST_UAR = 0.6
LOWEST_SPEAKER_ACCURACY = 0.8
LARGEST_MSE_RATIO = 0.5
"""Bars of a healthy run; below them a head would be dead. They are no goals."""

# An installed package cannot be taken off the path, but its import can be refused.
PREDICT_ELSEWHERE = """
import json, sys
sys.modules.update(dict.fromkeys(["modeling_decomp_ser", "processing", "train_scripts"]))
{imports}
print(json.dumps({answer}))
"""


def quickstart(output: str | Path) -> RunRecord:
    """Do the main job on the embedded corpus; what is already done in the folder is not done again.

    It computes in one thread, and leaves the process so: the order of a sum, and with it the
    figures of so small a training set, depends on the number of threads.

    Args:
        output: folder of everything.

    Returns:
        The record of fine-tuning, with `constant_baselines`.

    Raises:
        RuntimeError: if a head is no better than its bar.
    """
    torch.set_num_threads(1)
    output = Path(output)
    corpus = output / "corpus"
    typer.echo(describe_corpus(), err=True)
    if not (corpus / MANIFEST_NAME).is_file():
        prepare("synthetic", CORPUS, corpus)
    run_options = {"data": str(corpus), "protocol": PROTOCOL, "fold": FOLD, "overrides": SETTINGS}
    typer.echo("Pre-training the decomposition (equation 7) ...", err=True)
    pretrained = output / "pretrained"
    if not (pretrained / RESULTS).is_file():
        pretrain("base", output=pretrained, **run_options)
    typer.echo("Fine-tuning on emotion, speech, speaker and spectrogram (equation 5) ...", err=True)
    model = output / "model"
    if (model / RESULTS).is_file():
        record = read_record(model)
    else:
        record = finetune("base", output=model, pretrained=str(pretrained), **run_options)
    record.constant_baselines = constant_baselines(corpus)
    write_record(model, record)
    check(record)
    return record


def constant_baselines(corpus: Path) -> dict[str, float]:
    """Errors of the best answers that do not listen, on the test turns: "word_error_rate" of the
    training sentence that fits them best if always said, "speech_mse" of the constant spectrum
    that does.
    """
    extractor = build_feature_extractor(load_settings("base", SETTINGS))
    folds = load_folds(with_arrays(add_signals(load_corpus(corpus), extractor)), PROTOCOL, FOLD)
    texts = [normalize_transcript(t) for t in folds["test"]["text"]]
    sentences = sorted({normalize_transcript(t) for t in folds["train"]["text"]})
    spectra: list[np.ndarray] = list(folds["test"]["mel"])
    # the mean over turns of the error within a turn, as speech_mse: every turn weighs the same
    mean = np.mean([mel.mean(0) for mel in spectra], axis=0)
    return {
        "word_error_rate": min(word_error_rate(texts, [s] * len(texts)) or 0.0 for s in sentences),
        "speech_mse": float(np.mean([np.square(mel - mean).mean() for mel in spectra])),
    }


def check(record: RunRecord) -> None:
    """Raise RuntimeError where a head has not learned."""
    metrics, constant = record.metrics, record.constant_baselines or {}
    bars = [
        ("UAR", metrics.unweighted_average_recall, ">=", LOWEST_UAR),
        ("speaker accuracy", metrics.speaker_accuracy, ">=", LOWEST_SPEAKER_ACCURACY),
        ("word error rate", metrics.word_error_rate, "<", constant["word_error_rate"]),
        ("speech MSE", metrics.speech_mse, "<=", LARGEST_MSE_RATIO * constant["speech_mse"]),
    ]
    for name, value, relation, bar in bars:
        value = math.nan if value is None else value  # which passes no bar
        good = {">=": value >= bar, "<": value < bar, "<=": value <= bar}[relation]
        if not good:
            raise RuntimeError(f"quickstart: {name} is {value:.4g}, expected {relation} {bar:.4g}.")


def pipeline_lines(model: Path, clip: Path) -> tuple[str, str]:
    """What to type into Python to ask a saved folder: an import, and an expression."""
    return (
        "from transformers import pipeline",
        f'pipeline("audio-classification", model={str(model)!r}, trust_remote_code=True)'
        f"({str(clip)!r})",
    )


def predict_elsewhere(lines: tuple[str, str], folder: Path) -> list[dict]:
    """Run what `pipeline_lines` says as a script in a folder, in a fresh process that cannot import
    this repository.
    """
    code = folder / "predict_elsewhere.py"
    code.write_text(PREDICT_ELSEWHERE.format(imports=lines[0], answer=lines[1]), encoding="utf-8")
    answer = subprocess.run(
        [sys.executable, "-P", str(code)],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(answer.stdout.splitlines()[-1])


def write_clip(corpus: Path, path: Path) -> str:
    """Write a test clip as a file; returns its emotion."""
    row = load_folds(load_corpus(corpus), PROTOCOL, FOLD)["test"][0]
    path.write_bytes(row["audio"]["bytes"])
    return row["emotion"]
