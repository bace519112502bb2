"""Run one of the other systems in a fold of the experiments, and leave a run folder behind."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from processing.corpora.loading import load_corpus
from processing.corpora.mixture import Mixture
from processing.errors import InputError
from processing.folds import load_folds
from train_scripts.baselines.answers import Answers, label_ids
from train_scripts.baselines.system_settings import describe_settings, make_settings
from train_scripts.baselines.systems import SYSTEMS, load_system, row_name
from train_scripts.runs.fold_data import FoldData, split_corpus
from train_scripts.runs.inference import TurnPredictions
from train_scripts.runs.metrics import expected_calibration_error
from train_scripts.runs.record import Calibration, Metrics, RunRecord, write_record
from train_scripts.runs.results import (
    PREDICTIONS,
    VALIDATION_PREDICTIONS,
    describe_fold,
    score_rows,
    write_predictions,
)
from train_scripts.runs.run_folder import RESULTS
from train_scripts.training.calibration import calibrate

BASELINES = tuple(SYSTEMS)


def run_baseline(
    name: str,
    *,
    data: str | Dataset | Mixture,
    protocol: str,
    fold: str,
    output: str | Path,
    seed: int = 0,
    overrides: Sequence[str] = (),
    skip_bad: bool = False,
) -> RunRecord:
    """Train a system in a fold and score its test turns.

    Args:
        name: one of BASELINES; `rival_hub` with its model after a colon.
        data: see `load_corpus`.
        protocol: as `fold`, see `load_folds`.
        fold: whose test turns are scored.
        output: folder of the run.
        seed: of a network; a deterministic system only stores it.
        overrides: "key=value" settings of the system.
        skip_bad: leave out clips that cannot be used.

    Returns:
        The record of the run; metrics that a system lacks are None.

    Raises:
        InputError: if there is no such system, the folder holds a finished run, a package or a
            label that it needs is missing, or the data are wrong.
    """
    folder = Path(output)
    module, options = load_system(name)
    settings = make_settings(module.Settings, options, overrides)
    if (folder / RESULTS).is_file():
        raise InputError(
            f"{folder}: holds a finished run. Choose another --output, or delete the folder."
        )
    fold_data = load_baseline_data(module, settings, data, protocol, fold, skip_bad=skip_bad)
    begin = time.monotonic()
    answers = module.answer(fold_data, settings, seed=seed)
    seconds = time.monotonic() - begin
    folder.mkdir(parents=True, exist_ok=True)
    own = answers.entries.pop("settings", {})
    record = RunRecord(
        **vars(score_test(folder, fold_data, answers)),
        **describe_fold(fold_data),
        **use_validation(folder, fold_data, answers),
        preset=row_name(name),
        seed=seed,
        predictions=PREDICTIONS,
        settings={**describe_settings(settings), **own, "overrides": list(overrides)},
        seconds=seconds,
    )
    for entry, value in answers.entries.items():
        setattr(record, entry, value)
    return write_record(folder, record)


def load_baseline_data(
    module: Any,
    settings: Any,
    data: str | Dataset | Mixture,
    protocol: str,
    fold: str,
    *,
    skip_bad: bool,
) -> FoldData:
    """The fold with the columns that a system reads."""
    corpus = load_corpus(data, skip_bad=skip_bad)
    load_folds(corpus, protocol, fold)  # a wrong protocol or fold is said before the long work
    corpus = module.add_features(corpus, settings, skip_bad=skip_bad)
    return split_corpus(corpus, protocol, fold, data=data, uses_sampling=False)


def prepare_features(name: str, corpus: Dataset, *, skip_bad: bool) -> None:
    """Extract what a system reads of a corpus once, so that every run finds it stored."""
    module, options = load_system(name)
    module.add_features(corpus, make_settings(module.Settings, options, ()), skip_bad=skip_bad)


def score_test(folder: Path, data: FoldData, answers: Answers):
    """Score the test turns, whose answers go to the folder."""
    rows = data.folds.open_test()
    turns = TurnPredictions(logits=answers.test)
    write_predictions(folder, rows, turns, data.labels)
    return score_rows(rows, turns, data.labels)


def use_validation(folder: Path, data: FoldData, answers: Answers) -> dict[str, Any]:
    """Store and score the answers to the validation turns, where there are any; a network is
    calibrated by them, as a preset is. Returns fields of `RunRecord`.
    """
    rows = data.folds["validation"]
    if answers.validation is None or not len(rows):
        return {}
    turns = TurnPredictions(logits=answers.validation)
    write_predictions(folder, rows, turns, data.labels, name=VALIDATION_PREDICTIONS)
    found: dict[str, Metrics | Calibration] = {
        "validation_metrics": score_rows(rows, turns, data.labels).metrics
    }
    if "probabilities" not in answers.entries:  # another system has made its own
        found["calibration"] = calibrate_system(data, answers.validation, answers.test)
    return found


def calibrate_system(data: FoldData, known: np.ndarray, tested: np.ndarray) -> Calibration:
    """The temperature fitted to validation turns, with the calibration error of the test turns."""
    validation, test = data.folds["validation"], data.folds.open_test()
    found = calibrate(known, label_ids(validation, data.labels))
    labels = label_ids(test, data.labels)
    found.ece_test_before, found.ece_test_after = (
        expected_calibration_error(
            labels, TurnPredictions(logits=tested / temperature).probabilities
        )
        for temperature in (1.0, found.temperature)
    )
    return found
