"""Baselines in the folds of the experiments: the majority class, and openSMILE functionals with a
support vector machine.
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
        protocol: as `fold`, see `load_folds`.
        fold: whose test turns are scored.
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
    if name not in BASELINES:
        raise InputError(f"no baseline {name!r}. Choose one of: {', '.join(BASELINES)}.")
    if (folder / RESULTS).is_file():
        raise InputError(
            f"{folder}: holds a finished run. Choose another --output, or delete the folder."
        )
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


def load_baseline_data(
    name: str, data: str, protocol: str, fold: str, *, skip_bad: bool
) -> FoldData:
    """The fold, with the column `functionals` where the baseline reads it."""
    corpus = load_corpus(data, skip_bad=skip_bad)
    load_folds(corpus, protocol, fold)  # a wrong protocol or fold is said before the long work
    if name in FEATURE_SETS:
        corpus = add_functionals(corpus, FEATURE_SETS[name], skip_bad=skip_bad)
    return split_corpus(corpus, protocol, fold, name=data)


def predict_majority(data: FoldData) -> tuple[np.ndarray, dict[str, Any]]:
    """Logarithms of the shares of the training classes for every test turn, (N, L), so that the
    largest class is always the answer; and fields of `RunRecord`.
    """
    counts = np.bincount(label_ids(data.folds["train"], data.labels), minlength=len(data.labels))
    shares = np.log(counts / counts.sum())
    entries = {"selected_by": None, "probabilities": "shares of the training classes"}
    return np.tile(shares, (len(data.folds.test_ids), 1)), entries


def predict_machine(data: FoldData) -> tuple[np.ndarray, dict[str, Any]]:
    """Decision values of the support vector machine over its temperature, (N, L), whose softmax is
    the probabilities; and fields of `RunRecord`.
    """
    seen = concatenate_datasets([data.folds["train"], data.folds["validation"]])
    features, labels = features_of(seen), label_ids(seen, data.labels)
    # rows without a speaker are a group each
    turns = zip(seen["speaker"], seen["id"], strict=True)
    groups = [f"turn {row_id}" if speaker is None else speaker for speaker, row_id in turns]
    chosen = choose_setting(features, labels, groups, len(data.labels))
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
