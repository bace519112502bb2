"""From the scores of probes to a verdict: which code carries which factor, and how far a set of
codes is from one factor a code.

The words are those of Eastwood and Williams ("A framework for the quantitative evaluation of
disentangled representations", ICLR 2018) and of Ridgeway and Mozer ("Learning deep disentangled
embeddings with the F-statistic loss", NeurIPS 2018), as Brima et al. (arXiv 2311.03389) use them
for speech: a code is informative if its factor can be read from it, modular if no other can, and a
factor is compact if it can be read from one code only.

Axes: N turns, P codes, G subjects (what each code is named for).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modeling_decomp_ser.configuration_decomp_ser import DECOMPOSED
from processing.corpora.factorial import FACTORS
from train_scripts.explanations.speech_factors import Factor

SUBJECTS = {
    "rhythm": ("speaking_rate",),
    "content": ("transcript", "characters"),
    "pitch": ("f0_mean", "f0_range", "f0_direction"),
    "timbre": ("speaker", "gender"),
}
"""Factors that each code of the paper is named for; the best read one counts. Energy and emotion
belong to none and are not judged."""

KNOWN_SUBJECTS = dict(zip(("content", "timbre", "pitch", "rhythm"), FACTORS, strict=True))
"""The same in a corpus of known factors, where no other is judged."""

CARRIES = 0.5
"""Informativeness from which a code is said to carry a factor."""

NEAR_CHANCE = 0.1
"""Informativeness up to which a code is said not to, beyond what ideal codes have of it."""


def informativeness(score: Mapping[str, Any]) -> float:
    """How far a score is on the way from chance to perfect, in [0, 1]; 0 where the lower end of its
    interval is no better than 95 % of the shuffled factors, or than 0.
    """
    low = score["interval"][0] if score["interval"] is not None else score["score"]
    if low <= max(score["shuffled_95"], 0.0):  # a bad R squared by chance is no bar to be above
        return 0.0
    return way_to_perfect(score)


def way_to_perfect(score: Mapping[str, Any]) -> float:
    """How far a score is on the way from chance to perfect, in [0, 1], however sure it is."""
    chance = max(score["chance"], 0.0)
    return float(np.clip((score["score"] - chance) / (1 - chance), 0.0, 1.0))


def subjects_of(factors: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Factors that are judged by the code that they belong to, of those that there are."""
    if all(name in factors for name in FACTORS):
        return {code: (KNOWN_SUBJECTS[code],) for code in DECOMPOSED}
    found = {code: tuple(f for f in SUBJECTS[code] if f in factors) for code in DECOMPOSED}
    return {code: names for code, names in found.items() if names}


def subject_matrix(
    scores: Mapping[str, Mapping[str, Mapping[str, Any]]], subjects: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, float]]:
    """Informativeness of each judged code (P) about each subject (G): that of the subject's best
    read factor, by code -> factor -> score.
    """
    return {
        code: {
            subject: max(informativeness(of_code[n]) for n in names if n in of_code)
            for subject, names in subjects.items()
            if any(n in of_code for n in names)
        }
        for code, of_code in scores.items()
        if code in subjects
    }


def judge_codes(
    matrix: Mapping[str, Mapping[str, float]],
    ideal: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, Any]:
    """The verdict on a set of codes.

    A code is "pure" if it carries its own subject (informativeness at least CARRIES) and leaks no
    other; "mixed" if it carries its own and leaks; "misplaced" if it leaks without its own; "empty"
    if neither. It leaks a subject of which it has more than NEAR_CHANCE beyond the ideal code: in
    natural speech factors tell of each other, as gender does of pitch. The set is "disentangled" if
    every code is pure, "uninformative" if every code is empty, "entangled" if none is pure, else
    "partly disentangled".

    Args:
        matrix: of `subject_matrix`.
        ideal: the same of `ideal_codes` on this corpus; default no code has of another's subject.

    Returns:
        {"verdict", "codes": {code: {"verdict", "carries", "leaks", "informativeness",
        "modularity"}}, "compactness": {subject: value}, "own", "leak", "distance"}: own is the mean
        informativeness of codes about their own subjects, leak about others', distance the mean
        absolute difference from the matrix of ideal codes.
    """
    codes, distances, own, foreign = {}, [], [], []
    for code, row in matrix.items():
        floor = {s: float(s == code) for s in row} | dict((ideal or {}).get(code, {}))
        distances += [abs(row[s] - floor[s]) for s in row]
        others = {s: value for s, value in row.items() if s != code}
        leaks = [s for s, value in others.items() if value > floor[s] + NEAR_CHANCE]
        carries = row[code] >= CARRIES
        verdicts = {(1, 0): "pure", (1, 1): "mixed", (0, 1): "misplaced", (0, 0): "empty"}
        own.append(row[code])
        foreign += others.values()
        codes[code] = {
            "verdict": verdicts[int(carries), int(bool(leaks))],
            "carries": [s for s, value in row.items() if value >= CARRIES],
            "leaks": leaks,
            "informativeness": row[code],
            "modularity": purity(row[code], list(others.values())),
        }
    compactness = {
        s: purity(matrix[s][s], [matrix[code][s] for code in matrix if code != s]) for s in matrix
    }
    return {
        "verdict": overall([c["verdict"] for c in codes.values()]),
        "codes": codes,
        "compactness": compactness,
        "own": float(np.mean(own)) if own else None,
        "leak": float(np.mean(foreign)) if foreign else None,
        "distance": float(np.mean(distances)) if distances else None,
    }


def purity(own: float, others: Sequence[float]) -> float | None:
    """Ridgeway and Mozer's modularity with the ideal fixed to a code's own subject: 1 less the mean
    square of the others relative to the largest of all; None where all are 0.

    Examples:
        >>> purity(0.8, [0.0, 0.4]), purity(0.0, [0.5, 0.5]), purity(0.0, [0.0])
        (0.875, 0.0, None)
    """
    largest = max(own, *others, 0.0)
    if largest == 0 or not others:
        return None
    return float(1 - np.mean(np.square(others)) / largest**2)


def overall(verdicts: Sequence[str]) -> str | None:
    """Verdict on a set of codes from those on each; None where there is none."""
    if not verdicts:
        return None
    if set(verdicts) == {"pure"}:
        return "disentangled"
    if set(verdicts) == {"empty"}:
        return "uninformative"
    return "partly disentangled" if "pure" in verdicts else "entangled"


def ideal_codes(
    factors: Sequence[Factor], subjects: Mapping[str, Sequence[str]]
) -> dict[str, np.ndarray]:
    """Codes (N, D) that hold their own factors and nothing else, as of a perfect encoder.

    What probes read from them of other factors is what the corpus itself ties together. Numbers
    stand as they are, classes as one-hot; characters are left out, since no vector of them is
    linear.
    """
    found = {}
    for code, names in subjects.items():
        columns = [
            np.eye(len(factor.classes))[factor.values] * factor.known[:, None]
            if factor.kind == "class"
            else factor.values[:, None]
            for factor in factors
            if factor.name in names and factor.kind != "text"
        ]
        if columns:
            found[code] = np.concatenate(columns, axis=1)
    return found
