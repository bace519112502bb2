"""A sound that comes block by block, cut into overlapping windows.

No more than two windows are held at a time, whatever the length of a file. Windows are cut at the
rate of the source and prepared each for itself, so that a window is the same whether it comes from
a file, an array or a microphone.

Axes: S samples, C channels.
"""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

Window = tuple[int, np.ndarray]
"""Index of the first sample, and the samples (S,) or (S, C)."""


class RollingWindows:
    """Cut samples that come in pieces of any size into overlapping windows.

    Windows start at multiples of the hop. What remains at the end has a window of full length too,
    moved back to end with the sound; a sound of up to one window is one window.

    Args:
        size: of a window, in samples.
        hop: from window to window, in samples, at most `size`.
    """

    def __init__(self, size: int, hop: int):
        self.size, self.hop = size, hop
        self.pieces: list[np.ndarray] = []
        self.held_from = 0  # first sample held: the start of the last window
        self.num_samples = 0
        self.next_start = 0

    def push(self, samples: np.ndarray) -> list[Window]:
        """Take in samples (S,) or (S, C); returns the windows that are now complete."""
        self.pieces.append(samples)
        self.num_samples += len(samples)
        if self.num_samples < self.next_start + self.size:
            return []
        held = np.concatenate(self.pieces)
        windows = []
        while self.num_samples >= self.next_start + self.size:
            first = self.next_start - self.held_from
            windows.append((self.next_start, held[first : first + self.size]))
            self.next_start += self.hop
        last = self.next_start - self.hop
        self.pieces = [held[last - self.held_from :]]
        self.held_from = last
        return windows

    def finish(self) -> list[Window]:
        """The last window, if samples are left that are in none yet."""
        if self.num_samples == 0:
            return []
        if self.next_start == 0:
            return [(0, np.concatenate(self.pieces))]
        if self.num_samples == self.held_from + self.size:
            return []
        return [(self.num_samples - self.size, np.concatenate(self.pieces)[-self.size :])]


def cut_windows(blocks: Iterable[np.ndarray], size: int, hop: int) -> Iterator[Window]:
    """Windows of a sound that is read block by block; see RollingWindows."""
    windows = RollingWindows(size, hop)
    for block in blocks:
        yield from windows.push(block)
    yield from windows.finish()


def cut_spans(
    blocks: Iterable[np.ndarray], spans: Iterable[tuple[int, int]], name: str
) -> Iterator[Window]:
    """Given spans of a sound that is read block by block; no more is held than they need.

    Args:
        blocks: pieces of (S,) or (S, C), one after the other.
        spans: first sample and the one after the last; they may overlap. What lies beyond the end
            of the sound is left off.
        name: of the sound, for messages.

    Yields:
        Windows in the order of the first samples.

    Raises:
        ValueError: if a span is empty, or begins after the end.
    """
    waiting, held, held_from, total = sorted(spans), [], 0, 0
    for first, last in waiting:
        if not 0 <= first < last:
            raise ValueError(f"{name}: a span of samples {first} to {last}, expected some.")
    if not waiting:
        return
    for block in itertools.chain(blocks, [None]):
        if block is not None:
            held.append(block)
            total += len(block)
        while block is None or waiting[0][1] <= total:
            first, last = waiting.pop(0)
            if first >= total:
                raise ValueError(
                    f"{name}: a span begins at sample {first}, but the sound ends at {total}."
                )
            joined = np.concatenate(held)
            yield first, joined[first - held_from : last - held_from]
            if not waiting:
                return
            # what no span that is left needs
            needed = min(max(waiting[0][0] - held_from, 0), len(joined))
            held, held_from = [joined[needed:]], held_from + needed
        while held and held_from + len(held[0]) <= waiting[0][0]:
            held_from += len(held.pop(0))


def window_samples(window_seconds: float, hop_seconds: float | None, rate: int) -> tuple[int, int]:
    """Size and hop of windows in samples; the default hop is half a window.

    Raises:
        ValueError: if a window has less than half a second, or windows would leave gaps.

    Examples:
        >>> window_samples(10.0, None, 16000)
        (160000, 80000)
    """
    hop_seconds = window_seconds / 2 if hop_seconds is None else hop_seconds
    if not window_seconds >= 0.5:
        raise ValueError(f"window_seconds={window_seconds}, expected 0.5 s or more.")
    if not 0.01 <= hop_seconds <= window_seconds:
        raise ValueError(
            f"hop_seconds={hop_seconds}, expected 0.01 s to the window's {window_seconds} s: "
            "longer hops would leave gaps."
        )
    return round(window_seconds * rate), round(hop_seconds * rate)


def own_spans(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """What each window, (start, end) in order, speaks for alone: overlaps are divided in the
    middle, so that the pieces follow each other without gap or overlap.

    Examples:
        >>> own_spans([(0.0, 10.0), (5.0, 15.0), (8.0, 18.0)])
        [(0.0, 7.5), (7.5, 11.5), (11.5, 18.0)]
    """
    middles = [(later[0] + earlier[1]) / 2 for earlier, later in itertools.pairwise(spans)]
    return list(zip([spans[0][0], *middles], [*middles, spans[-1][1]], strict=True))
