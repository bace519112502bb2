"""The numbers of one row of a table, with all that they rest on.

Axes: N turns, S seeds, K speakers, L labels.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from processing.errors import InputError
from processing.text import normalize_transcript
from train_scripts.metrics import class_metrics, expected_calibration_error, macro_f1
from train_scripts.metrics import word_error_rate as pooled_word_error_rate
from train_scripts.report_notes import describe_row
from train_scripts.report_rows import Row, Run
from train_scripts.significance import (
    STATISTICS,
    bootstrap_statistics,
    percentile_interval,
    resample_speakers,
)


@dataclass
class TurnTable:
    """What every seed of a row says of every test turn.

    Attributes:
        ids: of the turns, sorted, (N,).
        labels: label ids, (N,).
        speakers: index into `speaker_names`, (N,). A turn without a speaker is one by itself.
        folds: index into the row's folds, (N,).
        predictions: label ids, (S, N); -1 where the seed did not test the turn.
        speaker_names: K names; None for a turn without a speaker.
        label_names: L words.
        fold_names: of the row.
        seeds: of the row.
    """

    ids: np.ndarray
    labels: np.ndarray
    speakers: np.ndarray
    folds: np.ndarray
    predictions: np.ndarray
    speaker_names: list[str | None]
    label_names: list[str]
    fold_names: list[str]
    seeds: list[int]

    def select(self, ids: np.ndarray) -> "TurnTable":
        """The same with some of the turns, whose ids are sorted; speakers keep their indices."""
        at = np.searchsorted(self.ids, ids)
        return TurnTable(
            ids=self.ids[at],
            labels=self.labels[at],
            speakers=self.speakers[at],
            folds=self.folds[at],
            predictions=self.predictions[:, at],
            speaker_names=self.speaker_names,
            label_names=self.label_names,
            fold_names=self.fold_names,
            seeds=self.seeds,
        )

    def confusions(self, groups: np.ndarray, num_groups: int) -> np.ndarray:
        """Confusion matrices of groups of turns, each turn averaged over its seeds, (G, L, L)."""
        num_labels = len(self.label_names)
        tested = self.predictions >= 0  # (S, N)
        weights = tested / np.maximum(tested.sum(axis=0), 1)
        sums = np.zeros((num_groups, num_labels, num_labels))
        for predicted, weight in zip(self.predictions, weights, strict=True):
            np.add.at(sums, (groups, self.labels, np.maximum(predicted, 0)), weight)
        return sums

    def seed_confusions(self) -> np.ndarray:
        """Confusion matrix of each seed over the turns that it tested, (S, L, L)."""
        num_labels = len(self.label_names)
        sums = np.zeros((len(self.seeds), num_labels, num_labels))
        for confusion, predicted in zip(sums, self.predictions, strict=True):
            tested = predicted >= 0
            np.add.at(confusion, (self.labels[tested], predicted[tested]), 1)
        return sums


def tabulate(row: Row) -> TurnTable:
    """Gather the predictions of a row.

    Raises:
        InputError: if a turn has another label or speaker in another seed.
    """
    facts: dict[str, tuple] = {}
    for (_, fold), run in row.runs.items():
        turns = run.turns
        for key, label, speaker in zip(turns["id"], turns["label"], turns["speaker"], strict=True):
            if facts.setdefault(key, (label, speaker, fold)) != (label, speaker, fold):
                raise InputError(
                    f"{run.folder}: turn {key!r} is {label}, {speaker}, fold {fold}; elsewhere in "
                    f"this row {', '.join(map(str, facts[key]))}. Report them separately."
                )
    ids = sorted(facts)
    index = {key: i for i, key in enumerate(ids)}
    label_ids = {name: i for i, name in enumerate(row.labels)}
    seeds, folds = row.seeds, row.folds
    predictions = np.full((len(seeds), len(ids)), -1, np.int64)
    for (seed, _), run in row.runs.items():
        at = [index[key] for key in run.turns["id"]]
        predictions[seeds.index(seed), at] = [label_ids[p] for p in run.turns["prediction"]]
    # Those without a name come last, each by itself.
    named = sorted({speaker for _, speaker, _ in facts.values() if speaker is not None})
    nameless = [key for key in ids if facts[key][1] is None]
    place = {name: i for i, name in enumerate(named)}
    alone = {key: len(named) + i for i, key in enumerate(nameless)}
    return TurnTable(
        ids=np.array(ids),
        labels=np.array([label_ids[facts[key][0]] for key in ids]),
        speakers=np.array([alone[key] if key in alone else place[facts[key][1]] for key in ids]),
        folds=np.array([folds.index(facts[key][2]) for key in ids]),
        predictions=predictions,
        speaker_names=[*named, *[None] * len(nameless)],
        label_names=row.labels,
        fold_names=folds,
        seeds=seeds,
    )


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
        standard deviations `sd_over_seeds` and `sd_over_folds` (None with one).
    """
    runs = list(row.runs.values())
    by_speaker = table.confusions(table.speakers, len(table.speaker_names))
    confusion = by_speaker.sum(axis=0)
    recall_scores = score_recalls(table, by_speaker, num_resamples=num_resamples, seed=seed)
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
            "interval_95": percentile_interval(samples[name]) if samples else None,
            "per_seed": dict(zip(map(str, table.seeds), pooled.tolist(), strict=True)),
            "fold_mean": float(fold_means.mean()),
            "sd_over_seeds": spread(fold_means),
            "sd_over_folds": spread(np.nanmean(folds, axis=0)),
        }
    return scores


def fold_scores(table: TurnTable, statistic: Callable) -> np.ndarray:
    """A statistic of each seed and fold, (S, folds); NaN where it was not run."""
    scores = np.full((len(table.seeds), len(table.fold_names)), np.nan)
    num_labels = len(table.label_names)
    for s, predicted in enumerate(table.predictions):
        for f in range(len(table.fold_names)):
            chosen = (table.folds == f) & (predicted >= 0)
            if chosen.any():
                confusion = np.zeros((num_labels, num_labels))
                np.add.at(confusion, (table.labels[chosen], predicted[chosen]), 1)
                scores[s, f] = statistic(confusion)
    return scores


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
            name: [pool_mean(runs, name, tested_turns) for runs in runs_of_seed.values()]
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


def tested_turns(run: Run) -> int:
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
