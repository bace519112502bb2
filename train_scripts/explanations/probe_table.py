"""The report of the probes in words and Markdown, made from probe.json alone."""

from collections.abc import Mapping, Sequence
from typing import Any

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


def render_probe(report: Mapping[str, Any]) -> str:
    """The whole report as Markdown, for the card: what was found, scores, verdicts, dependence, how
    measured.

    Args:
        report: content of probe.json.
    """
    first = report["conditions"][0]
    parts = [
        render_findings(report),
        "",
        render_scores(report, first),
        "",
        "How far each code is on the way from chance to perfect about each subject, by stage",
        "",
        render_subjects(report),
        "",
        "Dependence of the codes on each other, beside shuffled turns "
        f"({describe_condition(first)})",
        "",
        render_dependence(first),
        "",
        *render_definitions(report),
        "",
        describe_origin(report),
    ]
    return "\n".join(parts)


def render_brief(report: Mapping[str, Any]) -> str:
    """What was found, the scores and what they depend on as Markdown, for the README.

    Args:
        report: content of probe.json.
    """
    parts = [
        render_findings(report),
        render_scores(report, report["conditions"][0]),
        describe_origin(report),
    ]
    return "\n\n".join(parts)


def render_findings(report: Mapping[str, Any]) -> str:
    """Verdict of each condition in plain sentences, as a Markdown list."""
    lines = []
    for condition in report["conditions"]:
        verdict = condition["verdict"]
        if verdict["verdict"] is None:
            lines.append(f"- **{describe_condition(condition)}**: no decomposed codes to judge.")
            continue
        lines.append(
            f"- **{describe_condition(condition)}: {verdict['verdict']}.** A code tells "
            f"{verdict['own']:.2f} of its own subject and {verdict['leak']:.2f} of another's "
            f"(perfect codes of this corpus: {report['ideal']['verdict']['own']:.2f} and "
            f"{report['ideal']['verdict']['leak']:.2f}; distance from them "
            f"{verdict['distance']:.2f}). " + " ".join(code_sentences(verdict["codes"]))
        )
    return "\n".join(lines)


def code_sentences(codes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One sentence a code: what it carries, and what else it tells of."""
    sentences = []
    for name, code in codes.items():
        carried = join(code["carries"]) or "none of the subjects"
        traces = [s for s in code["leaks"] if s not in code["carries"]]
        also = f", with traces of {join(traces)}" if traces else ""
        sentences.append(f"{name.capitalize()} is {code['verdict']}: it carries {carried}{also}.")
    return sentences


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


def render_scores(report: Mapping[str, Any], condition: Mapping[str, Any]) -> str:
    """Codes in rows, factors in columns, chance below, and what the numbers are above."""
    factors, scores = report["factors"], condition["scores"]
    titles = [f"{name.replace('_', ' ')} ({f['metric']})" for name, f in factors.items()]
    lines = [
        f"Scores of linear probes, {describe_condition(condition)} (95 % interval over speakers; "
        "bold: its lower end is above 0 and 95 % of shuffled factors; chance: best of the codes)",
        "",
    ]
    lines += ["| code | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]
    for code in sorted(scores, key=lambda name: name in ASIDE):
        cells = [format_score(scores[code].get(name)) for name in factors]
        lines.append(f"| {code} | " + " | ".join(cells) + " |")
    chance = [max_of(scores, name, "chance") for name in factors]
    lines.append("| *chance (shuffled)* | " + " | ".join(chance) + " |")
    return "\n".join(lines)


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


def render_subjects(report: Mapping[str, Any]) -> str:
    """Each condition's matrix of codes and subjects, with the verdict on each code."""
    subjects = list(report["subjects"])
    lines = [
        "| codes | code | " + " | ".join(subjects) + " | modularity | verdict |",
        "|---" * (len(subjects) + 4) + "|",
    ]
    stages = [(describe_condition(c), c) for c in report["conditions"]]
    for title, condition in [*stages, ("perfect codes", report["ideal"])]:
        for code, row in condition["subject_matrix"].items():
            cells = [
                f"**{row[s]:.2f}**" if s == code else f"{row[s]:.2f}" if s in row else "-"
                for s in subjects
            ]
            judged = condition["verdict"]["codes"][code]
            modularity = "-" if judged["modularity"] is None else f"{judged['modularity']:.2f}"
            lines.append(
                f"| {title} | {code} | "
                + " | ".join(cells)
                + f" | {modularity} | {judged['verdict']} |"
            )
    return "\n".join(lines)


def render_dependence(condition: Mapping[str, Any]) -> str:
    """Canonical correlation and HSIC of each pair of codes."""
    lines = [
        "| codes | mean canonical correlation | shuffled | p | HSIC (normalised) | shuffled | p |",
        "|---" * 7 + "|",
    ]
    for pair in condition["dependence"]:
        cells = [
            f"{pair[kind]['value']:.2f} | {pair[kind]['shuffled']:.2f} | {pair[kind]['p']:.2g}"
            for kind in ("cca", "hsic")
        ]
        lines.append(f"| {' and '.join(pair['codes'])} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def render_definitions(report: Mapping[str, Any]) -> list[str]:
    """What each factor is and how its probe was tested, a line each."""
    lines = []
    for name, factor in report["factors"].items():
        classes = f", {factor['num_classes']} classes" if factor["num_classes"] else ""
        lines.append(
            f"- {name.replace('_', ' ')}: {factor['definition']} ({factor['metric']}, "
            f"{factor['num_turns']} turns{classes}; held out: {factor['held_out']})"
        )
    return lines


def describe_origin(report: Mapping[str, Any]) -> str:
    """All that the figures depend on, in one paragraph."""
    protocol, known = report["protocol"], report["num_known_speakers"]
    seen = (
        "which speakers the encoders were trained on is not recorded"
        if known is None
        else f"the encoders were trained on {known} of the speakers; the probes never saw those "
        "they were tested on, except to tell them apart"
    )
    fold = f"fold {report['fold']}" if report["fold"] else f"all {protocol['num_folds']} folds"
    commit, changed, _ = (report["commit"] or "unknown").partition("+changes")
    return (
        f"{report['num_turns']} turns of {report['num_speakers']} speakers "
        f"({join(report['corpus'])}); {seen}. "
        f"F0 is normalised by {NORMALISED_BY[report['f0_stats']]}. "
        f"Protocol `{protocol['name']}` version {protocol['version']} ({protocol['hash']}), "
        f"{fold}, seed {report['seed']}, {report['num_shuffles']} shuffles, "
        f"commit {commit[:12]}{changed}."
    )


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
