"""`decomp-ser push`: a trained model with its card to the Hub, in one commit."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from train_scripts.cli import make_app, run

app = make_app()


@app.command(epilog="After Ctrl-C: nothing is published unless the one commit was already made.")
def command(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="Output folder of `decomp-ser finetune`.")
    ],
    repo_id: Annotated[
        str, typer.Argument(help="NAMESPACE/NAME on the Hub; created if it does not exist.")
    ],
    public: Annotated[
        bool, typer.Option("--public", help="For everyone to see; default private.")
    ] = False,
    gated: Annotated[
        Literal["auto", "manual"] | None,
        typer.Option(
            help="Who wants the files of a public repository has to ask: auto lets in and lists, "
            "manual leaves it to you.",
        ),
    ] = None,
    may_publish: Annotated[
        bool,
        typer.Option(
            "--i-may-publish",
            help="I have read the terms of the training corpora, and they let me publish weights.",
        ),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(help="report.json of `decomp-ser report`; this model's row joins the card."),
    ] = None,
    probe: Annotated[
        Path | None, typer.Option(help="probe.json of `decomp-ser probe`, to show in the card.")
    ] = None,
    stress: Annotated[
        Path | None,
        typer.Option(
            help="stress.json of `decomp-ser stress`, to show in the card. "
            "Default: RUN/stress/stress.json, if there is one."
        ),
    ] = None,
) -> None:
    """Publish model, processor, code, card and results in one commit; private unless told.

    The names of the training speakers and the ids of the training turns are published too, but no
    audio, transcript or prediction.
    """
    options = locals()
    from train_scripts.publishing.upload import push

    done = push(**options)
    visibility = "public" if public else "private"
    typer.echo(f"{done['url']}\n{visibility}, {len(done['files'])} files, tag {done['revision']}")


if __name__ == "__main__":
    run(app)
