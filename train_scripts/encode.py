"""`decomp-ser encode`: the codes of recordings, by part of speech."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from train_scripts.cli import SOME_LEFT_OUT, make_app, run
from train_scripts.options import ModelName, SkipBad, check_folder

app = make_app()


def check_file(output: Path) -> Path:
    """Refuse a file that cannot be written or that no codes can be written to."""
    if output.suffix not in (".parquet", ".safetensors"):
        raise typer.BadParameter("expected a file that ends in .parquet or .safetensors.")
    check_folder(output.parent)
    return output


@app.command(epilog="After Ctrl-C: nothing is written; run it again.")
def command(
    model_name: ModelName,
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="As of `decomp-ser predict`."),
    ],
    output: Annotated[
        Path,
        typer.Option(callback=check_file, help="File that ends in .parquet or .safetensors."),
    ],
    frames: Annotated[
        bool, typer.Option("--frames", help="Frame by frame too, with times in seconds.")
    ] = False,
    channels: Annotated[str, typer.Option(help="auto, mix, split or the number of one.")] = "auto",
    segments: Annotated[
        Literal["auto", "speech", "windows"],
        typer.Option(help="A row a stretch of speech, or a window; as of `decomp-ser predict`."),
    ] = "auto",
    window_seconds: Annotated[
        float, typer.Option("--window", help="Seconds of the longest piece heard in one.")
    ] = 10.0,
    skip_bad: SkipBad = False,
) -> None:
    """Write what each part of the model (wav2vec2, rhythm, content, pitch, timbre) codes of
    recordings, pooled as the emotion head reads it, and the speaker embedding.
    """
    from train_scripts.answers.encoding import encode_recordings
    from train_scripts.answers.input_files import find_inputs
    from train_scripts.answers.prediction import Listening

    listening = Listening(window_seconds, None, channels, segments)
    problems = encode_recordings(
        model_name,
        find_inputs(inputs),
        output,
        listening=listening,
        frames=frames,
        skip_bad=skip_bad,
    )
    typer.echo(f"Codes: {output}")
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise typer.Exit(SOME_LEFT_OUT)


if __name__ == "__main__":
    run(app)
