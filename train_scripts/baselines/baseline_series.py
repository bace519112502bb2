"""Several systems, folds and seeds one after another, each in its own folder."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import typer
from datasets.utils import tqdm

from processing.corpora.mixture import Mixture
from processing.errors import InputError
from train_scripts.baselines.baseline_runs import run_baseline
from train_scripts.baselines.systems import HUB, find_system, is_system, row_name
from train_scripts.runs.run_folder import RESULTS


def parse_systems(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of systems, that of `rival_hub` with its model; and settings.

    Raises:
        InputError: if a name is unknown, none is given, or `rival_hub` has no model.

    Examples:
        >>> parse_systems(["table4_prognet", "rival_hub", "a/b", "num_epochs=3"])
        (['table4_prognet', 'rival_hub:a/b'], ['num_epochs=3'])
    """
    names: list[str] = []
    settings = [text for text in arguments if "=" in text]
    for word in (text for text in arguments if "=" not in text):
        if names and names[-1] == HUB and not is_system(word):
            names[-1] = f"{HUB}:{word}"
        else:
            names.append(word)
    if not names:
        raise InputError("no system is given, only settings. Name one, as table4_prognet.")
    for name in names:
        find_system(name)
    rows = [row_name(name) for name in names]
    for row in rows:
        if rows.count(row) > 1:
            raise InputError(f"system '{row}' is given {rows.count(row)} times. Give it once.")
    return names, settings


def run_series(
    names: Sequence[str],
    *,
    overrides: Sequence[str],
    data: str | Mixture,
    protocol: str,
    folds: Sequence[str],
    num_seeds: int,
    output: Path,
    skip_bad: bool,
) -> list[str]:
    """Run every fold and seed of every system; what is finished is passed over, and a deterministic
    system has one seed.

    Args:
        names: of `parse_systems`.
        overrides: "key=value" settings of all of them.
        data: see `load_corpus`.
        protocol: see `load_folds`.
        folds: names.
        num_seeds: seeds 0, 1, ... this many.
        output: folder of everything.
        skip_bad: leave out clips that cannot be used.

    Returns:
        Why each system that was refused was.

    Raises:
        InputError: if the only system is refused.
    """
    refused = []
    for name in names:
        seeds = range(1 if find_system(name)[0].is_deterministic else num_seeds)
        cells = [(seed, fold) for seed in seeds for fold in folds]
        try:
            for seed, fold in tqdm(cells, desc=row_name(name), unit="fold"):
                folder = output / row_name(name) / f"seed-{seed}" / f"fold-{quote(fold, safe='')}"
                if (folder / RESULTS).is_file():
                    continue
                options = {"data": data, "protocol": protocol, "skip_bad": skip_bad}
                record = run_baseline(
                    name, fold=fold, seed=seed, output=folder, overrides=overrides, **options
                )
                uar = record.metrics.unweighted_average_recall
                typer.echo(f"{row_name(name)} seed {seed} fold {fold}: UAR {uar:.3f}", err=True)
        except InputError as error:
            if len(names) == 1:
                raise
            row, problem = row_name(name), str(error)
            refused.append(problem if problem.startswith(row) else f"{row}: {problem}")
    return refused
