"""Compare settings on validation speakers: the test turns have no say in what is chosen."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modeling_decomp_ser import DecompSerConfig
from processing.errors import InputError
from train_scripts.experiments.units import flatten
from train_scripts.runs.finished_runs import find_results
from train_scripts.runs.record import RunRecord, read_record


def compare_trials(runs: Sequence[str | Path], *, seed: int = 0) -> dict[str, Any]:
    """Validation UAR of each trial, a trial being one preset with one set of settings.

    Args:
        runs: run folders, or folders that hold some at any depth.
        seed: whose runs are compared; further seeds of a chosen trial were run for its sake.

    Returns:
        {"seed", "trials": [{"preset", "settings", "validation_uar", "folds", "turns", "chosen"}]}:
        the mean over folds, each weighed by its validation turns. `settings` are those in which the
        trials of the preset differ, "name=value". The best of each preset is chosen.

    Raises:
        InputError: if no run has validation scores, or the trials of a preset differ in their
            folds.
    """
    trials: dict[str, dict[str, list[RunRecord]]] = defaultdict(lambda: defaultdict(list))
    for path in find_results(runs):
        record = read_record(path)
        scores = record.validation_metrics
        # pre-training stores scores of validation turns as well, but recognises no emotion
        if scores and scores.unweighted_average_recall is not None and record.seed == seed:
            # not by what the command line changed: presets themselves change over time
            settings = json.dumps(flatten(record.shared_settings), sort_keys=True)
            trials[record.preset or ""][settings].append(record)
    if not trials:
        raise InputError(
            f"no run of seed {seed} has scores of validation speakers. Choose a protocol with "
            "validation speakers, such as speaker-5."
        )
    rows = []
    for preset, found in sorted(trials.items()):
        differing = differing_settings([json.loads(text) for text in found])
        own = [
            {"preset": preset, "settings": own_settings, **describe_trial(records)}
            for own_settings, records in zip(differing, found.values(), strict=True)
        ]
        own.sort(key=lambda row: row["settings"])
        if len({tuple(row["folds"]) for row in own}) > 1:
            folds = " and ".join(",".join(row["folds"]) for row in own)
            raise InputError(f"preset '{preset}': its trials were run on folds {folds}. Run all.")
        max(own, key=lambda row: row["validation_uar"])["chosen"] = True
        rows += own
    return {"seed": seed, "trials": rows}


def differing_settings(trials: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Settings that are not the same in all trials, as "name=value". One of the model that a trial
    does not have counts with the default of its configuration, another is left out.

    Examples:
        >>> differing_settings([{"seed": 0, "model.num_f0_bins": 8}, {"seed": 0}])
        [['model.num_f0_bins=8'], ['model.num_f0_bins=256']]
    """
    names = sorted(set().union(*trials))
    values = [{name: trial.get(name, default_of(name)) for name in names} for trial in trials]
    differing = [n for n in names if any(other[n] != values[0][n] for other in values)]
    return [[f"{n}={own[n]}" for n in differing if own[n] is not None] for own in values]


def default_of(name: str) -> Any:
    """Default of a setting of the model, as JSON has it; None for others."""
    part, _, field = name.partition(".")
    default = getattr(DecompSerConfig, field, None) if part == "model" else None
    return list(default) if isinstance(default, tuple) else default


def describe_trial(records: Sequence[RunRecord]) -> dict:
    """Scores of a trial, not chosen yet."""
    metrics = [record.validation_metrics for record in records if record.validation_metrics]
    turns = [m.num_turns or 0 for m in metrics]
    recalls = [m.unweighted_average_recall or 0.0 for m in metrics]
    return {
        "validation_uar": float(np.average(recalls, weights=turns)),
        "folds": sorted(str(record.fold) for record in records),
        "turns": sum(turns),
        "chosen": False,
    }
