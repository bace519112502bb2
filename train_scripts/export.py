"""`decomp-ser export`: a trained model in a form that runs without Python."""

from pathlib import Path
from typing import Annotated

import typer

from train_scripts.cli import make_app, run
from train_scripts.options import ModelName, check_folder

app = make_app()
AFTER = "After Ctrl-C: OUTPUT is not made; run it again."


@app.callback(epilog=AFTER)
def targets() -> None:
    """Export a trained model: `decomp-ser export onnx MODEL OUTPUT`."""


@app.command(epilog=AFTER)
def onnx(
    model_name: ModelName,
    output: Annotated[
        Path,
        typer.Argument(callback=check_folder, help="New folder for model.onnx and export.json."),
    ],
    int8: Annotated[
        bool, typer.Option("--int8", help="Also write model_int8.onnx, with 8-bit weights.")
    ] = False,
) -> None:
    """Write a model as ONNX, for any batch size and length, and compare it with the original."""
    from train_scripts.exporting.onnx_export import export_onnx, summarize_export

    typer.echo(summarize_export(export_onnx(model_name, output, int8=int8)))


if __name__ == "__main__":
    run(app)
