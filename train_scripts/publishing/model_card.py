"""The card of a trained model, rendered from the record of its run; no number in it is typed by
hand.

The text is in `card_template.md.jinja`, the metadata are built here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from modeling_decomp_ser.configuration_decomp_ser import DECOMPOSED
from processing.corpora.registry import DEMONSTRATION, Corpus, common_licence, training_corpora
from processing.corpora.synthetic import describe_corpus
from processing.errors import InputError
from train_scripts.explanations.probe_table import render_probe
from train_scripts.robustness.stress_page import render_stress
from train_scripts.runs.finished_runs import Run
from train_scripts.runs.record import Calibration, RunRecord
from train_scripts.runs.templates import fill_template

TEMPLATE = Path(__file__).with_name("card_template.md.jinja")
PAPER = Path(__file__).with_name("paper.bib")

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
"""Field of `Metrics`: its name, its type on the Hub, what it is."""

REPORTED = {
    "weighted_accuracy": ("accuracy", "WA (correct / all)"),
    "unweighted_average_recall": ("recall", "UAR (mean recall of the classes)"),
    "macro_f1": ("f1", "Macro F1"),
    "word_error_rate": ("wer", "Word error rate"),
}
"""Metric of a report: its type and its name in the metadata."""

TASK, TASK_TYPE = "Speech emotion recognition", "audio-classification"

COVERAGES = (1.0, 0.75, 0.5, 0.25)
"""Points of the risk-coverage curve that a card shows."""


def render_card(
    record: RunRecord,
    repo_id: str,
    *,
    revision: str = "main",
    report: Mapping[str, Any] | None = None,
    probe: Mapping[str, Any] | None = None,
    stress: Mapping[str, Any] | None = None,
) -> ModelCard:
    """Card of a model.

    Args:
        record: of its run.
        repo_id: of the repository that the card stands in.
        revision: what its example pins.
        report: content of a report.json; its row of this model, over all folds and seeds, is added
            to the metadata.
        probe: content of a probe.json of this model.
        stress: content of a stress.json of this model, whose figure lies beside the card.

    Returns:
        The card; its metadata name every metric that is not null, with protocol and hash.

    Raises:
        InputError: if the report has no row of this model.
    """
    corpora = list(training_corpora(record.trained_on).values())
    data = card_data(record, repo_id, corpora, report)
    text = fill_template(
        TEMPLATE,
        {"cell": table_cell, "number": format_number},
        run=record,
        title=data.model_name,
        repo_id=repo_id,
        revision=revision,
        metrics=METRICS,
        demonstration=describe_corpus() if is_demonstration(record) else "",
        coverage=points_of_coverage(record.calibration),
        corpora=corpora,
        decomposed=DECOMPOSED,
        languages=data.language,
        settings=yaml.safe_dump(record.settings, sort_keys=False, allow_unicode=True).strip(),
        probe=render_probe(probe, brief=True) if probe is not None else "",
        stress=render_stress(stress) if stress is not None else "",
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}".removesuffix("\n"))


def card_data(
    record: RunRecord,
    repo_id: str,
    corpora: list[Corpus],
    report: Mapping[str, Any] | None,
) -> ModelCardData:
    """The block of metadata, with a model-index."""
    evaluations = eval_results(record)
    if report is not None:
        evaluations += report_results(record, report)
    backbone = record.backbone
    tags = ["speech-emotion-recognition", "decomp-ser", "custom_code"]
    return ModelCardData(
        model_name=repo_id.split("/")[-1],
        language=sorted({corpus.language for corpus in corpora if corpus.language}) or None,
        license=common_licence(corpora),
        library_name="transformers",
        pipeline_tag=TASK_TYPE,
        tags=tags + (["demonstration"] if is_demonstration(record) else []),
        # the encoder of a run from scratch is no model of the Hub
        base_model=backbone if backbone and "/" in backbone else None,
        datasets=[corpus.hub_id for corpus in corpora if corpus.hub_id] or None,
        eval_results=evaluations,
    )


def report_results(record: RunRecord, report: Mapping[str, Any]) -> list[EvalResult]:
    """Metrics of the row of a report that this model is a run of; raises InputError without one."""
    row = Run(Path(), record).key
    for entry in report["model_index"]:
        if entry["row"] == row.slug:
            return [EvalResult(**metric) for metric in entry["results"]]
    known = ", ".join(entry["row"] for entry in report["model_index"])
    raise InputError(f"the report has no row of this model, '{row.slug}', but {known}.")


def eval_results(record: RunRecord) -> list[EvalResult]:
    """An entry of the model-index for every metric that is not null."""
    corpora = training_corpora(record.corpus)  # the scored turns are of the same
    protocol, fold = record.protocol, record.fold
    note = " (leaking protocol)" if protocol.leaks else ""
    heldout = record.leaks.turns.get("heldout_turns") if record.leaks else None
    turns = {"speaker_accuracy": heldout}  # test speakers are no classes of the speaker head
    return [
        EvalResult(
            task_type=TASK_TYPE,
            task_name=TASK,
            dataset_type="+".join(corpora) or "unknown",
            dataset_name=" + ".join(c.title for c in corpora.values()) or "not named",
            dataset_config=protocol.name + (f", fold {fold}" if fold else ""),
            dataset_split="test",
            dataset_args={"fold": fold, **vars(protocol)},
            metric_type=kind,
            metric_name=f"{name}{note}",
            metric_value=getattr(record.metrics, key),
            metric_args={"num_turns": turns.get(key, record.metrics.num_turns)},
        )
        for key, (name, kind, _) in METRICS.items()
        if getattr(record.metrics, key) is not None
    ]


def card_results(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Arguments of `EvalResult` for each metric of a row of a report, see `score_row`."""
    protocol = row["protocol"]
    tested = ("num_turns", "num_speakers", "seeds", "folds", "notes")
    return [
        {
            "task_type": "automatic-speech-recognition" if kind == "wer" else TASK_TYPE,
            "task_name": "Speech recognition" if kind == "wer" else TASK,
            "dataset_type": row["corpus"],
            "dataset_name": row["corpus"],
            "dataset_config": protocol["name"],
            "dataset_split": "test",
            "dataset_args": {"protocol_version": protocol["version"], "hash": protocol["hash"]},
            "metric_type": kind,
            "metric_name": title,
            "metric_value": row["metrics"][name]["pooled"],
            "metric_args": {
                "interval_95": row["metrics"][name].get("interval_95"),
                **{entry: row[entry] for entry in tested},
            },
        }
        for name, (kind, title) in REPORTED.items()
        if row["metrics"][name]["pooled"] is not None
    ]


def is_demonstration(record: RunRecord) -> bool:
    """Whether synthetic speech trained or tested it."""
    return DEMONSTRATION in training_corpora(record.corpus)


def points_of_coverage(calibration: Calibration | None) -> list[dict[str, float]]:
    """The points of the risk-coverage curve nearest to COVERAGES."""
    curve = calibration.risk_coverage if calibration else []
    return [min(curve, key=lambda p, c=c: abs(p["coverage"] - c)) for c in COVERAGES if curve]


def table_cell(text: Any) -> str:
    """Text that breaks no table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def format_number(value: float | None) -> str:
    """Three digits of a fraction, all of a count."""
    if value is None:
        return "not known"
    return str(value) if isinstance(value, int) else f"{value:.3g}"
