"""State the measured rates of the signal flags in Markdown, from their counts."""

from collections.abc import Mapping
from typing import Any

TITLES = {
    "not_speech_like": "not speech-like",
    "too_quiet": "too quiet",
    "too_short": "too short",
    "any": "any flag",
}


def render_flag_rates(result: Mapping[str, Any]) -> str:
    """A table with a row a kind of sound.

    Args:
        result: {"speech", "no_speech": {kind: {"sounds", "any", and each flag: number of
            sounds}}}, as `tests/benchmarks/flag_rates.py` counts them.

    Examples:
        >>> counts = {"sounds": 200, "too_short": 0, "too_quiet": 1, "not_speech_like": 3, "any": 4}
        >>> print(render_flag_rates({"speech": {"clips": counts}, "no_speech": {}}))
        | sound | number | not speech-like | too quiet | too short | any flag |
        |---|---|---|---|---|---|
        | speech: clips | 200 | 1.5 % | 0.5 % | 0 % | 2 % |
    """
    lines = [
        f"| sound | number | {' | '.join(TITLES.values())} |",
        "|---" * (2 + len(TITLES)) + "|",
    ]
    for group, prefix in (("speech", "speech: "), ("no_speech", "")):
        for kind, counts in result[group].items():
            rates = [f"{100 * counts[flag] / counts['sounds']:.3g} %" for flag in TITLES]
            lines.append(f"| {prefix}{kind} | {counts['sounds']} | {' | '.join(rates)} |")
    return "\n".join(lines)
