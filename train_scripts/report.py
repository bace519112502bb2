"""`decomp-ser report`: the paper's tables from run folders, with intervals and tests."""

from pathlib import Path
from typing import Annotated

import typer

from train_scripts.cli import run
from train_scripts.reports.comparisons import DEFAULT_PAIRS
from train_scripts.reports.pages import pooled
from train_scripts.reports.writing import REPORT_MARKDOWN, parse_pair, report

app = typer.Typer(add_completion=False)


@app.command()
def command(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders, or folders that hold some at any depth.")
    ],
    *,
    output: Annotated[Path, typer.Option(help="Folder for report.md, report.json and figures.")],
    compare: Annotated[
        list[str] | None,
        typer.Option(
            help="Presets to test against each other, FIRST:SECOND; may be repeated. Default: "
            + ", ".join(":".join(pair) for pair in DEFAULT_PAIRS)
        ),
    ] = None,
    allow_mixed: Annotated[
        bool,
        typer.Option(
            "--allow-mixed",
            help="Compare rows although a setting that they should share is another.",
        ),
    ] = False,
    resamples: Annotated[
        int, typer.Option(help="Resamples of the bootstrap over speakers, 2000 or more.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
) -> None:
    """Write tables with intervals and tests, figures and the paper's figures beside them."""
    content = report(
        runs,
        output,
        pairs=[parse_pair(text) for text in compare] if compare else DEFAULT_PAIRS,
        allow_mixed=allow_mixed,
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
    typer.echo(f"Saved to {Path(output) / REPORT_MARKDOWN}")


if __name__ == "__main__":
    run(app)
