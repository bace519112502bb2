"""Baselines in the folds of the experiments: the majority class, and openSMILE functionals with a
support vector machine.

`decomp-ser baselines NAME --data DATA --protocol NAME --output DIR` runs all folds.
"""

from pathlib import Path
from typing import Annotated

import typer
from datasets.utils import tqdm

from processing.corpora.loading import load_corpus
from processing.folds import fold_names
from train_scripts.baselines.baseline_runs import BASELINES, run_baseline
from train_scripts.cli import run
from train_scripts.options import Data, ProtocolName, SkipBad
from train_scripts.runs.run_folder import RESULTS

app = typer.Typer(add_completion=False)


@app.command()
def command(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(BASELINES)}.")],
    *,
    data: Data,
    protocol: ProtocolName,
    fold: Annotated[
        list[str] | None, typer.Option(help="Only this fold; may be repeated. Default: all.")
    ] = None,
    output: Annotated[
        Path, typer.Option(help="Folder; each fold has NAME/seed-0/fold-FOLD in it.")
    ],
    skip_bad: SkipBad = False,
) -> None:
    """Run a baseline in folds of a protocol; finished folds are passed over."""
    names = fold or fold_names(load_corpus(data, skip_bad=skip_bad), protocol)
    for fold_name in tqdm(names, desc=name, unit="fold"):
        folder = output / name / "seed-0" / f"fold-{fold_name}"
        if not (folder / RESULTS).is_file():
            run_baseline(
                name,
                data=data,
                protocol=protocol,
                fold=fold_name,
                output=folder,
                skip_bad=skip_bad,
            )
    typer.echo(f"Saved to {output / name}; `decomp-ser report` pools the folds.")


if __name__ == "__main__":
    run(app)
