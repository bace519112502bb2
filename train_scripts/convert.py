"""`decomp-ser convert`: remove a component of speech or take it from another recording, and
listen.

The decoder turns the codes back into a spectrogram, and Griffin and Lim's algorithm turns that into
sound. How much of a factor goes with its code shows how well the components are told apart, as in
the figures of SpeechSplit (Qian et al., ICML 2020).

Axes: B batch, S samples, T frames, M mel bands, K codes, D code width.
"""

from pathlib import Path
from typing import Annotated

import typer

from modeling_decomp_ser.configuration_decomp_ser import DECOMPOSED
from train_scripts.cli import run
from train_scripts.explanations.conversion import convert

app = typer.Typer(add_completion=False)


@app.command()
def command(
    model: Annotated[str, typer.Argument(help="Output folder of `finetune`, or a repository id.")],
    file: Annotated[str, typer.Argument(help="WAV, FLAC, OGG or MP3 file.")],
    output: Annotated[Path, typer.Option(help="Folder for the sounds and the plot.")] = ...,
    take: Annotated[
        str | None,
        typer.Option(help=f"Take this from --source: {', '.join(DECOMPOSED)}."),
    ] = None,
    source: Annotated[str | None, typer.Option(help="Recording that --take takes from.")] = None,
) -> None:
    """Hear an utterance without each component of speech, or with one from another recording."""
    for path in convert(model, file, output, take=take, source=source):
        typer.echo(path)


if __name__ == "__main__":
    run(app)
