"""Write a report of run folders: report.md, report.json and the figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from datasets.utils import tqdm

from processing.errors import InputError
from train_scripts.experiments.trials import compare_trials
from train_scripts.publishing.model_card import card_results
from train_scripts.reports.comparisons import (
    DEFAULT_PAIRS,
    EVERY,
    choose_pairs,
    compare,
    correct_p_values,
)
from train_scripts.reports.corpora import adjust_runs, by_corpus
from train_scripts.reports.cross_corpus import MATRIX, arrange_matrix, draw_matrix
from train_scripts.reports.figures import plot_confusion, plot_rows, plot_speakers
from train_scripts.reports.fusion import fuse_rows
from train_scripts.reports.notes import note_other_splits
from train_scripts.reports.pages import figure_name, grouped, render, short_names, split_of
from train_scripts.reports.part_scores import part_scores
from train_scripts.reports.pretraining_curves import report_pretraining
from train_scripts.reports.rows import group_rows
from train_scripts.reports.scores import score_row
from train_scripts.runs.archive import read_all_runs
from train_scripts.runs.record import git_commit, write_json
from train_scripts.runs.settings import PRESETS
from train_scripts.runs.whole_files import whole_files

PAPER_TABLES = PRESETS / "paper" / "tables.yaml"
REPORT_JSON, REPORT_MARKDOWN = "report.json", "report.md"


def report(
    runs: Sequence[str | Path],
    output: str | Path,
    *,
    pairs: Sequence[tuple[str, str]] = DEFAULT_PAIRS,
    allow_mixed: bool = False,
    fuse: Sequence[str] = (),
    adjust_logits: str | None = None,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Write a report of run folders.

    Args:
        runs: run folders, folders that hold some at any depth, or archives.
        output: folder for report.md, report.json and the figures.
        pairs: presets to compare; see `choose_pairs`.
        allow_mixed: compare rows although a setting that they should share is another.
        fuse: combinations of rows to add, FIRST+SECOND; see `fuse_rows`.
        adjust_logits: add adjusted rows of runs on several corpora, see `adjust_runs`.
        num_resamples: of the bootstrap over speakers, 2,000 or more.
        seed: of the bootstrap.

    Returns:
        The content of report.json.

    Raises:
        InputError: if nothing is found, a file is damaged, or runs cannot share a row.
    """
    if num_resamples < 2000:
        raise InputError(f"--resamples {num_resamples}: expected at least 2000.")
    scored_runs, pretraining_runs, passed_over = read_all_runs([Path(run) for run in runs])
    scored_runs = by_corpus(scored_runs)
    adjusted, not_adjusted = adjust_runs(scored_runs, adjust_logits)
    rows = group_rows([*scored_runs, *adjusted])
    rows += fuse_rows(rows, fuse)
    draws = {"num_resamples": num_resamples, "seed": seed}
    scored = [score_row(row, **draws) for row in progress(rows, "Rows")]
    for _, same in grouped(scored, split_of):
        note_other_splits(same)
    chosen, refused = choose_pairs(rows, pairs, allow_mixed=allow_mixed)
    comparisons = [compare(*pair, **draws) for pair in progress(chosen, "Comparisons")]
    correct_p_values(comparisons)
    with whole_files(output) as folder:
        content = {
            "commit": git_commit(),
            "num_resamples": num_resamples,
            "bootstrap_seed": seed,
            "rows": scored,
            "comparisons": comparisons,
            "cross_corpus": arrange_matrix(scored),
            "passed_over": [
                *passed_over,
                *not_adjusted,
                *(f"not compared: {line}" for line in refused),
            ],
            "corpora": count_classes(scored),
            "pretraining": report_pretraining(pretraining_runs, folder),
            "paper": yaml.safe_load(PAPER_TABLES.read_text(encoding="utf-8")),
            "model_index": [{"row": row["row"], "results": card_results(row)} for row in scored],
        }
        draw_rows(scored, folder)
        if content["cross_corpus"]["systems"]:
            draw_matrix(content["cross_corpus"], folder / MATRIX)
        (folder / REPORT_MARKDOWN).write_text(render("report", **content), encoding="utf-8")
        write_json(folder / REPORT_JSON, content)
    return content


def write_comparison(
    runs: Sequence[Path], output: Path, *, parts: str | None, num_resamples: int, seed: int
) -> str:
    """Write what the parts of models are worth on a corpus, or without one trials of settings;
    returns the page.
    """
    content = (
        compare_trials(runs, seed=seed)
        if parts is None
        else part_scores(runs, parts, num_resamples=num_resamples, seed=seed)
    )
    name = "trials" if parts is None else "parts"
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / f"{name}.json", content)
    return render(name, **content).rstrip()


def progress(items: Sequence[Any], title: str) -> tqdm:
    """The items with a bar where there are many."""
    return tqdm(items, desc=title, unit="item", disable=len(items) < 4)


def draw_rows(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write the figures of all rows."""
    for (corpus, protocol), same in grouped(rows, split_of):
        names = short_names(same)
        plot_rows(same, names, folder / figure_name(corpus, protocol))
        for row in progress(same, "Figures"):
            name = names[row["title"]]
            plot_confusion(row, name, folder / f"confusion_{row['row']}.png")
            if row["per_speaker"]:
                plot_speakers(row, name, folder / f"speakers_{row['row']}.png")


def count_classes(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Table 1 of each corpus: turns and minutes of the classes, from the row that tested most.

    Returns:
        {corpus: {"classes": {label or "total": {"turns", "minutes"}}, "whole", "row"}}; `whole`:
        every turn of the corpus was tested.
    """
    corpora = {}
    for corpus, own in grouped(rows, lambda row: row["corpus"]):
        row = max(own, key=lambda r: (r["num_turns"], r["minutes"] is not None))
        minutes = row["minutes"] or {}
        classes = {
            label: {"turns": scores["num_turns"], "minutes": minutes.get(label)}
            for label, scores in row["per_class"].items()
        }
        total = sum(minutes.values()) if minutes else None
        classes["total"] = {"turns": row["num_turns"], "minutes": total}
        whole = not any("in no tested fold" in text for text in row["missing"])
        corpora[corpus] = {"classes": classes, "whole": whole, "row": row["row"]}
    return corpora


def parse_pair(text: str) -> tuple[str, str]:
    """Two presets written as FIRST:SECOND.

    Examples:
        >>> parse_pair("table3_ours:table3_m4")
        ('table3_ours', 'table3_m4')
    """
    first, colon, second = text.partition(":")
    if not (first and colon and second):
        raise InputError(f"--compare {text}: expected FIRST:SECOND, such as {EVERY}:table3_m1.")
    return first, second
