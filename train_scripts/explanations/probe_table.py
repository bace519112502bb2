"""The report of the probes in words and Markdown, made from probe.json alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

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
        "probe",
        report,
        first=report["conditions"][0],
        brief=brief,
        findings=render_findings(report),
        known=known,
        commit=commit[:12] + changed,
        normalised_by=NORMALISED_BY,
        aside=ASIDE,
        cell=format_score,
        best=max_of,
    )


def render_findings(report: Mapping[str, Any]) -> str:
    """Verdict of each condition in plain sentences, as a Markdown list."""
    return fill("probe_findings", report).rstrip("\n")


def fill(template: str, report: Mapping[str, Any], **content: Any) -> str:
    """Fill a template of this folder, given by its name without ".md.jinja"."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    content |= {"report": report, "describe": describe_condition, "join": join}
    return environment.get_template(f"{template}.md.jinja").render(**content)


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
    factors = list(report["factors"])
    lines = [render_findings(report).replace("**", "")]
    for condition in report["conditions"]:
        lines += ["", describe_condition(condition)]
        lines.append(" " * 9 + "".join(f"{name.replace('_', ' '):>14}" for name in factors))
        for code, row in condition["scores"].items():
            cells = [two_digits(row[name]["score"]) if name in row else "-" for name in factors]
            lines.append(f"{code:9}" + "".join(f"{cell:>14}" for cell in cells))
        chance = [max_of(condition["scores"], name, "chance") for name in factors]
        lines.append(f"{'chance':9}" + "".join(f"{value:>14}" for value in chance))
    return "\n".join(lines)
