"""openSMILE functionals with a support vector machine.

The settings of the machine are chosen by UAR over inner folds of the training and validation
speakers, of which the temperature of its probabilities is fitted too; then it is trained on the
turns of all of them. On RAVDESS, settings chosen on the two validation speakers alone were 0.06
worse in WA, and training without them 0.006: a weak baseline would flatter what is compared with
it.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets

from train_scripts.baselines.answers import Answers, label_ids
from train_scripts.baselines.functionals import add_functionals
from train_scripts.baselines.vector_machine import GRID, choose_setting, fit_and_decide
from train_scripts.runs.fold_data import FoldData
from train_scripts.training.calibration import fit_temperature


@dataclass
class Settings:
    """What the machine reads.

    Attributes:
        feature_set: "eGeMAPSv02" or "ComParE_2016".
    """

    feature_set: str = "eGeMAPSv02"


def add_features(corpus: Dataset, settings: Settings, **options: Any) -> Dataset:
    """The corpus with the column `functionals`."""
    return add_functionals(corpus, settings.feature_set, **options)


def answer(data: FoldData, settings: Settings, *, seed: int) -> Answers:
    """Decision values of the machine over its temperature, whose softmax is the probabilities; of
    validation turns those of machines that have not learnt them.
    """
    splits = [data.folds["train"], data.folds["validation"]]
    seen = concatenate_datasets(splits)
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
        "probabilities": "softmax of the decision values over a temperature fitted on the inner "
        "folds",
        "temperature": temperature,
        "settings": {
            "grid": [asdict(setting) for setting in GRID],
            "train_on_validation": True,
        },
    }
    unseen = chosen.values[len(splits[0]) :] / temperature
    return Answers(values / temperature, unseen if len(unseen) else None, entries)


def features_of(rows: Dataset) -> np.ndarray:
    """Functionals of rows, (N, D) float64."""
    return np.array(rows["functionals"], dtype=np.float64)
