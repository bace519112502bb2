"""`decomp-ser quickstart`: the whole job on the embedded corpus: synthesise, train, score, save,
predict.
"""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from train_scripts.cli import make_app, run
from train_scripts.options import Folder

app = make_app()


@app.command(
    epilog="After Ctrl-C: the steps that are finished stay, and the same command resumes there."
)
def command(
    output: Folder = Path("runs/quickstart"),
    again: Annotated[bool, typer.Option("--again", help="Delete the folder first.")] = False,
) -> None:
    """Do the whole job on a small synthetic corpus: a few minutes on two processors."""
    from train_scripts.experiments.demonstration import (
        pipeline_lines,
        predict_elsewhere,
        quickstart,
        write_clip,
    )
    from train_scripts.runs.results import summarize
    from train_scripts.runs.run_folder import RESULTS

    if again:
        shutil.rmtree(output, ignore_errors=True)
    results = quickstart(output)
    typer.echo(summarize(results))
    constant = results.constant_baselines or {}
    typer.echo(
        f"{'best constant sentence, WER':34} {constant['word_error_rate']:.4g}\n"
        f"{'best constant spectrum, MSE':34} {constant['speech_mse']:.4g}"
    )
    clip = output / "clip.flac"
    emotion = write_clip(output / "corpus", clip)
    lines = pipeline_lines(output / "model", clip)
    typer.echo("\n{}\n{}  # {}".format(*lines, emotion))
    for answer in predict_elsewhere(lines, output):
        typer.echo(f"  {answer['label']:10} {answer['score']:.3f}")
    typer.echo(
        f"\nLosses: {output / 'model' / 'losses.png'}\nResults: {output / 'model' / RESULTS}"
    )


if __name__ == "__main__":
    run(app)
