"""`decomp-ser serve`: answers over HTTP."""

from typing import Annotated

import typer

from train_scripts.cli import make_app, run
from train_scripts.options import BatchSize, ModelName

app = make_app()


@app.command(epilog="After Ctrl-C: what was taken on is answered, and the server ends.")
def command(
    model_name: ModelName,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 for other computers too.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8000,
    window_seconds: Annotated[
        float, typer.Option("--window", help="Seconds of the longest piece answered in one.")
    ] = 10.0,
    hop_seconds: Annotated[
        float | None,
        typer.Option("--hop", help="Seconds from window to window; default half a window."),
    ] = None,
    batch_size: BatchSize = 1,
    megabytes: Annotated[
        float, typer.Option("--max-megabytes", min=0.001, help="Most of an upload.")
    ] = 64.0,
    minutes: Annotated[
        float, typer.Option("--max-minutes", min=0.01, help="Longest recording.")
    ] = 30.0,
    places: Annotated[
        int,
        typer.Option(
            "--queue",
            min=1,
            help="Recordings that are answered or wait; others get 503 and Retry-After.",
        ),
    ] = 32,
    seconds: Annotated[
        float, typer.Option("--timeout", min=0.1, help="Seconds from request to answer.")
    ] = 300.0,
    streams: Annotated[int, typer.Option("--max-streams", min=0, help="Live streams at once.")] = 4,
) -> None:
    """Answer recordings over HTTP: POST them to /predict; live signals over WebSocket to /stream.

    /docs describes the interface, /health says whether the server can answer, /metrics counts for
    Prometheus. The server has no passwords and no encryption: it is for this computer, or for what
    stands behind a proxy that has both.

    The law: in the European Union it is prohibited to infer the emotions of people at their
    workplace or in education, except for medical or safety reasons (AI Act, Article 5(1)(f)).
    """
    from train_scripts.answers.prediction import Listening
    from train_scripts.serving.limits import Limits
    from train_scripts.serving.server import serve

    serve(
        model_name,
        host=host,
        port=port,
        listening=Listening(window_seconds, hop_seconds),
        limits=Limits(megabytes, minutes, places, seconds, streams),
        batch_size=batch_size,
        announce=lambda address: typer.echo(f"{address}   (Ctrl-C ends it)"),
    )


if __name__ == "__main__":
    run(app)
