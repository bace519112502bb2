"""Paired comparisons between rows of one corpus and protocol, on the turns that both tested: the
differences of WA and UAR with their intervals, and one test of UAR.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from processing.errors import InputError
from train_scripts.reports.rows import (
    Row,
    crossed_cells,
    differences,
    flatten,
    present_name,
    same_split,
)
from train_scripts.reports.significance import (
    SPEAKERS,
    SPEAKERS_AND_SEEDS,
    holm,
    t_test,
    wilcoxon,
    with_intervals,
)
from train_scripts.reports.turn_table import TurnTable
from train_scripts.runs.metrics import STATISTICS
from train_scripts.runs.settings import read_preset

EVERY = "every"
DEFAULT_PAIRS = (
    (EVERY, "table3_m1"),
    ("table3_ours", "table3_m4"),
    ("table3_ours", "encoders_alone"),
    ("table3_ours", "baseline_compare"),
)
"""Presets that are compared: EVERY row with the paper's first baseline, and its system with the
three that say whether decomposition with four tasks helps."""

TESTED = "unweighted_average_recall"
"""The metric that is tested: no class counts for more because it has more turns."""


def choose_pairs(
    rows: Sequence[Row], wanted: Iterable[tuple[str, str]], *, allow_mixed: bool = False
) -> tuple[list[tuple[Row, Row]], list[str]]:
    """Rows to compare, by pairs of presets; rows whose shared settings differ if `allow_mixed`.

    A row of several corpora is compared with that of the same system on the tested corpus alone
    too, if it is here.

    Returns:
        Pairs of rows of one corpus, protocol and size (a baseline has none); and why some are not
        compared.
    """
    pairs: dict[tuple[str, str], tuple[Row, Row]] = {}
    refused = []
    found = [pair for presets in wanted for pair in rows_of_presets(rows, *presets)]
    for first, second in [*found, *beside_alone(rows)]:
        reason = why_not(first, second, allow_mixed=allow_mixed)
        if reason:
            refused.append(f"{first.key.slug} against {second.key.slug}: {reason}")
        else:
            pairs.setdefault((first.key.slug, second.key.slug), (first, second))
    return list(pairs.values()), sorted(set(refused))


def rows_of_presets(
    rows: Sequence[Row], first_preset: str, second_preset: str
) -> Iterable[tuple[Row, Row]]:
    """Rows of one preset, each with the row of the other that it is compared with."""
    for first in rows:
        if first_preset not in (EVERY, first.key.preset):
            continue
        # Changed settings of a preset are compared where every row is, or with the preset.
        kind = replace(first.key, overrides=())
        same_kind = (row for row in rows if replace(row.key, overrides=()) == kind)
        plain = min(same_kind, key=number_of_overrides)
        if first_preset not in (EVERY, second_preset) and first is not plain:
            continue
        # Among the changes of one preset, the plain row is what the others are compared with.
        second = find_reference(first, second_preset, rows)
        if second is not None and not (first_preset == second_preset and first is plain):
            yield first, second


def beside_alone(rows: Sequence[Row]) -> Iterable[tuple[Row, Row]]:
    """Rows that were trained on several corpora or another one, each with the row of the same
    system, settings and protocol that was trained on the tested one.
    """
    by_key = {row.key: row for row in rows}
    for row in rows:
        alone = by_key.get(replace(row.key, training=None))
        if row.key.training and alone is not None:
            yield row, alone


def why_not(first: Row, second: Row, *, allow_mixed: bool) -> str | None:
    """Why two rows cannot be compared; None where they can."""
    differing = [f for f, h in first.hashes.items() if second.hashes.get(f, h) != h]
    # other corpora are in training by intention, and turns are compared that both tested
    if differing and first.key.training == second.key.training:
        return f"fold {differing[0]} is another split"
    if first.labels != second.labels:
        return "other labels"
    if not set(first.folds) & set(second.folds):
        return "no fold in common"
    unshared, _ = differing_settings(first, second)
    if unshared and not allow_mixed:
        commits = " and ".join(", ".join(c[:12] for c in row.commits) for row in (first, second))
        return (
            f"run with other settings that rows should share ({'; '.join(unshared)}), at commits "
            f"{commits}. Run one of them again, or pass --allow-mixed"
        )
    return None


def differing_settings(first: Row, second: Row) -> tuple[list[str], list[str]]:
    """Settings that are not the same, in words: those that the rows should share; and those that
    the command line of one of them set, which its name shows.

    What either preset names is what the comparison is about. A baseline shares no setting.
    """
    unshared: list[str] = []
    overridden: list[str] = []
    if None in (first.key.size, second.key.size):
        return [], []
    own = {*named_settings(first.key.preset), *named_settings(second.key.preset)}
    overrides = {
        present_name(o.split("=")[0]) for row in (first, second) for o in row.key.overrides
    }
    for name, values in differences(second.settings, first.settings):
        if any(name == o or name.startswith(f"{o}.") for o in overrides):
            overridden.append(f"{name}: {values}")
        elif name not in own:
            unshared.append(f"{name}: {values}")
    return unshared, overridden


def named_settings(preset: str) -> Iterable[str]:
    """Dotted names of the settings that a preset makes; none of a preset that is not at hand."""
    try:
        return flatten(read_preset(preset))
    except InputError:
        return ()


def number_of_overrides(row: Row) -> tuple:
    """Sort the row with the fewest settings changed first."""
    return len(row.key.overrides), row.key.overrides


def find_reference(row: Row, preset: str, rows: Sequence[Row]) -> Row | None:
    """The row of a preset that another is compared with: of the same overrides if there is one,
    otherwise of the fewest.
    """
    found = (
        other
        for other in rows
        if other is not row
        and other.key.preset == preset
        and same_split(row, other)
        and (None in (row.key.size, other.key.size) or row.key.size == other.key.size)
    )
    own = row.key.overrides
    return min(found, key=lambda r: (r.key.overrides != own, *number_of_overrides(r)), default=None)


def compare(first: Row, second: Row, *, num_resamples: int, seed: int) -> dict[str, Any]:
    """Compare two rows, first minus second, paired over speakers.

    Returns:
        A dictionary that JSON can hold. `interval_counts`: "speakers and seeds", or "speakers"
        where `crossed_cells` has none. `test`: the one of UAR, that of the interval
        (`t_test`) or else `wilcoxon`, which is given beside it either way.
    """
    shared = np.intersect1d(first.turns.ids, second.turns.ids)
    one, other = (row.turns.select(np.isin(row.turns.ids, shared)) for row in (first, second))
    check_labels(first, second, (one, other))
    by_speaker = np.stack([table.by_speaker() for table in (one, other)])  # (2, K, L, L)
    named = one.has_speaker()
    cells = crossed_cells([first, second], [one, other])
    values = {n: np.subtract(*of(by_speaker.sum(axis=1))) for n, of in STATISTICS.items()}
    intervals = with_intervals(values, by_speaker, cells, num_resamples=num_resamples, seed=seed)
    signed_ranks = wilcoxon(np.subtract(*STATISTICS[TESTED](by_speaker[:, named])))
    unshared, overridden = differing_settings(first, second)
    return {
        "first": first.key.slug,
        "second": second.key.slug,
        "titles": [first.key.title, second.key.title],
        "corpus": first.key.corpus,
        "protocol": first.key.protocol,
        "size": first.key.size or second.key.size,
        "num_turns": len(shared),
        "num_speakers": int(named.sum()),
        "folds": [fold for fold in first.folds if fold in second.folds],
        "seeds": [first.seeds, second.seeds],
        "commits": [first.commits, second.commits],
        "complete": not (first.missing or second.missing),
        "settings_not_shared": unshared,
        "settings_overridden": overridden,
        "interval_counts": SPEAKERS if cells is None else SPEAKERS_AND_SEEDS,
        "difference": {
            name: {**intervals[name], "per_seed": seed_differences(one, other, statistic)}
            for name, statistic in STATISTICS.items()
        },
        "test": {"p": signed_ranks["p"] if cells is None else t_test(intervals[TESTED])},
        "wilcoxon_speakers": {TESTED: signed_ranks},
    }


def check_labels(first: Row, second: Row, tables: Sequence[TurnTable]) -> None:
    """Refuse rows that do not agree on the emotion of a turn."""
    labels = [dict(zip(table.ids.tolist(), table.labels.tolist(), strict=True)) for table in tables]
    for turn in labels[0]:
        if labels[0][turn] != labels[1][turn]:
            raise InputError(
                f"turn {turn!r} has another label in '{first.key.title}' than in "
                f"'{second.key.title}' of {first.key.corpus}. Report them separately."
            )


def seed_differences(
    first: TurnTable, second: TurnTable, statistic: Callable[[np.ndarray], np.ndarray]
) -> list[float]:
    """Difference of WA or UAR of each of the `seed_pairs`."""
    scores = [
        dict(zip(np.unique(table.seeds).tolist(), statistic(table.by_seed()), strict=True))
        for table in (first, second)
    ]
    return [float(scores[0][a] - scores[1][b]) for a, b in seed_pairs(*map(list, scores))]


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
        tests = [c["test"] for c in comparisons if c["corpus"] == corpus]
        for test, p in zip(tests, holm([test["p"] for test in tests]), strict=True):
            test["p_holm"], test["comparisons"] = p, len(tests)
