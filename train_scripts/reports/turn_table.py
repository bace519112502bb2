"""The predictions of a row of a report, gathered turn by turn.

Axes: N turns, S seeds, K speakers, L labels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from processing.errors import InputError
from train_scripts.reports.rows import Row


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
