"""F0 contours and their normalisation.

Three trackers behind one function: RAPT (the paper's), and Harvest and DIO of the WORLD vocoder.
Normalisation follows SpeechSplit (Qian et al., ICML 2020): natural-log F0, four standard deviations
to either side of the mean, mapped to [0, 1]. Quantisation belongs to the model, since it follows
random resampling. Axes: S samples, T frames.
"""

import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from types import ModuleType

import numpy as np

from .mel_spectrogram import check_waveform, num_frames
from .rapt import rapt
from .rapt_settings import check_f0_range

# In Hz. A range that does not fit the voice is ruinous (low voices tracked at 100 to 600 Hz lose
# most of their frames, high ones at 50 to 250 Hz fall an octave), and whoever uses a trained model
# states no gender: hence "unified" unless a reproduction asks for the authors' two ranges.
F0_RANGES = {"unified": (50, 600), "male": (50, 250), "female": (100, 600)}
METHODS = ("rapt", "harvest", "dio")

# Utterances of similar length share a padded batch; more of them only cost memory.
RAPT_BATCH_SIZE = 16
# WORLD's decimation filter reads beyond the end of very short signals.
WORLD_MIN_SECONDS = 0.02
NORMALISED_DEVIATIONS = 4.0
DEVIATION_FLOOR = 1e-6

Range = tuple[float, float]


def f0_contours(
    waveforms: Sequence[np.ndarray],
    sampling_rate: int,
    *,
    method: str = "rapt",
    f0_range: Range | Sequence[Range],
    hop_length: int,
) -> list[np.ndarray]:
    """F0 of each utterance, one value for each frame of its mel spectrogram.

    Args:
        waveforms: what `high_pass` returned, full scale 1.0, each of shape (S,).
        sampling_rate: in Hz.
        method: "rapt" (Talkin 1995), "harvest" (Morise 2017) or "dio" (Morise 2009, refined by
            StoneMask); the latter two need pyworld.
        f0_range: lowest and highest F0 in Hz, for all utterances or one pair for each, such as
            the values of `F0_RANGES`.
        hop_length: step between frames in samples.

    Returns:
        for each utterance float32 F0 in Hz, 0 where unvoiced, shape (T,) with
        T = `num_frames(S, hop_length)`.

    Raises:
        ValueError: if the method is unknown, an utterance is not one channel of finite samples
            around full scale, a range does not ascend or exceeds a quarter of the sampling rate,
            or the number of ranges is not that of the utterances.
        ImportError: if the method needs pyworld and it is not installed.
    """
    if method not in METHODS:
        raise ValueError(f"F0 method {method!r}, expected one of {', '.join(METHODS)}.")
    ranges = _range_per_item(f0_range, len(waveforms))
    for index, (waveform, (f0_min, f0_max)) in enumerate(zip(waveforms, ranges, strict=True)):
        try:
            check_waveform(waveform)
            check_f0_range(sampling_rate, f0_min, f0_max)
        except ValueError as error:
            raise ValueError(f"utterance {index}: {error}") from None
    if method == "rapt":
        return _rapt_contours(waveforms, sampling_rate, ranges, hop_length)
    return [
        _world_contour(waveform, sampling_rate, method, item_range, hop_length)
        for waveform, item_range in zip(waveforms, ranges, strict=True)
    ]


def _range_per_item(f0_range: Range | Sequence[Range], num_items: int) -> list[Range]:
    if len(f0_range) == 2 and all(np.isscalar(limit) for limit in f0_range):
        return [tuple(f0_range)] * num_items  # type: ignore[list-item]
    if len(f0_range) != num_items:
        raise ValueError(
            f"{len(f0_range)} F0 ranges for {num_items} utterances, expected one pair for all or "
            "one pair for each."
        )
    return [tuple(pair) for pair in f0_range]  # type: ignore[arg-type, misc]


def _rapt_contours(
    waveforms: Sequence[np.ndarray], sampling_rate: int, ranges: list[Range], hop_length: int
) -> list[np.ndarray]:
    """Utterances of one range and of similar length together: little padding, same result."""
    same_range = defaultdict(list)
    for index in sorted(range(len(waveforms)), key=lambda index: len(waveforms[index])):
        same_range[ranges[index]].append(index)
    contours: dict[int, np.ndarray] = {}
    for (f0_min, f0_max), members in same_range.items():
        for start in range(0, len(members), RAPT_BATCH_SIZE):
            batch = members[start : start + RAPT_BATCH_SIZE]
            lengths = np.array([len(waveforms[index]) for index in batch])
            padded = np.zeros((len(batch), lengths.max()), np.float32)
            for row, index in enumerate(batch):
                padded[row, : lengths[row]] = waveforms[index]
            f0_hz = rapt(
                padded,
                sampling_rate,
                f0_min=f0_min,
                f0_max=f0_max,
                hop_length=hop_length,
                lengths=lengths,
            )
            for row, index in enumerate(batch):
                contours[index] = f0_hz[row, : num_frames(int(lengths[row]), hop_length)].copy()
    return [contours[index] for index in range(len(waveforms))]


def _import_pyworld() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
            import pyworld
    except ImportError as error:
        raise ImportError(
            'F0 methods "harvest" and "dio" need pyworld, which could not be imported: '
            f"{error}. Install it, or choose the method rapt."
        ) from error
    return pyworld


def _world_contour(
    waveform: np.ndarray, sampling_rate: int, method: str, f0_range: Range, hop_length: int
) -> np.ndarray:
    pyworld = _import_pyworld()
    contour = np.zeros(num_frames(waveform.size, hop_length), np.float32)
    if waveform.size < WORLD_MIN_SECONDS * sampling_rate:
        return contour
    samples = np.ascontiguousarray(waveform, np.float64)
    f0_min, f0_max = map(float, f0_range)
    period = 1000 * hop_length / sampling_rate  # in ms; frame i speaks of sample i * hop_length
    track = pyworld.harvest if method == "harvest" else pyworld.dio
    f0_hz, times = track(samples, sampling_rate, f0_min, f0_max, frame_period=period)
    if method == "dio":
        f0_hz = pyworld.stonemask(samples, f0_hz, times, sampling_rate)
    contour[: f0_hz.size] = f0_hz  # one frame less than ours where the period in ms is rounded up
    return contour


def f0_statistics(f0_hz: Iterable[np.ndarray]) -> tuple[float, float] | None:
    """Mean and population standard deviation of the natural logarithm of F0 over the voiced frames
    of one or more contours, such as those of a speaker: (T,) each, in Hz, 0 where unvoiced. None
    where no frame is voiced.

    Examples:
        >>> f0_statistics([np.array([0.0, 100.0]), np.array([100.0])])
        (4.605170185988092, 0.0)
    """
    voiced = [contour[contour > 0] for contour in map(np.asarray, f0_hz)]
    log_f0 = np.log(np.concatenate([np.empty(0), *voiced]).astype(np.float64))
    if log_f0.size == 0:
        return None
    return float(log_f0.mean()), float(log_f0.std())


def f0_deviation_within(f0_hz: Iterable[np.ndarray]) -> float | None:
    """Standard deviation of the natural logarithm of F0 about the mean of its own contour, over all
    voiced frames of contours (T,) in Hz, 0 where unvoiced; None where no frame is voiced.

    Examples:
        >>> f0_deviation_within([np.array([100.0, 100.0]), np.array([200.0, 0.0])])
        0.0
    """
    squares, frames = 0.0, 0
    for contour in f0_hz:
        own = f0_statistics([contour])
        if own is not None:
            voiced = int((np.asarray(contour) > 0).sum())
            squares, frames = squares + voiced * own[1] ** 2, frames + voiced
    return float(np.sqrt(squares / frames)) if frames else None


def normalize_log_f0(
    f0_hz: np.ndarray, statistics: tuple[float, float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Log F0 with four standard deviations to either side of the mean mapped to [0, 1].

    `0.5 + clip((ln F0 - mean) / (4 (deviation + 1e-6)), -1, 1) / 2` (SpeechSplit; the summand 1e-6
    is SpeechSplit2's and makes a single voiced frame 0.5).

    The contour (T,) is in Hz, 0 where unvoiced; its own statistics stand in where none are given.
    Returns float32 normalised log F0 (T,) in [0, 1], 0 where unvoiced, and a Boolean mask (T,),
    True where voiced. A voiced frame four deviations below the mean is 0 as well: only the mask
    tells voiced from unvoiced.

    Examples:
        >>> normalize_log_f0(np.array([0.0, 100.0, 200.0]))[0].round(3)
        array([0.   , 0.375, 0.625], dtype=float32)
    """
    f0_hz = np.asarray(f0_hz, np.float64)
    voiced = f0_hz > 0
    log_f0 = np.zeros(f0_hz.shape, np.float32)
    if statistics is None:
        statistics = f0_statistics([f0_hz])
    if statistics is not None:
        mean, deviation = statistics
        reach = NORMALISED_DEVIATIONS * (deviation + DEVIATION_FLOOR)
        log_f0[voiced] = 0.5 + np.clip((np.log(f0_hz[voiced]) - mean) / reach, -1, 1) / 2
    return log_f0, voiced
