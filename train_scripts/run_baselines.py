"""`decomp-ser baselines`: other systems in the folds of the experiments."""

from typing import Annotated

import typer

from train_scripts.cli import make_app, run
from train_scripts.options import Data, Folder, ProtocolName, SkipBad, SomeFolds

app = make_app()


@app.command(epilog="After Ctrl-C: finished folds stay, and the same command resumes there.")
def command(
    name: Annotated[
        str,
        typer.Argument(help="One of: baseline_majority, baseline_egemaps, baseline_compare."),
    ],
    *,
    data: Data,
    protocol: ProtocolName,
    fold: SomeFolds = None,
    output: Folder,
    skip_bad: SkipBad = False,
) -> None:
    """Run a baseline in folds of a protocol; finished folds are passed over.

    Each fold has the folder NAME/seed-0/fold-FOLD in --output.
    """
    from datasets.utils import tqdm

    from processing.corpora.loading import load_corpus
    from processing.folds import fold_names
    from train_scripts.baselines.baseline_runs import run_baseline
    from train_scripts.runs.run_folder import RESULTS

    shared = {"data": data, "protocol": protocol, "skip_bad": skip_bad}
    names = fold or fold_names(load_corpus(data, skip_bad=skip_bad), protocol)
    for fold_name in tqdm(names, desc=name, unit="fold"):
        folder = output / name / "seed-0" / f"fold-{fold_name}"
        if not (folder / RESULTS).is_file():
            run_baseline(name, fold=fold_name, output=folder, **shared)
    typer.echo(f"Saved to {output / name}; `decomp-ser report` pools the folds.")


if __name__ == "__main__":
    run(app)
