"""The tables and Figure 3 of the paper with the rows of a report beside them, in Markdown."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from train_scripts.reports.cells import Scored, grouped, number, percent, pooled, split_of, table


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
