"""`decomp-ser cross-validate`: every fold of every preset and seed, each in its own folder."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from train_scripts.cli import make_app, run
from train_scripts.options import (
    Corpora,
    Folder,
    Labels,
    Pretrained,
    ProtocolName,
    Sampling,
    SkipBad,
    read_data,
)

app = make_app()

Arguments = Annotated[
    list[str],
    typer.Argument(
        metavar="PRESET... [key=value...]",
        help="Names of presets or paths of YAML files, and settings of all of them.",
    ),
]
NumSeeds = Annotated[int, typer.Option("--seeds", min=1, help="How many seeds: 0, 1, ... are run.")]
Folds = Annotated[
    str | None, typer.Option(help="Folds, separated by commas; default all of the protocol.")
]
Jobs = Annotated[
    int | None,
    typer.Option(min=1, help="Units at once; default one a GPU, else one a processor."),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads-per-job",
        min=1,
        help="Threads of a unit; default processors divided by units at once.",
    ),
]
Processes = Annotated[
    int,
    typer.Option(
        "--processes-per-fold", min=1, help="Processes that share each step of a unit (DDP)."
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(help="slurm: units over machines, through submitit; local tries it out here."),
]
Nodes = Annotated[int, typer.Option(min=1, help="Machines of the cluster.")]
Slurm = Annotated[
    list[str] | None,
    typer.Option(help="Parameter of sbatch as key=value, such as partition=gpu; repeatable."),
]
Archive = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        exists=True,
        help="Leave out units that this file of `decomp-ser report --archive` holds.",
    ),
]


@app.command(
    epilog="After Ctrl-C: finished units and the checkpoints of the others stay, and the same "
    "command resumes from there."
)
def command(
    arguments: Arguments,
    *,
    data: Corpora,
    labels: Labels = None,
    sampling: Sampling = None,
    protocol: ProtocolName,
    num_seeds: NumSeeds,
    output: Folder,
    folds: Folds = None,
    pretrained: Pretrained = None,
    jobs: Jobs = None,
    threads: Threads = None,
    processes: Processes = 1,
    cluster: Cluster = None,
    nodes: Nodes = 1,
    slurm: Slurm = None,
    skip_bad: SkipBad = False,
    archive: Archive = None,
) -> None:
    """Run every fold of every preset and seed, each in its own folder.

    What is finished is not run again, what was interrupted is resumed, what fails is reported at
    the end. Presets with a decomposition are pre-trained first, once for all that can share it, or
    start from --pretrained, which then must know no test speaker of any fold.
    """
    options = locals()
    settings = [text for text in options.pop("arguments") if "=" in text]
    presets = [text for text in arguments if "=" not in text]
    if not presets:
        raise typer.BadParameter("no preset is given, only settings. Name one, as table3_ours.")
    from train_scripts.experiments.cross_validation import cross_validate, summarize_units
    from train_scripts.experiments.unit_runs import ERROR

    options |= {"data": read_data(data, options.pop("labels"), options.pop("sampling"))}
    options |= {"folds": folds.split(",") if folds else None, "slurm": slurm or ()}
    units, failed = cross_validate(presets, overrides=settings, **options)
    typer.echo(f"{summarize_units(units)}\nSaved to {output}")
    for unit, problem in failed.items():
        where = f" ({unit.folder / ERROR})" if (unit.folder / ERROR).is_file() else ""
        typer.echo(f"FAILED {unit}: {problem}{where}", err=True)
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    run(app)
