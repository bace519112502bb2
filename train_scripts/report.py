"""`decomp-ser report`: the paper's tables from run folders, with intervals and tests."""

from pathlib import Path
from typing import Annotated

import typer

from train_scripts.cli import make_app, run
from train_scripts.options import Folder

app = make_app()

Runs = Annotated[
    list[Path],
    typer.Argument(help="Run folders, folders that hold some at any depth, or archives."),
]
Compare = Annotated[
    list[str] | None,
    typer.Option(
        help="Presets to test against each other, FIRST:SECOND; may be repeated. Default: "
        "every:table3_m1, table3_ours:table3_m4, table3_ours:encoders_alone, "
        "table3_ours:baseline_compare"
    ),
]
AllowMixed = Annotated[
    bool,
    typer.Option(
        "--allow-mixed",
        help="Compare rows although a setting that they should share is another.",
    ),
]
Resamples = Annotated[
    int, typer.Option(help="Resamples of the bootstrap over speakers, 2000 or more.")
]
Seed = Annotated[int, typer.Option(help="Seed of the bootstrap; with --trials that of the runs.")]
Trials = Annotated[
    bool,
    typer.Option(
        "--trials",
        help="Compare settings on validation speakers instead, and choose the best of each "
        "preset; writes trials.json.",
    ),
]
Parts = Annotated[
    str | None,
    typer.Option(
        metavar="DATA",
        help="Score the models with every subset of their parts on this corpus instead; writes "
        "parts.json.",
    ),
]
Archive = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Write the runs to this Parquet file too, without anything of their corpus; a report "
        "of it gives the same figures, without words and minutes.",
    ),
]
Fuse = Annotated[
    list[str] | None,
    typer.Option(help="Add a row that combines two, such as table3_ours+baseline_compare."),
]
AdjustLogits = Annotated[
    str | None,
    typer.Option(
        "--adjust-logits",
        metavar="uniform|estimated",
        help="Add rows of presets trained on several corpora whose answers expect other shares of "
        "the emotions than training had: all alike, or as the tested turns suggest.",
    ),
]
Leaderboard = Annotated[
    bool,
    typer.Option(
        "--leaderboard", help="Write one page over all corpora instead; writes leaderboard.md."
    ),
]


@app.command(epilog="After Ctrl-C: no report is written; the runs are as they were.")
def command(
    runs: Runs,
    *,
    output: Folder,
    compare: Compare = None,
    allow_mixed: AllowMixed = False,
    resamples: Resamples = 10_000,
    seed: Seed = 0,
    trials: Trials = False,
    parts: Parts = None,
    archive: Archive = None,
    fuse: Fuse = None,
    adjust_logits: AdjustLogits = None,
    leaderboard: Leaderboard = False,
) -> None:
    """Write tables with intervals and tests, figures and the paper's figures beside them.

    Runs on several corpora are shown corpus by corpus, with a matrix of training by test.

    --output gets report.md, report.json and the figures.
    """
    if leaderboard:
        from train_scripts.reports import leaderboard as page

        page.leaderboard(runs, output, fuse=fuse or (), num_resamples=resamples, seed=seed)
        typer.echo(f"Saved to {output / page.LEADERBOARD}")
        return
    if trials or parts:
        from train_scripts.reports.writing import write_comparison

        options = {"num_resamples": resamples, "seed": seed}
        typer.echo(write_comparison(runs, output, parts=None if trials else parts, **options))
        return
    from train_scripts.reports.comparisons import DEFAULT_PAIRS
    from train_scripts.reports.pages import pooled
    from train_scripts.reports.writing import REPORT_MARKDOWN, parse_pair, report
    from train_scripts.runs.archive import read_all_runs, write_archive

    content = report(
        runs,
        output,
        pairs=[parse_pair(text) for text in compare] if compare else DEFAULT_PAIRS,
        allow_mixed=allow_mixed,
        fuse=fuse or (),
        adjust_logits=adjust_logits,
        num_resamples=resamples,
        seed=seed,
    )
    if archive is not None:
        write_archive(read_all_runs(runs)[0], archive)
    for row in content["rows"]:
        typer.echo(
            f"{row['corpus']} {row['protocol']['name']} {row['title']}: "
            f"WA {pooled(row, 'weighted_accuracy')}, UAR {pooled(row, 'unweighted_average_recall')}"
            + "".join(f"\n  {note}" for note in row["notes"])
        )
    typer.echo("\n".join([*content["passed_over"], f"Saved to {output / REPORT_MARKDOWN}"]))


if __name__ == "__main__":
    run(app)
