"""`decomp-ser pretrain-encoder`: a speech encoder by wav2vec2's own objective, without labels."""

import os
from typing import Annotated

import typer

from train_scripts import options
from train_scripts.cli import make_app, run

app = make_app()

Speech = Annotated[
    list[str],
    typer.Option(
        help="Prepared folder, folder with metadata.csv, folder of audio files (WAV, FLAC, "
        "OGG, MP3), or Hub id; may be repeated. Emotions are not read."
    ),
]


@app.command(
    epilog="After Ctrl-C: the last checkpoint (every encoder_pretraining.save_steps steps) stays, "
    "and the same command resumes from there."
)
def command(
    preset: options.PresetName,
    overrides: options.Overrides = None,
    *,
    data: Speech,
    output: options.RunFolder,
    protocol: Annotated[
        str | None,
        typer.Option(help="Leave out test and validation speakers of a fold of this protocol."),
    ] = None,
    fold: Annotated[str | None, typer.Option(help="Fold of the protocol.")] = None,
    left_out: Annotated[
        str | None,
        typer.Option(
            "--leave-out-speakers", help="Speakers not to train on, divided by commas: a,b,c."
        ),
    ] = None,
    skip_bad: options.SkipBad = False,
) -> None:
    """Pre-train the wav2vec2 of a preset on unlabelled speech, for speech_encoder=FOLDER.

    Crops of encoder_pretraining.crop_seconds seconds, max_steps steps of
    per_device_train_batch_size crops; learning_rate is that of AdamW.
    """
    if (protocol is None) != (fold is None):
        raise typer.BadParameter("--protocol and --fold belong together. Give both or none.")
    if protocol is not None and left_out is not None:
        raise typer.BadParameter("--leave-out-speakers stands instead of --protocol and --fold.")
    from train_scripts.training.encoder_pretraining import pretrain_encoder, summarize

    record = pretrain_encoder(
        preset,
        data=data,
        output=output,
        protocol=protocol,
        fold=fold,
        left_out=[name.strip() for name in (left_out or "").split(",") if name.strip()],
        overrides=overrides,
        skip_bad=skip_bad,
    )
    if os.environ.get("RANK", "0") == "0":
        typer.echo(f"{summarize(record)}\nSaved to {output}")


if __name__ == "__main__":
    run(app)
