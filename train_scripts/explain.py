"""`decomp-ser explain`: why a recording got its answer, in words, numbers and a figure."""

from typing import Annotated

import typer

from train_scripts.cli import make_app, run
from train_scripts.options import ModelName, Recording, WantedFolder

app = make_app()


@app.command(epilog="After Ctrl-C: nothing is written; run it again.")
def command(
    model_name: ModelName,
    file: Recording,
    output: WantedFolder = None,
    voice: Annotated[
        str | None, typer.Option(help="Recording of another speaker, to try on its spectrum.")
    ] = None,
) -> None:
    """Say why a recording of at most 30 seconds got its answer, and what would change it.

    --output gets explanation.json, explanation.png and the changed sounds.
    """
    from train_scripts.explanations.explanation import describe, explain
    from train_scripts.explanations.explanation_plot import write_explanation

    explanation = explain(model_name, file, voice=voice)
    typer.echo(describe(explanation.summary))
    if output is not None:
        write_explanation(explanation, output)
        typer.echo(f"\nWritten to {output}")


if __name__ == "__main__":
    run(app)
