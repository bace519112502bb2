"""Scores of predicted rows, predictions.parquet, and what the record of a run says of its fold."""

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from modeling_decomp_ser.multitask_losses import concordance
from processing.corpora.rows import RATINGS
from processing.corpora.votes import vote_shares
from processing.text import normalize_transcript
from train_scripts.runs.fold_data import FoldData
from train_scripts.runs.groups import PEOPLE, compare_groups, group_columns
from train_scripts.runs.inference import TurnPredictions
from train_scripts.runs.metrics import (
    check_lengths,
    check_probabilities,
    class_metrics,
    confusion_matrix,
    expected_calibration_error,
    macro_f1,
    recall_metrics,
    recalls_by_group,
    vote_metrics,
    word_error_rate,
)
from train_scripts.runs.record import Leaks, Metrics, Protocol, RunRecord, Scores

PREDICTIONS = "predictions.parquet"
VALIDATION_PREDICTIONS = "validation_predictions.parquet"
"""Answers to the turns of validation speakers, of a run that stores them."""


def score_rows(
    rows: Dataset,
    turns: TurnPredictions,
    labels: list[str],
    *,
    heldout: tuple[Dataset, TurnPredictions] | None = None,
) -> Scores:
    """Score N predicted turns as the record of a run has it.

    Args:
        rows: the scored turns. One without a transcript does not count in the word error rate; one
            without a speaker or gender belongs to no group of these.
        turns: their predictions.
        labels: L emotion words in the order of the labels.
        heldout: turns of training speakers and their predictions, for speaker accuracy.

    Returns:
        The scores, None wherever a figure is undefined or a head is lacking. Errors of speech are
        means over turns.

    Raises:
        ValueError: if there is no turn, lengths or the number of labels differ, or an error of
            speech is not finite.
    """
    references = [labels.index(emotion) for emotion in rows["emotion"]]
    names = ("texts", "speech_mse", "speech_mse_padded")
    check_lengths(len(references), **{name: getattr(turns, name) for name in names})
    probabilities = check_probabilities(turns.probabilities, num_turns=len(references))
    if probabilities.shape[1] != len(labels):
        raise ValueError(
            f"probabilities of {probabilities.shape[1]} labels, expected {len(labels)}: "
            f"{', '.join(labels)}."
        )
    predictions = probabilities.argmax(axis=1)
    confusion = confusion_matrix(references, predictions, num_labels=len(labels))
    columns = group_columns(rows)
    by_group = partial(
        recalls_by_group,
        references,
        predictions,
        num_labels=len(labels),
        confidences=probabilities.max(axis=1),
    )
    groups = {kind: by_group(column) for kind, column in columns.items()}
    compared = {
        kind: compare_groups(groups[kind], column, np.array(references), confusion)
        for kind, column in columns.items()
    }
    return Scores(
        metrics=Metrics(
            **vars(recall_metrics(confusion)),
            macro_f1=macro_f1(confusion),
            word_error_rate=known_word_error_rate(rows["text"], turns.texts),
            speaker_accuracy=speaker_accuracy(*heldout) if heldout else None,
            speech_mse=finite_mean("speech_mse", turns.speech_mse),
            speech_mse_padded=finite_mean("speech_mse_padded", turns.speech_mse_padded),
            ece=expected_calibration_error(references, probabilities),
            **score_votes(rows, probabilities, labels),
            **score_dimensions(rows, turns.dimensions),
        ),
        per_class=class_metrics(confusion, labels),
        **{f"per_{kind}": of_kind for kind, of_kind in groups.items()},
        fairness={kind: found for kind, found in compared.items() if found is not None},
        confusion=confusion.tolist(),
    )


def score_votes(rows: Any, probabilities: np.ndarray, labels: list[str]) -> dict[str, Any]:
    """How near the probabilities, (N, L), are to the shares of the raters' votes."""
    if "votes" not in getattr(rows, "column_names", ()):
        return {}
    shares = [vote_shares(text, labels) for text in rows["votes"]]
    known = [i for i, found in enumerate(shares) if found is not None]
    if not known:
        return {}
    wanted = np.array([shares[i] for i in known])
    return vote_metrics(wanted, probabilities[known])


def score_dimensions(rows: Any, answers: np.ndarray | None) -> dict[str, Any]:
    """Concordance of the answers, (N, 3), with the ratings of the turns that have all."""
    if answers is None or not set(RATINGS) <= set(getattr(rows, "column_names", ())):
        return {}
    ratings = np.array([rows[name] for name in RATINGS], dtype=np.float64).T
    known = np.isfinite(ratings).all(1)
    if known.sum() < 2:
        return {}
    found = concordance(torch.from_numpy(answers[known]).double(), torch.from_numpy(ratings[known]))
    return {f"ccc_{name}": float(value) for name, value in zip(RATINGS, found, strict=True)}


def known_word_error_rate(
    texts: Sequence[str | None], recognized: Sequence[str] | None
) -> float | None:
    """Word error rate over the turns whose transcript is known; None without a word."""
    known = [(t, p) for t, p in zip(texts, recognized or (), strict=False) if t is not None]
    return word_error_rate([normalize_transcript(t) for t, _ in known], [p for _, p in known])


def speaker_accuracy(rows: Dataset, turns: TurnPredictions) -> float | None:
    """Share of turns whose speaker is recognised; None without a turn or a speaker head."""
    if not turns.speakers:
        return None
    pairs = zip(rows["speaker"], turns.speakers, strict=True)
    return sum(speaker == recognized for speaker, recognized in pairs) / len(turns.speakers)


def finite_mean(name: str, values: np.ndarray | None) -> float | None:
    """Mean over turns, (N,); raises a ValueError that names the first turn that is not finite."""
    if values is None:
        return None
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        turn = np.isfinite(values).argmin()
        raise ValueError(
            f"{name} of turn {turn} is {values[turn]}, expected a number: the model diverged."
        )
    return float(values.mean())


def write_predictions(
    folder: Path,
    rows: Dataset,
    turns: TurnPredictions,
    labels: list[str],
    *,
    name: str = PREDICTIONS,
) -> None:
    """Write predictions.parquet: one row a turn, in the order of the rows."""
    probabilities = turns.probabilities
    table = {
        "id": rows["id"],
        "speaker": rows["speaker"],
        "label": rows["emotion"],
        "prediction": [labels[i] for i in probabilities.argmax(1)],
        **{f"probability_{label}": probabilities[:, i] for i, label in enumerate(labels)},
        "text": rows["text"],
        "recognized_text": turns.texts if turns.texts is not None else [None] * len(rows),
        "duration": rows["duration"],
        **{kind: of for kind, of in group_columns(rows).items() if kind in PEOPLE},
    }
    if turns.dimensions is not None:
        columns = turns.dimensions.T
        table |= {f"predicted_{name}": c for name, c in zip(RATINGS, columns, strict=True)}
    Dataset.from_dict(table).to_parquet(folder / name)


def describe_fold(data: FoldData) -> dict[str, Any]:
    """The fields of `RunRecord` that name the corpora and the split."""
    return {
        "corpus": name_corpora(data.folds.test_corpora),
        "trained_on": name_corpora(set(data.folds["train"]["corpus"]) - {None}),
        "mixture": data.mixture,
        "protocol": Protocol(**data.protocol),
        "fold": data.fold,
        "leaks": Leaks(**data.leaks),
        "labels": data.labels,
    }


def name_corpora(names: Collection[str]) -> str | None:
    """Names of corpora, joined by "+"; None where there is none."""
    return "+".join(sorted(names)) or None


def summarize(record: RunRecord) -> str:
    """Short summary of a record for standard output."""
    names = {
        "weighted_accuracy": "WA (correct / all)",
        "unweighted_average_recall": "UAR (mean recall)",
        "macro_f1": "macro F1",
        "word_error_rate": "word error rate",
        "speaker_accuracy": "speaker accuracy (held-out turns)",
        "speech_mse": "speech MSE",
        "vote_cross_entropy": "cross entropy with votes (nats)",
        "vote_rank_correlation": "rank correlation with votes",
        **{f"ccc_{name}": f"concordance of {name}" for name in RATINGS},
    }
    found = {title: getattr(record.metrics, name) for name, title in names.items()}
    lines = [f"{title:34} {value:.4g}" for title, value in found.items() if value is not None]
    for corpus, scores in record.per_corpus.items() if record.mixture else ():
        wa, uar = scores.weighted_accuracy, scores.unweighted_average_recall
        lines.append(
            f"{corpus + ' (' + str(scores.num_turns) + ' turns)':34} WA {wa:.4g} UAR {uar:.4g}"
        )
    for kind, fair in record.fairness.items():
        beside = "more" if fair.uneven else "no more"
        lines.append(
            f"UAR by {kind}: mean {fair.mean:.3f} of {fair.num_groups}, least {fair.worst}, "
            f"{fair.spread:.3f} apart, {beside} than chance ({fair.threshold:.3f})"
        )
    if record.protocol.leaks:
        lines.append(
            "LEAKS: the test speakers or turns are known to the model; this is no honest score."
        )
    return "\n".join(lines)
