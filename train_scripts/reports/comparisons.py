"""Paired tests between rows of one corpus and protocol, on the turns that both tested.

Primary is the Wilcoxon test over speakers, seeds averaged within each. Beside it stand the same
over folds (five folds cannot give less than 0.0625), and McNemar's over turns, which takes the
turns of a speaker for independent.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from processing.errors import InputError
from train_scripts.reports.rows import Row, same_split
from train_scripts.reports.significance import (
    STATISTICS,
    bootstrap_statistics,
    combine_p_values,
    holm,
    mcnemar,
    wilcoxon,
)
from train_scripts.reports.turn_table import TurnTable, fold_scores
from train_scripts.runs.intervals import resample_speakers, speaker_interval

EVERY = "every"
DEFAULT_PAIRS = (
    (EVERY, "table3_m1"),
    ("table3_ours", "table3_m4"),
    ("table3_ours", "encoders_alone"),
    ("table3_ours", "baseline_compare"),
)
"""Presets that are compared: EVERY row with the paper's first baseline, and its system with the
three that say whether decomposition with four tasks helps."""


@dataclass
class Pair:
    """Two rows to compare, with their turns."""

    first: Row
    second: Row
    first_table: TurnTable
    second_table: TurnTable


def choose_pairs(
    rows: Sequence[Row], wanted: Iterable[tuple[str, str]]
) -> tuple[list[tuple[Row, Row]], list[str]]:
    """Rows to compare.

    Args:
        rows: all rows.
        wanted: pairs of presets.

    Returns:
        Pairs of rows of one corpus, protocol and size (a baseline has none); and why some are not
        compared.
    """
    pairs: dict[tuple[str, str], tuple[Row, Row]] = {}
    refused = []
    for first_preset, second_preset in wanted:
        for first in rows:
            if first_preset not in (EVERY, first.key.preset):
                continue
            # Changed settings of a preset are compared where every row is, or with the preset.
            plain = fewest_overrides([r for r in rows if same_kind(r, first)])
            if first_preset not in (EVERY, second_preset) and first is not plain:
                continue
            # Among the changes of one preset, the plain row is what the others are compared with.
            if first_preset == second_preset and first is plain:
                continue
            second = find_reference(first, second_preset, rows)
            if second is None:
                continue
            name = f"{first.key.slug} against {second.key.slug}"
            differing = [f for f, h in first.hashes.items() if second.hashes.get(f, h) != h]
            if differing:
                refused.append(f"{name}: fold {differing[0]} is another split")
            elif first.labels != second.labels:
                refused.append(f"{name}: other labels")
            elif not set(first.folds) & set(second.folds):
                refused.append(f"{name}: no fold in common")
            else:
                pairs.setdefault((first.key.slug, second.key.slug), (first, second))
    return list(pairs.values()), sorted(set(refused))


def same_kind(first: Row, second: Row) -> bool:
    """Whether two rows differ in overrides alone."""
    same_preset = (first.key.preset, first.key.size) == (second.key.preset, second.key.size)
    return same_preset and same_split(first, second)


def fewest_overrides(rows: Sequence[Row]) -> Row:
    """The row with the fewest settings changed."""
    return min(rows, key=lambda row: (len(row.key.overrides), row.key.overrides))


def find_reference(row: Row, preset: str, rows: Sequence[Row]) -> Row | None:
    """The row of a preset that another is compared with: of the same overrides if there is one,
    otherwise of the fewest.
    """
    found = [
        other
        for other in rows
        if other is not row
        and other.key.preset == preset
        and same_split(row, other)
        and (None in (row.key.size, other.key.size) or row.key.size == other.key.size)
    ]
    own = row.key.overrides
    return min(
        found,
        key=lambda r: (r.key.overrides != own, len(r.key.overrides), r.key.overrides),
        default=None,
    )


def compare(pair: Pair, *, num_resamples: int, seed: int) -> dict[str, Any]:
    """All tests of two rows; differences are first minus second.

    Args:
        pair: the rows.
        num_resamples: of the paired bootstrap over speakers.
        seed: of the bootstrap.
    """
    ids = np.intersect1d(pair.first_table.ids, pair.second_table.ids)
    first, second = pair.first_table.select(ids), pair.second_table.select(ids)
    if (first.labels != second.labels).any():
        turn = str(ids[np.flatnonzero(first.labels != second.labels)[0]])
        raise InputError(
            f"turn {turn!r} has another label in '{pair.first.key.title}' than in "
            f"'{pair.second.key.title}' of {pair.first.key.corpus}. Report them separately."
        )
    present = np.unique(first.speakers)
    by_speaker = [
        table.confusions(np.searchsorted(present, first.speakers), len(present))
        for table in (first, second)
    ]
    named = np.array([first.speaker_names[k] is not None for k in present])
    differences = {
        name: statistic(by_speaker[0]) - statistic(by_speaker[1])
        for name, statistic in STATISTICS.items()
    }
    return {
        "first": pair.first.key.slug,
        "second": pair.second.key.slug,
        "titles": [pair.first.key.title, pair.second.key.title],
        "corpus": pair.first.key.corpus,
        "protocol": pair.first.key.protocol,
        "size": pair.first.key.size or pair.second.key.size,
        "num_turns": len(ids),
        "num_speakers": int(named.sum()),
        "folds": [fold for fold in pair.first.folds if fold in pair.second.folds],
        "seeds": [pair.first.seeds, pair.second.seeds],
        "complete": not (pair.first.missing or pair.second.missing),
        "difference": bootstrap_difference(by_speaker, num_resamples=num_resamples, seed=seed),
        "wilcoxon_speakers": {name: wilcoxon(d[named]) for name, d in differences.items()},
        "wilcoxon_folds": compare_folds(first, second),
        "mcnemar": compare_turns(first, second),
    }


def bootstrap_difference(
    by_speaker: Sequence[np.ndarray], *, num_resamples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Differences of pooled WA and UAR, with the interval over resampled speakers."""
    generator = np.random.default_rng(seed)
    num_speakers = len(by_speaker[0])
    samples = None
    if num_speakers > 1:
        counts = resample_speakers(num_speakers, num_resamples, generator)
        samples = [bootstrap_statistics(confusions, counts) for confusions in by_speaker]
    return {
        name: {
            "value": float(statistic(by_speaker[0].sum(0)) - statistic(by_speaker[1].sum(0))),
            "interval_95": speaker_interval(samples[0][name] - samples[1][name], num_speakers)
            if samples
            else None,
        }
        for name, statistic in STATISTICS.items()
    }


def compare_folds(first: TurnTable, second: TurnTable) -> dict[str, dict[str, Any]]:
    """Wilcoxon over the folds, seeds averaged."""
    tests = {}
    shared = [fold for fold in first.fold_names if fold in second.fold_names]
    for name, statistic in STATISTICS.items():
        means = []
        for table in (first, second):
            columns = [table.fold_names.index(fold) for fold in shared]
            means.append(np.nanmean(fold_scores(table, statistic)[:, columns], axis=0))
        tests[name] = wilcoxon(means[0] - means[1])
    return tests


def compare_turns(first: TurnTable, second: TurnTable) -> dict[str, Any]:
    """McNemar on the pooled turns of each pair of seeds, and one p of all; see `seed_pairs`."""
    tests = []
    for a, b in seed_pairs(first.seeds, second.seeds):
        one, other = (
            table.predictions[table.seeds.index(seed)] for table, seed in ((first, a), (second, b))
        )
        tested = (one >= 0) & (other >= 0)
        if tested.any():
            labels = first.labels[tested]
            result = mcnemar(one[tested] == labels, other[tested] == labels)
            tests.append({"seeds": [a, b], "num_turns": int(tested.sum()), **result})
    p = combine_p_values([test["p"] for test in tests]) if tests else None
    return {"seed_pairs": tests, "p": p}


def seed_pairs(first: Sequence[int], second: Sequence[int]) -> list[tuple[int, int]]:
    """Seeds of two rows that are compared with each other: equal ones; a row with one seed, such as
    a deterministic baseline, is compared with each of the other's.

    Examples:
        >>> seed_pairs([0, 1, 2], [0, 1])
        [(0, 0), (1, 1)]
        >>> seed_pairs([0, 1, 2], [0])
        [(0, 0), (1, 0), (2, 0)]
    """
    if 1 in (len(first), len(second)):
        return [(a, b) for a in first for b in second]
    equal = [(seed, seed) for seed in first if seed in second]
    return equal or list(zip(first, second, strict=False))


def correct_p_values(comparisons: Sequence[dict[str, Any]]) -> None:
    """Add `p_holm`: each test's p, corrected for all comparisons of its corpus."""
    for corpus in {comparison["corpus"] for comparison in comparisons}:
        own = [comparison for comparison in comparisons if comparison["corpus"] == corpus]
        families = [[comparison["mcnemar"] for comparison in own]]
        families += [
            [comparison[test][name] for comparison in own]
            for test in ("wilcoxon_speakers", "wilcoxon_folds")
            for name in STATISTICS
        ]
        for family in families:
            for test, p in zip(family, holm([test["p"] for test in family]), strict=True):
                test["p_holm"], test["comparisons"] = p, len(family)
