"""`decomp-ser quickstart`: synthesise the embedded corpus, train, score, save and predict."""

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
    from train_scripts.experiments import demonstration
    from train_scripts.runs.results import summarize
    from train_scripts.runs.run_folder import RESULTS

    if again:
        shutil.rmtree(output, ignore_errors=True)
    results = demonstration.quickstart(output)
    typer.echo(summarize(results))
    constant = results.constant_baselines or {}
    typer.echo(
        f"{'best constant sentence, WER':34} {constant['word_error_rate']:.4g}\n"
        f"{'best constant spectrum, MSE':34} {constant['speech_mse']:.4g}"
    )
    clip = output / "clip.flac"
    emotion = demonstration.write_clip(output / "corpus", clip)
    lines = demonstration.pipeline_lines(output / "model", clip)
    typer.echo("\n{}\n{}  # {}".format(*lines, emotion))
    for answer in demonstration.predict_elsewhere(lines, output):
        typer.echo(f"  {answer['label']:10} {answer['score']:.3f}")
    typer.echo(
        f"\nLosses: {output / 'model' / 'losses.png'}\nResults: {output / 'model' / RESULTS}"
    )


if __name__ == "__main__":
    run(app)
