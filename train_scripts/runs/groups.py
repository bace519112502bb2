"""How evenly a model serves groups of people: recall and calibration of each, and how far apart
they are beside what chance makes of equal treatment.

Groups that are treated alike differ too, the more so the fewer their turns are. How much is
simulated, as in the tests of audEERING (Derington et al., "Testing correctness, fairness, and
robustness of speech emotion recognition models", arXiv 2312.06270): random models of the same
accuracy answer the same turns, each drawn from the model's answers to its emotion, whoever spoke.

Axes: N turns, L labels, G groups, R random models.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from processing.corpora.registry import known_corpora
from train_scripts.runs.metrics import (
    grouped_confusions,
    unweighted_average_recalls,
)
from train_scripts.runs.record import Fairness, GroupScores

NUM_RANDOM_MODELS = 1000
LEVEL = 0.95
"""Of random models that differ by less than the threshold."""

FEWEST_TURNS = 10
"""Of a group that is compared; of fewer, one answer would move recall by a tenth."""

PEOPLE = ("gender", "age", "language")
"""Kinds of groups that the tables of predictions have a column of where one is known."""

KINDS = ("speaker", *PEOPLE, "corpus")


def group_columns(rows: Any) -> dict[str, list[str | None]]:
    """The group of each turn, of each of KINDS that is known of any.

    Args:
        rows: of a corpus. Its language is the column's, else the one that its corpus is known for;
            its age the column's, a number of years by its decade.
    """
    names = getattr(rows, "column_names", rows)
    columns: dict[str, list[Any]] = {
        kind: list(rows[kind]) if kind in names else [None] * len(rows["emotion"]) for kind in KINDS
    }
    spoken = {name: corpus.language for name, corpus in known_corpora().items()}
    columns["language"] = [
        language or spoken.get(corpus or "")
        for language, corpus in zip(columns["language"], columns["corpus"], strict=True)
    ]
    columns["age"] = [age and age_group(age) for age in columns["age"]]
    return {kind: values for kind, values in columns.items() if any(values)}


def age_group(age: str) -> str:
    """The decade of a number of years; other words are a group by themselves.

    Examples:
        >>> age_group("34"), age_group("child")
        ('30 to 39', 'child')
    """
    try:
        decade = int(float(age)) // 10 * 10
    except ValueError:
        return age
    return f"{decade} to {decade + 9}"


def compare_groups(
    scores: Mapping[str, GroupScores],
    groups: Sequence[str | None],
    references: np.ndarray,
    confusion: np.ndarray,
) -> Fairness | None:
    """How far apart the groups of a kind are.

    Args:
        scores: of each group.
        groups: of each turn, None where it is unknown.
        references: label ids, (N,).
        confusion: of all turns, (L, L); what random models answer by.

    Returns:
        None for fewer than two groups with FEWEST_TURNS and every emotion.
    """
    compared = {
        name: score
        for name, score in scores.items()
        if score.num_turns >= FEWEST_TURNS and not score.absent_labels
    }
    if len(compared) < 2:
        return None
    names = sorted(compared)
    places = np.array([names.index(g) if g in compared else -1 for g in groups])
    known = places >= 0
    recalls = [compared[name].unweighted_average_recall for name in names]
    simulated = simulate_spreads(
        places[known],
        references[known],
        confusion,
        num_groups=len(names),
    )
    spread = max(recalls) - min(recalls)
    threshold = float(np.quantile(simulated, LEVEL))
    return Fairness(
        num_groups=len(names),
        mean=float(np.mean(recalls)),
        worst=names[int(np.argmin(recalls))],
        spread=spread,
        threshold=threshold,
        uneven=bool(spread > threshold),
    )


def simulate_spreads(
    places: np.ndarray, references: np.ndarray, confusion: np.ndarray, *, num_groups: int
) -> np.ndarray:
    """Largest minus least UAR of the groups for each of many random models, (R,).

    Args:
        places: index of each turn's group, (N,).
        references: label ids, (N,).
        confusion: of the model, (L, L), whose rows a random model draws its answers from.
        num_groups: G.
    """
    generator = np.random.default_rng(0)
    chances = np.cumsum(confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1), axis=1)
    limits = chances[references, :-1]  # (N, L - 1)
    shape = (num_groups, len(confusion))
    spreads = []
    for _ in range(NUM_RANDOM_MODELS):
        drawn = (generator.random((len(references), 1)) > limits).sum(axis=1)
        recalls = unweighted_average_recalls(
            grouped_confusions(places, references, drawn, shape=shape)
        )
        spreads.append(np.nanmax(recalls) - np.nanmin(recalls))
    return np.array(spreads)
