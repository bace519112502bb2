"""Compare settings on validation speakers: the test turns have no say in what is chosen.

`python -m train_scripts.search RUNS... --output FILE` reads run folders of `finetune` or
`cross-validate` that differ in their settings.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from processing.errors import InputError
from train_scripts.cli import run
from train_scripts.report_runs import effective_overrides, find_results, read_json
from train_scripts.results import write_json

app = typer.Typer(add_completion=False)


def compare_trials(runs: Sequence[str | Path], *, seed: int = 0) -> dict[str, Any]:
    """Validation UAR of each trial, a trial being one preset with one set of settings.

    Args:
        runs: run folders, or folders that hold some at any depth.
        seed: whose runs are compared; further seeds of a chosen trial were run for its sake.

    Returns:
        {"seed", "trials": [{"preset", "overrides", "validation_uar", "folds", "turns", "chosen"}]}:
        the mean over folds, each weighed by its validation turns. The best of each preset is
        chosen.

    Raises:
        InputError: if no run has validation scores, or the trials of a preset differ in their
            folds.
    """
    trials: dict[tuple, list[dict]] = defaultdict(list)
    for path in find_results(runs):
        results = read_json(path)
        if results.get("validation_metrics") and results["seed"] == seed:
            overrides = effective_overrides(results["settings"]["overrides"])
            trials[results["preset"], overrides].append(results)
    if not trials:
        raise InputError(
            f"no run of seed {seed} has scores of validation speakers. Choose a protocol with "
            "validation speakers, such as speaker-5."
        )
    rows = [describe_trial(*key, results) for key, results in sorted(trials.items())]
    for preset in {row["preset"] for row in rows}:
        own = [row for row in rows if row["preset"] == preset]
        if len({tuple(row["folds"]) for row in own}) > 1:
            folds = " and ".join(",".join(row["folds"]) for row in own)
            raise InputError(f"preset '{preset}': its trials were run on folds {folds}. Run all.")
        max(own, key=lambda row: row["validation_uar"])["chosen"] = True
    return {"seed": seed, "trials": rows}


def describe_trial(preset: str, overrides: Sequence[str], results: Sequence[dict]) -> dict:
    """One entry of `compare_trials`, not chosen yet."""
    metrics = [result["validation_metrics"] for result in results]
    turns = [m["num_turns"] for m in metrics]
    recalls = [m["unweighted_average_recall"] for m in metrics]
    return {
        "preset": preset,
        "overrides": list(overrides),
        "validation_uar": float(np.average(recalls, weights=turns)),
        "folds": sorted(result["fold"] for result in results),
        "turns": sum(turns),
        "chosen": False,
    }


def render_trials(content: dict[str, Any]) -> str:
    """Markdown table of `compare_trials`."""
    lines = ["| preset | settings | validation UAR | chosen |", "|---|---|---|---|"]
    for row in content["trials"]:
        settings = " ".join(f"`{text}`" for text in row["overrides"]) or "as the preset"
        mark = "yes" if row["chosen"] else ""
        lines.append(f"| `{row['preset']}` | {settings} | {row['validation_uar']:.3f} | {mark} |")
    first = content["trials"][0]
    lines += ["", f"Seed {content['seed']}, folds {', '.join(first['folds'])}, {first['turns']} "]
    lines[-1] += "validation turns."
    return "\n".join(lines)


@app.command()
def command(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders that hold some.")],
    *,
    output: Annotated[Path | None, typer.Option(help="JSON file of the comparison.")] = None,
    seed: Annotated[int, typer.Option(help="Whose runs are compared.")] = 0,
) -> None:
    """Compare settings on validation speakers, and choose the best of each preset."""
    content = compare_trials(runs, seed=seed)
    typer.echo(render_trials(content))
    if output is not None:
        write_json(output, content)


if __name__ == "__main__":
    run(app)
