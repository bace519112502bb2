"""`decomp-ser finetune`: train on all tasks at once and score the test fold (section 3.3, equation
5).
"""

from typing import Annotated

import typer

from train_scripts.cli import run
from train_scripts.options import (
    Data,
    FoldName,
    Overrides,
    PresetName,
    ProtocolName,
    RunFolder,
    SkipBad,
)
from train_scripts.training.finetuning import finetune
from train_scripts.training.stage import (
    report,
)

app = typer.Typer(add_completion=False)


@app.command()
def command(
    preset: PresetName,
    overrides: Overrides = None,
    *,
    data: Data,
    protocol: ProtocolName,
    fold: FoldName,
    output: RunFolder,
    pretrained: Annotated[
        str | None, typer.Option(help="Output folder of `decomp-ser pretrain` to start from.")
    ] = None,
    skip_bad: SkipBad = False,
    allow_overlap: Annotated[
        bool,
        typer.Option(
            "--allow-overlap",
            help="Take a pre-trained model that knows the test fold; marks the result.",
        ),
    ] = False,
) -> None:
    """Train on all tasks (equation 5), score the test fold and save the model."""
    results = finetune(
        preset,
        data=data,
        protocol=protocol,
        fold=fold,
        output=output,
        pretrained=pretrained,
        overrides=overrides,
        skip_bad=skip_bad,
        allow_overlap=allow_overlap,
    )
    report(results, output)


if __name__ == "__main__":
    run(app)
