"""Which stretches of a recording are answered: speech, turns, sentences, or windows of all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modeling_decomp_ser.speech_activity import (
    FRAME_SECONDS,
    RATE,
    Span,
    speech_probabilities,
    speech_spans,
)
from processing.audio_files import open_audio

SPEECH, WINDOWS, TURNS = "speech", "windows", "turns"
SHORTEST_TURN = 0.1
"""Seconds. A shorter turn is not answered."""


@dataclass
class Turn:
    """What one person says without a pause, or a sentence of it.

    Attributes:
        start: in seconds.
        end: in seconds.
        speaker: None where it is not known.
        text: None where it is not known.
        channel: that it is heard on, counted from 1; None for the mean of all.
        overlaps: whether another speaker is heard at the same time.
    """

    start: float
    end: float
    speaker: str | None = None
    text: str | None = None
    channel: int | None = None
    overlaps: bool = False


@dataclass
class Segment:
    """A stretch that gets one answer.

    Attributes:
        turn: its limits, and who says what in it.
        pieces: (start, end) in seconds that the model hears, each no longer than a window.
    """

    turn: Turn
    pieces: list[Span]


def find_segments(
    audio: Any, channel: int | None, turns: Sequence[Turn] | None, longest: float
) -> tuple[list[Segment], float]:
    """The stretches of a channel that are answered, and the seconds that the recording lasts.

    Args:
        audio: a recording in a form that `open_audio` takes.
        channel: counted from 1; None for the mean of all.
        turns: of this channel; None to find speech by the detector.
        longest: seconds of the longest piece that is answered in one.

    Raises:
        ValueError: if the recording cannot be read.
    """
    if turns is not None:
        heard = [t for t in turns if t.end - t.start >= SHORTEST_TURN]
        return [Segment(t, list(divide(t.start, t.end, longest))) for t in heard], 0.0
    stream = open_audio({**audio, "channel": channel}, RATE)
    counted = CountedSamples(stream.blocks)
    probabilities = speech_probabilities(at_detector_rate(counted, stream.sampling_rate))
    seconds = counted.number / stream.sampling_rate
    spans = speech_spans(probabilities[: int(seconds / FRAME_SECONDS) + 1], seconds, longest)
    return [
        Segment(Turn(start, end, channel=channel), [(start, end)]) for start, end in spans
    ], seconds


class CountedSamples:
    """Blocks of samples that pass, and how many samples they were."""

    def __init__(self, blocks: Iterator[np.ndarray]):
        self.blocks, self.number = blocks, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self.blocks:
            self.number += len(block)
            yield block


def at_detector_rate(blocks: Iterator[np.ndarray] | CountedSamples, rate: int):
    """Blocks (S,) at any rate as blocks at 16 kHz."""
    if rate == RATE:
        yield from blocks
        return
    import soxr

    stream = soxr.ResampleStream(rate, RATE, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block, np.float32))
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def divide(start: float, end: float, longest: float) -> Iterator[Span]:
    """A stretch in equal pieces of at most `longest` seconds.

    Examples:
        >>> list(divide(0.0, 12.0, 10.0))
        [(0.0, 6.0), (6.0, 12.0)]
    """
    count = max(1, int(np.ceil((end - start) / longest - 1e-9)))
    limits = np.linspace(start, end, count + 1)
    yield from ((float(a), float(b)) for a, b in zip(limits[:-1], limits[1:], strict=True))
