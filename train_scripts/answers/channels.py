"""Which channels of a recording are heard, and whether each apart.

Axes: S samples, C channels, E frames of 0.1 s.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from processing.audio_files import open_audio
from processing.errors import InputError

AUTO, MIX, SPLIT = "auto", "mix", "split"
MODEL_RATE = 16000
FRAME_SECONDS = 0.1
SAME_WAVE, SAME_LEVELS = 0.5, 0.3
"""Correlations above which two channels are one recording: of the samples, and of the levels of
0.1 s in dB. Microphones at two places have different samples and the same levels.
"""
QUIETEST_DB, QUIETEST_BELOW_DB = -60.0, -40.0
"""A channel holds nothing where its level is below this, or so far below the other's."""
FLOOR = 1e-8  # -80 dB, so that digital silence has a level


@dataclass
class ChannelRelation:
    """What two channels have to do with each other.

    Attributes:
        seconds: length of the recording.
        num_channels: C.
        levels_db: of each channel, below full scale.
        correlation: of the samples; 1 where there is one channel.
        level_correlation: of the levels of 0.1 s, in dB.
    """

    seconds: float
    num_channels: int
    levels_db: list[float]
    correlation: float = 1.0
    level_correlation: float = 1.0

    @property
    def is_two_sides(self) -> bool:
        """Whether the channels are the two sides of a conversation."""
        return (
            self.num_channels == 2
            and min(self.levels_db) > QUIETEST_DB
            and min(self.levels_db) - max(self.levels_db) > QUIETEST_BELOW_DB
            and abs(self.correlation) < SAME_WAVE
            and self.level_correlation < SAME_LEVELS
        )


def choose_channels(audio: Any, option: str) -> tuple[list[int | None], str | None]:
    """Channels to hear, counted from 1, None for their mean, and what to tell the user of it.

    Args:
        audio: a recording in a form that `open_audio` takes.
        option: "auto", "mix", "split" or the number of a channel.

    Raises:
        InputError: if the recording cannot be read, or has no such channel.
    """
    if option == MIX or (option == AUTO and not has_two_channels(audio)):
        return [None], None
    relation = relate_channels(audio)
    if option == SPLIT:
        return list(range(1, relation.num_channels + 1)), None
    if option != AUTO:
        if not 1 <= int(option) <= relation.num_channels:
            raise InputError(
                f"{audio['path']}: --channels {option}, but it has {relation.num_channels}."
            )
        return [int(option)], None
    if not relation.is_two_sides:
        return [None], None
    note = (
        f"two channels with different speech (correlation {relation.correlation:.2f}, of levels "
        f"{relation.level_correlation:.2f}): each is answered apart; --channels mix mixes them."
    )
    return [1, 2], note


def has_two_channels(audio: Any) -> bool:
    """Whether a recording has two channels, by its first block."""
    first = next(open_audio(audio, MODEL_RATE, mix=False).blocks, None)
    return first is not None and first.ndim == 2 and first.shape[1] == 2


def relate_channels(audio: Any) -> ChannelRelation:
    """Read a recording once, block by block, and compare its first two channels."""
    stream = open_audio(audio, MODEL_RATE, mix=False)
    products, energies, num_samples = np.zeros((2, 2)), [np.zeros((0, 2))], 0
    for frames in whole_frames(stream.blocks, round(FRAME_SECONDS * stream.sampling_rate)):
        two = np.nan_to_num(frames[..., [0, min(1, frames.shape[-1] - 1)]].astype(np.float64))
        products += np.einsum("esc,esd->cd", two, two)
        energies.append(np.mean(two**2, axis=1))  # (E, 2)
        num_samples += frames.shape[0] * frames.shape[1]
        num_channels = frames.shape[-1]
    if not num_samples:  # shorter than a frame: whoever answers it says so
        return ChannelRelation(0.0, 1, [0.0])
    powers = np.diag(products) / num_samples
    levels = 10 * np.log10(np.concatenate(energies) + FLOOR)
    return ChannelRelation(
        seconds=num_samples / stream.sampling_rate,
        num_channels=num_channels,
        levels_db=(10 * np.log10(powers + FLOOR)).tolist()[:num_channels],
        correlation=float(products[0, 1] / np.sqrt(products[0, 0] * products[1, 1] + 1e-20)),
        level_correlation=correlation(levels[:, 0], levels[:, 1]),
    )


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of two series; 1 where one of them never changes."""
    if a.std() < 1e-9 or b.std() < 1e-9:
        return 1.0
    return float(np.corrcoef(a, b)[0, 1])


def whole_frames(blocks: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Frames (E, size, C) of a stream of blocks (S, C) or (S,); an incomplete last one is left."""
    waiting = None
    for block in blocks:
        samples = block if block.ndim == 2 else block[:, None]
        waiting = samples if waiting is None else np.concatenate([waiting, samples])
        whole = len(waiting) // size
        if whole:
            yield waiting[: whole * size].reshape(whole, size, -1)
            waiting = waiting[whole * size :]
