"""`decomp-ser prepare`: any corpus to Parquet shards with embedded FLAC, statistics and a plot."""

from pathlib import Path
from typing import Annotated

import typer

from train_scripts.cli import make_app, run
from train_scripts.options import SkipBad, check_folder

app = make_app()

Corpus = Annotated[
    str,
    typer.Argument(
        help="One of: crema-d, emodb, esd, factorial, iemocap, nemo, ravdess, savee, "
        "synthetic, tess, folder, hub."
    ),
]
Source = Annotated[
    str,
    typer.Argument(
        help="The corpus's folder as published. folder: one with metadata.csv, or that file. "
        "hub: Parquet file or folder, or a data set id. synthetic: - or settings such as "
        "num_speakers=4,num_sentences=6,seed=0. factorial: - or settings such as "
        "num_sentences=4,num_voices=8,num_contours=4,num_rhythms=4."
    ),
]
Output = Annotated[Path, typer.Argument(callback=check_folder, help="Folder to make.")]
LabelMap = Annotated[
    str | None, typer.Option("--map", help="Rename emotions: excited=happy,calm=neutral.")
]
Labels = Annotated[
    str | None,
    typer.Option(help="Emotions to keep, after --map: angry,happy,sad,neutral. Default: all."),
]
Columns = Annotated[
    str | None,
    typer.Option(help="hub: names of its columns, emotion=label,text=sentence."),
]
Configuration = Annotated[
    str,
    typer.Option(help="iemocap: four-class or all (excited counts as happy in the former)."),
]
Trim = Annotated[
    bool,
    typer.Option(
        "--trim",
        help="Cut ends where 20 ms frames stay 42 dB under the 95th percentile; 0.2 s stays.",
    ),
]
DropDuplicates = Annotated[
    bool,
    typer.Option("--drop-duplicates", help="Keep the first of clips with identical samples."),
]
AllowOutside = Annotated[
    bool,
    typer.Option(
        "--allow-outside",
        help="folder: read audio that metadata.csv names outside of its folder.",
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace a corpus prepared earlier in OUTPUT.")
]


@app.command(epilog="After Ctrl-C: OUTPUT is as it was; the next call replaces OUTPUT.partial.")
def prepare_command(
    corpus: Corpus,
    source: Source,
    output: Output,
    label_map: LabelMap = None,
    labels: Labels = None,
    columns: Columns = None,
    configuration: Configuration = "four-class",
    trim: Trim = False,
    drop_duplicates: DropDuplicates = False,
    skip_bad: SkipBad = False,
    allow_outside: AllowOutside = False,
    overwrite: Overwrite = False,
) -> None:
    """Convert a corpus to Parquet with 16 kHz mono FLAC inside, and count what is in it.

    Writes data-*.parquet, corpus.json, statistics.json, .md and .png, and left_out.csv if clips
    were left out. Levels are not normalised: loudness is a cue of emotion.
    """
    from processing.corpora.preparation import KNOWN, PrepareOptions, parse_pairs, prepare

    options = PrepareOptions(
        label_map=parse_pairs(label_map, "--map"),
        labels=[label.strip() for label in (labels or "").split(",") if label.strip()],
        trim=trim,
        drop_duplicates=drop_duplicates,
        skip_bad=skip_bad,
        allow_outside=allow_outside,
    )
    manifest = prepare(
        corpus,
        source,
        output,
        options=options,
        columns=parse_pairs(columns, "--columns"),
        configuration=configuration,
        overwrite=overwrite,
    )
    typer.echo((output / "statistics.md").read_text(encoding="utf-8"))
    typer.echo(
        f"{output}: {manifest['rows']} rows in {len(manifest['shards'])} shards; left out: "
        f"{manifest['left_out']} clips (left_out.csv), {manifest['other_labels']} with other "
        "labels."
    )
    if corpus in KNOWN:
        known = KNOWN[corpus]
        typer.echo(f"{known.title}: {known.terms}. Cite {known.citation}.")


if __name__ == "__main__":
    run(app)
