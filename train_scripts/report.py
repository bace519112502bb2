"""`decomp-ser report`: the paper's tables from run folders, with intervals and tests."""

from pathlib import Path
from typing import Annotated

import typer

from train_scripts.cli import make_app, run
from train_scripts.options import Folder

app = make_app()

Runs = Annotated[
    list[Path], typer.Argument(help="Run folders, or folders that hold some at any depth.")
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


Fuse = Annotated[
    list[str] | None,
    typer.Option(
        help="Add a row that combines two, FIRST+SECOND, as table3_ours+baseline_compare; may be "
        "repeated."
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
    fuse: Fuse = None,
    leaderboard: Leaderboard = False,
) -> None:
    """Write tables with intervals and tests, figures and the paper's figures beside them.

    --output gets report.md, report.json and the figures.
    """
    if trials:
        from train_scripts.experiments.trials import compare_trials, render_trials
        from train_scripts.runs.record import write_json

        comparison = compare_trials(runs, seed=seed)
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / "trials.json", comparison)
        typer.echo(render_trials(comparison))
        return
    if parts:
        from train_scripts.reports.pages import render
        from train_scripts.reports.part_scores import part_scores
        from train_scripts.runs.record import write_json

        content = part_scores(runs, parts, num_resamples=resamples, seed=seed)
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / "parts.json", content)
        typer.echo(render("parts", **content).rstrip())
        return
    if leaderboard:
        from train_scripts.reports.leaderboard import LEADERBOARD
        from train_scripts.reports.leaderboard import leaderboard as write

        write(runs, output, fuse=fuse or (), num_resamples=resamples, seed=seed)
        typer.echo(f"Saved to {output / LEADERBOARD}")
        return
    from train_scripts.reports.comparisons import DEFAULT_PAIRS
    from train_scripts.reports.pages import pooled
    from train_scripts.reports.writing import REPORT_MARKDOWN, parse_pair, report

    content = report(
        runs,
        output,
        pairs=[parse_pair(text) for text in compare] if compare else DEFAULT_PAIRS,
        allow_mixed=allow_mixed,
        fuse=fuse or (),
        num_resamples=resamples,
        seed=seed,
    )
    for row in content["rows"]:
        typer.echo(
            f"{row['corpus']} {row['protocol']['name']} {row['title']}: "
            f"WA {pooled(row, 'weighted_accuracy')}, UAR {pooled(row, 'unweighted_average_recall')}"
            + "".join(f"\n  {note}" for note in row["notes"])
        )
    for line in content["passed_over"]:
        typer.echo(line)
    typer.echo(f"Saved to {output / REPORT_MARKDOWN}")


if __name__ == "__main__":
    run(app)
