"""`decomp-ser evaluate`: score a trained model on a corpus or on the test turns of a fold."""

import typer

from train_scripts.cli import make_app, run
from train_scripts.options import (
    AllowOverlap,
    BatchSize,
    Data,
    ModelName,
    ScoredFold,
    ScoredProtocol,
    SkipBad,
    WantedFolder,
)

app = make_app()


@app.command(epilog="After Ctrl-C: no result is written; extracted signals are kept for next time.")
def command(
    model_name: ModelName,
    *,
    data: Data,
    protocol: ScoredProtocol = None,
    fold: ScoredFold = None,
    output: WantedFolder = None,
    skip_bad: SkipBad = False,
    allow_overlap: AllowOverlap = False,
    batch_size: BatchSize = 8,
) -> None:
    """Score a trained model on a corpus, or on the test turns of one of its folds.

    --output gets results.json and predictions.parquet.
    """
    options = locals()
    from train_scripts.answers.evaluation import evaluate
    from train_scripts.runs.results import summarize

    typer.echo(summarize(evaluate(**options)))


if __name__ == "__main__":
    run(app)
