"""The report of the probes in words and Markdown, made from probe.json alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from train_scripts.runs.templates import fill_template

ASIDE = ("wav2vec2", "log-mel")
"""Rows of the table that are no code: the speech encoder, and what the encoders hear."""

STAGES = {"fine-tuned": "fine-tuning", "pre-trained": "pre-training"}
"""What a model of each stage comes from."""

NORMALISED_BY = {
    "utterance": "mean and deviation of the utterance",
    "utterance-mean": "the mean of the utterance and the deviation of training turns",
    "speaker": "mean and deviation of the speaker",
    "global": "mean and deviation of training turns",
}
"""Settings of `features.f0_stats` in words."""


def render_probe(report: Mapping[str, Any], *, brief: bool = False) -> str:
    """The whole report as Markdown, by `probe.md.jinja`.

    Args:
        report: content of probe.json.
        brief: leave out stages, dependence and definitions, as the card of a model does.
    """
    known = report["num_known_speakers"]
    commit, changed, _ = (report["commit"] or "unknown").partition("+changes")
    return fill(
        "probe.md",
        report,
        first=report["conditions"][0],
        brief=brief,
        findings=render_findings(report),
        known=known,
        commit=commit[:12] + changed,
        normalised_by=NORMALISED_BY,
        aside=ASIDE,
        cell=format_score,
    )


def render_findings(report: Mapping[str, Any]) -> str:
    """Verdict of each condition in plain sentences, as a Markdown list."""
    return fill("probe_findings.md", report).rstrip("\n")


def fill(template: str, report: Mapping[str, Any], **content: Any) -> str:
    """Fill a template of this folder, given by its name without ".jinja"."""
    content |= {"report": report, "describe": describe_condition, "join": join, "best": max_of}
    path = Path(__file__).with_name(f"{template}.jinja")
    return fill_template(path, **content).removesuffix("\n")


def join(words: Sequence[str]) -> str:
    """Words as in a sentence.

    Examples:
        >>> join(["a", "b", "c"]), join([])
        ('a, b and c', '')
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def describe_condition(condition: Mapping[str, Any]) -> str:
    """A condition in words.

    Examples:
        >>> describe_condition({"stage": "fine-tuned", "resampling": False})
        'fine-tuned, without resampling'
        >>> describe_condition(
        ...     {"stage": "fine-tuned", "resampling": True, "resampling_in_training": False}
        ... )
        'fine-tuned, with random resampling, which this model did not see in fine-tuning'
    """
    stage = condition["stage"]
    if not condition["resampling"]:
        return f"{stage}, without resampling"
    trained = {
        True: "with random resampling as it was trained",
        False: f"with random resampling, which this model did not see in {STAGES[stage]}",
        None: "with resampling",  # an older report does not say
    }
    return f"{stage}, {trained[condition.get('resampling_in_training')]}"


def format_score(score: Mapping[str, Any] | None) -> str:
    """Score and interval of a cell."""
    if score is None:
        return "-"
    interval = score["interval"]
    text = two_digits(score["score"])
    text = f"**{text}**" if score["informativeness"] > 0 else text
    return text + (f" ({two_digits(interval[0])} to {two_digits(interval[1])})" if interval else "")


def two_digits(number: float) -> str:
    """A number without a sign on zero.

    Examples:
        >>> two_digits(-0.004), two_digits(-0.126)
        ('0.00', '-0.13')
    """
    return f"{round(number, 2) + 0.0:.2f}"


def max_of(scores: Mapping[str, Any], factor: str, field: str) -> str:
    """The largest of a field over the codes that have the factor."""
    values = [code[factor][field] for code in scores.values() if factor in code]
    return two_digits(max(values)) if values else "-"


def summarize_probe(report: Mapping[str, Any]) -> str:
    """Short summary for standard output: verdicts, and scores without intervals."""
    findings = render_findings(report)
    return fill("probe_summary.txt", report, findings=findings, two_digits=two_digits)
