"""Scores of answers under corruptions, beside those to the turns as they are.

Axes: N turns, L labels, K speakers, R resamples.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from modeling_decomp_ser.signal_flags import UNSURE
from train_scripts.robustness.corrupted_turns import Condition
from train_scripts.runs.inference import TurnPredictions
from train_scripts.runs.intervals import bootstrap_statistics, with_interval
from train_scripts.runs.metrics import (
    STATISTICS,
    expected_calibration_error,
    grouped_confusions,
)

NUM_RESAMPLES = 2000
UAR = "unweighted_average_recall"
SHORT = {"weighted_accuracy": "wa", UAR: "uar"}
"""Name of a statistic in the report."""


@dataclass
class Answers:
    """What a model says of N turns under a condition."""

    ids: list[str]
    logits: list[list[float]]  # before the temperature, (N, L)
    flags: list[list[str]]  # of each sound, as the pipeline raises them

    @classmethod
    def read(cls, path: Path) -> "Answers":
        """The answers in a file of `write_json`."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def to_dict(self) -> dict[str, Any]:
        """What JSON holds."""
        return asdict(self)

    def predictions(self) -> TurnPredictions:
        """As of `predict_turns`."""
        return TurnPredictions(logits=np.array(self.logits, np.float32))

    def probabilities(self, temperature: float) -> np.ndarray:
        """As the pipeline gives them, (N, L)."""
        return TurnPredictions(logits=np.array(self.logits) / temperature).probabilities


def score_conditions(
    turns: Dataset,
    answers: Mapping[Condition, Answers],
    labels: Sequence[str],
    *,
    temperature: float,
    abstain_below: float,
) -> dict[str, Any]:
    """Score the answers to each condition.

    Args:
        turns: with id, emotion and speaker; a turn without a speaker is resampled by itself.
        answers: to each condition, `Condition()` among them.
        labels: emotion words in the order of the labels.
        temperature: that the model divides its logits by.
        abstain_below: probability below which it flags an answer as unsure.

    Returns:
        {"num_turns", "num_speakers", "conditions"}, of which the last has for each condition
        "corruption" (None for clean), "strength", "title"; "wa" and "uar" with value and
        `interval_95` over speakers, "change" of UAR against clean, paired by speaker, likewise;
        "unchanged", the share of turns that are answered as without the corruption; "ece" of the
        probabilities as the model gives them; "flags", the share of turns with each flag, and
        "flagged" with any.
    """
    references = np.array([labels.index(emotion) for emotion in turns["emotion"]])
    pairs = zip(turns["speaker"], turns["id"], strict=True)
    names = [f"\x1f{row_id}" if speaker is None else speaker for speaker, row_id in pairs]
    speakers, places = np.unique(names, return_inverse=True)
    judged = {
        condition: Judged(
            found.probabilities(temperature), references, places, (len(speakers), len(labels))
        )
        for condition, found in answers.items()
    }
    clean = judged[Condition()]
    scored = []
    for condition, found in answers.items():
        own = judged[condition]
        flags = raised_flags(found.flags, own.probabilities, abstain_below)
        scored.append(
            {
                "corruption": condition.corruption,
                "strength": condition.strength if condition.corruption else None,
                "title": condition.title,
                **{short: own.interval(name) for name, short in SHORT.items()},
                "change": own.interval(UAR, beside=clean),
                "unchanged": float(np.mean(own.predictions == clean.predictions)),
                "ece": expected_calibration_error(references, own.probabilities),
                "flags": flag_shares(flags),
                "flagged": float(np.mean([bool(names) for names in flags])),
            }
        )
    return {"num_turns": len(references), "num_speakers": len(speakers), "conditions": scored}


class Judged:
    """Answers beside what was meant: probabilities (N, L), references (N,), the place of each
    turn's speaker (N,), and the numbers of speakers and labels.
    """

    def __init__(
        self,
        probabilities: np.ndarray,
        references: np.ndarray,
        places: np.ndarray,
        shape: tuple[int, int],
    ):
        self.probabilities = probabilities
        self.predictions = probabilities.argmax(axis=1)
        by_speaker = grouped_confusions(places, references, self.predictions, shape=shape)
        self.num_speakers = shape[0]
        self.total = by_speaker.sum(axis=0)
        # the same draws of speakers for every condition, so that differences are paired
        self.resampled = bootstrap_statistics(by_speaker, num_resamples=NUM_RESAMPLES, seed=0)

    def interval(self, name: str, beside: "Judged | None" = None) -> dict[str, Any]:
        """WA or UAR, or its difference to another condition, with the interval over speakers."""
        value, resampled = float(STATISTICS[name](self.total)), self.resampled[name]
        if beside is not None:
            value -= float(STATISTICS[name](beside.total))
            resampled = resampled - beside.resampled[name]
        return with_interval(value, resampled, self.num_speakers)


def raised_flags(
    flags: Sequence[Sequence[str]], probabilities: np.ndarray, abstain_below: float
) -> list[list[str]]:
    """The flags of each turn: of its sound, and "unsure" where no emotion is likely enough."""
    unsure = probabilities.max(axis=1) < abstain_below
    pairs = zip(flags, unsure, strict=True)
    return [[*of_sound, UNSURE] if doubted else list(of_sound) for of_sound, doubted in pairs]


def flag_shares(raised: Sequence[Sequence[str]]) -> dict[str, float]:
    """Share of the turns with each flag that any has.

    Examples:
        >>> flag_shares([["unsure"], [], ["too_quiet", "unsure"], []])
        {'too_quiet': 0.25, 'unsure': 0.5}
    """
    names = sorted({name for flags in raised for name in flags})
    return {name: sum(name in flags for flags in raised) / len(raised) for name in names}
