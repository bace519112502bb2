"""`decomp-ser finetune`: train on all tasks at once and score the test fold (section 3.3, equation
5).
"""

from train_scripts.cli import make_app, run
from train_scripts.options import (
    AllowOverlap,
    Data,
    FoldName,
    Overrides,
    PresetName,
    Pretrained,
    ProtocolName,
    RunFolder,
    SkipBad,
)

app = make_app()


@app.command(
    epilog="After Ctrl-C: the checkpoint of the last whole epoch stays, and the same command "
    "resumes from there."
)
def command(
    preset: PresetName,
    overrides: Overrides = None,
    *,
    data: Data,
    protocol: ProtocolName,
    fold: FoldName,
    output: RunFolder,
    pretrained: Pretrained = None,
    skip_bad: SkipBad = False,
    allow_overlap: AllowOverlap = False,
) -> None:
    """Train on all tasks (equation 5), score the test fold and save the model."""
    options = locals()
    from train_scripts.training.finetuning import finetune
    from train_scripts.training.stage import report

    report(finetune(**options), output)


if __name__ == "__main__":
    run(app)
