"""Sound from anywhere as a stream of blocks, and the stream cut into overlapping windows.

No more than two windows are held at a time, whatever the length of a file. Windows are cut at the
rate of the source and prepared each for itself, so that a window is the same whether it comes from
a file, an array or a microphone.

Axes: S samples, C channels.
"""

import io
import itertools
import os
import re
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

try:
    import soundfile
except ImportError:  # arrays can be classified without it
    soundfile = None

BLOCK_SAMPLES = 16384
LOWEST_RATE, HIGHEST_RATE = 1000, 768000
"""Hz. Outside of it a header is damaged, or the number is no sampling rate."""

# Writers that cannot go back leave about 2 or 4 GiB in the header, or the largest integer.
UNKNOWN_WAV_BYTES = 0x7FFF0000
UNKNOWN_SAMPLES = 2**62
MP3_LENGTH_TOLERANCE = 0.9  # the length in its header is an estimate

Window = tuple[int, np.ndarray]
"""Index of the first sample, and the samples (S,) or (S, C)."""


@dataclass
class AudioStream:
    """A sound that is read as it is needed.

    Attributes:
        name: for messages.
        sampling_rate: in Hz.
        blocks: pieces of (S,) or (S, C), one after the other.
    """

    name: str
    sampling_rate: int
    blocks: Iterator[np.ndarray]


def open_audio(audio: Any, sampling_rate: int) -> AudioStream:
    """Open whatever holds a sound; files are decoded block by block, by libsndfile.

    Args:
        audio: path or URL; the bytes of a file; samples (S,), (S, C) or (C, S); a dict with "array"
            or "raw" and "sampling_rate", or with "bytes" or "path" as `datasets` stores audio; a
            row that has any of these as its "audio"; or a decoder of torchcodec.
        sampling_rate: of bare samples, in Hz.

    Raises:
        ValueError: if it is none of these, cannot be read, ends early or holds no samples.
    """
    if hasattr(audio, "get_all_samples"):  # a decoder of torchcodec, which `datasets` may give
        samples = audio.get_all_samples()
        audio = {"array": samples.data, "sampling_rate": samples.sample_rate}
    if isinstance(audio, Mapping):
        return open_mapping(audio, sampling_rate)
    if isinstance(audio, str | os.PathLike):
        name = os.fspath(audio)
        if isinstance(name, str) and name.startswith(("http://", "https://")):
            return open_file(io.BytesIO(download(name)), name)
        return open_file(os.fsdecode(name), os.fsdecode(name))
    if isinstance(audio, bytes | bytearray | memoryview):
        return open_file(io.BytesIO(audio), "the bytes given")
    return open_array(audio, sampling_rate)


def open_mapping(audio: Mapping, sampling_rate: int) -> AudioStream:
    """Open {"array" or "raw", "sampling_rate"} or {"bytes", "path"}, or a row that has it as its
    "audio".
    """
    if audio.get("audio") is not None:
        return open_audio(audio["audio"], sampling_rate)
    array = audio.get("array") if audio.get("array") is not None else audio.get("raw")
    if array is not None:
        if audio.get("sampling_rate") is None:
            raise ValueError(
                'a dict with samples but without "sampling_rate", expected both. Add its rate in '
                "Hz."
            )
        return open_array(array, audio["sampling_rate"])
    if audio.get("bytes") is not None:
        return open_file(io.BytesIO(audio["bytes"]), str(audio.get("path") or "the bytes given"))
    if audio.get("path") is not None:
        return open_audio(audio["path"], sampling_rate)
    raise ValueError(
        f'a dict with {sorted(map(str, audio))}, expected "array" or "raw" and "sampling_rate", '
        'or "bytes" or "path", or any of these as "audio".'
    )


def open_array(samples: Any, sampling_rate: int) -> AudioStream:
    """Open samples in memory; the longer of two axes is time."""
    if isinstance(samples, torch.Tensor):
        samples = samples.detach().cpu().float().numpy()
    try:
        array = np.asarray(samples)
    except ValueError:
        array = np.empty(0, object)
    if array.dtype.kind not in "fi" or array.ndim not in (1, 2):
        raise ValueError(
            f"{type(samples).__name__} of type {array.dtype} and shape {array.shape}, expected a "
            "path, a URL, the bytes of a file, a dict, or an array of floats or signed integers "
            "with one axis, or with two for channels."
        )
    if array.size == 0:
        raise ValueError("the array given: holds no samples.")
    if array.ndim == 2 and np.argmax(array.shape) == 1:
        array = array.T
    blocks = (array[i : i + BLOCK_SAMPLES] for i in range(0, len(array), BLOCK_SAMPLES))
    return AudioStream("the array given", check_rate(sampling_rate, "the array given"), blocks)


def open_file(file: str | io.BytesIO, name: str) -> AudioStream:
    """Open a sound file, by its content and not by its extension."""
    if soundfile is None:
        raise ImportError(
            "Reading sound files needs soundfile: pip install soundfile. Or pass an array."
        )
    if isinstance(file, str) and not os.path.isfile(file):
        raise ValueError(f"{name}: no such file. Check the path and the folder it is relative to.")
    size = os.path.getsize(file) if isinstance(file, str) else file.getbuffer().nbytes
    if size == 0:
        raise ValueError(f"{name}: 0 bytes, expected a sound file. Copy it again from its source.")
    try:
        sound = soundfile.SoundFile(file)
    except TypeError as error:  # soundfile asks for the rate of what is called .raw
        raise ValueError(
            f"{name}: its extension says that it has no header. Give it that of its format."
        ) from error
    except (RuntimeError, OSError) as error:
        raise ValueError(
            f"{name}: cannot be read as a sound file ({reason(error)}). Expected WAV, FLAC, OGG, "
            "MP3 or another format of libsndfile: convert it to one of them."
        ) from error
    check_rate(sound.samplerate, name)
    check_wav_length(sound, name)
    if sound.frames == 0:
        raise ValueError(f"{name}: holds no samples.")
    return AudioStream(name, sound.samplerate, read_blocks(sound, name))


def read_blocks(sound: Any, name: str) -> Iterator[np.ndarray]:
    """Decode an open file to pieces of one channel, (S,) float32.

    Raises:
        ValueError: where the file is damaged or ends before its header says.
    """
    num_read = 0
    expected = sound.frames if sound.frames < UNKNOWN_SAMPLES else 0
    if sound.format == "MP3":
        expected = int(MP3_LENGTH_TOLERANCE * expected)
    with sound:
        while True:
            try:
                block = sound.read(BLOCK_SAMPLES, dtype="float32", always_2d=True)  # (S, C)
            except (RuntimeError, OSError) as error:
                raise ValueError(
                    f"{name}: damaged or cut off after {num_read / sound.samplerate:.2f} s "
                    f"({reason(error)}). Copy the file again from its source."
                ) from error
            if not len(block):
                break
            num_read += len(block)
            yield block.mean(axis=1)
    if num_read < expected:
        raise ValueError(
            f"{name}: ends after {num_read} of the {expected} samples its header announces. Copy "
            "the file again from its source."
        )


def check_wav_length(sound: Any, name: str) -> None:
    """Raise ValueError for a WAV file that ends before its header says, which libsndfile only notes
    in its log.
    """
    found = re.search(r"^data : (\d+) \(should be (\d+)\)", sound.extra_info, re.MULTILINE)
    if sound.format != "WAV" or found is None:
        return
    declared, present = map(int, found.groups())
    if present < declared < UNKNOWN_WAV_BYTES:
        raise ValueError(
            f"{name}: ends {declared - present} bytes before its header says. Copy the file again "
            "from its source."
        )


def check_rate(sampling_rate: Any, name: str) -> int:
    """The rate as a whole number of Hz.

    Raises:
        ValueError: if it is none.
    """
    number = isinstance(sampling_rate, int | float | np.integer | np.floating)
    if not number or not LOWEST_RATE <= sampling_rate <= HIGHEST_RATE:
        raise ValueError(
            f"{name}: sampling rate of {sampling_rate!r} Hz, expected {LOWEST_RATE} to "
            f"{HIGHEST_RATE} Hz."
        )
    return round(sampling_rate)


def download(url: str) -> bytes:
    """The content of an address.

    Raises:
        ValueError: if it cannot be reached.
    """
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            return response.read()
    except (OSError, ValueError) as error:
        raise ValueError(f"{url}: cannot be downloaded ({reason(error)}).") from error


def reason(error: Exception) -> str:
    """The message of an error of a library, without the file's name and the full stop."""
    return str(getattr(error, "error_string", error)).strip().rstrip(".") or "no reason given"


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
    """What each window speaks for alone: overlaps are divided in the middle.

    Args:
        spans: start and end of the windows, in order.

    Returns:
        Start and end of pieces that follow each other without gap or overlap.

    Examples:
        >>> own_spans([(0.0, 10.0), (5.0, 15.0), (8.0, 18.0)])
        [(0.0, 7.5), (7.5, 11.5), (11.5, 18.0)]
    """
    middles = [(later[0] + earlier[1]) / 2 for earlier, later in itertools.pairwise(spans)]
    return list(zip([spans[0][0], *middles], [*middles, spans[-1][1]], strict=True))
