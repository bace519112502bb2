"""The metrics of `train_scripts.metrics` as classes of the `evaluate` library, without a network.

Where the documentation of `evaluate` says `evaluate.load("accuracy")`, which downloads a script,
write `WeightedAccuracy()`. Label ids index a list of label names that the caller fixes, so the
number of labels is an argument and never inferred from the turns.
"""

from dataclasses import asdict

import datasets
import evaluate
import numpy as np

from train_scripts.runs.metrics import (
    class_metrics,
    confusion_matrix,
    expected_calibration_error,
    macro_f1,
    recall_metrics,
    recalls_by_group,
    weighted_accuracy,
    word_error_rate,
)


class _LocalMetric(evaluate.Metric):
    """A metric that says what it is by its own docstring and takes the columns of `inputs`."""

    inputs = {"predictions": datasets.Value("int32"), "references": datasets.Value("int32")}

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__ or "",
            citation="",
            inputs_description="See the documentation of the class.",
            features=datasets.Features(self.inputs),
        )


class WeightedAccuracy(_LocalMetric):
    """Weighted accuracy (WA): correct turns / all turns.

    `compute(predictions=ids, references=ids, num_labels=L)` gives {"weighted_accuracy"}; see the
    function `weighted_accuracy`.
    """

    def _compute(self, predictions, references, num_labels):
        confusion = confusion_matrix(references, predictions, num_labels=num_labels)
        return {"weighted_accuracy": weighted_accuracy(confusion)}


class UnweightedAverageRecall(_LocalMetric):
    """Unweighted average recall (UAR): mean of confusion[i, i] / n_i over the classes that occur.

    `compute(predictions=ids, references=ids, num_labels=L)` gives {"unweighted_average_recall",
    "absent_labels"}; see the function `unweighted_average_recall`.
    """

    def _compute(self, predictions, references, num_labels):
        scores = recall_metrics(confusion_matrix(references, predictions, num_labels=num_labels))
        return {
            "unweighted_average_recall": scores.unweighted_average_recall,
            "absent_labels": scores.absent_labels,
        }


class MacroF1(_LocalMetric):
    """Macro F1: mean of 2 confusion[i, i] / (n_i + m_i) over the classes that occur.

    `compute(predictions=ids, references=ids, num_labels=L)` gives {"macro_f1"}; see the function
    `macro_f1`.
    """

    def _compute(self, predictions, references, num_labels):
        return {
            "macro_f1": macro_f1(confusion_matrix(references, predictions, num_labels=num_labels))
        }


class ConfusionMatrix(_LocalMetric):
    """Confusion matrix: turns by reference (rows) and prediction (columns).

    `compute(predictions=ids, references=ids, num_labels=L)` gives {"confusion": L lists of L
    counts}; see the function `confusion_matrix`.
    """

    def _compute(self, predictions, references, num_labels):
        confusion = confusion_matrix(references, predictions, num_labels=num_labels)
        return {"confusion": confusion.tolist()}


class PerClass(_LocalMetric):
    """Recall confusion[i, i] / n_i, precision confusion[i, i] / m_i, and F1 of each class.

    `compute(predictions=ids, references=ids, label_names=words)` gives, for each label,
    {"recall", "precision", "f1", "num_turns"}; None where a figure is undefined.
    """

    def _compute(self, predictions, references, label_names):
        confusion = confusion_matrix(references, predictions, num_labels=len(label_names))
        return {name: asdict(s) for name, s in class_metrics(confusion, label_names).items()}


class PerGroup(_LocalMetric):
    """WA and UAR within each group of turns: per speaker, or per gender.

    `compute(predictions=ids, references=ids, groups=names, num_labels=L)` gives, for each group,
    {"weighted_accuracy", "unweighted_average_recall", "num_turns", "absent_labels"}; see the
    function `recalls_by_group`.
    """

    inputs = {**_LocalMetric.inputs, "groups": datasets.Value("string")}

    def _compute(self, predictions, references, groups, num_labels):
        scores = recalls_by_group(references, predictions, groups, num_labels=num_labels)
        return {name: asdict(group) for name, group in scores.items()}


class WordErrorRate(_LocalMetric):
    """Word error rate (WER): (substitutions + deletions + insertions) / reference words, pooled.

    `compute(predictions=texts, references=texts)` gives {"word_error_rate"}, None where no
    reference has a word; see the function `word_error_rate`.
    """

    inputs = {"predictions": datasets.Value("string"), "references": datasets.Value("string")}

    def _compute(self, predictions, references):
        return {"word_error_rate": word_error_rate(references, predictions)}


class ExpectedCalibrationError(_LocalMetric):
    """Expected calibration error (ECE): sum_b |B_b| / N * |accuracy(B_b) - confidence(B_b)|.

    `compute(predictions=probabilities, references=ids)`, with L probabilities for each turn, gives
    {"ece"} over 15 bins of equal width; see the function `expected_calibration_error`.
    """

    inputs = {
        "predictions": datasets.List(datasets.Value("float64")),
        "references": datasets.Value("int32"),
    }

    def _compute(self, predictions, references):
        return {"ece": expected_calibration_error(references, np.asarray(predictions))}
