"""`decomp-ser predict`: the emotion of audio files, whole and over time."""

from typing import Annotated

import typer

from modeling_decomp_ser.pipeline_decomp_ser import WINDOW_SECONDS
from train_scripts.answers.prediction import Format, format_answers, predict
from train_scripts.cli import run

app = typer.Typer(add_completion=False)


@app.command()
def command(
    model: Annotated[str, typer.Argument(help="Output folder of `finetune`, or a repository id.")],
    files: Annotated[list[str], typer.Argument(help="WAV, FLAC, OGG or MP3 files.")],
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            help="json: each file's answer and timeline; csv: a row a window; rttm: a line a "
            "window, the emotion in the place of the speaker.",
        ),
    ] = Format.json,
    window: Annotated[
        float, typer.Option(help="Seconds; longer files are answered by windows of this length.")
    ] = WINDOW_SECONDS,
    hop: Annotated[
        float | None, typer.Option(help="Seconds from window to window; default half a window.")
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Windows at once; does not change the answers.")
    ] = 1,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="Leave out files that cannot be used; they are listed."),
    ] = False,
) -> None:
    """Recognise the emotion of audio files of any length, rate and number of channels."""
    answers = predict(
        model,
        files,
        window_seconds=window,
        hop_seconds=hop,
        batch_size=batch_size,
        skip_bad=skip_bad,
    )
    typer.echo(format_answers(answers, form))


if __name__ == "__main__":
    run(app)
