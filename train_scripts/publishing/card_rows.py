"""The results of a report as the metadata of a model card has them."""

from typing import Any

CARD_METRICS = {
    "weighted_accuracy": ("accuracy", "WA (correct / all)"),
    "unweighted_average_recall": ("recall", "UAR (mean recall of the classes)"),
    "macro_f1": ("f1", "Macro F1"),
    "word_error_rate": ("wer", "Word error rate"),
}
"""Metric to type and name in the metadata of a model card."""


def card_results(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Metadata of a model card: arguments of `huggingface_hub.EvalResult` for each metric.

    Args:
        row: of `score_row`.
    """
    protocol = row["protocol"]
    results = []
    for name, (kind, title) in CARD_METRICS.items():
        score = row["metrics"][name]
        if score["pooled"] is None:
            continue
        speech = name == "word_error_rate"
        results.append(
            {
                "task_type": "automatic-speech-recognition" if speech else "audio-classification",
                "task_name": "Speech recognition" if speech else "Speech emotion recognition",
                "dataset_type": row["corpus"],
                "dataset_name": row["corpus"],
                "dataset_config": protocol["name"],
                "dataset_split": "test",
                "dataset_args": {"protocol_version": protocol["version"], "hash": protocol["hash"]},
                "metric_type": kind,
                "metric_name": title,
                "metric_value": score["pooled"],
                "metric_args": {
                    "interval_95": score.get("interval_95"),
                    "num_turns": row["num_turns"],
                    "num_speakers": row["num_speakers"],
                    "seeds": row["seeds"],
                    "folds": row["folds"],
                    "notes": row["notes"],
                },
            }
        )
    return results
