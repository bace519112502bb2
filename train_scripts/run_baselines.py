"""`decomp-ser baselines`: other systems in the folds of the experiments."""

import sys
from typing import Annotated

import typer

from train_scripts.cli import SOME_LEFT_OUT, make_app, run
from train_scripts.options import (
    Corpora,
    Folder,
    Labels,
    ProtocolName,
    SkipBad,
    SomeFolds,
    read_data,
)

app = make_app()

Arguments = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME... [key=value...]",
        help="Systems, and settings of all of them: baseline_majority, baseline_egemaps, "
        "baseline_compare, table4_prognet, table4_multitask_cnn, table4_multitask_aae, "
        "table4_two_stream_ae, rival_reslstm_sa, rival_hub MODEL_ID (a repository id or a folder).",
    ),
]
Folds = Annotated[
    str | None, typer.Option(help="Folds, separated by commas; default all of the protocol.")
]
NumSeeds = Annotated[int, typer.Option("--seeds", min=1, help="How many seeds: 0, 1, ... are run.")]


@app.command(epilog="After Ctrl-C: finished folds stay, and the same command resumes there.")
def command(
    arguments: Arguments,
    *,
    data: Corpora,
    labels: Labels = None,
    protocol: ProtocolName,
    fold: SomeFolds = None,
    folds: Folds = None,
    num_seeds: NumSeeds = 1,
    output: Folder,
    skip_bad: SkipBad = False,
) -> None:
    """Run other systems in folds of a protocol; finished folds are passed over.

    Each fold has the folder NAME/seed-SEED/fold-FOLD in --output. A system that lacks a label, such
    as the gender of speakers, is refused with one line; the others are run.
    """
    from processing.corpora.loading import load_corpus
    from processing.folds import fold_names
    from train_scripts.baselines.baseline_series import parse_systems, run_series

    mixed = read_data(data, labels)
    names, overrides = parse_systems(arguments)
    chosen = [*(fold or ()), *(folds.split(",") if folds else ())]
    refused = run_series(
        names,
        overrides=overrides,
        data=mixed,
        protocol=protocol,
        folds=chosen or fold_names(load_corpus(mixed, skip_bad=skip_bad), protocol),
        num_seeds=num_seeds,
        output=output,
        skip_bad=skip_bad,
    )
    typer.echo(f"Saved to {output}; `decomp-ser report` pools the folds.")
    for problem in refused:
        typer.echo(f"NOT RUN: {problem}", err=True)
    if refused:
        sys.exit(SOME_LEFT_OUT)


if __name__ == "__main__":
    run(app)
