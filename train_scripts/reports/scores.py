"""The numbers of one row of a table, with all that they rest on.

Axes: S seeds, F folds, K speakers, L labels.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from processing.text import normalize_transcript
from train_scripts.reports.group_scores import score_groups
from train_scripts.reports.notes import describe_row
from train_scripts.reports.rows import Row, crossed_cells
from train_scripts.reports.significance import SPEAKERS, SPEAKERS_AND_SEEDS, with_intervals
from train_scripts.runs.finished_runs import Run
from train_scripts.runs.metrics import (
    STATISTICS,
    class_metrics,
    expected_calibration_error,
    macro_f1,
    word_error_rate,
)

MEANS = (
    *("speaker_accuracy", "speech_mse", "speech_mse_padded"),
    *("vote_cross_entropy", "vote_rank_correlation"),
    *("ccc_valence", "ccc_activation", "ccc_dominance"),
)
"""Metrics of the records of the runs, of which the folds' mean is taken, weighted by turns."""


def score_row(row: Row, *, num_resamples: int, seed: int) -> dict[str, Any]:
    """All numbers of a row.

    Returns:
        A dictionary that JSON can hold; see the keys below. `metrics` has, for WA and UAR, `pooled`
        over folds and averaged over seeds, its `interval_95`, `per_seed`, and `fold_mean` with the
        standard deviations `sd_over_seeds` and `sd_over_folds` (None with one), and `ensemble`.
        `interval_counts`: "speakers and seeds", or "speakers" where `crossed_cells` has none;
        `resampled`: in fine-tuning, None where no encoder reads resampled input;
        `pretraining_steps`: by the settings, 0 without pre-training, None for a baseline.
    """
    by_speaker = row.turns.by_speaker()
    cells = crossed_cells([row], [row.turns])
    confusion = by_speaker.sum(axis=0)
    first = row.first.results
    scored = {
        "row": row.key.slug,
        "title": row.key.title,
        "corpus": row.key.corpus,
        "preset": row.key.preset,
        "size": row.key.size,
        "overrides": list(row.key.overrides),
        "training": row.key.training,
        "backbone": first.backbone,
        "resampled": is_resampled(row),
        "pretrained": bool(first.pretrained),
        "pretraining_steps": pretraining_steps(row),
        "n_parameters": first.n_parameters,
        "protocol": describe_protocols(row),
        "seeds": row.seeds,
        "folds": row.folds,
        "missing": row.missing,
        "complete": not row.missing,
        "num_turns": len(np.unique(row.turns.ids)),
        "num_speakers": int(row.turns.has_speaker().sum()),
        "labels": row.labels,
        "commits": row.commits,
        "selected_by": sorted({str(run.results.selected_by) for run in row.runs.values()}),
        "seconds": sum(run.results.seconds for run in row.runs.values()),
        "num_runs": len(row.runs),
        "metrics": {
            **score_recalls(row, by_speaker, cells, num_resamples=num_resamples, seed=seed),
            **score_others(row),
        },
        "per_class": {k: asdict(v) for k, v in class_metrics(confusion, row.labels).items()},
        "per_speaker": score_speakers(row, by_speaker),
        "groups": score_groups(row),
        "confusion": np.round(confusion, 6).tolist(),
        "interval_counts": SPEAKERS if cells is None else SPEAKERS_AND_SEEDS,
        "minutes": sum_minutes(row),
    }
    return {**scored, "notes": describe_row(row, scored)}


def is_resampled(row: Row) -> bool | None:
    """Whether fine-tuning resampled; None where the model has no encoder that reads it."""
    if not set(row.settings.get("model.components") or ()) & {"content", "pitch", "timbre"}:
        return None
    stretched = row.settings["model.resampling_input"] or row.settings["model.resampling_inner"]
    return bool(row.settings["model.resampling_in_finetuning"] and stretched)


def pretraining_steps(row: Row) -> int | None:
    """Steps of the pre-training that the runs began with, as their settings say."""
    if row.key.size is None:
        return None
    return int(row.settings.get("pretraining.max_steps", 0))  # which only a pre-trained run has


def score_recalls(
    row: Row,
    by_speaker: np.ndarray,
    cells: Sequence[np.ndarray] | None,
    *,
    num_resamples: int,
    seed: int,
) -> dict[str, Any]:
    """WA and UAR in both poolings, with the interval of `with_intervals`."""
    pooled = {
        name: statistic(row.turns.by_seed()) for name, statistic in STATISTICS.items()
    }  # (S,)
    means = {name: values.mean() for name, values in pooled.items()}
    intervals = with_intervals(
        means, by_speaker[None], cells, num_resamples=num_resamples, seed=seed
    )
    complete = len(row.seeds) > 1 and len(row.runs) == len(row.seeds) * len(row.folds)
    ensemble = row.turns.ensemble() if complete else None
    scores = {}
    for name, statistic in STATISTICS.items():
        folds = statistic(row.turns.by_seed_and_fold(row.folds))  # (S, F), NaN where not run
        fold_means = np.nanmean(folds, axis=1)
        scores[name] = {
            "pooled": intervals[name].pop("value"),
            **intervals[name],
            "per_seed": dict(zip(map(str, row.seeds), pooled[name].tolist(), strict=True)),
            "fold_mean": float(fold_means.mean()),
            "sd_over_seeds": spread(fold_means),
            "sd_over_folds": spread(np.nanmean(folds, axis=0)),
            "ensemble": None if ensemble is None else float(statistic(ensemble)),
        }
    return scores


def spread(values: Sequence[float] | np.ndarray) -> float | None:
    """Standard deviation of a sample; None for one value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def score_others(row: Row) -> dict[str, Any]:
    """The other metrics, pooled over folds and averaged over seeds; None where no run has one."""
    per_seed: dict[str, list[float | None]] = {
        "macro_f1": [macro_f1(confusion) for confusion in row.turns.by_seed()],
        "ece": [pool_ece(row, seed) for seed in row.seeds],
    }
    for seed in row.seeds:
        runs = [run for (s, _), run in row.runs.items() if s == seed]
        per_seed.setdefault("word_error_rate", []).append(pool_word_errors(runs))
        for name in MEANS:
            per_seed.setdefault(name, []).append(pool_mean(runs, name))
    scores = {}
    for name, values in per_seed.items():
        known = {str(s): v for s, v in zip(row.seeds, values, strict=True) if v is not None}
        scores[name] = {
            "pooled": float(np.mean(list(known.values()))) if known else None,
            "sd_over_seeds": spread(list(known.values())),
            "per_seed": known,
        }
    return scores


def pool_mean(runs: Sequence[Run], name: str) -> float | None:
    """Mean of a metric over the turns that it is of, from those of the folds that have it."""
    values, turns = [], []
    for run in runs:
        value = getattr(run.results.metrics, name)
        if value is not None:
            # Speaker accuracy is of held-out turns of training speakers, anything else of test
            # turns.
            heldout = name == "speaker_accuracy" and run.results.leaks
            turns.append(heldout.turns["heldout_turns"] if heldout else len(run.turns["id"]))
            values.append(value)
    return float(np.average(values, weights=turns)) if values else None


def pool_word_errors(runs: Sequence[Run]) -> float | None:
    """Word error rate over the words of all folds whose runs recognise words; of runs without their
    words, which an archive does not keep, the mean over the turns of the folds.
    """
    pairs = [
        (normalize_transcript(text), recognized)
        for run in runs
        for text, recognized in zip(run.turns["text"], run.turns["recognized_text"], strict=True)
        if text is not None and recognized is not None
    ]
    if not pairs:
        return pool_mean(runs, "word_error_rate")
    return word_error_rate([text for text, _ in pairs], [words for _, words in pairs])


def pool_ece(row: Row, seed: int) -> float:
    """Calibration error over the turns of all folds of a seed."""
    answers = row.turns.select(row.turns.seeds == seed)
    return expected_calibration_error(answers.labels, answers.probabilities)


def score_speakers(row: Row, by_speaker: np.ndarray) -> dict[str, dict[str, Any]]:
    """WA and UAR of each named speaker, averaged over the seeds, and its turns and fold."""
    values = {name: statistic(by_speaker) for name, statistic in STATISTICS.items()}
    names, first = np.unique(row.turns.speakers, return_index=True)
    return {
        str(name): {
            **{metric: float(value[k]) for metric, value in values.items()},
            "num_turns": round(by_speaker[k].sum()),
            "fold": str(row.turns.folds[first[k]]),
        }
        for k, name in enumerate(names)
        if row.turns.has_speaker()[k]
    }


def sum_minutes(row: Row) -> dict[str, float] | None:
    """Minutes of test turns of each label; None where the runs do not know durations."""
    seconds: dict[str, dict[str, float]] = {label: {} for label in row.labels}
    for run in row.runs.values():
        durations = run.turns.get("duration")
        if durations is None or None in durations:
            return None
        turns = zip(run.turns["id"], run.turns["label"], durations, strict=True)
        for key, label, duration in turns:
            seconds[label][key] = duration
    return {label: sum(of_turns.values()) / 60 for label, of_turns in seconds.items()}


def describe_protocols(row: Row) -> dict[str, Any]:
    """Name, version and hashes of the splits; `hash` is of those of all folds together."""
    together = "\n".join(f"{fold} {digest}" for fold, digest in row.hashes.items())
    protocol = row.first.results.protocol
    return {
        "name": protocol.name,
        "version": protocol.version,
        "hash": hashlib.sha256(together.encode()).hexdigest()[:16],
        "hash_of_fold": row.hashes,
        "leaks": any(run.results.protocol.leaks for run in row.runs.values()),
    }
