"""Where somebody speaks, by the voice-activity detector of the package silero-vad.

Its weights (MIT) come inside the package, so nothing is downloaded. They are read here into a
network that hears all frames at once: loading the package itself would change the number of threads
of torch for the whole process, and its own network hears one frame a call. Without the package
there is no detector, and everything else works as before.

Axes: S samples, V detector frames (32 ms), D features.
"""

import functools
import importlib.util
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

PACKAGE = "silero_vad"
RATE = 16000
"""Hz of what the detector hears."""
FRAME = 512
"""Samples a frame, 32 ms; the only size it was trained on."""
FRAME_SECONDS = FRAME / RATE
CONTEXT = 64
"""Samples of the frame before that a frame hears too."""
BLOCK_FRAMES = 1024

SPEECH, NO_SPEECH = 0.5, 0.35
"""Probability at which speech begins, and below which it ends: the detector's own defaults."""
SHORTEST_SPEECH, SHORTEST_PAUSE = 0.25, 0.3
"""Seconds. A pause within a phrase is shorter than that."""
MARGIN = 0.1
"""Seconds kept before and after speech: weak beginnings and ends of words."""

STORED_NAMES = {
    "stft_conv.weight": "stft.forward_basis_buffer",
    **{
        f"conv{i + 1}.{kind}": f"encoder.{i}.reparam_conv.{kind}"
        for i in range(4)
        for kind in ("weight", "bias")
    },
    **{
        f"lstm.{kind}_{part}_l0": f"decoder.rnn.{kind}_{part}"
        for kind in ("weight", "bias")
        for part in ("ih", "hh")
    },
    "final_conv.weight": "decoder.decoder.2.weight",
    "final_conv.bias": "decoder.decoder.2.bias",
}
"""What the package calls the weights."""

Span = tuple[float, float]
"""Start and end in seconds."""


class SpeechDetector(nn.Module):
    """The network of silero-vad at 16 kHz: spectrum, four convolutions, an LSTM."""

    def __init__(self):
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(129, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm = nn.LSTM(128, 128)
        self.final_conv = nn.Conv1d(128, 1, 1)

    def forward(self, frames: Tensor, state: tuple[Tensor, Tensor] | None = None):
        """Probability of speech of each frame, (V, CONTEXT + FRAME) -> (V,), and the new state."""
        x = F.pad(frames, (0, CONTEXT), "reflect")[:, None]
        x = self.stft_conv(x)  # (V, 2 x 129, 4)
        x = (x[:, :129].square() + x[:, 129:].square()).sqrt()
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = layer(x).relu()
        hidden, state = self.lstm(x[..., 0], state)  # (V, 128), over the frames
        return self.final_conv(hidden.relu()[..., None])[:, 0, 0].sigmoid(), state


def detector_is_installed() -> bool:
    """Whether speech can be told from what is none."""
    return importlib.util.find_spec(PACKAGE) is not None


@functools.cache
def load_detector() -> SpeechDetector:
    """The detector, loaded once, from the file in its package."""
    package = importlib.util.find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise ImportError("Finding speech needs silero-vad: pip install 'decomp-ser[vad]'.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather read files of another form
        stored = torch.jit.load(Path(package.origin).parent / "data" / "silero_vad.jit", "cpu")
    weights = stored.state_dict()
    renamed = {own: weights[f"_model.{name}"] for own, name in STORED_NAMES.items()}
    with torch.device("meta"):  # nothing is drawn for weights that are at hand
        detector = SpeechDetector()
    detector.load_state_dict(renamed, assign=True)
    return detector.eval().requires_grad_(False)


@torch.no_grad()
def speech_probabilities(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Probability of speech in each 32 ms, (V,) float32.

    Args:
        blocks: pieces of a sound at 16 kHz, (S,) each, one after the other; the last frame is
            filled with zeros.
    """
    detector, found = load_detector(), [np.zeros(0, np.float32)]
    context, state = np.zeros(CONTEXT, np.float32), None
    for samples in whole_frames(blocks):
        heard = np.concatenate([context, samples])
        frames = np.lib.stride_tricks.sliding_window_view(heard, CONTEXT + FRAME)[::FRAME]
        probabilities, state = detector(torch.from_numpy(frames.copy()), state)
        found.append(probabilities.numpy())
        context = samples[-CONTEXT:]
    return np.concatenate(found)


def whole_frames(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The sound in pieces of at most BLOCK_FRAMES frames, samples that are not finite as zeros."""
    size, waiting = BLOCK_FRAMES * FRAME, np.zeros(0, np.float32)
    for block in blocks:
        finite = np.nan_to_num(np.asarray(block, np.float32), posinf=0, neginf=0)
        waiting = np.concatenate([waiting, finite])
        while len(waiting) >= size:
            yield waiting[:size]
            waiting = waiting[size:]
    if len(waiting):
        yield np.pad(waiting, (0, -len(waiting) % FRAME))


def speech_spans(probabilities: np.ndarray, seconds: float, longest: float) -> list[Span]:
    """Where somebody speaks.

    Args:
        probabilities: of speech, (V,).
        seconds: length of the sound.
        longest: no span is longer; speech that is, is cut where the detector hears least speech.

    Returns:
        (start, end) in seconds, in order, without overlaps.

    Examples:
        >>> speech_spans(np.repeat([0.0, 1.0, 0.0], 50), 4.8, 10.0)
        [(1.5, 3.3)]
    """
    spans = joined(spoken_frames(probabilities))
    pieces = [p for first, last in spans for p in cut_long(first, last, probabilities, longest)]
    ends = [0.0, *(min(seconds, last * FRAME_SECONDS) for _, last in pieces)]
    starts = [*(first * FRAME_SECONDS for first, _ in pieces), seconds]
    found = []
    for (start, end), before, after in zip(
        zip(starts[:-1], ends[1:], strict=True), ends[:-1], starts[1:], strict=True
    ):
        # a margin takes at most half of the pause
        earlier = max(start - MARGIN, (before + start) / 2 if before else 0.0)
        later = min(end + MARGIN, (end + after) / 2 if after < seconds else seconds)
        found.append((round(max(0.0, earlier), 3), round(max(later, end), 3)))
    return found


def spoken_frames(probabilities: np.ndarray) -> list[tuple[int, int]]:
    """First frame and the one after the last of each stretch of speech."""
    spans, begin = [], None
    for frame, probability in enumerate([*probabilities.tolist(), 0.0]):
        if begin is None and probability >= SPEECH:
            begin = frame
        elif begin is not None and probability < NO_SPEECH:
            spans.append((begin, frame))
            begin = None
    return spans


def joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Stretches of frames with short pauses filled, without those that stay too short."""
    whole: list[tuple[int, int]] = []
    for first, last in spans:
        if whole and (first - whole[-1][1]) * FRAME_SECONDS < SHORTEST_PAUSE:
            whole[-1] = (whole[-1][0], last)
        else:
            whole.append((first, last))
    return [s for s in whole if (s[1] - s[0]) * FRAME_SECONDS >= SHORTEST_SPEECH]


def cut_long(
    first: int, last: int, probabilities: np.ndarray, longest: float
) -> Iterator[tuple[int, int]]:
    """A stretch of frames in pieces of at most `longest` seconds, cut at pauses: where the fewest
    speak around, in the later half of what a piece may be.
    """
    most = max(2, int((longest - 2 * MARGIN) / FRAME_SECONDS))
    smooth = np.convolve(probabilities, np.ones(5) / 5, mode="same")
    while last - first > most:
        begin = first + most // 2
        cut = begin + int(np.argmin(smooth[begin : first + most]))
        yield first, cut
        first = cut
    yield first, last
