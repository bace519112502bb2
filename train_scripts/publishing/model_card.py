"""The card of a trained model, rendered from its results.json; no number in it is typed by hand.

The prose is in `model_cards/card_template.md`, the figures come from here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from modeling_decomp_ser.configuration_decomp_ser import DECOMPOSED
from processing.corpora.licences import DEMONSTRATION, common_licence, training_corpora
from processing.corpora.registry import Corpus
from processing.corpora.synthetic import describe_corpus
from processing.errors import InputError
from processing.leakage import LEAK_KINDS
from train_scripts.explanations.probe_table import render_brief
from train_scripts.runs.finished_runs import Run

REPOSITORY = Path(__file__).parents[2]
TEMPLATE = REPOSITORY / "model_cards" / "card_template.md"
CITATION = REPOSITORY / "CITATION.cff"

METRICS = {
    "weighted_accuracy": ("WA, weighted accuracy", "accuracy", "correct / all"),
    "unweighted_average_recall": (
        "UAR, unweighted average recall",
        "recall",
        "mean of the emotions' recalls",
    ),
    "macro_f1": ("Macro F1", "f1", "mean of the emotions' F1"),
    "word_error_rate": ("Word error rate", "wer", "of the transcripts; 0 is best"),
    "speaker_accuracy": (
        "Speaker accuracy",
        "accuracy",
        "of training speakers, on turns held out from training",
    ),
    "speech_mse": ("Reconstruction MSE", "mse", "of the mel spectrogram; 0 is best"),
    "ece": ("Expected calibration error", "ece", "of the plain softmax; 0 is best"),
}
"""Metric of results.json: its name, its type on the Hub, what it is."""

SELECTED = {
    "last": "the last epoch, whose number was fixed beforehand",
    "validation": "the epoch with the best UAR on validation speakers",
    "test": "the epoch that was best on the test turns themselves, so the scores are too good",
}
SHARED = {
    "speaker": "a speaker",
    "dialogue": "a dialogue",
    "transcript": "the same words",
    "transcript_4_words": "the same words, four or more",
    "identical_audio": "the same samples",
    "near_identical_audio": "a copy of the sound",
}
COVERAGES = (1.0, 0.75, 0.5, 0.25)
"""Points of the risk-coverage curve that a card shows."""


def render_card(
    results: Mapping[str, Any],
    repo_id: str,
    *,
    revision: str = "main",
    report: Mapping[str, Any] | None = None,
    probe: Mapping[str, Any] | None = None,
) -> ModelCard:
    """Card of a model.

    Args:
        results: content of results.json.
        repo_id: of the repository that the card stands in.
        revision: what its example pins.
        report: content of a report.json; its row of this model, over all folds and seeds, is added
            to the metadata.
        probe: content of a probe.json of this model.

    Returns:
        The card; its metadata name every metric that is not null, with protocol and hash.

    Raises:
        InputError: if the report has no row of this model.
    """
    corpora = training_corpora(trained_on(results))
    data = card_data(results, repo_id, corpora, report)
    return ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        title=repo_id.split("/")[-1],
        repo_id=repo_id,
        revision=revision,
        **describe_model(results),
        **describe_scores(results),
        **describe_data(results, corpora),
        **describe_making(results),
        probe=render_brief(probe) if probe is not None else "",
        citation=bibtex(),
    )


def trained_on(results: Mapping[str, Any]) -> str | None:
    """Names of the training corpora; None where the results do not know them."""
    # those of `evaluate` have no preset, and name the corpus that was scored
    if not results.get("preset"):
        return None
    return results.get("trained_on", results.get("corpus"))


# --- metadata ------------------------------------------------------------------------------------


def card_data(
    results: Mapping[str, Any],
    repo_id: str,
    corpora: Mapping[str, Corpus],
    report: Mapping[str, Any] | None,
) -> ModelCardData:
    """The block of metadata, with a model-index."""
    evaluations = eval_results(results)
    if report is not None:
        evaluations += report_results(results, report)
    languages = sorted({c.language for c in corpora.values() if c.language})
    backbone = results.get("backbone")
    tags = ["speech-emotion-recognition", "decomp-ser", "custom_code"]
    return ModelCardData(
        model_name=repo_id.split("/")[-1],
        language=languages or None,
        license=common_licence(list(corpora.values())),
        library_name="transformers",
        pipeline_tag="audio-classification",
        tags=tags + (["demonstration"] if is_demonstration(results) else []),
        # the encoder of a run from scratch is no model of the Hub
        base_model=backbone if backbone and "/" in backbone else None,
        eval_results=evaluations,
    )


def report_results(results: Mapping[str, Any], report: Mapping[str, Any]) -> list[EvalResult]:
    """Metrics of the row of a report that this model is a run of; raises InputError without one."""
    row = Run(Path(), dict(results)).key
    for entry in report["model_index"]:
        if entry["row"] == row.slug:
            return [EvalResult(**metric) for metric in entry["results"]]
    known = ", ".join(entry["row"] for entry in report["model_index"])
    raise InputError(f"the report has no row of this model, '{row.slug}', but {known}.")


def eval_results(results: Mapping[str, Any]) -> list[EvalResult]:
    """An entry of the model-index for every metric that is not null."""
    corpora = training_corpora(results.get("corpus"))  # the scored turns are of the same
    protocol = results["protocol"]
    fold = results.get("fold")
    note = " (leaking protocol)" if protocol["leaks"] else ""
    return [
        EvalResult(
            task_type="audio-classification",
            task_name="Speech emotion recognition",
            dataset_type="+".join(corpora) or "unknown",
            dataset_name=" + ".join(c.title for c in corpora.values()) or "not named",
            dataset_config=f"{protocol['name']}" + (f", fold {fold}" if fold else ""),
            dataset_split="test",
            dataset_args={"fold": fold, **protocol},
            metric_type=kind,
            metric_name=f"{name}{note}",
            metric_value=results["metrics"][key],
            metric_args={"num_turns": num_turns(results, key)},
        )
        for key, (name, kind, _) in METRICS.items()
        if results["metrics"].get(key) is not None
    ]


def num_turns(results: Mapping[str, Any], metric: str) -> int | None:
    """Turns that a metric is over."""
    if metric == "speaker_accuracy":  # the test speakers are no classes of its head
        return (results.get("leaks") or {}).get("turns", {}).get("heldout_turns")
    return results["metrics"].get("num_turns")


# --- the parts of the text -----------------------------------------------------------------------


def describe_model(results: Mapping[str, Any]) -> dict:
    """What stands above the results."""
    parts = [encoder_name(results), codes_name(results)]
    switched_off = results.get("tasks_switched_off") or {}
    return {
        "demonstration": describe_corpus() if is_demonstration(results) else "",
        "leaks": leak_reason(results) if results["protocol"]["leaks"] else "",
        "labels": ", ".join(cell(label) for label in results["labels"]),
        "architecture": " and ".join(part for part in parts if part),
        "parameters": f"{results['n_parameters']:,}",
        "switched_off": " ".join(
            f"The task *{task}* was switched off: {reason}."
            for task, reason in switched_off.items()
        ),
    }


def codes_name(results: Mapping[str, Any]) -> str:
    """The components in words; empty without one."""
    if results.get("preset") is None:  # scored, not trained here: its settings are not known
        return "codes of the components that `config.json` lists"
    components = results["settings"]["model"].get("components", DECOMPOSED)
    return f"the codes of {', '.join(components)}" if components else ""


def is_demonstration(results: Mapping[str, Any]) -> bool:
    """Whether synthetic speech trained or tested it."""
    return DEMONSTRATION in training_corpora(results.get("corpus"))


def encoder_name(results: Mapping[str, Any]) -> str:
    """The speech encoder in words; empty without one."""
    backbone = results.get("backbone")
    if backbone is None:
        return ""
    return (
        "a speech encoder without pretrained weights"
        if backbone == "scratch"
        else f"the speech encoder `{cell(backbone)}`"
    )


def leak_reason(results: Mapping[str, Any]) -> str:
    """Why a result is marked as leaking."""
    overlaps = [results.get(name) for name in ("overlap", "pretraining_overlap")]
    known = [f"{reason[0].upper()}{reason[1:]}." for reason in overlaps if reason]
    if known:
        return " ".join(known)
    return (
        f"The protocol `{results['protocol']['name']}` tests on speakers that are in the training "
        "set."
    )


def describe_scores(results: Mapping[str, Any]) -> dict:
    """The section of results."""
    metrics, labels = results["metrics"], [cell(label) for label in results["labels"]]
    known = {key: names for key, names in METRICS.items() if metrics.get(key) is not None}
    confusion = [
        [f"**{a}**", *map(str, row)] for a, row in zip(labels, results["confusion"], strict=True)
    ]
    return {
        "protocol": describe_protocol(results),
        "metrics": table(
            ["metric", "value", "what it is"],
            [[name, number(metrics[key]), what] for key, (name, _, what) in known.items()],
        ),
        "not_measured": ", ".join(name for key, (name, *_) in METRICS.items() if key not in known),
        "remarks": "\n".join(f"- {remark}" for remark in remarks(results)),
        "per_class": table(
            ["emotion", "turns", "recall", "precision", "F1"],
            [
                [cell(name), *numbers(row, ("num_turns", "recall", "precision", "f1"))]
                for name, row in results["per_class"].items()
            ],
        ),
        "confusion": table(["", *labels], confusion),
        "per_speaker": group_table("speaker", results.get("per_speaker")),
        "speaker_range": speaker_range(results.get("per_speaker")),
        "per_gender": group_table("gender", results.get("per_gender")),
        "calibration": describe_calibration(results),
    }


def describe_protocol(results: Mapping[str, Any]) -> str:
    """What the figures were measured on."""
    protocol, metrics = results["protocol"], results["metrics"]
    turns, speakers = metrics["num_turns"], len(results.get("per_speaker") or {})
    fold = f", fold {cell(results['fold'])}" if results.get("fold") else ""
    digest = f", hash `{protocol['hash']}`" if protocol["hash"] else ""
    chosen = SELECTED.get(results.get("selected_by") or "", results.get("selected_by"))
    trained_on_validation = (results.get("settings") or {}).get("train_on_validation")
    sentences = [
        f"Protocol `{protocol['name']}` version {protocol['version']}{digest}{fold}: {turns} test "
        "turns" + (f" of {speakers} speakers." if speakers else "."),
        f"The weights are those of {chosen}." if chosen else "",
        "It was trained on the validation speakers as well." if trained_on_validation else "",
        "One model, one split and one seed: another split of speakers gives another figure.",
    ]
    return " ".join(s for s in sentences if s)


def remarks(results: Mapping[str, Any]) -> list[str]:
    """What a reader has to know to read the table of metrics rightly."""
    found = []
    metrics, leaks = results["metrics"], results.get("leaks") or {}
    known = leaks.get("in_train", {}).get("transcript")
    if metrics.get("word_error_rate") is not None and known:
        found.append(
            f"The words of {known} of the {leaks['turns']['test']} test turns are also said in "
            "training: the word error rate measures remembered sentences too."
        )
    if metrics.get("absent_labels"):
        found.append(
            f"{metrics['absent_labels']} of the emotions do not occur in the test turns; UAR is "
            "over those that do."
        )
    for name, title in (
        ("word_error_rate", "constant sentence has a word error rate"),
        ("speech_mse", "constant spectrum has a reconstruction MSE"),
    ):
        constant = results.get("constant_baselines", {}).get(name)
        if constant is not None:
            found.append(f"The best {title} of {number(constant)}.")
    return found


def speaker_range(per_speaker: Mapping[str, Mapping] | None) -> str:
    """How far speakers lie apart."""
    if not per_speaker:
        return ""
    ordered = sorted(per_speaker, key=lambda name: per_speaker[name]["weighted_accuracy"])
    worst, best = ordered[0], ordered[-1]
    least, most = (number(per_speaker[name]["weighted_accuracy"]) for name in (worst, best))
    return f"WA lies between {least} ({cell(worst)}) and {most} ({cell(best)})."


def describe_calibration(results: Mapping[str, Any]) -> str:
    """Temperature, calibration error and when to abstain."""
    found = results.get("calibration")
    if not found:
        return "It was not calibrated: its probabilities are the plain softmax of its logits."
    kept = found.get("kept", True)  # older runs applied whatever was fitted
    rows = [["validation turns", number(found["ece_before"]), number(found["ece_after"])]]
    if kept and found.get("ece_before_test") is not None:
        rows.append(
            ["test turns", number(found["ece_before_test"]), number(found["ece_after_test"])]
        )
    threshold = found["abstain_below"]
    abstain = (
        f"An answer whose best probability is below {number(threshold)} is flagged `unsure` "
        f"(`return_flags=True`), so that at most {number(found['wanted_risk'])} of the other "
        "answers were wrong on the validation turns."
        if threshold
        else "No threshold below which to abstain was fitted: every answer is given."
    )
    return "\n\n".join(
        [
            f"{describe_temperature(found, kept)} Expected calibration error:",
            table(["", "at temperature 1", "at the fitted one"], rows),
            abstain + " Wrong answers among the most confident ones, on the validation turns:",
            table(["share answered", "wrong", "least confidence"], coverage_rows(found)),
        ]
    )


def describe_temperature(found: Mapping[str, Any], kept: bool) -> str:
    """What was fitted, and whether the model answers with it."""
    fitted = number(found.get("fitted_temperature", found["temperature"]))
    turns = f"{found['num_turns']} turns of validation speakers"
    if not kept:
        return (
            "It was not calibrated: its probabilities are the plain softmax of its logits. A "
            f"temperature of {fitted} was fitted on {turns} and not kept, because it raises the "
            "calibration error on these very turns."
        )
    raised = (
        " That raised the calibration error on these very turns."
        if found["ece_after"] > found["ece_before"]
        else ""
    )
    return f"Its logits are divided by a temperature of {fitted}, fitted on {turns}.{raised}"


def coverage_rows(calibration: Mapping[str, Any]) -> list[list[str]]:
    """The points of the risk-coverage curve nearest to COVERAGES."""
    curve = calibration["risk_coverage"]
    points = [min(curve, key=lambda p, c=c: abs(p["coverage"] - c)) for c in COVERAGES]
    return [numbers(p, ("coverage", "risk", "confidence")) for p in points]


def describe_data(results: Mapping[str, Any], corpora: Mapping[str, Corpus]) -> dict:
    """The sections of leaks, lineage and limits."""
    leaks = results.get("leaks")
    languages = sorted({c.language for c in corpora.values() if c.language})
    lines = [
        f"- **{cell(c.title)}**: {c.terms}." + (f" {c.url}" if c.url else "")
        for c in corpora.values()
    ]
    return {
        "leak_statement": leak_statement(results),
        "leak_table": leak_table(leaks) if leaks else "",
        "lineage": "\n".join(lines)
        or "The results do not name the training corpus. Ask whoever published this model.",
        "encoder_lineage": encoder_lineage(results)
        + " Whoever uses the weights keeps to all of these terms.",
        "names_notice": (
            "`config.json` and `training_rows.json` name the training speakers and the ids of the "
            "turns, so that `decomp-ser evaluate` can refuse to score what the model knows. No "
            "audio and no transcript is in this repository."
        ),
        "language": f"the language of its corpus ({', '.join(languages)})"
        if languages
        else "the language of its corpus",
    }


def encoder_lineage(results: Mapping[str, Any]) -> str:
    """Where the weights of the speech encoder come from."""
    backbone = results.get("backbone")
    if results.get("preset") is None:
        return "Whether its speech encoder was pretrained elsewhere is not stored with its scores."
    if backbone in (None, "scratch"):
        return "No weights that were pretrained elsewhere are in it."
    return f"The speech encoder `{cell(backbone)}` was pretrained elsewhere; see its own card."


def leak_statement(results: Mapping[str, Any]) -> str:
    """In plain words whether the scores can be believed."""
    leaks = results.get("leaks")
    if results["protocol"]["leaks"]:
        statement = f"**Too much.** {leak_reason(results)} Honest scores are lower."
    elif not leaks or not leaks["shared_speakers"]:
        statement = "No test speaker was in the training set, and no test turn."
    else:
        statement = f"**{len(leaks['shared_speakers'])} of the test speakers.**"
    if not leaks:
        return f"{statement} No further audit is stored with these results."
    test, train = leaks["speakers"]["test"], leaks["speakers"]["train"]
    return f"{statement} {test} speakers test, {train} train. What the sides share:"


def leak_table(leaks: Mapping[str, Any]) -> str:
    """Test turns that share something with training or validation."""
    total = leaks["turns"]["test"]

    def count(split: str, kind: str) -> str:
        shared = leaks[split][kind]
        return "not known" if shared is None else f"{shared} of {total}"

    rows = [
        [SHARED[kind], count("in_train", kind), count("in_validation", kind)] for kind in LEAK_KINDS
    ]
    return table(["test turns with", "in training", "in validation"], rows)


def describe_making(results: Mapping[str, Any]) -> dict:
    """Settings, versions and commit."""
    commit, changed, _ = (results.get("commit") or "").partition("+changes")
    weights = results.get("task_weights") or {}
    facts = {
        "preset": results.get("preset"),
        "size": results.get("size"),
        "seed": results.get("seed"),
        "best epoch": results.get("best_epoch"),
        "task weights": ", ".join(f"{task} {number(w)}" for task, w in weights.items()),
        "commit of decomp-ser": (commit and f"`{commit}`")
        + (" with changes that were not committed" if changed else ""),
        "training time, seconds": number(results["seconds"]) if results.get("preset") else None,
    }
    settings = yaml.safe_dump(dict(results["settings"]), sort_keys=False, allow_unicode=True)
    versions = results.get("versions") or {}
    return {
        "making": "\n".join(
            f"- {name}: {value}" for name, value in facts.items() if value not in (None, "")
        ),
        "settings": settings.strip(),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


# --- small forms ---------------------------------------------------------------------------------


def group_table(title: str, groups: Mapping[str, Mapping] | None) -> str:
    """WA and UAR of each speaker or gender; empty where none is named."""
    keys = ("num_turns", "weighted_accuracy", "unweighted_average_recall")
    rows = [[cell(name), *numbers(row, keys)] for name, row in (groups or {}).items()]
    return table([title, "turns", "WA", "UAR"], rows) if rows else ""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(text: Any) -> str:
    """Text that breaks no table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def number(value: Any) -> str:
    """Three digits of a fraction, all of a count."""
    if value is None:
        return "not known"
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def numbers(row: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """`number` of several entries."""
    return [number(row.get(key)) for key in keys]


def bibtex() -> str:
    """The paper, from CITATION.cff."""
    paper = yaml.safe_load(CITATION.read_text(encoding="utf-8"))["references"][0]
    authors = " and ".join(f"{a['family-names']}, {a['given-names']}" for a in paper["authors"])
    key = f"{paper['authors'][0]['family-names'].lower()}{paper['year']}"
    return "\n".join(
        [
            f"@inproceedings{{{key},",
            f"  title = {{{paper['title']}}},",
            f"  author = {{{authors}}},",
            f"  booktitle = {{{paper['collection-title']}}},",
            f"  year = {{{paper['year']}}},",
            "}",
        ]
    )
