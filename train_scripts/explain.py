"""`decomp-ser explain`: why a recording got its answer, in words, numbers and a figure.

Three answers to one question: how much each part of the model moved the probability away from that
of the average training utterance, how much it moved it over an ablated input, and what the model
says when one property of the sound is changed.
"""

from pathlib import Path
from typing import Annotated

import typer

from train_scripts.cli import run
from train_scripts.explanations.explanation import describe, explain, write_explanation

app = typer.Typer(add_completion=False)


@app.command()
def command(
    model: Annotated[str, typer.Argument(help="Output folder of `finetune`, or a repository id.")],
    file: Annotated[str, typer.Argument(help="WAV, FLAC, OGG or MP3 file of one utterance.")],
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for explanation.json, explanation.png and the changed sounds."),
    ] = None,
    voice: Annotated[
        str | None, typer.Option(help="Recording of another speaker, to try on its spectrum.")
    ] = None,
) -> None:
    """Say why a recording got its answer: shares of the parts, and what would change it."""
    explanation = explain(model, file, voice=voice)
    typer.echo(describe(explanation.summary))
    if output is not None:
        write_explanation(explanation, output)
        typer.echo(f"\nWritten to {output}")


if __name__ == "__main__":
    run(app)
