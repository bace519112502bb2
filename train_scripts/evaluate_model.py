"""`decomp-ser evaluate`: score a trained model on a corpus or on the test turns of a fold."""

from pathlib import Path
from typing import Annotated

import typer

from train_scripts.answers.evaluation import evaluate
from train_scripts.cli import run
from train_scripts.options import Data, SkipBad
from train_scripts.runs.results import (
    summarize,
)

app = typer.Typer(add_completion=False)


@app.command()
def command(
    model: Annotated[str, typer.Argument(help="Output folder of `finetune`, or a repository id.")],
    *,
    data: Data,
    protocol: Annotated[
        str | None, typer.Option(help="Score the test turns of this protocol only.")
    ] = None,
    fold: Annotated[str | None, typer.Option(help="Fold of the protocol.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for results.json and predictions.parquet.")
    ] = None,
    skip_bad: SkipBad = False,
    allow_overlap: Annotated[
        bool,
        typer.Option(
            "--allow-overlap", help="Score turns or speakers of the model's training set, marked."
        ),
    ] = False,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Turns a batch; does not change the result.")
    ] = 8,
) -> None:
    """Score a trained model on a corpus, or on the test turns of one of its folds."""
    results = evaluate(
        model,
        data=data,
        protocol=protocol,
        fold=fold,
        output=output,
        skip_bad=skip_bad,
        allow_overlap=allow_overlap,
        batch_size=batch_size,
    )
    typer.echo(summarize(results))


if __name__ == "__main__":
    run(app)
