"""`decomp-ser predict`: the emotion of recordings, whole and over time."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from train_scripts.cli import SOME_LEFT_OUT, make_app, run
from train_scripts.options import BatchSize, ModelName, SkipBad, check_folder

app = make_app()


def check_place(output: Path | None) -> Path | None:
    """Refuse an output that cannot be written, before anything is computed."""
    if output is not None:
        check_folder(output.parent if output.suffix and not output.is_dir() else output)
    return output


def check_channels(value: str) -> str:
    """Refuse what names no channels."""
    if value not in ("auto", "mix", "split") and not (value.isdigit() and int(value) > 0):
        raise typer.BadParameter("expected mix, split or the number of a channel, from 1.")
    return value


Place = Annotated[
    Path | None,
    typer.Option(
        callback=check_place,
        help="File, or folder that gets a file a recording. Answers are kept as they come; the "
        "same call again goes on from there.",
    ),
]

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...",
        help="Files, folders with all below them, patterns in quotes, URLs, or - for standard "
        "input: WAV, FLAC, OGG, MP3, and M4A or video with the extra decomp-ser[video].",
    ),
]
Form = Annotated[
    Literal["json", "jsonl", "csv", "rttm", "audacity", "srt", "parquet"] | None,
    typer.Option(
        "--format",
        help="json, jsonl: answer and timeline; csv, parquet: a row a stretch; rttm: the "
        "emotion in the place of the speaker; audacity, srt: labels, subtitles. Default: by "
        "the ending of --output, else json.",
    ),
]
Channels = Annotated[
    str,
    typer.Option(
        callback=check_channels,
        help="mix, split, or the number of a channel, from 1. auto: two channels with "
        "different speech are answered apart.",
    ),
]
Segments = Annotated[
    Literal["auto", "speech", "windows"],
    typer.Option(
        help="speech: where somebody speaks, cut at pauses, with the extra decomp-ser[vad]; "
        "windows: of everything. auto: speech where it is installed, unless --hop is given."
    ),
]
Rttm = Annotated[
    list[Path] | None,
    typer.Option(help="Who speaks when: RTTM, CSV with start, end, speaker, or a folder."),
]
Transcript = Annotated[
    list[Path] | None, typer.Option(help="Who says what: SRT, VTT, CTM, or a folder.")
]
Summary = Annotated[
    Path | None, typer.Option(callback=check_place, help="Page of all answers, in HTML.")
]
Window = Annotated[
    float, typer.Option("--window", help="Seconds of the longest piece answered in one.")
]
Hop = Annotated[
    float | None,
    typer.Option("--hop", help="Seconds from window to window; default half a window."),
]
Fast = Annotated[
    bool,
    typer.Option(
        "--fast",
        help="Compute in bfloat16 where the machine can. Probabilities change a little.",
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        min=1, help="Processes that answer at once, each on a GPU in turn where there are any."
    ),
]


@app.command(epilog="After Ctrl-C: the answers of the files that are finished are written.")
def command(
    model_name: ModelName,
    inputs: Inputs,
    output: Place = None,
    form: Form = None,
    channels: Channels = "auto",
    segments: Segments = "auto",
    rttm: Rttm = None,
    transcript: Transcript = None,
    summary: Summary = None,
    window_seconds: Window = 10.0,
    hop_seconds: Hop = None,
    fast: Fast = False,
    batch_size: BatchSize = 1,
    jobs: Jobs = 1,
    skip_bad: SkipBad = False,
) -> None:
    """Recognise the emotion of recordings of any length, rate and number of channels.

    The exit code is 3 where --skip-bad left out files.

    The law: in the European Union it is prohibited to infer the emotions of people at their
    workplace or in education, except for medical or safety reasons (AI Act, Article 5(1)(f)). Calls
    of employees are a workplace.
    """
    options = locals()
    from train_scripts.answers.prediction_call import predict

    call = predict(**options)
    for line in call.lines:
        typer.echo(line)
    if call.some_left_out:
        raise typer.Exit(SOME_LEFT_OUT)


if __name__ == "__main__":
    run(app)
