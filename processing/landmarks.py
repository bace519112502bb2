"""Align clips by their landmarks, which outlast trimming, bands, codecs, noise and speed.

A clip is known by its landmarks, the peaks of its spectrogram: where harmonics meet formants, in
time and frequency. Three of them make a number that few other clips have (after Wang, "An
industrial-strength audio search algorithm", ISMIR 2003, with three peaks instead of two so that
numbers stay rare in large corpora). Clips that share several of these at one shift are aligned, and
are copies if most landmarks of what they have in common then agree. Faster and slower copies are
looked for by scaling the landmarks. Two recordings of one sentence do not agree, even by one
speaker. The work grows with the number of clips, since common numbers are left out.

Axes: S samples at LANDMARK_RATE, T frames of HOP, B bins, P landmarks, K triples.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.ndimage
import scipy.signal

LANDMARK_RATE = 4000
"""Hz. What lies between 300 Hz and 1.9 kHz passes through telephones and low bit rates."""

LEAST_LANDMARKS, FEW_LANDMARKS, AGREEMENT_OF_FEW = 12, 7, 0.75
"""Of clips that are alike so many agree, or of short ones fewer and a larger share."""
LEAST_OVERLAP = 0.4
"""Share of the landmarks of the shorter clip that lie in the stretch that both have."""

SPEEDS = tuple(1 + percent / 100 for percent in range(0, 11, 2))
"""How much faster one of two clips may be, in steps that are near enough to each other."""

COMMON = 64
"""A number that more clips share is no help, and is left out."""

HOP, WINDOW = 16, 256  # samples: 4 and 64 ms
LOWEST_BIN, HIGHEST_BIN = 20, 122  # 312 to 1906 Hz
RANGE_DB = 40.0  # below the loudest, beyond which there are no landmarks
NEIGHBOURHOOD = (25, 7)  # frames and bins within which a landmark is the highest
LANDMARKS_A_SECOND = 30
FAN, NEAREST, FARTHEST = 6, 8, 150  # landmarks that follow one within so many frames make triples
FRAME_STEP, BIN_STEP = 6.0, 2.0  # what a number takes as equal
LEAST_ANCHORS = 5  # that two clips share at one shift before they are compared
FRAME_TOLERANCE, BIN_TOLERANCE = 3.0, 0.75  # of landmarks that agree
CLIPS_AT_ONCE = 200


def find_landmarks(waveform: np.ndarray) -> np.ndarray:
    """Peaks of the spectrogram of a waveform at 16 kHz, in order of time.

    Returns:
        Frame and bin of each, between the grid's points by parabolas, (P, 2) float32. None for
        silence.
    """
    if not np.any(waveform):
        return np.zeros((0, 2), np.float32)
    levels = _spectrogram(waveform)
    highest = scipy.ndimage.maximum_filter(levels, size=NEIGHBOURHOOD)
    peaks = (levels == highest) & (levels > levels.max() - RANGE_DB)
    peaks[[0, -1]] = False
    peaks[:, [0, -1]] = False
    frames, bins = np.nonzero(peaks)
    if not len(frames):
        return np.zeros((0, 2), np.float32)
    around: Any = (81, 25)  # frames and bins; declared as one number
    prominence = levels - scipy.ndimage.uniform_filter(levels, size=around)
    most = round(LANDMARKS_A_SECOND * len(levels) * HOP / LANDMARK_RATE) + 3
    kept = np.argsort(-prominence[frames, bins], kind="stable")[:most]
    frames, bins = frames[kept], bins[kept]
    height = levels[frames, bins]
    time = frames + _vertex(levels[frames - 1, bins], height, levels[frames + 1, bins])
    pitch = bins + _vertex(levels[frames, bins - 1], height, levels[frames, bins + 1])
    order = np.argsort(time, kind="stable")
    return np.stack([time, pitch + LOWEST_BIN], axis=1)[order].astype(np.float32)


def landmark_agreement(a: np.ndarray, b: np.ndarray, speed: float, shift: float) -> float:
    """Share of the landmarks of two clips that agree, of the stretch that both have.

    Args:
        a: landmarks, (P, 2), of the clip that is as fast or slower.
        b: landmarks of the other, (P', 2).
        speed: how much faster b is than a, to within half a step of SPEEDS.
        shift: frames of b at the beginning of a, to within FRAME_STEP.

    Returns:
        Of the clip with fewer landmarks there; 0 where too few agree or the stretch is too short.
    """
    expected = np.array([[1 / speed, speed]])
    for tolerance in (2 * FRAME_STEP, FRAME_TOLERANCE):
        moved = a * expected + [shift, 0.0]
        apart = np.abs(moved[:, None] - b[None])  # (P, P', 2)
        allowed = 2 * BIN_TOLERANCE if tolerance > FRAME_TOLERANCE else BIN_TOLERANCE
        near = (apart[..., 0] < tolerance) & (apart[..., 1] < allowed)
        first, second = np.nonzero(near)
        if len(set(first.tolist())) < FEW_LANDMARKS:
            return 0.0
        if tolerance > FRAME_TOLERANCE:  # the fitted line brings the two nearer
            slope, shift = _line(a[first, 0], b[second, 0], 1 / speed)
            expected = np.array([[slope, 1 / slope]])
    start, end = max(moved[0, 0], b[0, 0]) - 1, min(moved[-1, 0], b[-1, 0]) + 1
    shared = [((x[:, 0] >= start) & (x[:, 0] <= end)).sum() for x in (moved, b)]
    if min(shared) < LEAST_OVERLAP * min(len(a), len(b)):
        return 0.0
    agreeing = min(len(set(first.tolist())), len(set(second.tolist())))
    share = agreeing / int(min(shared))
    return share if agreeing >= LEAST_LANDMARKS or share >= AGREEMENT_OF_FEW else 0.0


def _line(a: np.ndarray, b: np.ndarray, slope: float) -> tuple[float, float]:
    """Slope and shift of b over a, from pairs of which some are wrong: those far from the median
    of the shifts are left out. Times within a second say nothing of the slope, which then stays.
    """
    shifts = b - slope * a
    right = np.abs(shifts - np.median(shifts)) <= FRAME_STEP
    if np.ptp(a[right]) > LANDMARK_RATE / HOP:
        slope, shift = np.polyfit(a[right], b[right], 1)
        return float(slope), float(shift)
    return slope, float(np.median(shifts))


def _spectrogram(waveform: np.ndarray) -> np.ndarray:
    """Levels in dB from 312 to 1906 Hz, (T, B); the first difference evens out speech's falling
    spectrum.
    """
    narrow = scipy.signal.resample_poly(waveform, 1, 16000 // LANDMARK_RATE)
    padded = np.pad(np.diff(narrow, prepend=0.0), WINDOW // 2 + HOP)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    spectra = np.fft.rfft(frames * np.hanning(WINDOW), axis=1)[:, LOWEST_BIN:HIGHEST_BIN]
    return 20 * np.log10(np.abs(spectra) + 1e-7)


def _vertex(before: np.ndarray, peak: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Where between -0.5 and 0.5 a parabola through three values is highest."""
    bend = before - 2 * peak + after
    return np.clip(0.5 * (before - after) / np.where(bend < -1e-9, bend, -1e-9), -0.5, 0.5)


def _triples(landmarks: np.ndarray) -> np.ndarray:
    """Each landmark with two of those that follow it, as indices, (K, 3)."""
    frames = landmarks[:, 0]
    begin = np.searchsorted(frames, frames + NEAREST)
    end = np.minimum(np.searchsorted(frames, frames + FARTHEST, "right"), begin + FAN)
    found = [
        (anchor, second, third)
        for anchor, (low, high) in enumerate(zip(begin.tolist(), end.tolist(), strict=True))
        for second, third in itertools.combinations(range(low, high), 2)
    ]
    return np.array(found, np.int64).reshape(-1, 3)


def _numbers(landmarks: np.ndarray, triples: np.ndarray, speed: float) -> np.ndarray:
    """The number of each triple as it would be in a copy that is so much faster, (K,) int64."""
    frames, bins = landmarks[:, 0] / speed, landmarks[:, 1] * speed
    anchor, second, third = triples.T
    steps = [frames[second] - frames[anchor], frames[third] - frames[second]]
    number = np.zeros(len(triples), np.int64)
    for values in (bins[anchor], bins[second], bins[third]):
        number = number * 128 + np.round(values / BIN_STEP).astype(np.int64)
    for values in steps:
        number = number * 64 + np.round(values / FRAME_STEP).astype(np.int64)
    return number


@dataclass(frozen=True)
class _Index:
    """All triples of all clips in the order of their numbers."""

    numbers: np.ndarray  # (K,) int64
    clips: np.ndarray  # of each, (K,)
    frames: np.ndarray  # of its anchor, (K,)


def _build_index(landmarks: Sequence[np.ndarray], triples: Sequence[np.ndarray]) -> _Index:
    """Index the triples; those of numbers that are common are left out."""
    pairs = list(zip(landmarks, triples, strict=True))
    numbers = np.concatenate([_numbers(marks, t, 1.0) for marks, t in pairs])
    clips = np.repeat(np.arange(len(pairs)), [len(t) for t in triples])
    frames = np.concatenate([marks[t[:, 0], 0] for marks, t in pairs])
    order = np.argsort(numbers, kind="stable")
    numbers, clips, frames = numbers[order], clips[order], frames[order]
    _, place, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    rare = counts[place] <= COMMON
    return _Index(numbers[rare], clips[rare], frames[rare])


def aligned_pairs(
    landmarks: Sequence[np.ndarray],
) -> Iterator[tuple[int, int, float, float]]:
    """Pairs of clips that share anchors at one shift: the two, how much faster the second is, and
    its frame at the beginning of the first.
    """
    if len(landmarks) < 2:
        return
    triples = [_triples(marks) for marks in landmarks]
    index = _build_index(landmarks, triples)
    for start in range(0, len(landmarks), CLIPS_AT_ONCE):
        chunk = range(start, min(start + CLIPS_AT_ONCE, len(landmarks)))
        for speed in SPEEDS:
            yield from _matches(index, landmarks, triples, chunk, speed)


def _matches(
    index: _Index,
    landmarks: Sequence[np.ndarray],
    triples: Sequence[np.ndarray],
    chunk: Iterable[int],
    speed: float,
) -> Iterator[tuple[int, int, float, float]]:
    """The aligned pairs whose first clip is of a chunk, at one speed."""
    chunk = list(chunk)
    numbers = np.concatenate([_numbers(landmarks[k], triples[k], speed) for k in chunk])
    clips = np.repeat(chunk, [len(triples[k]) for k in chunk])
    anchors = np.concatenate([triples[k][:, 0] for k in chunk])
    frames = np.concatenate([landmarks[k][triples[k][:, 0], 0] for k in chunk]) / speed
    low, high = (np.searchsorted(index.numbers, numbers, side) for side in ("left", "right"))
    counts = high - low
    asking = np.repeat(np.arange(len(numbers)), counts)
    starts = np.repeat(low - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    answer = starts + np.arange(len(asking))
    others = index.clips[answer]
    # at the same speed each pair is met from both sides
    wanted = others > clips[asking] if speed == 1 else others != clips[asking]
    asking, answer = asking[wanted], answer[wanted]
    shifts = index.frames[answer] - frames[asking]
    found: dict[tuple[int, int], tuple[int, float]] = {}
    for half in (0.0, 0.5):  # bins that overlap, so that none divides what belongs together
        bins = np.floor(shifts / (2 * FRAME_STEP) + half).astype(np.int64)
        votes = np.stack([clips[asking], index.clips[answer], bins, anchors[asking]], axis=1)
        pairs, anchors_each = np.unique(np.unique(votes, axis=0)[:, :3], axis=0, return_counts=True)
        for (first, second, place), count in zip(
            pairs[anchors_each >= LEAST_ANCHORS].tolist(),
            anchors_each[anchors_each >= LEAST_ANCHORS].tolist(),
            strict=True,
        ):
            if count > found.get((first, second), (0, 0.0))[0]:
                middle = (place + 0.5 - half) * 2 * FRAME_STEP
                found[first, second] = (count, middle)
    for (first, second), (_, shift) in found.items():
        yield first, second, speed, shift
