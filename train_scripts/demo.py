"""`decomp-ser demo`: the demonstration page on this computer."""

from typing import Annotated

import typer

from train_scripts.cli import make_app, run
from train_scripts.options import check_model

app = make_app()


@app.command(epilog="After Ctrl-C: the page is closed, and what was uploaded to it is deleted.")
def command(
    model: Annotated[
        str | None,
        typer.Argument(
            callback=check_model,
            help="Output folder of `finetune`, or a repository id; default runs/quickstart/model.",
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the page on this computer.")
    ] = 7860,
) -> None:
    """Open a page in the browser: record or upload speech, and see the answer.

    It is served to this computer only, until Ctrl-C.
    """
    from processing.errors import InputError
    from train_scripts.publishing.demonstration_page import build_page

    space, page = build_page(model)
    try:
        space.launch(
            page, server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True
        )
    except OSError as error:
        raise InputError(f"--port {port}: cannot be used. Give another one.") from error
    typer.echo(f"http://127.0.0.1:{port}   (Ctrl-C ends it)")
    page.block_thread()


if __name__ == "__main__":
    run(app)
