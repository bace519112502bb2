"""Rows that are combinations of finished rows: the mean of the log-probabilities of their answers.

Axes: N turns, L labels.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from processing.errors import InputError
from train_scripts.reports.comparisons import number_of_overrides, seed_pairs
from train_scripts.reports.rows import Row, find_missing, same_split
from train_scripts.runs.finished_runs import RowKey, Run
from train_scripts.runs.inference import TurnPredictions
from train_scripts.runs.metrics import confusion_matrix, unweighted_average_recall
from train_scripts.runs.results import score_rows

EQUAL = 0.5
WEIGHTS = tuple(round(0.1 * k, 1) for k in range(11))
"""Weights of the first row among which validation turns choose."""
SMALLEST = 1e-12
"""Probabilities below are taken for this, so that no answer is beyond all doubt."""


def fuse_rows(rows: Sequence[Row], wanted: Sequence[str]) -> list[Row]:
    """Rows of combinations, one for each corpus and protocol that has both.

    Args:
        rows: finished ones.
        wanted: two presets or systems each, written FIRST+SECOND.

    Raises:
        InputError: if a name is not so written, no corpus has both, or both were not tested on the
            same turns.
    """
    fused = []
    for text in wanted:
        first_name, plus, second_name = text.partition("+")
        if not (first_name and plus and second_name) or "+" in second_name:
            raise InputError(
                f"--fuse {text}: expected FIRST+SECOND, such as table3_ours+baseline_compare."
            )
        pairs = [
            (first, second)
            for first in plain_rows(rows, first_name)
            for second in plain_rows(rows, second_name)
            if same_split(first, second)
        ]
        if not pairs:
            raise InputError(
                f"--fuse {text}: no corpus and protocol has rows of both. Rows are of "
                f"{', '.join(sorted({row.key.preset for row in rows})) or 'nothing'}."
            )
        fused += [fuse(*pair, rows) for pair in pairs]
    return fused


def plain_rows(rows: Sequence[Row], preset: str) -> list[Row]:
    """Of each corpus and protocol, the row of a preset with the fewest settings changed."""
    found: dict[tuple[str | None, ...], Row] = {}
    for row in sorted(
        (row for row in rows if row.key.preset == preset),
        key=lambda row: (number_of_overrides(row), row.key.size or ""),
    ):
        found.setdefault((row.key.corpus, row.key.protocol, row.key.training), row)
    return list(found.values())


def fuse(first: Row, second: Row, rows: Sequence[Row]) -> Row:
    """One combined row, of the folds that both have; seeds as in comparisons."""
    if first.labels != second.labels:
        raise InputError(f"{first.key.slug} and {second.key.slug}: other labels. Not fused.")
    key = RowKey(
        corpus=first.key.corpus,
        training=first.key.training,
        protocol=first.key.protocol,
        preset=f"{first.key.preset}+{second.key.preset}",
        size=None,
        overrides=(),
    )
    pairs = [
        (one, other)
        for a, b in seed_pairs(first.seeds, second.seeds)
        for fold in first.folds
        if (one := first.runs.get((a, fold))) and (other := second.runs.get((b, fold)))
    ]
    if not pairs:
        raise InputError(f"{first.key.slug} and {second.key.slug}: no fold and seed in common.")
    stored = all(run.validation_turns for pair in pairs for run in pair)
    weights = [choose_weight(*pair) if stored else EQUAL for pair in pairs]
    note = describe_fusion((first, second), weights, stored)
    alone = len(second.seeds) == 1
    runs = {}
    for (one, other), weight in zip(pairs, weights, strict=True):
        seed, fold = (one if alone else other).cell
        runs[seed, fold] = fuse_runs(one, other, weight, key.preset, seed, note)
    row = Row(key, runs)
    row.missing = find_missing(row, [r for r in (*rows, row) if same_split(r, row)])
    return row


def describe_fusion(rows: tuple[Row, Row], weights: Sequence[float], stored: bool) -> str:
    """What was done, in words."""
    names = " and ".join(row.key.slug for row in rows)
    how = "equal weights (a run has not stored its answers to validation turns)"
    if stored:
        how = (
            f"weight of the first {min(weights):g} to {max(weights):g}, chosen by UAR on the "
            "validation turns of each fold"
        )
    return f"fusion of {names}: mean of log-probabilities, each at its temperature; {how}"


def fuse_runs(first: Run, second: Run, weight: float, preset: str, seed: int, note: str) -> Run:
    """The combination of two runs of a fold.

    Raises:
        InputError: if they were not tested on the same turns with the same labels.
    """
    one, other = first.results, second.results
    order = {turn: place for place, turn in enumerate(second.turns["id"])}
    if set(order) != set(first.turns["id"]) or one.protocol.hash != other.protocol.hash:
        raise InputError(
            f"{first.folder} and {second.folder}: tested on other turns, so they cannot be fused."
        )
    places = [order[turn] for turn in first.turns["id"]]
    scores = [
        log_probabilities(first.turns, one),
        log_probabilities(second.turns, other)[places],
    ]
    probabilities = combine(scores[0], scores[1], weight)
    turns = {**first.turns, "recognized_text": [None] * len(places)}
    turns["prediction"] = [one.labels[k] for k in probabilities.argmax(1)]
    for k, label in enumerate(one.labels):
        turns[f"probability_{label}"] = probabilities[:, k].tolist()
    unknown = [None] * len(places)
    rows: Any = {"emotion": turns["label"], "speaker": turns["speaker"]}
    rows |= {"text": unknown, "gender": unknown}
    found = score_rows(rows, TurnPredictions(logits=np.log(probabilities)), one.labels)
    trained_on_validation = any(r.settings.get("train_on_validation") is True for r in (one, other))
    sizes = (one.n_parameters, other.n_parameters)
    results = replace(
        one,
        **vars(found),
        preset=preset,
        size=None,
        backbone=None,
        pretrained=None,
        seed=seed,
        selected_by=None,
        n_parameters=None if None in sizes else sum(n for n in sizes if n is not None),
        protocol=replace(one.protocol, leaks=one.protocol.leaks or other.protocol.leaks),
        pretraining_overlap=one.pretraining_overlap or other.pretraining_overlap,
        tasks_switched_off={},
        calibration=None,
        settings={"fusion": note, "train_on_validation": trained_on_validation},
        seconds=one.seconds + other.seconds,
    )
    return Run(Path(f"{first.folder}+{second.folder.name}"), results, turns)


def combine(first: np.ndarray, second: np.ndarray, weight: float) -> np.ndarray:
    """Weighted mean of log-probabilities, each (N, L), as probabilities (N, L).

    Examples:
        >>> halves = np.log([[0.5, 0.5]])
        >>> combine(halves, np.log([[0.8, 0.2]]), 0.5).round(3).tolist()
        [[0.667, 0.333]]
    """
    mean = weight * first + (1 - weight) * second
    exponents = np.exp(mean - mean.max(1, keepdims=True))
    return exponents / exponents.sum(1, keepdims=True)


def log_probabilities(turns: dict[str, list], results: Any) -> np.ndarray:
    """Logarithms of the probabilities of answers at the temperature of their run, (N, L)."""
    columns = [turns[f"probability_{label}"] for label in results.labels]
    scores = np.log(np.maximum(np.transpose(columns).astype(np.float64), SMALLEST))
    scores /= results.calibration.temperature if results.calibration else 1.0
    return scores - np.log(np.exp(scores).sum(1, keepdims=True))


def choose_weight(first: Run, second: Run) -> float:
    """Weight of the first with the best UAR on the validation turns of both; of equal ones the
    nearest to a half.
    """
    tables = [run.validation_turns for run in (first, second)]
    order = {turn: place for place, turn in enumerate(tables[1]["id"])}
    shared = [k for k, turn in enumerate(tables[0]["id"]) if turn in order]
    if not shared:
        return EQUAL
    labels = label_ids(tables[0], first.results.labels)[shared]
    scores = [
        log_probabilities(tables[0], first.results)[shared],
        log_probabilities(tables[1], second.results)[[order[tables[0]["id"][k]] for k in shared]],
    ]

    def uar(weight: float) -> float:
        answers = combine(scores[0], scores[1], weight).argmax(1)
        confusion = confusion_matrix(labels, answers, num_labels=scores[0].shape[1])
        return unweighted_average_recall(confusion)

    return max(sorted(WEIGHTS, key=lambda weight: abs(weight - EQUAL)), key=uar)


def label_ids(turns: dict[str, list], labels: Sequence[str]) -> np.ndarray:
    """Label id of each turn, (N,)."""
    return np.array([labels.index(label) for label in turns["label"]])
