"""Options that several verbs share, checked before anything is loaded."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # what reads corpora takes seconds to load
    from processing.corpora.mixture import Mixture


def check_folder(folder: Path | None) -> Path | None:
    """Refuse a folder that cannot be written to, before anything is computed for it."""
    if folder is None:
        return None
    existing = folder.absolute()
    while not os.path.lexists(existing):
        existing = existing.parent
    if not existing.is_dir():
        raise typer.BadParameter(f"{existing} is not a folder. Choose another one.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise typer.BadParameter(f"no permission to write in {existing}. Choose another one.")
    return folder


def read_data(
    data: list[str], labels: str | None = None, sampling: str | None = None
) -> "str | Mixture":
    """What --data, --labels and --sampling name together: one corpus, or a mixture."""
    from processing.corpora.mixture import read_data

    return read_data(data, labels=labels, sampling=sampling)


def check_model(name: str | None) -> str | None:
    """Refuse a model that is neither a folder with one nor can be a repository of the Hub."""
    if name is None:
        return None
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise typer.BadParameter(f"model '{name}': there is no config.json in this folder.")
    elif folder.exists():
        raise typer.BadParameter(f"model '{name}': it is a file, expected a folder of a run.")
    elif name.count("/") != 1 or name.startswith((".", "/", "~")) or name.endswith("/"):
        raise typer.BadParameter(
            f"model '{name}' does not exist: there is no such folder, and a repository id has the "
            "form NAMESPACE/NAME."
        )
    return name


PresetName = Annotated[str, typer.Argument(help="Name of a preset, or path of a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Settings as key=value: size=tiny, finetuning.num_train_epochs=5."),
]
ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        callback=check_model,
        help="Output folder of `decomp-ser finetune`, or a repository id.",
    ),
]
Pretrained = Annotated[
    str | None, typer.Option(callback=check_model, help="Output folder of `decomp-ser pretrain`.")
]
Recording = Annotated[
    str, typer.Argument(help="WAV, FLAC, OGG or MP3 file of one utterance, of any rate.")
]
Data = Annotated[str, typer.Option(help="Prepared folder, folder with metadata.csv, or Hub id.")]
Corpora = Annotated[
    list[str],
    typer.Option(
        "--data",
        help="Prepared folder, folder with metadata.csv, or Hub id; may be repeated for several "
        "corpora. Or a mixture file (.yaml) that names them with label maps and weights.",
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        metavar="union|intersection",
        help="Emotions of several corpora: all, or those that each of them has. Needed where they "
        "differ.",
    ),
]
Sampling = Annotated[
    str | None,
    typer.Option(
        "--sampling",
        metavar="proportional|equal|TEMPERATURE",
        help="How often turns of each of several corpora are drawn in training: as many as it has, "
        "as many of each, or in proportion to turns ** (1 / TEMPERATURE). Default: proportional.",
    ),
]
ProtocolName = Annotated[
    str, typer.Option("--protocol", help="How the corpus is split, such as speaker-5.")
]
FoldName = Annotated[str, typer.Option("--fold", help="Which fold is tested, such as 1 or 01F.")]
ScoredProtocol = Annotated[
    str | None, typer.Option("--protocol", help="Score the test turns of this protocol only.")
]
ScoredFold = Annotated[str | None, typer.Option("--fold", help="Fold of the protocol.")]
SomeFolds = Annotated[
    list[str] | None, typer.Option("--fold", help="Only this fold; may be repeated. Default: all.")
]
RunFolder = Annotated[
    Path,
    typer.Option(
        "--output", callback=check_folder, help="Folder of the run; an interrupted run is resumed."
    ),
]
Folder = Annotated[
    Path,
    typer.Option("--output", callback=check_folder, help="Folder to write to; made where missing."),
]
WantedFolder = Annotated[
    Path | None,
    typer.Option("--output", callback=check_folder, help="Write results to this folder too."),
]
SkipBad = Annotated[
    bool,
    typer.Option("--skip-bad", help="Leave out clips that cannot be used; they are listed."),
]
AllowOverlap = Annotated[
    bool,
    typer.Option(
        "--allow-overlap",
        help="Allow test turns or speakers in the model's training set; the result is marked.",
    ),
]
BatchSize = Annotated[
    int, typer.Option(min=1, help="Turns or windows a batch; does not change the result.")
]
