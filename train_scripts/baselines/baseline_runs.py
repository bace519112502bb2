"""Baselines in the folds of the experiments: the majority class, and openSMILE functionals with a
support vector machine.

`decomp-ser baselines NAME --data DATA --protocol NAME --output DIR` runs all folds.
"""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets

from processing.corpora.loading import load_corpus
from processing.errors import InputError
from processing.folds import load_folds
from train_scripts.baselines.functionals import FEATURE_SETS, add_functionals
from train_scripts.baselines.vector_machine import GRID, choose_setting, fit_and_decide
from train_scripts.runs.fold_data import FoldData, split_corpus
from train_scripts.runs.inference import TurnPredictions
from train_scripts.runs.record import RunRecord, write_record
from train_scripts.runs.results import PREDICTIONS, describe_fold, score_rows, write_predictions
from train_scripts.runs.run_folder import RESULTS
from train_scripts.training.calibration import fit_temperature

MAJORITY = "baseline_majority"
BASELINES = (MAJORITY, *FEATURE_SETS)


def run_baseline(
    name: str,
    *,
    data: str,
    protocol: str,
    fold: str,
    output: str | Path,
    seed: int = 0,
    skip_bad: bool = False,
) -> RunRecord:
    """Train a baseline in a fold and score its test turns.

    The settings of the support vector machine are chosen by UAR over inner folds of the training
    and validation speakers, of which the temperature of its probabilities is fitted too; then it is
    trained on the turns of all of them. On RAVDESS, settings chosen on the two validation speakers
    alone were 0.06 worse in WA, and training without them 0.006: a weak baseline would flatter
    what is compared with it.

    Args:
        name: one of BASELINES.
        data: see `load_corpus`.
        protocol: see `load_folds`.
        fold: see `load_folds`.
        output: folder of the run.
        seed: stored only; nothing is random.
        skip_bad: leave out clips that cannot be used.

    Returns:
        The record of the run; metrics that a baseline lacks are None.

    Raises:
        InputError: if there is no such baseline, the folder holds a finished run, a package is
            missing, or the data are wrong.
    """
    folder = Path(output)
    check_baseline(name, folder)
    fold_data = load_baseline_data(name, data, protocol, fold, skip_bad=skip_bad)
    begin = time.monotonic()
    logits, how = predict_majority(fold_data) if name == MAJORITY else predict_machine(fold_data)
    rows = fold_data.folds.open_test()
    turns = TurnPredictions(logits=logits)
    record = RunRecord(
        **vars(score_rows(rows, turns, fold_data.labels)),
        **describe_fold(fold_data),
        preset=name,
        seed=seed,
        predictions=PREDICTIONS,
        settings={
            "feature_set": FEATURE_SETS.get(name),
            "grid": how.pop("grid", None),
            "train_on_validation": name != MAJORITY,
        },
        **how,
        seconds=time.monotonic() - begin,
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_predictions(folder, rows, turns, fold_data.labels)
    return write_record(folder, record)


def check_baseline(name: str, folder: Path) -> None:
    """Raise InputError where there is no such baseline, or the folder holds a finished run."""
    if name not in BASELINES:
        raise InputError(f"no baseline {name!r}. Choose one of: {', '.join(BASELINES)}.")
    if (folder / RESULTS).is_file():
        raise InputError(
            f"{folder}: holds a finished run. Choose another --output, or delete the folder."
        )


def load_baseline_data(
    name: str, data: str, protocol: str, fold: str, *, skip_bad: bool = False
) -> FoldData:
    """The fold, with the column `functionals` where the baseline reads it.

    Raises:
        InputError: see `load_fold_data`.
    """
    corpus = load_corpus(data, skip_bad=skip_bad)
    load_folds(corpus, protocol, fold)  # a wrong protocol or fold is said before the long work
    if name in FEATURE_SETS:
        corpus = add_functionals(corpus, FEATURE_SETS[name], skip_bad=skip_bad)
    return split_corpus(corpus, protocol, fold, name=data)


def predict_majority(data: FoldData) -> tuple[np.ndarray, dict[str, Any]]:
    """The shares of the training classes for every test turn, so that the largest class is always
    the answer.

    Returns:
        Logarithms of the probabilities, (N, L), and fields of `RunRecord`.
    """
    counts = np.bincount(label_ids(data.folds["train"], data.labels), minlength=len(data.labels))
    shares = np.log(counts / counts.sum())
    entries = {"selected_by": None, "probabilities": "shares of the training classes"}
    return np.tile(shares, (len(data.folds.test_ids), 1)), entries


def predict_machine(data: FoldData) -> tuple[np.ndarray, dict[str, Any]]:
    """The support vector machine.

    Returns:
        Decision values over the temperature, (N, L), whose softmax is the probabilities, and
        fields of `RunRecord`.
    """
    seen = concatenate_datasets([data.folds["train"], data.folds["validation"]])
    features, labels = features_of(seen), label_ids(seen, data.labels)
    chosen = choose_setting(features, labels, speaker_groups(seen), len(data.labels))
    temperature = fit_temperature(chosen.values, labels)
    test = features_of(data.folds.open_test())
    values = fit_and_decide(features, labels, test, len(data.labels), [chosen.setting])[0]
    entries = {
        "selected_by": "inner folds of training and validation speakers",
        "chosen": {**asdict(chosen.setting), "inner_uar": float(chosen.uar.max())},
        "grid": [asdict(setting) for setting in GRID],
        "probabilities": "softmax of the decision values over a temperature fitted on the inner "
        "folds",
        "temperature": temperature,
    }
    return values / temperature, entries


def features_of(rows: Dataset) -> np.ndarray:
    """Functionals of rows, (N, D) float64."""
    return np.array(rows["functionals"], dtype=np.float64)


def label_ids(rows: Dataset, labels: list[str]) -> np.ndarray:
    """Label id of each row, (N,)."""
    return np.array([labels.index(emotion) for emotion in rows["emotion"]])


def speaker_groups(rows: Dataset) -> list[str]:
    """Speaker of each row; rows without one are a group each."""
    return [
        speaker if speaker is not None else f"turn {row_id}"
        for speaker, row_id in zip(rows["speaker"], rows["id"], strict=True)
    ]
