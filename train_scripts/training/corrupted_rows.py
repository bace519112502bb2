"""Training turns as they are heard in an epoch: at another speed, in a room, under noise, or
corrupted as `decomp-ser stress` corrupts; keyed like all randomness.

The sound is changed before anything is extracted from it, so that the spectrogram and the pitch
contour are those of the changed sound too.

Axes: S samples.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from modeling_decomp_ser.keyed_random import fold_in, uniform
from processing.audio_files import read_audio
from processing.collation import row_key
from processing.feature_extraction_decomp_ser import DecompSerFeatureExtractor
from train_scripts.corruptions.conditions import CORRUPTIONS, Voices, corrupt, other_turns
from train_scripts.corruptions.effects import SPEED_STEP, change_speed, reverberate, white_noise
from train_scripts.runs.settings import AugmentationSettings

NUM_EFFECTS = 3
LEAST = 0.05
"""Of the largest reverberation or noise; none at all comes of the rows that have no effect."""

TRAINED_SPEEDS = 5 * SPEED_STEP
"""Speeds of training are multiples of this, as those by odd ratios cost more than a step."""


class CorruptedRows(TorchDataset):
    """Rows of a corpus, each changed as its id, the run's seed and the epoch say.

    Args:
        rows: with their signals, and with their `waveform` where it was decoded.
        settings: how much is changed, and what hears it.
        extractor: of the signals.
        seed: of the run.
        epoch: gives the epoch that a row is read for.
    """

    def __init__(
        self,
        rows: Any,
        settings: AugmentationSettings,
        extractor: DecompSerFeatureExtractor,
        *,
        seed: int,
        epoch: Callable[[], int],
    ):
        self.rows = rows
        self.settings = settings
        self.extractor = extractor
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | str) -> Any:
        """A row by its number, or a column by its name."""
        row = self.rows[index]
        if isinstance(index, str):
            return row
        key = fold_in(torch.tensor([row_key(row["id"])]), self.seed)
        key = fold_in(key, self.epoch())[0]
        heard = change_turn(self.read(index), key, self.settings, self.voices(index))
        changed: dict[str, Any] = {"waveform": heard.numpy()}
        if self.settings.heard_by == "all":
            changed |= self.extractor.extract([changed["waveform"]], [row["gender"]])[0]
        return {**row, **changed}

    def read(self, index: int) -> Tensor:
        """The waveform of a row as it was recorded, (S,)."""
        row = self.rows[index]
        if "waveform" in row:
            return torch.from_numpy(row["waveform"])
        return torch.from_numpy(
            read_audio(row["audio"], sampling_rate=self.extractor.sampling_rate)
        )

    def voices(self, index: int) -> Voices:
        """The other turns, of which babble is made."""
        return other_turns(self.read, index, len(self.rows))


def change_turn(
    waveform: Tensor, key: Tensor, settings: AugmentationSettings, voices: Voices
) -> Tensor:
    """Change a turn: each of speed, reverberation and noise in half of the turns, and one of the
    corruptions, at one of its strengths, in the share of turns that is corrupted.

    Args:
        waveform: (S,) float32.
        key: randomness of the turn in this epoch, int64 scalar.
        settings: how much.
        voices: of the other turns.

    Returns:
        (S',) float32.
    """
    draws = uniform(fold_in(key, 6)[None], 2 * NUM_EFFECTS + 3)[0].tolist()
    amounts, wanted = draws[:NUM_EFFECTS], [x < 0.5 for x in draws[NUM_EFFECTS : 2 * NUM_EFFECTS]]
    if settings.speed and wanted[0]:
        change = settings.speed * (2 * amounts[0] - 1)
        waveform = change_speed(waveform, 100 * TRAINED_SPEEDS * round(change / TRAINED_SPEEDS))
    if settings.reverberation_seconds and wanted[1]:
        seconds = settings.reverberation_seconds * max(amounts[1], LEAST)
        waveform = reverberate(waveform, seconds, key)
    if settings.noise and wanted[2]:
        ratio = settings.noise * max(amounts[2], LEAST)
        waveform = white_noise(waveform, -20 * math.log10(ratio), key)
    share, kind, strength = draws[2 * NUM_EFFECTS :]
    if settings.corruptions and share < settings.corrupted_share:
        name = settings.corruptions[int(kind * len(settings.corruptions))]
        strengths = CORRUPTIONS[name].strengths
        chosen = strengths[int(strength * len(strengths))]
        waveform = corrupt(waveform, name, chosen, key, voices)
    return waveform
