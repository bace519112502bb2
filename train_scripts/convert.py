"""`decomp-ser convert`: hear speech without a component, or with that of another recording."""

from typing import Annotated

import typer

from train_scripts.cli import make_app, run
from train_scripts.options import Folder, ModelName, Recording

app = make_app()


@app.command(epilog="After Ctrl-C: the sounds that are written stay; run it again for the rest.")
def command(
    model_name: ModelName,
    file: Recording,
    output: Folder,
    take: Annotated[
        str | None,
        typer.Option(help="Take this from --source: rhythm, content, pitch, timbre."),
    ] = None,
    source: Annotated[str | None, typer.Option(help="Recording that --take takes from.")] = None,
) -> None:
    """Hear an utterance without each component of speech, or with one from another recording."""
    options = locals()
    from train_scripts.explanations.conversion import convert

    for path in convert(**options):
        typer.echo(path)


if __name__ == "__main__":
    run(app)
