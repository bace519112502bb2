"""`decomp-ser stress`: what answers do when the recording changes."""

from typing import Annotated

import typer

from train_scripts import options
from train_scripts.cli import make_app, run

app = make_app()


@app.command(epilog="After Ctrl-C: answers to finished conditions stay, and the same call resumes.")
def command(
    model_name: options.ModelName,
    *,
    data: options.Data,
    output: options.Folder,
    protocol: options.ScoredProtocol = None,
    fold: options.ScoredFold = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this corruption; may be repeated. One of: white_noise, babble, room, "
            "telephone, low_pass, high_pass, sampling_rate, mp3, opus, gsm, a_law, packet_loss, "
            "microphone, clipping, louder, quieter, silence, faster, slower. Default: all."
        ),
    ] = None,
    num_turns: Annotated[
        int | None,
        typer.Option("--turns", min=1, help="Answer so many turns, drawn by id. Default: all."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of noise, rooms and other draws.")] = 0,
    jobs: Annotated[
        int, typer.Option(min=1, help="Processes that corrupt; does not change the result.")
    ] = 1,
    skip_bad: options.SkipBad = False,
    allow_overlap: options.AllowOverlap = False,
    batch_size: options.BatchSize = 8,
) -> None:
    """Answer every turn under noise, in rooms, over telephones and codecs, and compare.

    --output gets stress.json, stress.md and stress.png, and results.json of the turns as they are.
    In a folder `stress` of a run, `decomp-ser push` puts the table into the model's card.
    """
    given = {**locals(), "only": only or ()}
    from train_scripts.robustness.stress_page import summarize_stress
    from train_scripts.robustness.stress_run import stress

    typer.echo(f"{summarize_stress(stress(**given))}\n\nReport: {output}")


if __name__ == "__main__":
    run(app)
