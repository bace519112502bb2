"""`decomp-ser export`: a trained model in a form that runs without Python."""

from pathlib import Path
from typing import Annotated

import typer

from train_scripts.cli import run
from train_scripts.exporting.onnx_export import export_onnx, summarize_export

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
) -> None:
    """Write a model as ONNX, for any batch size and length, and compare it with the original."""
    content = export_onnx(model, output, int8=int8)
    typer.echo(summarize_export(content))


if __name__ == "__main__":
    run(app)
