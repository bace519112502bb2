"""Scores of predicted rows, predictions.parquet, and what the record of a run says of its fold."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from datasets import Dataset

from processing.text import normalize_transcript
from train_scripts.runs.fold_data import FoldData
from train_scripts.runs.inference import TurnPredictions
from train_scripts.runs.metrics import score_turns
from train_scripts.runs.record import Leaks, Protocol, RunRecord, Scores

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
    """Metrics of predicted rows.

    Args:
        rows: the scored turns.
        turns: their predictions.
        labels: emotion words in the order of the labels.
        heldout: turns of training speakers and their predictions, for speaker accuracy.
    """
    recognized = heldout[1].speakers if heldout else None
    texts = None
    if turns.texts is not None and any(t is not None for t in rows["text"]):
        texts = [normalize_transcript(t) if t is not None else None for t in rows["text"]]
    return score_turns(
        labels=[labels.index(e) for e in rows["emotion"]],
        probabilities=turns.probabilities,
        label_names=labels,
        speakers=rows["speaker"],
        genders=rows["gender"],
        reference_texts=texts,
        recognized_texts=turns.texts if texts is not None else None,
        heldout_speakers=heldout[0]["speaker"] if heldout and recognized is not None else None,
        recognized_speakers=recognized,
        speech_mse=turns.speech_mse,
        speech_mse_padded=turns.speech_mse_padded,
    )


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
    }
    Dataset.from_dict(table).to_parquet(folder / name)


def describe_fold(data: FoldData) -> dict[str, Any]:
    """The fields of `RunRecord` that name the corpora and the split."""
    return {
        "corpus": name_corpora(data.folds.test_corpora),
        "trained_on": name_corpora(set(data.folds["train"]["corpus"]) - {None}),
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
    }
    found = {title: getattr(record.metrics, name) for name, title in names.items()}
    lines = [f"{title:34} {value:.4g}" for title, value in found.items() if value is not None]
    if record.protocol.leaks:
        lines.append(
            "LEAKS: the test speakers or turns are known to the model; this is no honest score."
        )
    return "\n".join(lines)
