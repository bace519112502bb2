"""`decomp-ser probe`: which code carries which factor of speech, and how far the codes are from
disentangled.

Codes of whole turns are read by linear probes, on turns of speakers that the probe was not fitted
on; before and after fine-tuning, without random resampling as the model answers, and with it, which
is how pre-training hears speech, and fine-tuning where `resampling_in_finetuning` is on: only then
are content, pitch and timbre denied the rhythm.
"""

from pathlib import Path
from typing import Annotated

import typer

from train_scripts.cli import run
from train_scripts.explanations.linear_probes import NUM_SHUFFLES
from train_scripts.explanations.probe_table import summarize_probe
from train_scripts.explanations.probing import probe_model
from train_scripts.options import Data, SkipBad

app = typer.Typer(add_completion=False)


@app.command()
def command(
    model: Annotated[str, typer.Argument(help="Output folder of `finetune`, or a repository id.")],
    *,
    data: Data,
    output: Annotated[Path, typer.Option(help="Folder for probe.json, probe.md and probe.png.")],
    pretrained: Annotated[
        str | None, typer.Option(help="Output folder of `pretrain`: probe it too, as before.")
    ] = None,
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
    shuffles: Annotated[
        int, typer.Option(min=1, help="Shuffled copies of a factor that chance is measured on.")
    ] = NUM_SHUFFLES,
    skip_bad: SkipBad = False,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Turns a batch; does not change the result.")
    ] = 16,
) -> None:
    """Measure what each code tells of speaker, gender, words, pitch, rate, energy and emotion."""
    report = probe_model(
        model,
        data=data,
        output=output,
        pretrained=pretrained,
        protocol=protocol,
        fold=fold,
        unseen_speakers=unseen_speakers,
        seed=seed,
        num_shuffles=shuffles,
        skip_bad=skip_bad,
        batch_size=batch_size,
    )
    typer.echo(f"{summarize_probe(report)}\n\nReport: {output}")


if __name__ == "__main__":
    run(app)
