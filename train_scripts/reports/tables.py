"""The Markdown of a report: rows of each corpus and protocol with their figures, and the tests
between them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from train_scripts.reports.cells import (
    Scored,
    figure_name,
    grouped,
    number,
    pooled,
    split_of,
    table,
)
from train_scripts.reports.paper_tables import render_paper

HOW_TO_READ = """\
WA: correct / all turns (what the paper calls unweighted accuracy). UAR: mean recall of the classes.
Pooled: over the turns of all folds, for each seed, then averaged over the seeds; in brackets the
95 % bootstrap interval over resampled speakers ({num_resamples} resamples, percentiles expanded for
few speakers), seeds averaged within each. Fold mean: of the folds' figures, ± standard deviation
over seeds. Ensemble: WA / UAR of one answer a turn from the probabilities averaged over the seeds,
so of as many models. A dash is a figure that the row does not have. Speech MSE: over valid frames /
with padding to 192 frames. Speaker accuracy: held-out turns of training speakers."""

HOW_TESTED = """\
Comparisons: first minus second, with the paired bootstrap interval over speakers. p (speakers), the
primary test: Wilcoxon signed-rank over speakers, seeds averaged within each, exact. p (folds): the
same over folds; n folds cannot give less than 2^(1-n). p (turns): exact McNemar test of the pooled
turns for each pair of seeds; of n such p the k-th smallest, k = n / 2 rounded up, times n / k,
which is valid however they depend on each other; it takes the turns of one speaker for independent,
so it is too small. Each p is Holm-corrected over all comparisons of the corpus."""


def render_report(report: Mapping[str, Any]) -> str:
    """The whole report as Markdown.

    Args:
        report: content of report.json.
    """
    parts = ["# Report", "", *render_rows(report)]
    parts += ["## Beside the paper", "", *render_paper(report)]
    if report["passed_over"]:
        parts += ["## Passed over", "", *(f"- {line}" for line in report["passed_over"]), ""]
    parts += [f"Written at commit {report['commit'] or 'unknown'}.", ""]
    return "\n".join(parts)


def render_rows(report: Mapping[str, Any]) -> list[str]:
    """For each corpus and protocol its rows, tests and figures."""
    if not report["rows"]:
        return []
    lines = [HOW_TO_READ.format(num_resamples=report["num_resamples"]), "", HOW_TESTED, ""]
    for (corpus, protocol), rows in grouped(report["rows"], split_of):
        lines += [f"## {corpus}, protocol `{protocol}`", ""]
        lines += table(
            [
                "row",
                "size",
                "seeds",
                "folds",
                "turns",
                "WA pooled",
                "UAR pooled",
                "WA fold mean",
                "UAR fold mean",
                "ensemble",
                "speaker acc.",
                "WER",
                "speech MSE",
                "what to know",
            ],
            [row_cells(row) for row in rows],
        )
        lines += ["", *origin_lines(rows), ""]
        lines += [f"![Rows with their intervals]({figure_name(corpus, protocol)})", ""]
        own = [
            c for c in report["comparisons"] if (c["corpus"], c["protocol"]) == (corpus, protocol)
        ]
        if own:
            lines += render_comparisons(own)
        for row in rows:
            lines.append(
                f"- {row['title']} {row['size'] or ''}: [confusion](confusion_{row['row']}.png), "
                f"[speakers](speakers_{row['row']}.png)"
            )
        lines.append("")
    return lines


def row_cells(row: Scored) -> list[str]:
    """Cells of a row in the table of its corpus."""
    metrics = row["metrics"]
    mse = [metrics[name]["pooled"] for name in ("speech_mse", "speech_mse_padded")]
    return [
        f"`{row['title']}`",
        row["size"] or "-",
        ", ".join(map(str, row["seeds"])),
        str(len(row["folds"])),
        str(row["num_turns"]),
        pooled(row, "weighted_accuracy"),
        pooled(row, "unweighted_average_recall"),
        fold_mean(metrics["weighted_accuracy"]),
        fold_mean(metrics["unweighted_average_recall"]),
        ensemble(metrics),
        number(metrics["speaker_accuracy"]["pooled"]),
        number(metrics["word_error_rate"]["pooled"]),
        "-" if mse[0] is None else f"{mse[0]:.2e} / {mse[1]:.2e}",
        "; ".join(row["notes"]) or "-",
    ]


def origin_lines(rows: Sequence[Scored]) -> list[str]:
    """Protocol, hash and commits of the rows of one corpus and protocol."""
    lines = []
    for digest, same in grouped(rows, lambda row: row["protocol"]["hash"]):
        commits = sorted({commit for row in same for commit in row["commits"]})
        version = same[0]["protocol"]["version"]
        names = ", ".join(f"`{row['title']}`" for row in same)
        lines.append(
            f"- splits {digest} (version {version}, folds {', '.join(same[0]['folds'])}; "
            f"{same[0]['num_speakers']} speakers): {names}; commit {', '.join(commits)}"
        )
    return lines


def render_comparisons(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """Table of tests."""
    cells = []
    for c in comparisons:
        speakers = c["wilcoxon_speakers"]["weighted_accuracy"]
        cells.append(
            [
                f"`{c['titles'][0]}` against `{c['titles'][1]}`",
                c["size"] or "-",
                difference(c["difference"]["weighted_accuracy"]),
                difference(c["difference"]["unweighted_average_recall"]),
                f"{speakers['positive']} / {speakers['negative']} of {speakers['n']}",
                p_value(speakers),
                p_value(c["wilcoxon_speakers"]["unweighted_average_recall"]),
                p_value(c["wilcoxon_folds"]["weighted_accuracy"]),
                p_value(c["mcnemar"]),
                "-" if c["complete"] else "INCOMPLETE: on what both have",
            ]
        )
    header = [
        "comparison",
        "size",
        "WA difference",
        "UAR difference",
        "speakers better / worse",
        "p (speakers, WA)",
        "p (speakers, UAR)",
        "p (folds, WA)",
        "p (turns)",
        "what to know",
    ]
    family = comparisons[0]["mcnemar"]["comparisons"]
    corrected = f"Corrected over the {family} comparisons of {comparisons[0]['corpus']}:"
    return [corrected, "", *table(header, cells), ""]


def difference(value: Mapping[str, Any]) -> str:
    """A difference with its interval."""
    interval = value["interval_95"]
    bounds = f" [{interval[0]:+.3f}, {interval[1]:+.3f}]" if interval else ""
    return f"{value['value']:+.3f}{bounds}"


def p_value(test: Mapping[str, Any]) -> str:
    """Corrected p, and the plain one."""
    if test["p"] is None:
        return "-"
    return f"{test['p_holm']:.2g} (uncorrected {test['p']:.2g})"


def ensemble(metrics: Mapping[str, Any]) -> str:
    """WA and UAR of the seeds' answers together."""
    names = ("weighted_accuracy", "unweighted_average_recall")
    scores = [metrics[name]["ensemble"] for name in names]
    return "-" if None in scores else f"{scores[0]:.3f} / {scores[1]:.3f}"


def fold_mean(score: Mapping[str, Any]) -> str:
    """Mean of the folds and standard deviation over seeds."""
    spread = score["sd_over_seeds"]
    return number(score["fold_mean"]) + (" (one seed)" if spread is None else f" ± {spread:.3f}")
