"""The results of a run: results.json and predictions.parquet as the contract has them."""

import json
import subprocess
from collections.abc import Collection, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from datasets import Dataset

from processing.text import normalize_transcript
from train_scripts.runs.fold_data import FoldData
from train_scripts.runs.inference import TurnPredictions
from train_scripts.runs.metrics import score_turns
from train_scripts.runs.run_folder import RESULTS

PREDICTIONS = "predictions.parquet"
PACKAGES = (
    "torch",
    "torchaudio",
    "transformers",
    "datasets",
    "accelerate",
    "numpy",
    "scipy",
    "pyworld",
)


def score_rows(
    rows: Dataset,
    turns: TurnPredictions,
    labels: list[str],
    *,
    heldout: tuple[Dataset, TurnPredictions] | None = None,
) -> dict:
    """Metrics of predicted rows.

    Args:
        rows: the scored turns.
        turns: their predictions.
        labels: emotion words in the order of the labels.
        heldout: turns of training speakers and their predictions, for speaker accuracy.

    Returns:
        The entries metrics, per_class, per_speaker, per_gender and confusion of results.json.
    """
    heldout_rows, recognized = (heldout[0], heldout[1].speakers) if heldout else (None, None)
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
        heldout_speakers=heldout_rows["speaker"] if recognized is not None else None,
        recognized_speakers=recognized,
        speech_mse=turns.speech_mse,
        speech_mse_padded=turns.speech_mse_padded,
    )


def write_predictions(
    folder: Path, rows: Dataset, turns: TurnPredictions, labels: list[str]
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
    Dataset.from_dict(table).to_parquet(folder / PREDICTIONS)


def write_results(folder: Path, results: dict) -> dict:
    """Complete results with versions and commit, and write them; the file appears when it is whole.

    Args:
        folder: of the run.
        results: everything else of the contract.

    Returns:
        What was written.
    """
    results = {**results, "versions": package_versions(), "commit": git_commit()}
    write_json(folder / RESULTS, results)
    return results


def write_json(path: Path, content: dict) -> None:
    """Write a file of JSON that appears only when it is whole."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(path)


def publishable_results(results: Mapping[str, Any]) -> dict[str, Any]:
    """Results without what only their machine knows: names of its folders and files.

    Args:
        results: content of results.json.
    """
    kept = {k: v for k, v in results.items() if k not in ("pretrained", "predictions", "model")}
    settings = {k: v for k, v in results["settings"].items() if k != "data"}
    for place, name in ((kept, "backbone"), (settings, "speech_encoder")):
        if place.get(name) and Path(place[name]).exists():
            place[name] = Path(place[name]).name
    return {**kept, "settings": settings}


def describe_fold(data: FoldData) -> dict:
    """The entries of results.json that name the corpora and the split."""
    return {
        "corpus": name_corpora(data.folds.test_corpora),
        "trained_on": name_corpora(set(data.folds["train"]["corpus"]) - {None}),
        "protocol": data.protocol,
        "fold": data.fold,
        "leaks": data.leaks,
        "labels": data.labels,
    }


def name_corpora(names: Collection[str]) -> str | None:
    """Names of corpora, joined by "+"; None where there is none."""
    return "+".join(sorted(names)) or None


def summarize(results: dict) -> str:
    """Short summary of results for standard output."""
    names = {
        "weighted_accuracy": "WA (correct / all)",
        "unweighted_average_recall": "UAR (mean recall)",
        "macro_f1": "macro F1",
        "word_error_rate": "word error rate",
        "speaker_accuracy": "speaker accuracy (held-out turns)",
        "speech_mse": "speech MSE",
    }
    lines = [
        f"{title:34} {results['metrics'][name]:.4g}"
        for name, title in names.items()
        if results["metrics"].get(name) is not None
    ]
    if results["protocol"]["leaks"]:
        lines.append(
            "LEAKS: the test speakers or turns are known to the model; this is no honest score."
        )
    return "\n".join(lines)


def package_versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    return {name: metadata.version(name) for name in ("decomp-ser", *PACKAGES)}


def git_commit() -> str | None:
    """Commit of the source, with "+changes" where the work tree differs from it; None outside a
    checkout.
    """
    folder = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changed else "")
