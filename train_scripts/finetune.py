"""`decomp-ser finetune`: train on all tasks and score the test fold (section 3.3, equation 5)."""

from train_scripts import options
from train_scripts.cli import make_app, run

app = make_app()


@app.command(
    epilog="After Ctrl-C: the checkpoint of the last whole epoch stays, and the same command "
    "resumes from there."
)
def command(
    preset: options.PresetName,
    overrides: options.Overrides = None,
    *,
    data: options.Corpora,
    labels: options.Labels = None,
    sampling: options.Sampling = None,
    protocol: options.ProtocolName,
    fold: options.FoldName,
    output: options.RunFolder,
    pretrained: options.Pretrained = None,
    skip_bad: options.SkipBad = False,
    allow_overlap: options.AllowOverlap = False,
) -> None:
    """Train on all tasks (equation 5), score the test fold and save the model."""
    given = locals()
    given["data"] = options.read_data(data, given.pop("labels"), given.pop("sampling"))
    from train_scripts.training.finetuning import finetune
    from train_scripts.training.stage import report

    report(finetune(**given), output)


if __name__ == "__main__":
    run(app)
