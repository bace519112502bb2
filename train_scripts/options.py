"""Options of the command line that several verbs share, each with its help."""

from pathlib import Path
from typing import Annotated

import typer

PresetName = Annotated[str, typer.Argument(help="Name of a preset, or path of a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Settings as key=value: size=tiny, finetuning.num_train_epochs=5."),
]
Data = Annotated[str, typer.Option(help="Prepared folder, folder with metadata.csv, or Hub id.")]
ProtocolName = Annotated[
    str, typer.Option("--protocol", help="How the corpus is split, such as speaker-5.")
]
FoldName = Annotated[str, typer.Option("--fold", help="Which fold is tested, such as 1 or 01F.")]
RunFolder = Annotated[
    Path, typer.Option("--output", help="Folder of the run; an interrupted run goes on.")
]
SkipBad = Annotated[
    bool,
    typer.Option("--skip-bad", help="Leave out clips that cannot be used; they are listed."),
]
