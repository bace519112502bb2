"""Write the results on pages from results files and reports, so that nobody types a number.

`make readme` runs it; a test says when it has to be run.
"""

import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

from processing.errors import InputError
from train_scripts.reports.pages import render
from train_scripts.runs.record import read_record, write_json

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "README.md"
RESULTS_FOLDER = REPOSITORY / "model_cards" / "results"
QUICKSTART = RESULTS_FOLDER / "quickstart.json"
EXPERIMENTS_FOLDER = REPOSITORY / "model_cards" / "experiments"
MEASUREMENTS_FOLDER = REPOSITORY / "model_cards" / "measurements"
PEERS = MEASUREMENTS_FOLDER / "peers.json"
PAGES = (
    README,
    REPOSITORY / "docs" / "getting-started.md",
    EXPERIMENTS_FOLDER / "README.md",
    MEASUREMENTS_FOLDER / "README.md",
)

MARKER = re.compile(r"<!-- ((?:results|readme|experiment|search|parts|measurement):\S+) -->\n")
"""The start of a block that this script writes."""

README_EXPERIMENT, README_PROTOCOL = "ravdess_8", "ravdess-published"
README_ROWS = {
    "table3_ours": "waveform and the four encoders",
    "undivided": "waveform and one encoder, which is given the same and learns the same tasks",
}
"""The primary comparison of the plan, first minus second, and what each of the rows hears."""


def readme_table(report: dict) -> dict[str, Any]:
    """The rows of README of a report.json, and their comparison.

    Raises:
        InputError: if the report does not have each of them once.
    """
    rows = []
    for preset in README_ROWS:
        key = (preset, README_PROTOCOL)
        same = [row for row in report["rows"] if (row["preset"], row["protocol"]["name"]) == key]
        if len(same) != 1:
            raise InputError(
                f"the report has {len(same)} rows of {preset} in protocol {README_PROTOCOL}, "
                "expected 1 for README."
            )
        rows += same
    names = [row["row"] for row in rows]
    (comparison,) = (c for c in report["comparisons"] if [c["first"], c["second"]] == names)
    return {"rows": rows, "comparison": comparison, "heard": README_ROWS}


def update_text(text: str, blocks: dict[str, str]) -> str:
    """Put Markdown blocks between their markers, `<!-- NAME -->` and `<!-- /NAME -->`.

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
    """Every block that is made from files, by its name."""
    report = json.loads((EXPERIMENTS_FOLDER / README_EXPERIMENT / "report.json").read_text("utf-8"))
    blocks = {
        "results:quickstart": render("quickstart", run=read_record(QUICKSTART)),
        "readme:table": render("readme", **readme_table(report)),
        "readme:speed": render("readme_speed", result=json.loads(PEERS.read_text("utf-8"))),
    }
    for path in sorted(MEASUREMENTS_FOLDER.glob("*.json")):
        measured = json.loads(path.read_text("utf-8"))
        blocks[f"measurement:{path.stem}"] = render(path.stem, result=measured)
    for kind, name, write in (
        ("experiment", "report.json", partial(render, "experiment")),
        ("search", "search.json", partial(render, "trials")),
        ("parts", "parts.json", partial(render, "parts")),
    ):
        for path in sorted(EXPERIMENTS_FOLDER.glob(f"*/{name}")):
            content = json.loads(path.read_text("utf-8"))
            blocks[f"{kind}:{path.parent.name}"] = write(**content)
    return {name: block.rstrip() for name, block in blocks.items()}


def keep_results(run: Path, name: str) -> None:
    """Keep the results of a run folder as `model_cards/results/NAME.json` for README and cards,
    without what only its machine knows.
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
