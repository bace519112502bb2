"""`decomp-ser probe`: which code carries which factor of speech."""

from typing import Annotated

import typer

from train_scripts.cli import make_app, run
from train_scripts.options import BatchSize, Data, Folder, ModelName, Pretrained, SkipBad

app = make_app()


@app.command(epilog="After Ctrl-C: no report is written; extracted signals are kept for next time.")
def command(
    model_name: ModelName,
    *,
    data: Data,
    output: Folder,
    pretrained: Pretrained = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="Whose folds divide the probes' speakers. Default: speaker-5."),
    ] = None,
    fold: Annotated[
        str | None, typer.Option(help="Test the probes on this fold only. Default: on every fold.")
    ] = None,
    unseen_speakers: Annotated[
        bool,
        typer.Option("--unseen-speakers", help="Use only speakers that the model does not know."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of shuffles, draws and random resampling.")] = 0,
    num_shuffles: Annotated[
        int,
        typer.Option(
            "--shuffles", min=1, help="Shuffled copies of a factor that chance is measured on."
        ),
    ] = 20,
    skip_bad: SkipBad = False,
    batch_size: BatchSize = 16,
) -> None:
    """Measure what each code tells of speaker, gender, words, pitch, rate, energy and emotion.

    --output gets probe.json, probe.md and probe.png; --pretrained is probed too, as it was before.
    """
    options = locals()
    from train_scripts.explanations.probe_table import summarize_probe
    from train_scripts.explanations.probing import probe_model

    typer.echo(f"{summarize_probe(probe_model(**options))}\n\nReport: {output}")


if __name__ == "__main__":
    run(app)
