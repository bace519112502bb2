"""`decomp-ser export`: a trained model in a form that runs without Python."""

from pathlib import Path
from typing import Annotated

import typer

from train_scripts.cli import run
from train_scripts.exporting.onnx_export import export_onnx, summarize_export
from train_scripts.options import SkipBad

app = typer.Typer(add_completion=False)


@app.callback()
def targets() -> None:
    """Export a trained model: `decomp-ser export onnx MODEL OUTPUT`."""


@app.command()
def onnx(
    model: Annotated[str, typer.Argument(help="Output folder of `finetune`, or a repository id.")],
    output: Annotated[Path, typer.Argument(help="New folder for model.onnx and export.json.")],
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Also write model_int8.onnx, with 8-bit weights."),
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            help="Corpus to measure accuracy on: prepared folder, folder with metadata.csv, or "
            "Hub id."
        ),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Measure on the test turns of this protocol only.")
    ] = None,
    fold: Annotated[str | None, typer.Option(help="Fold of the protocol.")] = None,
    skip_bad: SkipBad = False,
    allow_overlap: Annotated[
        bool,
        typer.Option(
            "--allow-overlap", help="Measure on turns or speakers of the training set, marked."
        ),
    ] = False,
) -> None:
    """Write a model as ONNX, for any batch size and length, and compare it with the original."""
    content = export_onnx(
        model,
        output,
        int8=int8,
        data=data,
        protocol=protocol,
        fold=fold,
        skip_bad=skip_bad,
        allow_overlap=allow_overlap,
    )
    typer.echo(summarize_export(content))


if __name__ == "__main__":
    run(app)
