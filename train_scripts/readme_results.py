"""Write the results in README.md from results files, so that nobody types a number.

`make readme` runs it; a test says when it has to be run.
"""

import json
import re
import sys
from pathlib import Path

from processing.errors import InputError
from train_scripts.probe_table import render_brief

REPOSITORY = Path(__file__).parents[1]
README = REPOSITORY / "README.md"
RESULTS_FOLDER = REPOSITORY / "model_cards" / "results"

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


def render_results(results: dict) -> str:
    """Markdown table of one results.json, with all that the figures depend on.

    Args:
        results: content of results.json; `constant_baselines` is shown beside the metrics. Or of a
            probe.json.
    """
    if "conditions" in results:
        return render_brief(results)
    metrics, constant = results["metrics"], results.get("constant_baselines", {})
    lines = ["| test turns | " + str(metrics["num_turns"]) + " |", "|---|---|"]
    for name, title in ROWS.items():
        if metrics.get(name) is not None:
            beside = f" ({CONSTANT[name]}: {constant[name]:.3g})" if name in constant else ""
            lines.append(f"| {title} | {metrics[name]:.3g}{beside} |")
    protocol = results["protocol"]
    leak = " **It leaks.**" if protocol["leaks"] else ""
    commit, changed, _ = (results["commit"] or "unknown").partition("+changes")
    commit = commit[:12] + changed
    origin = (
        f"Protocol `{protocol['name']}` version {protocol['version']} ({protocol['hash']}), fold "
        f"{results['fold']}, one seed ({results['seed']}), size `{results['size']}`, "
        f"speech encoder `{results['backbone']}`, commit {commit}.{leak}"
    )
    return "\n".join([*lines, "", origin])


def update_text(text: str, results: dict[str, dict]) -> str:
    """Put each rendered result between its markers.

    Args:
        text: of the README, with `<!-- results:NAME -->` and `<!-- /results:NAME -->`.
        results: by NAME.

    Raises:
        InputError: if a marker is missing.
    """
    for name, content in results.items():
        pattern = re.compile(
            rf"(<!-- results:{name} -->\n).*?(<!-- /results:{name} -->)", re.DOTALL
        )
        if not pattern.search(text):
            raise InputError(f"README.md: no markers <!-- results:{name} --> for {name}.json.")
        block = render_results(content)
        text = pattern.sub(lambda match, block=block: f"{match[1]}{block}\n{match[2]}", text)
    return text


def read_results(folder: Path = RESULTS_FOLDER) -> dict[str, dict]:
    """Results by file name."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.json"))
    }


def keep_results(run: Path, name: str) -> None:
    """Keep the results of a run for README and cards, without what only its machine knows.

    Args:
        run: folder with results.json.
        name: of the file under model_cards/results.
    """
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    for entry in ("pretrained", "predictions", "model"):
        results.pop(entry, None)
    RESULTS_FOLDER.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    (RESULTS_FOLDER / f"{name}.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Keep the results of a run if one is named (RUN NAME), and rewrite README.md."""
    if len(sys.argv) == 3:
        keep_results(Path(sys.argv[1]), sys.argv[2])
    README.write_text(
        update_text(README.read_text(encoding="utf-8"), read_results()), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
