"""How groups of people fared in all folds of a row, and whether they were treated alike.

Axes: A answers, N turns, G groups, L labels.
"""

from dataclasses import asdict
from typing import Any

import numpy as np

from train_scripts.reports.rows import Row
from train_scripts.reports.turn_table import TurnTable
from train_scripts.runs.groups import PEOPLE, compare_groups
from train_scripts.runs.metrics import recall_metrics
from train_scripts.runs.record import GroupScores


def score_groups(row: Row) -> dict[str, dict[str, Any]]:
    """Recall and calibration of each group of people whose turns were tested.

    Each turn counts once, with the mean of its answers over the seeds. Beside its groups are the
    random models of `compare_groups`, each of one seed: seeds err on the same turns, so that their
    mean is hardly less scattered than one, and with S of them for one fewer would pass as even.

    Returns:
        {kind: {"groups": {name: `GroupScores`}, "fairness": `Fairness` or None}} of "speaker" and
        each of PEOPLE that the runs know of two groups or more.
    """
    found = {}
    confusion = row.turns.by_speaker().sum(axis=0)
    _, first = np.unique(row.turns.ids, return_index=True)
    for kind, groups in columns_of(row).items():
        scores = {
            str(name): score_group(row.turns.select(groups == name))
            for name in np.unique(groups[groups != ""])
        }
        if len(scores) < 2:
            continue
        fairness = compare_groups(
            scores, [name or None for name in groups[first]], row.turns.labels[first], confusion
        )
        found[kind] = {
            "groups": {name: asdict(of_group) for name, of_group in scores.items()},
            "fairness": fairness and asdict(fairness),
        }
    return found


def columns_of(row: Row) -> dict[str, np.ndarray]:
    """The group of each answer, of each kind that is known of any, "" where it is not, (A,)."""
    unknown = [None] * len(row.turns.ids)
    named = np.isin(row.turns.speakers, row.turns.speaker_names()[row.turns.has_speaker()])
    columns = {"speaker": np.where(named, row.turns.speakers, "")}
    for kind in PEOPLE:
        parts = [run.turns.get(kind, unknown[: len(run.turns["id"])]) for run in row.runs.values()]
        columns[kind] = np.array([name or "" for part in parts for name in part])
    return {kind: groups for kind, groups in columns.items() if (groups != "").any()}


def score_group(turns: TurnTable) -> GroupScores:
    """Scores of the turns of one group, the seeds averaged within each turn."""
    confusion = turns.by_speaker().sum(axis=0)
    scores = GroupScores(**vars(recall_metrics(confusion)))
    scores.num_turns = len(np.unique(turns.ids))
    confidence = np.average(turns.probabilities.max(axis=1), weights=turns.weights())
    scores.overconfidence = float(confidence) - scores.weighted_accuracy
    return scores
