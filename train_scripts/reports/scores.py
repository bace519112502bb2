"""The numbers of one row of a table, with all that they rest on.

Axes: N turns, S seeds, K speakers, L labels.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from modeling_decomp_ser import DecompSerConfig
from processing.text import normalize_transcript
from train_scripts.reports.notes import describe_row
from train_scripts.reports.rows import Row
from train_scripts.reports.significance import (
    STATISTICS,
    bootstrap_statistics,
)
from train_scripts.reports.turn_table import TurnTable, fold_scores
from train_scripts.runs.finished_runs import Run, shared_settings
from train_scripts.runs.intervals import resample_speakers, speaker_interval
from train_scripts.runs.metrics import class_metrics, expected_calibration_error, macro_f1
from train_scripts.runs.metrics import word_error_rate as pooled_word_error_rate


def score_row(row: Row, table: TurnTable, *, num_resamples: int, seed: int) -> dict[str, Any]:
    """All numbers of a row.

    Args:
        row: its runs.
        table: of `tabulate`.
        num_resamples: of the bootstrap over speakers.
        seed: of the bootstrap.

    Returns:
        A dictionary that JSON can hold; see the keys below. `metrics` has, for WA and UAR, `pooled`
        over folds and averaged over seeds, its `interval_95`, `per_seed`, and `fold_mean` with the
        standard deviations `sd_over_seeds` and `sd_over_folds` (None with one), and `ensemble`.
    """
    runs = list(row.runs.values())
    by_speaker = table.confusions(table.speakers, len(table.speaker_names))
    confusion = by_speaker.sum(axis=0)
    recall_scores = score_recalls(table, by_speaker, num_resamples=num_resamples, seed=seed)
    for name, score in score_ensemble(row, table).items():
        recall_scores[name]["ensemble"] = score
    metrics = {**recall_scores, **score_others(row, table)}
    first = runs[0].results
    scored = {
        "row": row.key.slug,
        "title": row.key.title,
        "corpus": row.key.corpus,
        "preset": row.key.preset,
        "size": row.key.size,
        "overrides": list(row.key.overrides),
        "backbone": first.get("backbone"),
        "pretrained": bool(first.get("pretrained")),
        "resampled": is_resampled(shared_settings(first)),
        "n_parameters": first.get("n_parameters"),
        "protocol": describe_protocols(row),
        "seeds": row.seeds,
        "folds": row.folds,
        "missing": row.missing,
        "complete": not row.missing,
        "num_turns": len(table.ids),
        "num_speakers": len([name for name in table.speaker_names if name is not None]),
        "labels": row.labels,
        "commits": sorted({str(run.results.get("commit") or "unknown") for run in runs}),
        "selected_by": sorted({str(run.results.get("selected_by")) for run in runs}),
        "seconds": sum(run.results.get("seconds") or 0.0 for run in runs),
        "metrics": metrics,
        "per_class": class_metrics(confusion, row.labels),
        "per_speaker": score_speakers(table, by_speaker),
        "per_gender": pool_genders(runs),
        "confusion": np.round(confusion, 6).tolist(),
        "minutes": sum_minutes(row),
    }
    return {**scored, "notes": describe_row(row, scored)}


def is_resampled(settings: dict[str, Any]) -> bool | None:
    """Whether fine-tuning resampled the inputs of content, pitch and timbre at random (section
    2.1): without it content and timbre read the same spectrogram as rhythm.

    Args:
        settings: as a run stores them.

    Returns:
        None for a row with none of the three encoders.
    """
    model, default = settings.get("model"), DecompSerConfig()
    if model is None:
        return None
    if not {"content", "pitch", "timbre"} & set(model.get("components", default.components)):
        return None
    return bool(model.get("resampling_in_finetuning", default.resampling_in_finetuning))


def score_recalls(
    table: TurnTable, by_speaker: np.ndarray, *, num_resamples: int, seed: int
) -> dict[str, Any]:
    """WA and UAR in both poolings, with the interval over speakers."""
    per_seed = table.seed_confusions()
    samples = None
    if len(by_speaker) > 1:
        counts = resample_speakers(len(by_speaker), num_resamples, np.random.default_rng(seed))
        samples = bootstrap_statistics(by_speaker, counts)
    scores = {}
    for name, statistic in STATISTICS.items():
        pooled = statistic(per_seed)  # (S,)
        folds = fold_scores(table, statistic)  # (S, folds), NaN where not run
        fold_means = np.nanmean(folds, axis=1)
        scores[name] = {
            "pooled": float(pooled.mean()),
            "interval_95": speaker_interval(samples[name], len(by_speaker)) if samples else None,
            "per_seed": dict(zip(map(str, table.seeds), pooled.tolist(), strict=True)),
            "fold_mean": float(fold_means.mean()),
            "sd_over_seeds": spread(fold_means),
            "sd_over_folds": spread(np.nanmean(folds, axis=0)),
        }
    return scores


def score_ensemble(row: Row, table: TurnTable) -> dict[str, float | None]:
    """WA and UAR of one answer a turn, from the probabilities averaged over the seeds; None where
    there is one seed, or a seed lacks a fold.
    """
    if len(row.seeds) == 1 or len(row.runs) < len(row.seeds) * len(row.folds):
        return dict.fromkeys(STATISTICS)
    totals = np.zeros((len(table.ids), len(row.labels)))
    for run in row.runs.values():
        at = np.searchsorted(table.ids, run.turns["id"])
        totals[at] += np.transpose([run.turns[f"probability_{name}"] for name in row.labels])
    confusion = np.zeros((len(row.labels), len(row.labels)))
    np.add.at(confusion, (table.labels, totals.argmax(axis=1)), 1)
    return {name: float(statistic(confusion)) for name, statistic in STATISTICS.items()}


def spread(values: Sequence[float] | np.ndarray) -> float | None:
    """Standard deviation of a sample; None for one value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def score_others(row: Row, table: TurnTable) -> dict[str, Any]:
    """The other metrics, pooled over folds and averaged over seeds; None where no run has one."""
    runs_of_seed = {
        seed: [run for (s, _), run in row.runs.items() if s == seed] for seed in row.seeds
    }
    per_seed: dict[str, list[float | None]] = {
        "macro_f1": [macro_f1(confusion) for confusion in table.seed_confusions()],
        "ece": [pool_ece(runs) for runs in runs_of_seed.values()],
        "word_error_rate": [pool_word_errors(runs) for runs in runs_of_seed.values()],
        "speaker_accuracy": [
            pool_mean(runs, "speaker_accuracy", heldout_turns) for runs in runs_of_seed.values()
        ],
        **{
            name: [pool_mean(runs, name, count_tested) for runs in runs_of_seed.values()]
            for name in ("speech_mse", "speech_mse_padded")
        },
    }
    scores = {}
    for name, values in per_seed.items():
        known = {seed: v for seed, v in zip(row.seeds, values, strict=True) if v is not None}
        scores[name] = {
            "pooled": float(np.mean(list(known.values()))) if known else None,
            "sd_over_seeds": spread(list(known.values())) if known else None,
            "per_seed": {str(seed): value for seed, value in known.items()},
        }
    return scores


def count_tested(run: Run) -> int:
    """Turns of the test fold."""
    return len(run.turns["id"])


def heldout_turns(run: Run) -> int:
    """Turns of training speakers that were held out, which speaker accuracy is of."""
    return run.results["leaks"]["turns"]["heldout_turns"]


def pool_mean(runs: Sequence[Run], name: str, weigh: Callable[[Run], int]) -> float | None:
    """Mean of a metric over turns, from those of the folds that have it."""
    known = [run for run in runs if run.results["metrics"].get(name) is not None]
    if not known:
        return None
    values = [run.results["metrics"][name] for run in known]
    return float(np.average(values, weights=[weigh(run) for run in known]))


def pool_word_errors(runs: Sequence[Run]) -> float | None:
    """Word error rate over the words of all folds whose runs recognise words."""
    pairs = [
        (normalize_transcript(text), recognized)
        for run in runs
        for text, recognized in zip(run.turns["text"], run.turns["recognized_text"], strict=True)
        if text is not None and recognized is not None
    ]
    if not pairs:
        return None
    references, recognized = zip(*pairs, strict=True)
    return pooled_word_error_rate(references, recognized)


def pool_ece(runs: Sequence[Run]) -> float:
    """Calibration error over the turns of all folds."""
    labels, probabilities = [], []
    for run in runs:
        names = run.results["labels"]
        labels += [names.index(label) for label in run.turns["label"]]
        columns = [run.turns[f"probability_{name}"] for name in names]
        probabilities.append(np.array(columns, dtype=np.float64).T)
    return expected_calibration_error(labels, np.concatenate(probabilities))


def score_speakers(table: TurnTable, by_speaker: np.ndarray) -> dict[str, dict[str, Any]]:
    """WA and UAR of each named speaker, averaged over the seeds, and its turns and fold."""
    turns = np.bincount(table.speakers, minlength=len(by_speaker))
    return {
        name: {
            **{key: float(statistic(by_speaker[k])) for key, statistic in STATISTICS.items()},
            "num_turns": int(turns[k]),
            "fold": table.fold_names[table.folds[table.speakers == k][0]],
        }
        for k, name in enumerate(table.speaker_names)
        if name is not None
    }


def pool_genders(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """WA of each gender over all folds and seeds; its turns are counted once a seed."""
    correct: dict[str, float] = {}
    turns: dict[str, int] = {}
    for run in runs:
        for gender, scores in (run.results.get("per_gender") or {}).items():
            number = scores["num_turns"]
            correct[gender] = correct.get(gender, 0) + scores["weighted_accuracy"] * number
            turns[gender] = turns.get(gender, 0) + number
    return {
        gender: {"weighted_accuracy": correct[gender] / number, "num_predictions": number}
        for gender, number in sorted(turns.items())
    }


def sum_minutes(row: Row) -> dict[str, float] | None:
    """Minutes of test turns of each label; None where the runs do not know durations."""
    seconds: dict[str, dict[str, float]] = {label: {} for label in row.labels}
    for run in row.runs.values():
        durations = run.turns.get("duration")
        if durations is None or None in durations:
            return None
        for key, label, duration in zip(
            run.turns["id"], run.turns["label"], durations, strict=True
        ):
            seconds[label][key] = duration
    return {label: sum(turns.values()) / 60 for label, turns in seconds.items()}


def describe_protocols(row: Row) -> dict[str, Any]:
    """Name, version and hashes of the splits; `hash` is of those of all folds together."""
    runs = row.runs.values()
    together = "\n".join(f"{fold} {digest}" for fold, digest in row.hashes.items())
    protocol = next(iter(runs)).results["protocol"]
    return {
        "name": protocol["name"],
        "version": protocol["version"],
        "hash": hashlib.sha256(together.encode()).hexdigest()[:16],
        "hash_of_fold": row.hashes,
        "leaks": any(run.results["protocol"]["leaks"] for run in runs),
    }
