"""Write the results on pages from results files and reports, so that nobody types a number.

`make readme` runs it; a test says when it has to be run.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from processing.errors import InputError
from train_scripts.experiments.trials import render_trials
from train_scripts.reports.notes import TRAINED_ON_VALIDATION
from train_scripts.reports.pages import (
    difference,
    grouped,
    number,
    p_value,
    pooled,
    render,
    shared_overrides,
    short_names,
    split_of,
    table,
)
from train_scripts.reports.part_scores import render_parts
from train_scripts.runs.record import RunRecord, read_record, write_json

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "README.md"
RESULTS_FOLDER = REPOSITORY / "model_cards" / "results"
EXPERIMENTS_FOLDER = REPOSITORY / "model_cards" / "experiments"
MEASUREMENTS_FOLDER = REPOSITORY / "model_cards" / "measurements"
PAGES = (
    README,
    REPOSITORY / "docs" / "getting-started.md",
    EXPERIMENTS_FOLDER / "README.md",
    MEASUREMENTS_FOLDER / "README.md",
)

MARKER = re.compile(r"<!-- ((?:results|readme|experiment|search|parts|measurement):\S+) -->\n")
"""The start of a block that this script writes."""

README_EXPERIMENT, README_PROTOCOL = "ravdess", "speaker-5"
README_ROWS = {
    "baseline_majority": "always the commonest emotion",
    "table3_m1": "the waveform alone",
    "table3_m4": "waveform and one undivided encoder",
    "encoders_alone": "the four encoders alone",
    "table3_ours": "waveform and the four encoders",
    "baseline_compare": "hand-made features, support vector machine",
}
"""Rows of the one table of README, and what each of them hears."""

ROWS = {
    "weighted_accuracy": "WA (correct / all)",
    "unweighted_average_recall": "UAR (mean recall)",
    "speaker_accuracy": "speaker accuracy, held-out turns of training speakers",
    "word_error_rate": "word error rate",
    "speech_mse": "reconstruction MSE",
}
CONSTANT = {
    "word_error_rate": "the best constant sentence",
    "speech_mse": "the best constant spectrum",
}


def render_results(record: RunRecord) -> str:
    """Markdown table of the record of a run, with all that the figures depend on.

    Args:
        record: of the run; its `constant_baselines` are shown beside the metrics.
    """
    constant = record.constant_baselines or {}
    lines = [f"| test turns | {record.metrics.num_turns} |", "|---|---|"]
    for name, title in ROWS.items():
        value = getattr(record.metrics, name)
        if value is not None:
            beside = f" ({CONSTANT[name]}: {constant[name]:.3g})" if name in constant else ""
            lines.append(f"| {title} | {value:.3g}{beside} |")
    protocol = record.protocol
    leak = " **It leaks.**" if protocol.leaks else ""
    commit, changed, _ = (record.commit or "unknown").partition("+changes")
    commit = commit[:12] + changed
    origin = (
        f"Protocol `{protocol.name}` version {protocol.version} ({protocol.hash}), fold "
        f"{record.fold}, one seed ({record.seed}), size `{record.size}`, "
        f"speech encoder `{record.backbone}`, commit {commit}.{leak}"
    )
    return "\n".join([*lines, "", origin])


def render_readme_table(report: dict, protocol: str = README_PROTOCOL) -> str:
    """Markdown of the README's rows of a report, with what they have in common below.

    Args:
        report: content of report.json.
        protocol: whose rows are shown.

    Raises:
        InputError: if the report does not have each of the rows once.
    """
    rows = [row for row in report["rows"] if row["protocol"]["name"] == protocol]
    shown = []
    for preset in README_ROWS:
        same = [row for row in rows if row["preset"] == preset]
        if len(same) != 1:
            raise InputError(
                f"the report has {len(same)} rows of {preset} in protocol {protocol}, expected 1 "
                "for README."
            )
        shown += same
    header = ["preset", "what it hears", "seeds", "WA [95 % interval]", "UAR [95 % interval]"]
    header += ["random resampling", "pre-training"]
    cells = [
        [
            f"`{row['preset']}`",
            README_ROWS[row["preset"]],
            str(len(row["seeds"])),
            pooled(row, "weighted_accuracy"),
            pooled(row, "unweighted_average_recall"),
            yes_or_no(row["resampled"]),
            yes_or_no(row["pretrained"] if row["size"] else None),
        ]
        for row in shown
    ]
    first = shown[0]
    on_validation = [f"`{row['preset']}`" for row in shown if TRAINED_ON_VALIDATION in row["notes"]]
    sizes = sorted({row["size"] for row in shown if row["size"]})
    commits = sorted({commit[:12] for row in shown for commit in row["commits"]})
    origin = (
        f"{first['corpus']}, protocol `{protocol}` version {first['protocol']['version']} "
        f"({first['protocol']['hash']}), {first['num_turns']} turns of {first['num_speakers']} "
        f"speakers, size `{'`, `'.join(sizes)}`, commit {', '.join(commits)}. "
        f"Trained on validation speakers as well: {', '.join(on_validation) or 'none'}."
    )
    return "\n".join([*table(header, cells), "", origin])


def render_experiment(report: dict) -> str:
    """Markdown of the rows of a report and of the tests between them, in short; a table for each
    corpus and protocol.

    Args:
        report: content of report.json.
    """
    parts = []
    for split, rows in grouped(report["rows"], split_of):
        comparisons = [c for c in report["comparisons"] if (c["corpus"], c["protocol"]) == split]
        parts.append(render_split(rows, comparisons))
    return "\n\n".join(parts)


def render_split(rows: list[dict], comparisons: list[dict]) -> str:
    """Rows and tests of one corpus and protocol."""
    names = short_names(rows)
    header = ["row", "seeds", "WA [95 % interval]", "UAR [95 % interval]", "speaker accuracy"]
    header += ["WER", "speech MSE", "resampled / pre-trained", "what to know"]
    cells = [
        [
            f"`{names[row['title']]}`",
            str(len(row["seeds"])),
            pooled(row, "weighted_accuracy"),
            pooled(row, "unweighted_average_recall"),
            *(
                number(row["metrics"][name]["pooled"], form)
                for name, form in (
                    ("speaker_accuracy", ".3f"),
                    ("word_error_rate", ".3f"),
                    ("speech_mse", ".4f"),
                )
            ),
            f"{yes_or_no(row['resampled'])} / "
            f"{yes_or_no(row['pretrained'] if row['size'] else None)}",
            "; ".join(row["notes"]) or "-",
        ]
        for row in rows
    ]
    by_title = {row["title"]: row for row in rows}
    tests = [
        tested_in_words(comparison, names) + difference_by_seed(comparison, by_title)
        for comparison in comparisons
    ]
    lines = [*table(header, cells), "", *tests, *([""] if tests else [])]
    first = rows[0]
    commits = sorted({commit[:12] for row in rows for commit in row["commits"]})
    parts = [f"{first['num_turns']} turns of {first['num_speakers']} speakers"]
    for size, same in grouped([row for row in rows if row["size"]], lambda row: row["size"]):
        settings = "".join(f" `{override}`" for override in shared_overrides(same))
        parts.append(f"size `{size}`{settings}")
    lines.append(
        f"{first['corpus']}, protocol `{first['protocol']['name']}` version "
        f"{first['protocol']['version']} ({first['protocol']['hash']}), "
        f"{', '.join(parts)}, commit {', '.join(commits)}."
    )
    return "\n".join(lines)


def tested_in_words(comparison: dict, names: dict[str, str]) -> str:
    """One line of a report's tests."""
    first, second = (names[title] for title in comparison["titles"])
    return (
        f"- `{first}` against `{second}`: UAR "
        f"{difference(comparison['difference']['unweighted_average_recall'])}, p over speakers "
        f"{p_value(comparison['wilcoxon_speakers']['unweighted_average_recall'])}"
    )


def difference_by_seed(comparison: dict, rows: dict[str, dict]) -> str:
    """The difference seed by seed, which no interval over speakers shows; empty with one seed."""
    first, second = (
        rows[title]["metrics"]["unweighted_average_recall"]["per_seed"]
        for title in comparison["titles"]
    )
    shared = [seed for seed in first if seed in second]
    if len(shared) < 2:
        return ""
    return "; by seed " + ", ".join(f"{first[seed] - second[seed]:+.3f}" for seed in shared)


def yes_or_no(value: bool | None) -> str:
    """A dash where the question does not arise."""
    return "-" if value is None else "yes" if value else "no"


def update_text(text: str, blocks: dict[str, str]) -> str:
    """Put each block between its markers.

    Args:
        text: of the README, with `<!-- NAME -->` and `<!-- /NAME -->`.
        blocks: Markdown by NAME, such as "results:quickstart".

    Raises:
        InputError: if a marker is missing.
    """
    for name, block in blocks.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise InputError(f"no markers <!-- {name} -->.")
        text = pattern.sub(lambda match, block=block: f"{match[1]}{block}\n{match[2]}", text)
    return text


def read_pages() -> dict[Path, dict[str, str]]:
    """Pages with the blocks that their markers ask for. A file that no page shows is only kept.

    Raises:
        InputError: if a page has markers of a block that is made from no file.
    """
    blocks, pages = read_blocks(), {}
    for page in PAGES:
        names = MARKER.findall(page.read_text(encoding="utf-8"))
        for name in names:
            if name not in blocks:
                raise InputError(
                    f"{page.relative_to(REPOSITORY)}: no file makes the block <!-- {name} -->. "
                    f"There are: {', '.join(blocks)}."
                )
        pages[page] = {name: blocks[name] for name in names}
    return pages


def read_blocks() -> dict[str, str]:
    """Every block that is made from files."""
    rates = json.loads((MEASUREMENTS_FOLDER / "flag_rates.json").read_text("utf-8"))
    shown = EXPERIMENTS_FOLDER / README_EXPERIMENT / "report.json"
    return {
        "results:quickstart": render_results(read_record(RESULTS_FOLDER / "quickstart.json")),
        "readme:table": render_readme_table(json.loads(shown.read_text("utf-8"))),
        **render_each("experiment", "report.json", render_experiment),
        **render_each("search", "search.json", render_trials),
        **render_each("parts", "parts.json", render_parts),
        "measurement:flag_rates": render("flag_rates", result=rates).rstrip(),
    }


def render_each(kind: str, file_name: str, render: Callable[[dict], str]) -> dict[str, str]:
    """A block for each experiment that has a file, by "KIND:EXPERIMENT"."""
    return {
        f"{kind}:{path.parent.name}": render(json.loads(path.read_text("utf-8")))
        for path in sorted(EXPERIMENTS_FOLDER.glob(f"*/{file_name}"))
    }


def keep_results(run: Path, name: str) -> None:
    """Keep the results of a run for README and cards, without what only its machine knows.

    Args:
        run: folder with results.json.
        name: of the file under model_cards/results.
    """
    RESULTS_FOLDER.mkdir(parents=True, exist_ok=True)
    content = read_record(run).publishable().to_dict()
    write_json(RESULTS_FOLDER / f"{name}.json", content, indent=1)


def main() -> None:
    """Keep the results of a run if one is named (RUN NAME), and rewrite the pages."""
    if len(sys.argv) == 3:
        keep_results(Path(sys.argv[1]), sys.argv[2])
    for page, blocks in read_pages().items():
        page.write_text(update_text(page.read_text(encoding="utf-8"), blocks), encoding="utf-8")


if __name__ == "__main__":
    main()
