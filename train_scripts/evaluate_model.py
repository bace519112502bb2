"""`decomp-ser evaluate`: score a trained model on a corpus or on the test turns of a fold."""

import typer

from train_scripts import options
from train_scripts.cli import make_app, run

app = make_app()


@app.command(epilog="After Ctrl-C: no result is written; extracted signals are kept for next time.")
def command(
    model_name: options.ModelName,
    *,
    data: options.Corpora,
    labels: options.Labels = None,
    protocol: options.ScoredProtocol = None,
    fold: options.ScoredFold = None,
    output: options.WantedFolder = None,
    skip_bad: options.SkipBad = False,
    allow_overlap: options.AllowOverlap = False,
    batch_size: options.BatchSize = 8,
) -> None:
    """Score a trained model on a corpus, or on the test turns of one of its folds.

    --output gets results.json and predictions.parquet.
    """
    given = locals()
    given["data"] = options.read_data(data, given.pop("labels"))
    from train_scripts.answers.evaluation import evaluate
    from train_scripts.runs.results import summarize

    typer.echo(summarize(evaluate(**given)))


if __name__ == "__main__":
    run(app)
