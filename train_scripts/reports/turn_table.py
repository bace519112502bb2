"""What the runs of a row of a report answered, as arrays that figures are counted from.

Axes: A answers (each run's to each of its test turns), S seeds, F folds, K speakers, L labels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from processing.errors import InputError
from train_scripts.runs.finished_runs import Run
from train_scripts.runs.metrics import grouped_confusions

NAMELESS = "\x1f"
"""A turn whose speaker is unknown is a speaker by itself, of this and its id."""


@dataclass
class TurnTable:
    """Answers of all runs of a row, run after run; each array has one entry an answer, (A,)."""

    ids: np.ndarray
    labels: np.ndarray  # label ids, as predictions
    predictions: np.ndarray
    speakers: np.ndarray
    seeds: np.ndarray
    folds: np.ndarray
    probabilities: np.ndarray  # of the labels, (A, L)

    def select(self, chosen: np.ndarray) -> "TurnTable":
        """The same with some of the answers, (A,) bool."""
        return TurnTable(*(getattr(self, entry.name)[chosen] for entry in fields(self)))

    def speaker_names(self) -> np.ndarray:
        """Every speaker once, in order, (K,)."""
        return np.unique(self.speakers)

    def has_speaker(self) -> np.ndarray:
        """Whether each of the speakers has a name, (K,) bool."""
        return ~np.char.startswith(self.speaker_names(), NAMELESS)

    def weights(self) -> np.ndarray:
        """Of each answer, so that those to a turn count as one together, (A,)."""
        _, turn, times = np.unique(self.ids, return_inverse=True, return_counts=True)
        return 1 / times[turn]

    def by_speaker(self) -> np.ndarray:
        """Confusion matrix of each speaker, seeds averaged within each turn, (K, L, L)."""
        return self._count(self.speaker_names(), self.speakers, weights=self.weights())

    def by_speaker_and_seed(self) -> np.ndarray:
        """Confusion matrix of each speaker and seed, (K, S, L, L)."""
        chosen = (self.select(self.seeds == seed) for seed in np.unique(self.seeds))
        speakers = self.speaker_names()
        return np.stack([table._count(speakers, table.speakers) for table in chosen], axis=1)

    def is_crossed(self) -> bool:
        """Whether every seed tested every turn, and every turn has a named speaker."""
        cells = len(np.unique(self.ids)) * len(np.unique(self.seeds))
        return len(self.ids) == cells and bool(self.has_speaker().all())

    def by_seed(self) -> np.ndarray:
        """Confusion matrix of each seed over the turns that it tested, (S, L, L)."""
        return self._count(np.unique(self.seeds), self.seeds)

    def by_seed_and_fold(self, folds: Sequence[str]) -> np.ndarray:
        """Confusion matrix of each seed and fold, empty where it was not run, (S, F, L, L)."""
        chosen = (self.select(self.folds == fold) for fold in folds)
        seeds = np.unique(self.seeds)
        return np.stack([table._count(seeds, table.seeds) for table in chosen], axis=1)

    def ensemble(self) -> np.ndarray:
        """Confusion matrix of one answer a turn, from its probabilities summed over the seeds."""
        _, first, turn = np.unique(self.ids, return_index=True, return_inverse=True)
        totals = np.zeros((len(first), self.probabilities.shape[1]))
        np.add.at(totals, turn, self.probabilities)
        one = self.select(first)
        one.predictions = totals.argmax(axis=1)
        return one._count(np.zeros(1), np.zeros(len(first)))[0]

    def _count(
        self, names: np.ndarray, groups: np.ndarray, weights: np.ndarray | None = None
    ) -> np.ndarray:
        """Confusion matrix of each of the named groups of answers."""
        shape = (len(names), self.probabilities.shape[1])
        places = np.searchsorted(names, groups)
        return grouped_confusions(
            places, self.labels, self.predictions, shape=shape, weights=weights
        )


def tabulate(runs: Iterable[Run], labels: Sequence[str]) -> TurnTable:
    """Gather the answers of the runs of a row, in the order of the runs; labels get their index.

    Raises:
        InputError: if a turn has another label, speaker or fold in another run.
    """
    facts: dict[str, tuple] = {}
    parts = []
    label_ids = {name: i for i, name in enumerate(labels)}
    for run in runs:
        turns = run.turns
        seed, fold = run.cell
        speakers = []
        for key, label, speaker in zip(turns["id"], turns["label"], turns["speaker"], strict=True):
            if facts.setdefault(key, (label, speaker, fold)) != (label, speaker, fold):
                raise InputError(
                    f"{run.folder}: turn {key!r} is {label}, {speaker}, fold {fold}; elsewhere in "
                    f"this row {', '.join(map(str, facts[key]))}. Report them separately."
                )
            speakers.append(NAMELESS + key if speaker is None else speaker)
        columns = (
            turns["id"],
            [label_ids[label] for label in turns["label"]],
            [label_ids[answer] for answer in turns["prediction"]],
            speakers,
            [seed] * len(speakers),
            [fold] * len(speakers),
            np.transpose([turns[f"probability_{name}"] for name in labels]),
        )
        parts.append(map(np.array, columns))
    return TurnTable(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
