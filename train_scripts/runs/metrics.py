"""Metrics of emotion recognition as plain functions.

The metrics of classes are functions of one confusion matrix. Axes: N turns, L labels; label ids
index the list of label names, which is fixed by the caller and never by the order of the turns.

WA and UAR are often confused. "Weighted" means weighted by class size: weighted accuracy (WA) is
plain accuracy, the share of all turns that are right, and favouring large classes raises it.
Unweighted average recall (UAR, also UA) is the mean of the recalls of the classes. The paper calls
WA "unweighted accuracy".

A class without a reference turn has no recall. UAR and macro F1 are means over the classes that
do occur, and `absent_labels` counts the others: with a fixed divisor L a perfect classifier would
score 0.75 on a fold that lacks one class of four.

`train_scripts.evaluate_metrics` has the same as classes of the `evaluate` library.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import jiwer
import numpy as np
from scipy.stats import rankdata

from train_scripts.runs.record import ClassScores, GroupScores, Recalls

if TYPE_CHECKING:
    from transformers import EvalPrediction

# Plain functions ----------------------------------------------------------------------------------


def confusion_matrix(
    references: Sequence[int] | np.ndarray,
    predictions: Sequence[int] | np.ndarray,
    *,
    num_labels: int,
) -> np.ndarray:
    """Count turns by reference and prediction.

    Formula: confusion[i, j] = number of turns with reference i and prediction j.

    Args:
        references: label ids, shape (N,).
        predictions: label ids, shape (N,).
        num_labels: L.

    Returns:
        int64 counts, shape (L, L): references in rows, predictions in columns.

    Raises:
        ValueError: if there is no turn, the lengths differ, or an id is not in [0, L).

    Examples:
        >>> confusion_matrix([0, 0, 2], [0, 1, 2], num_labels=3)
        array([[1, 1, 0],
               [0, 0, 0],
               [0, 0, 1]])
    """
    references, predictions = np.asarray(references), np.asarray(predictions)
    if references.shape != predictions.shape or references.ndim != 1 or references.size == 0:
        raise ValueError(
            f"references of shape {references.shape} and predictions of shape {predictions.shape}: "
            "expected one label id each for at least one turn."
        )
    for name, ids in (("reference", references), ("prediction", predictions)):
        wrong = ~np.isin(ids, np.arange(num_labels))
        if wrong.any():
            raise ValueError(
                f"{name} of turn {wrong.argmax()} is {ids[wrong.argmax()]}, expected a label id "
                f"from 0 to {num_labels - 1}."
            )
    groups = np.zeros(len(references), dtype=int)
    counts = grouped_confusions(groups, references, predictions, shape=(1, num_labels))
    return counts[0].astype(np.int64)


def grouped_confusions(
    groups: np.ndarray,
    references: np.ndarray,
    predictions: np.ndarray,
    *,
    shape: tuple[int, int],
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Count the turns of each of many groups by reference and prediction.

    Args:
        groups: index of each turn's group, (N,).
        references: label ids, (N,).
        predictions: label ids, (N,).
        shape: G, number of groups, and L, number of labels.
        weights: what each turn counts, (N,); default 1.

    Returns:
        float64 sums, (G, L, L): references in rows, predictions in columns.

    Examples:
        >>> ids = np.array([0, 1, 1])
        >>> grouped_confusions(np.array([0, 0, 1]), ids, ids, shape=(2, 2)).tolist()
        [[[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]]]
    """
    num_groups, num_labels = shape
    places = np.ravel_multi_index(
        (groups, references, predictions), (num_groups, num_labels, num_labels)
    )
    sums = np.bincount(places, weights=weights, minlength=num_groups * num_labels**2)
    return sums.reshape(num_groups, num_labels, num_labels).astype(np.float64)


def weighted_accuracy(confusion: np.ndarray) -> float:
    """Weighted accuracy (WA): correct turns / all turns.

    Formula: sum_i confusion[i, i] / sum_ij confusion[i, j].

    Args:
        confusion: counts, shape (L, L), at least one turn.

    Examples:
        >>> weighted_accuracy(np.array([[8, 0], [1, 1]]))
        0.9
    """
    return float(weighted_accuracies(confusion))


def weighted_accuracies(confusions: np.ndarray) -> np.ndarray:
    """WA of each of many confusion matrices, (..., L, L) -> (...); NaN for one without a turn."""
    correct = np.trace(confusions, axis1=-2, axis2=-1)
    return _divide(correct, confusions.sum(axis=(-2, -1)))


def unweighted_average_recall(confusion: np.ndarray) -> float:
    """Unweighted average recall (UAR): mean of the recalls of the classes that occur.

    Formula: mean over {i : n_i > 0} of confusion[i, i] / n_i, with n_i = sum_j confusion[i, j].

    Args:
        confusion: counts, shape (L, L), at least one turn.

    Examples:
        >>> unweighted_average_recall(np.array([[8, 0], [1, 1]]))
        0.75
    """
    return float(unweighted_average_recalls(confusion))


def unweighted_average_recalls(confusions: np.ndarray) -> np.ndarray:
    """UAR of each of many confusion matrices, (..., L, L) -> (...); NaN for one without a turn."""
    recalls = class_recalls(confusions)
    return _divide(np.nansum(recalls, axis=-1), np.isfinite(recalls).sum(axis=-1))


def macro_f1(confusion: np.ndarray) -> float:
    """Macro F1: mean of the F1 scores of the classes that occur.

    Formula: mean over {i : n_i > 0} of 2 confusion[i, i] / (n_i + m_i), with n_i the references
    and m_i the predictions of class i. Of a class that does not occur, false alarms lower the
    scores of the classes they were taken from.

    Args:
        confusion: counts, shape (L, L), at least one turn.

    Examples:
        >>> round(macro_f1(np.array([[8, 0], [1, 1]])), 4)
        0.8039
    """
    return float(np.nanmean(class_f1s(confusion)))


def class_recalls(confusion: np.ndarray) -> np.ndarray:
    """Recall of each class, confusion[i, i] / n_i; NaN where no turn has it; a value a class."""
    return _divide(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1))


def class_precisions(confusion: np.ndarray) -> np.ndarray:
    """Precision of each class, confusion[i, i] / m_i; NaN where never predicted; (L, L) -> (L,)."""
    return _divide(np.diag(confusion), confusion.sum(axis=0))


def class_f1s(confusion: np.ndarray) -> np.ndarray:
    """F1 of each class, 2 confusion[i, i] / (n_i + m_i); NaN where no turn has it; (L,)."""
    num_references, num_predictions = confusion.sum(axis=1), confusion.sum(axis=0)
    f1s = _divide(2 * np.diag(confusion), num_references + num_predictions)
    return np.where(num_references > 0, f1s, np.nan)


def expected_calibration_error(
    references: Sequence[int] | np.ndarray, probabilities: np.ndarray, *, num_bins: int = 15
) -> float:
    """Expected calibration error (ECE) of the predicted class.

    Formula: sum_b |B_b| / N * |accuracy(B_b) - confidence(B_b)|, where bin b holds the turns whose
    largest probability lies in ((b - 1) / num_bins, b / num_bins] (Guo et al., "On calibration of
    modern neural networks", ICML 2017, equation 3).

    Args:
        references: label ids, shape (N,).
        probabilities: each turn's sum to 1, shape (N, L).
        num_bins: bins of equal width over [0, 1].

    Returns:
        ECE in [0, 1].

    Raises:
        ValueError: if `probabilities` are not probabilities of N >= 1 turns.

    Examples:
        >>> expected_calibration_error([0, 1], np.array([[0.75, 0.25], [0.75, 0.25]]))
        0.25
    """
    references = np.asarray(references)
    probabilities = check_probabilities(probabilities, num_turns=len(references))
    confidences = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == references
    upper_edges = np.arange(1, num_bins) / num_bins
    bins = np.searchsorted(upper_edges, confidences, side="left")  # an edge belongs to its left bin
    gaps = np.bincount(bins, weights=correct - confidences, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(references))


def word_error_rate(references: Sequence[str], predictions: Sequence[str]) -> float | None:
    """Word error rate (WER), pooled over the words of all turns.

    Formula: (substitutions + deletions + insertions) / words in the references, each summed over
    all turns. An empty reference adds no word, and every word recognised in it is an insertion.

    Args:
        references: words separated by blanks, N texts; "" where nothing was said.
        predictions: recognised words, N texts.

    Returns:
        Error rate, above 1 where many words are inserted; None where no reference has a word.

    Raises:
        ValueError: if the numbers of texts differ.

    Examples:
        >>> word_error_rate(["WE WALK HOME", ""], ["WE TALK HOME", "OH"])
        0.6666666666666666
    """
    if len(references) != len(predictions):
        raise ValueError(
            f"{len(references)} reference texts and {len(predictions)} recognised ones: expected "
            "as many."
        )
    if not any(text.strip() for text in references):
        return None
    return float(jiwer.process_words(list(references), list(predictions)).wer)


def vote_metrics(shares: np.ndarray, probabilities: np.ndarray) -> dict[str, float | None]:
    """How near probabilities are to the shares of raters' votes.

    Args:
        shares: of the labels among the votes for each turn, (N, L), rows with a sum of 1.
        probabilities: (N, L).

    Returns:
        `vote_cross_entropy`: mean over the turns of -sum of share * log probability, in nats.
        `vote_rank_correlation`: mean of Spearman's correlation within a turn, ties ranked alike,
        over the turns whose votes do not all agree in number; None without one.

    Examples:
        >>> vote_metrics(np.array([[0.75, 0.25, 0.0]]), np.array([[0.5, 0.25, 0.25]]))
        {'vote_cross_entropy': 0.866..., 'vote_rank_correlation': 0.866...}
    """
    logs = np.log(np.maximum(probabilities, np.finfo(float).tiny))
    ranks = [rankdata(x, axis=1) for x in (shares, probabilities)]
    centred = [x - x.mean(axis=1, keepdims=True) for x in ranks]
    norms = np.prod([np.linalg.norm(x, axis=1) for x in centred], axis=0)
    known = norms > 0
    correlations = (centred[0] * centred[1]).sum(axis=1)[known] / norms[known]
    return {
        "vote_cross_entropy": float(-(shares * logs).sum(axis=1).mean()),
        "vote_rank_correlation": float(correlations.mean()) if known.any() else None,
    }


def check_probabilities(probabilities: Any, *, num_turns: int) -> np.ndarray:
    """Probabilities as float64, shape (N, L).

    Raises:
        ValueError: if the shape is wrong, there is no turn, a value is not finite or negative, or a
            turn's do not sum to 1 within 0.001.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim != 2 or len(probabilities) != num_turns or num_turns == 0:
        raise ValueError(
            f"probabilities of shape {probabilities.shape} for {num_turns} turns: expected (turns, "
            "labels) and at least one turn."
        )
    wrong = ~((probabilities >= 0).all(axis=1) & (np.abs(probabilities.sum(axis=1) - 1) < 1e-3))
    if wrong.any():
        raise ValueError(
            f"probabilities of turn {wrong.argmax()} are {probabilities[wrong.argmax()].tolist()}: "
            "expected values from 0 to 1 with a sum of 1. Apply a softmax to logits."
        )
    return probabilities


def _divide(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Quotients with NaN, and no warning, where the denominator is 0."""
    missing = np.full(np.shape(numerators), np.nan)
    return np.divide(numerators, denominators, out=missing, where=np.asarray(denominators > 0))


METRIC_TITLES = {
    "weighted_accuracy": "WA (correct / all)",
    "unweighted_average_recall": "UAR (mean recall of the classes)",
    "macro_f1": "macro F1",
    "word_error_rate": "word error rate",
    "speaker_accuracy": "speaker accuracy (held-out turns of training speakers)",
    "speech_mse": "speech MSE",
    "speech_mse_padded": "speech MSE, padding counted as right",
    "ece": "calibration error",
    "vote_cross_entropy": "cross entropy with the raters' votes (nats)",
    "vote_rank_correlation": "rank correlation with the raters' votes",
    "ccc_valence": "concordance of valence",
    "ccc_activation": "concordance of activation (arousal)",
    "ccc_dominance": "concordance of dominance",
}
"""What tables and figures call each metric."""

STATISTICS = {
    "weighted_accuracy": weighted_accuracies,
    "unweighted_average_recall": unweighted_average_recalls,
}
"""The two metrics that are resampled, as functions of many confusion matrices."""


# Metrics of groups of turns ----------------------------------------------------------------------


def recalls_by_group(
    references: Sequence[int] | np.ndarray,
    predictions: Sequence[int] | np.ndarray,
    groups: Sequence[str | None],
    *,
    num_labels: int,
    confidences: np.ndarray | None = None,
) -> dict[str, GroupScores]:
    """WA and UAR within each speaker, gender or other group of turns.

    Args:
        references: label ids, shape (N,).
        predictions: label ids, shape (N,).
        groups: N names; turns with None belong to no group.
        num_labels: L.
        confidences: best probability of each turn, (N,), for the overconfidence.

    Returns:
        For each group, sorted by name; UAR is over the classes that occur in the group.

    Examples:
        >>> groups = recalls_by_group([0, 1, 1], [0, 1, 0], ["a", "a", "b"], num_labels=2)
        >>> {name: scores.weighted_accuracy for name, scores in groups.items()}
        {'a': 1.0, 'b': 0.0}
    """
    references, predictions = np.asarray(references), np.asarray(predictions)
    check_lengths(len(references), predictions=predictions, groups=groups)
    names = sorted({group for group in groups if group is not None})
    scores = {}
    for name in names:
        chosen = np.array([group == name for group in groups])
        confusion = confusion_matrix(references[chosen], predictions[chosen], num_labels=num_labels)
        scores[name] = GroupScores(**vars(recall_metrics(confusion)))
        if confidences is not None:
            surplus = confidences[chosen].mean() - scores[name].weighted_accuracy
            scores[name].overconfidence = float(surplus)
    return scores


def recall_metrics(confusion: np.ndarray) -> Recalls:
    """WA, UAR, the number of turns, and of labels that no turn has; `confusion` is (L, L)."""
    return Recalls(
        weighted_accuracy=weighted_accuracy(confusion),
        unweighted_average_recall=unweighted_average_recall(confusion),
        num_turns=int(confusion.sum()),
        absent_labels=int(np.count_nonzero(confusion.sum(axis=1) == 0)),
    )


def emotion_metrics(prediction: "EvalPrediction") -> dict[str, float | int]:
    """WA and UAR for a plain `Trainer`: pass it as `compute_metrics`, and label_names=["labels"] to
    the TrainingArguments, which otherwise also wait for labels of the other tasks.

    Args:
        prediction: emotion logits (N, L), alone or first of several outputs, and label ids (N,).
    """
    outputs = prediction.predictions
    logits = outputs[0] if isinstance(outputs, tuple) else outputs
    confusion = confusion_matrix(
        np.asarray(prediction.label_ids), logits.argmax(axis=1), num_labels=logits.shape[1]
    )
    return asdict(recall_metrics(confusion))


def class_metrics(confusion: np.ndarray, label_names: Sequence[str]) -> dict[str, ClassScores]:
    """Recall, precision, F1 and number of turns by label; None where undefined."""
    figures = zip(
        class_recalls(confusion),
        class_precisions(confusion),
        class_f1s(confusion),
        confusion.sum(axis=1),
        strict=True,
    )
    return {
        name: ClassScores(
            recall=_null_if_nan(recall),
            precision=_null_if_nan(precision),
            f1=_null_if_nan(f1),
            num_turns=int(num_turns),
        )
        for name, (recall, precision, f1, num_turns) in zip(label_names, figures, strict=True)
    }


def _null_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def check_lengths(num_turns: int, **columns: Any) -> None:
    """Raise a ValueError that names a column, None aside, without a value for each turn."""
    for name, values in columns.items():
        if values is not None and len(values) != num_turns:
            raise ValueError(
                f"{name}: {len(values)} values for {num_turns} turns, expected one each."
            )
