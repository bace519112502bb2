"""`decomp-ser predict`: the emotion of audio files, whole and over time."""

from typing import Annotated, Literal

import typer

from train_scripts.cli import SOME_LEFT_OUT, make_app, run
from train_scripts.options import BatchSize, ModelName, SkipBad

app = make_app()


@app.command(epilog="After Ctrl-C: the answers of the files that are finished are written.")
def command(
    model_name: ModelName,
    files: Annotated[list[str], typer.Argument(help="WAV, FLAC, OGG or MP3 files.")],
    form: Annotated[
        Literal["json", "csv", "rttm"],
        typer.Option(
            "--format",
            help="json: each file's answer and timeline; csv: a row a window; rttm: a line a "
            "window, the emotion in the place of the speaker.",
        ),
    ] = "json",
    window_seconds: Annotated[
        float, typer.Option("--window", help="Seconds of the windows that answer longer files.")
    ] = 10.0,
    hop_seconds: Annotated[
        float | None,
        typer.Option("--hop", help="Seconds from window to window; default half a window."),
    ] = None,
    batch_size: BatchSize = 1,
    skip_bad: SkipBad = False,
) -> None:
    """Recognise the emotion of audio files of any length, rate and number of channels.

    The exit code is 3 where --skip-bad left out files.
    """
    options = locals()
    del options["form"]
    from train_scripts.answers.prediction import answer_files, format_answers

    answers = []
    try:
        for answer in answer_files(**options):
            answers.append(answer)
    except KeyboardInterrupt:
        if answers:
            typer.echo(format_answers(answers, form))
        raise
    typer.echo(format_answers(answers, form))
    if len(answers) < len(files):
        raise typer.Exit(SOME_LEFT_OUT)


if __name__ == "__main__":
    run(app)
