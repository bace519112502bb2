"""`decomp-ser pretrain`: the decomposition and its speaker head (section 3.2, equation 7)."""

from typing import Annotated

import typer

from train_scripts import options
from train_scripts.cli import make_app, run

app = make_app()

Further = Annotated[
    list[str] | None,
    typer.Option(
        help="Corpus of other people, all turns of which are trained on whatever the fold, and "
        "whose emotions are not used; may be repeated."
    ),
]
Sweep = Annotated[
    str | None,
    typer.Option(
        "--sweep-omega",
        help="Pre-train for each of these weights of the speaker loss, such as 0,0.1,0.5,1.",
    ),
]


@app.command(
    epilog="After Ctrl-C: the last checkpoint (every pretraining.save_steps steps) and the "
    "finished weights of a sweep stay, and the same command resumes from there."
)
def command(
    preset: options.PresetName,
    overrides: options.Overrides = None,
    *,
    data: options.Corpora,
    labels: options.Labels = None,
    sampling: options.Sampling = None,
    further: Further = None,
    protocol: options.ProtocolName,
    fold: options.FoldName,
    output: options.RunFolder,
    skip_bad: options.SkipBad = False,
    sweep: Sweep = None,
) -> None:
    """Pre-train the decomposition on the training turns of a fold (equation 7)."""
    given = locals()
    for name in ("sweep", "labels", "sampling"):
        del given[name]
    given |= {"data": options.read_data(data, labels, sampling), "further": further or ()}
    from train_scripts.training.pretraining import pretrain, sweep_omega
    from train_scripts.training.stage import report

    if sweep is None:
        report(pretrain(**given), output)
        return
    try:
        omegas = [float(text) for text in sweep.split(",")]
    except ValueError as error:
        raise typer.BadParameter(
            f"--sweep-omega {sweep}: expected numbers divided by commas."
        ) from error
    for row in sweep_omega(omegas, **given):
        accuracy = row["speaker_accuracy"]
        said = "none" if accuracy is None else f"{accuracy:.3f}"
        typer.echo(f"omega {row['omega']:<5g} speech MSE {row['speech_mse']:.5f}  speaker {said}")
    typer.echo(f"Saved to {output}")


if __name__ == "__main__":
    run(app)
