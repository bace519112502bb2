"""The Markdown of a report: rows of each corpus and protocol, tests between them, and the paper's
tables with the same rows beside them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

Scored = Mapping[str, Any]

HOW_TO_READ = """\
WA: correct / all turns (what the paper calls unweighted accuracy). UAR: mean recall of the classes.
Pooled: over the turns of all folds, for each seed, then averaged over the seeds; in brackets the
95 % bootstrap interval over resampled speakers ({num_resamples} resamples), seeds averaged within
each speaker. Fold mean: of the folds' figures, ± standard deviation over seeds. A dash is a figure
that the row does not have. Speech MSE: over valid frames / with padding to 192 frames. Speaker
accuracy: held-out turns of training speakers."""

HOW_TESTED = """\
Differences are first minus second, with the paired bootstrap interval over speakers. p (speakers),
the primary test: Wilcoxon signed-rank over speakers, seeds averaged within each, exact. p (folds):
the same over folds; n folds cannot give less than 2^(1-n). p (turns): exact McNemar test of the
pooled turns for each pair of seeds; of n such p the k-th smallest, k = n / 2 rounded up, times
n / k, which is valid however they depend on each other; it takes the turns of one speaker for
independent, so it is too small. Each p is Holm-corrected over the {num_comparisons} comparisons of
the corpus."""


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
    lines = [HOW_TO_READ.format(num_resamples=report["num_resamples"]), ""]
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
    family = comparisons[0]["mcnemar"]["comparisons"]
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
    return [HOW_TESTED.format(num_comparisons=family), "", *table(header, cells), ""]


def render_paper(report: Mapping[str, Any]) -> list[str]:
    """Tables 1 to 4 and Figure 3."""
    paper = report["paper"]
    lines = [
        f"The paper's figures are of {paper['corpus']}, by ten folds. On another corpus compare "
        "the order of rows, not the values.",
        "",
        *render_table_1(report),
    ]
    presets = {line.get("preset") for name in ("table2", "table3") for line in paper[name]["rows"]}
    groups = grouped(
        [row for row in report["rows"] if row["preset"] in presets],
        lambda row: (*split_of(row), row["size"]),
    )
    if not groups:
        lines += ["No row of the paper's Tables 2 and 3 is among these runs.", ""]
    for (corpus, protocol, size), rows in groups:
        same = [r for r in report["rows"] if split_of(r) == (corpus, protocol) and not r["size"]]
        where = f"beside {corpus}, `{protocol}`, size `{size}`"
        for name in ("table2", "table3"):
            lines += [f"### {paper[name]['source']}, {where}", ""]
            lines += [*paper_table(paper[name]["rows"], rows, name), ""]
        lines += [f"### {paper['table4']['source']}, {where}", "", paper["table4"]["note"], ""]
        lines += [*table_4(paper["table4"]["rows"], rows, same), ""]
    return lines + render_figure_3(report)


def render_table_1(report: Mapping[str, Any]) -> list[str]:
    """Turns and minutes of each class: the paper's, and those of the corpora."""
    paper = report["paper"]["table1"]
    corpora = report["corpora"]
    lines = [f"### {paper['source']}", ""]
    names = list(paper["rows"])
    for corpus in corpora.values():
        names = [
            *(n for n in names if n != "total"),
            *(n for n in corpus["classes"] if n not in names),
            "total",
        ]
    header = ["class", "paper: turns", "paper: minutes"]
    for name, corpus in corpora.items():
        mark = "" if corpus["whole"] else " (tested folds only)"
        header += [f"{name}: turns{mark}", f"{name}: minutes"]
    cells = []
    for name in names:
        stated = paper["rows"].get(name, {})
        cells.append([name, number(stated.get("turns"), "g"), number(stated.get("minutes"), ".1f")])
        for corpus in corpora.values():
            found = corpus["classes"].get(name, {})
            cells[-1] += [number(found.get("turns"), "g"), number(found.get("minutes"), ".1f")]
    return lines + table(header, cells) + ["", paper["note"], ""]


def paper_table(stated: Sequence[Mapping], rows: Sequence[Scored], name: str) -> list[str]:
    """Table 2 or 3 with each figure beside that of the row of the same preset."""
    columns: list[tuple[str, Callable[[Mapping], str], Callable[[Scored], str]]] = [
        ("Speech MSE", lambda r: number(r.get("speech_mse"), ".2e"), lambda r: mse_cell(r)),
        (
            "SER Acc. (WA)",
            lambda r: percent(r.get("weighted_accuracy")),
            lambda r: pooled(r, "weighted_accuracy", percent),
        ),
    ]
    if name == "table3":
        columns[:0] = [
            (
                "Speaker Acc.",
                lambda r: percent(r.get("speaker_accuracy")),
                lambda r: percent(r["metrics"]["speaker_accuracy"]["pooled"]),
            ),
        ]
        columns[2:2] = [
            (
                "ASR Acc.",
                lambda r: percent(r.get("asr_accuracy")),
                lambda r: percent(asr_accuracy(r)),
            ),
        ]
    header = ["row"]
    for title, _, _ in columns:
        header += [f"{title}: paper", "here"]
    header += ["UAR here", "what to know"]
    cells = []
    for line in stated:
        row = find_row(line, rows)
        cells.append([f"{line['name']} (`{line['preset']}`)"])
        for _, of_paper, of_row in columns:
            cells[-1] += [of_paper(line), of_row(row) if row else "not run"]
        cells[-1] += [
            pooled(row, "unweighted_average_recall", percent) if row else "not run",
            row_notes(row, line["preset"]) if row else "-",
        ]
    return table(header, cells)


def table_4(
    stated: Sequence[Mapping], rows: Sequence[Scored], baselines: Sequence[Scored]
) -> list[str]:
    """Table 4 as quoted, with this report's rows beside and below it."""
    cells = []
    for line in stated:
        row = find_row(line, rows) if "preset" in line else None
        here = pooled(row, "weighted_accuracy", percent) if row else "-"
        notes = row_notes(row, line["preset"]) if row else "-"
        cells.append(
            [line["name"], f"{percent(line['weighted_accuracy'])} (unverified)", here, notes]
        )
    others = [r for r in rows if r["preset"] == "encoders_alone"]
    for row in [*baselines, *others]:
        notes = "; ".join(row["notes"]) or "-"
        cells.append([f"`{row['title']}`", "-", pooled(row, "weighted_accuracy", percent), notes])
    return table(["study", "SER Acc.: paper", "WA here", "what to know"], cells)


def render_figure_3(report: Mapping[str, Any]) -> list[str]:
    """Figure 3: losses of pre-training."""
    paper = report["paper"]["figure3"]
    lines = [f"### {paper['source']}", ""]
    cells = [["paper", f"{paper['steps']:,}", "-", f"omega {paper['omega']}; {paper['note']}", "-"]]
    for curve in report["pretraining"]:
        last = curve["last"]
        cells.append(
            [
                f"`{curve['title']}`, {curve['corpus']}, `{curve['protocol']}`, {curve['size']}",
                f"{curve['steps']:,}",
                str(curve["num_runs"]),
                f"L_MSE {number(last['loss_reconstruction'], '.2e')}, "
                f"L_S {number(last['loss_speaker'])} at the end (mean of the runs)",
                f"[curves]({curve['figure']})",
            ]
        )
    lines += table(["pre-training", "steps", "runs", "losses", "figure"], cells)
    lines += ["", *(f"![Losses of pre-training]({c['figure']})" for c in report["pretraining"]), ""]
    return lines


# Cells --------------------------------------------------------------------------------------------


def table(header: Sequence[str], cells: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [header, ["---"] * len(header), *cells]
    return ["| " + " | ".join(str(c).replace("|", "\\|") for c in line) + " |" for line in lines]


def number(value: float | None, form: str = ".3f") -> str:
    """A number, or a dash."""
    return "-" if value is None else format(value, form)


def percent(value: float | None) -> str:
    """A fraction in per cent, or a dash."""
    return "-" if value is None else f"{100 * value:.2f} %"


def pooled(row: Scored, name: str, form: Callable[[float | None], str] = number) -> str:
    """Pooled WA or UAR with its interval."""
    score = row["metrics"][name]
    if score["interval_95"] is None:
        return form(score["pooled"])
    low, high = (form(bound).removesuffix(" %") for bound in score["interval_95"])
    return f"{form(score['pooled'])} [{low}, {high}]"


def fold_mean(score: Mapping[str, Any]) -> str:
    """Mean of the folds and standard deviation over seeds."""
    spread = score["sd_over_seeds"]
    return number(score["fold_mean"]) + (" (one seed)" if spread is None else f" ± {spread:.3f}")


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


def mse_cell(row: Scored) -> str:
    """Both speech errors of a row."""
    valid, padded = (row["metrics"][n]["pooled"] for n in ("speech_mse", "speech_mse_padded"))
    return "-" if valid is None else f"{valid:.2e} (with padding {padded:.2e})"


def asr_accuracy(row: Scored) -> float | None:
    """1 - WER, as the paper has it."""
    rate = row["metrics"]["word_error_rate"]["pooled"]
    return None if rate is None else 1 - rate


def row_notes(row: Scored, preset: str) -> str:
    """What to know of a row in a table of the paper."""
    notes = list(row["notes"])
    if row["preset"] != preset:
        notes.append(f"run as `{row['preset']}`, the same model")
    if row["overrides"]:
        notes.append("with " + " ".join(row["overrides"]))
    return "; ".join(notes) or "-"


def find_row(line: Mapping[str, Any], rows: Sequence[Scored]) -> Scored | None:
    """The row of a line of the paper: of the fewest settings changed, complete rather than not."""
    for preset in (line["preset"], line.get("same_model")):
        found = [row for row in rows if row["preset"] == preset]
        if found:
            return min(found, key=lambda r: (len(r["overrides"]), not r["complete"], r["row"]))
    return None


def split_of(row: Scored) -> tuple[str, str]:
    """Corpus and protocol."""
    return row["corpus"], row["protocol"]["name"]


def grouped(items: Iterable[Any], key: Callable[[Any], Any]) -> list[tuple[Any, list[Any]]]:
    """Items by key, keys in order."""
    return [(k, list(group)) for k, group in groupby(sorted(items, key=key), key=key)]


def figure_name(corpus: str, protocol: str) -> str:
    """File of the overview of a corpus and protocol."""
    words = f"rows_{corpus}_{protocol}"
    return "".join(c if c.isalnum() or c in "_+-" else "-" for c in words) + ".png"
