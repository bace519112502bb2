"""The turns of a corpus under a condition: heard, extracted and flagged as the pipeline would.

Axes: S samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from modeling_decomp_ser.keyed_random import fold_in
from modeling_decomp_ser.signal_flags import signal_flags
from modeling_decomp_ser.speech_activity import detector_is_installed, speech_probabilities
from processing.audio_files import read_audio
from processing.collation import row_key
from processing.feature_extraction_decomp_ser import DecompSerFeatureExtractor
from processing.pitch import normalize_log_f0
from train_scripts.corruptions.conditions import (
    CORRUPTIONS,
    corrupt,
    describe_condition,
    other_turns,
)

CLEAN = "clean"


@dataclass(frozen=True)
class Condition:
    """A corruption at one strength; without one, the turns as they are."""

    corruption: str | None = None
    strength: float = 0.0

    @property
    def name(self) -> str:
        """Of its file.

        Examples:
            >>> Condition("babble", 10.0).name, Condition().name
            ('babble-10', 'clean')
        """
        return CLEAN if self.corruption is None else f"{self.corruption}-{self.strength:g}"

    @property
    def title(self) -> str:
        """In words."""
        return describe_condition(self.corruption, self.strength)


def conditions_of(names: Sequence[str]) -> list[Condition]:
    """The turns as they are, then every strength of the named corruptions, in the table's order;
    of all corruptions without a name.
    """
    chosen = [name for name in CORRUPTIONS if name in names or not names]
    return [Condition(), *(Condition(n, s) for n in chosen for s in CORRUPTIONS[n].strengths)]


class CorruptedTurns(TorchDataset):
    """Rows ready to be collated, with the `flags` of what is heard.

    Args:
        turns: rows of a corpus.
        extractor: of the signals.
        condition: what happens to them.
        seed: of the draws, beside each turn's id.
    """

    def __init__(
        self,
        turns: Dataset,
        extractor: DecompSerFeatureExtractor,
        condition: Condition,
        seed: int,
    ):
        self.turns = turns
        self.extractor = extractor
        self.condition = condition
        self.seed = seed

    def __len__(self) -> int:
        return len(self.turns)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row: Any = self.turns[index]
        waveform = self.read(index)
        if self.condition.corruption is not None:
            key = fold_in(torch.tensor(row_key(row["id"])), self.seed)
            voices = other_turns(self.read, index, len(self.turns))
            name, strength = self.condition.corruption, self.condition.strength
            waveform = corrupt(waveform, name, strength, key, voices)
        heard = {"waveform": waveform.numpy()}
        heard |= self.extractor.extract([heard["waveform"]], [row["gender"]])[0]
        return {**row, **heard, "flags": self.flags(heard, row["speaker"])}

    def read(self, index: int) -> Tensor:
        """The waveform of a turn as it was recorded, (S,)."""
        row: Any = self.turns[index]
        rate = self.extractor.sampling_rate
        return torch.from_numpy(read_audio(row["audio"], sampling_rate=rate))

    def flags(self, heard: dict[str, Any], speaker: str | None) -> tuple[str, ...]:
        """What the pipeline would flag of the sound, with the detector of speech if installed."""
        waveform, f0_hz = heard["waveform"], heard["f0_hz"]
        statistics = self.extractor.f0_statistics_of(f0_hz, speaker)
        return signal_flags(
            waveform,
            heard["mel"],
            *normalize_log_f0(f0_hz, statistics),
            seconds=len(waveform) / self.extractor.sampling_rate,
            speech=speech_probabilities([waveform]) if detector_is_installed() else None,
        )
