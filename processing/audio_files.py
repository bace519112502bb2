"""The one place where sounds are opened: files, embedded audio and arrays, as a stream of blocks.

soundfile decodes and encodes: no FFmpeg, no torchcodec; what it does not read, such as M4A and
video, PyAV does where it is installed. A file is read block by block: what its header announces is
never believed, so that memory is that of the sound there is. Faults that libsndfile passes over are
found: a file that ends before its header says, a rate or a length that cannot be. This file ships
with a model, whose pipeline reaches it through the feature extractor.

Axes: S samples, C channels.
"""

import io
import os
import stat
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from .announced_lengths import missing_bytes
from .container_files import is_container, open_container
from .errors import InputError

try:
    import soundfile
    import soxr
except ImportError:  # arrays can be classified without them
    soundfile: Any = None
    soxr: Any = None

AudioSource: TypeAlias = str | Path | Mapping[str, Any]
"""A file's path, or a row's {"bytes", "path"} (`datasets.Audio(decode=False)`); bytes win where
both are given."""

MINIMUM_SECONDS = 0.025
"""Seconds. The receptive field of wav2vec2's convolutions, 400 samples at 16 kHz: anything shorter
has no frame."""

LONGEST_SECONDS = 3600.0
"""Seconds. What `read_audio` takes into memory at once, 230 MB at 16 kHz; no turn is as long. What
is read block by block may have any length."""

LOWEST_RATE, HIGHEST_RATE = 1000, 768000
"""Hz. Outside of it a header is damaged, or the number is no sampling rate."""

BLOCK_SAMPLES = 16384

# What streaming writers that cannot go back leave in the header is about the largest integer.
_UNKNOWN_SAMPLES = 2**62
_MP3_LENGTH_TOLERANCE = 0.9  # the length in its header is an estimate
# Of any format that compresses; the most that silence reaches is 4,700 in FLAC.
_MOST_SAMPLES_PER_BYTE = 8192

_WITHOUT_NOTES = (b"RIFF", b"RF64", b"riff", b"fLaC", b"OggS", b"FORM")  # no MP3 is sought in these

_standard_error = threading.Lock()


@dataclass
class AudioStream:
    """A sound that is read as it is needed.

    Blocks are pieces of (S,) or (S, C), one after the other; those of a file float32 (S,), full
    scale 1.0, channels averaged.
    """

    name: str  # for messages
    sampling_rate: int  # in Hz
    blocks: Iterator[np.ndarray]
    num_samples: int | None = None  # S as the header announces it; None where it does not


def audio_name(audio: AudioSource) -> str:
    """The name of an audio in error messages: its path, or "embedded audio" where it has none."""
    if isinstance(audio, Mapping):
        return in_one_line(str(audio.get("path") or "embedded audio"))
    return in_one_line(str(audio))


def in_one_line(name: str) -> str:
    """A name as a message can hold it: line breaks, control characters and bytes that are no text
    are escaped.
    """
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def check_rate(sampling_rate: Any, name: str) -> int:
    """The rate as a whole number of Hz; an InputError, naming the sound, says if it is none."""
    number = isinstance(sampling_rate, int | float | np.integer | np.floating)
    if not number or not LOWEST_RATE <= sampling_rate <= HIGHEST_RATE:
        raise InputError(
            f"{name}: sampling rate of {sampling_rate!r} Hz, expected {LOWEST_RATE} to "
            f"{HIGHEST_RATE} Hz."
        )
    return round(sampling_rate)


def audio_duration(audio: AudioSource) -> float:
    """Duration in seconds from the header alone, where it knows; else the audio is decoded. An
    InputError says if it is missing, unreadable, empty, shorter than `MINIMUM_SECONDS`, longer than
    `LONGEST_SECONDS`, or a WAV or AIFF file that ends before its header says.
    """
    stream = _open_source(audio)
    num_samples = stream.num_samples
    if num_samples is None:
        num_samples = sum(len(block) for block in _bounded(stream))
    _check_length(stream, num_samples)
    return num_samples / stream.sampling_rate


def read_audio(audio: AudioSource, *, sampling_rate: int = 16000) -> np.ndarray:
    """Decode to mono at one rate: channels averaged, then resampled by soxr (VHQ).

    Silence is valid audio. Every format of libsndfile is read: WAV, FLAC, OGG, MP3, AIFF and
    others.

    Args:
        audio: a path, or {"bytes", "path"}.
        sampling_rate: rate of the result in Hz.

    Returns:
        float32 waveform, shape (S,), full scale 1.0 (resampling and lossy coding may overshoot it
        slightly).

    Raises:
        InputError: if the audio is missing, unreadable, empty, too short, longer than
            `LONGEST_SECONDS`, ends early or has samples that are not finite. The message names the
            file.
    """
    stream = _open_source(audio)
    if stream.num_samples is not None:
        _check_length(stream, stream.num_samples)
    blocks = _finite(stream)
    if stream.sampling_rate != sampling_rate:
        blocks = _resampled(blocks, stream.sampling_rate, sampling_rate)
    return np.concatenate([np.zeros(0, np.float32), *blocks])  # (S,)


def _finite(stream: AudioStream) -> Iterator[np.ndarray]:
    """The blocks of a stream; an InputError at the end counts samples that are no numbers."""
    num_samples = num_wrong = 0
    for block in _bounded(stream):
        num_samples += len(block)
        num_wrong += len(block) - np.count_nonzero(np.isfinite(block))
        yield block
    _check_length(stream, num_samples)
    if num_wrong:
        raise InputError(
            f"{stream.name}: {num_wrong} of {num_samples} samples are NaN or infinite, expected "
            "finite numbers. Write the file again from its source."
        )


def _bounded(stream: AudioStream) -> Iterator[np.ndarray]:
    """The blocks of a stream, which must not be longer than `LONGEST_SECONDS`."""
    num_samples = 0
    for block in stream.blocks:
        num_samples += len(block)
        if num_samples > LONGEST_SECONDS * stream.sampling_rate:
            _check_length(stream, num_samples)
        yield block


def _resampled(blocks: Iterator[np.ndarray], rate: int, new_rate: int) -> Iterator[np.ndarray]:
    """Blocks at another rate; bit for bit what soxr makes of all of them at once."""
    resampler = soxr.ResampleStream(rate, new_rate, 1, dtype="float32", quality="VHQ")
    for block in blocks:
        yield resampler.resample_chunk(np.ascontiguousarray(block, np.float32))
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def encode_flac(waveform: np.ndarray, *, sampling_rate: int = 16000) -> bytes:
    """Encode samples (S,) at full scale 1.0, clipped beyond, to 16 bit FLAC; 16 bit audio that
    `read_audio` decoded comes back sample for sample.
    """
    # libsndfile would scale by 32767 on the way out and by 1 / 32768 on the way in.
    integers = np.clip(np.round(waveform.astype(np.float64) * 32768.0), -32768, 32767).astype(
        np.int16
    )
    buffer = io.BytesIO()
    soundfile.write(buffer, integers, sampling_rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def open_audio(audio: Any, sampling_rate: int, *, mix: bool = True) -> AudioStream:
    """Open whatever holds a sound.

    Args:
        audio: path or URL; the bytes of a file; samples (S,), (S, C) or (C, S), floats at full
            scale 1.0 or signed integers; a dict with "array" or "raw" and "sampling_rate", or with
            "bytes" or "path" as `datasets` stores audio; a row that has any of these as its
            "audio"; or a decoder of torchcodec. A dict may have the number of a "channel", counted
            from 1, to be heard alone.
        sampling_rate: of bare samples, in Hz.
        mix: average the channels of files; False gives blocks (S, C) of them.

    Raises:
        InputError: if it is none of these, cannot be read, or is a WAV file that ends early. The
            blocks raise it where the sound ends early or is damaged.
    """
    if hasattr(audio, "get_all_samples"):  # a decoder of torchcodec, which `datasets` may give
        samples = audio.get_all_samples()
        audio = {"array": samples.data, "sampling_rate": samples.sample_rate}
    if isinstance(audio, Mapping):
        if audio.get("channel") is not None:
            apart = open_audio({**audio, "channel": None}, sampling_rate, mix=False)
            return _one_channel(apart, audio["channel"])
        return _open_mapping(audio, sampling_rate, mix)
    if isinstance(audio, str | os.PathLike):
        path = os.fsdecode(audio)
        is_url = path.startswith(("http://", "https://"))
        return _open_file(download(path) if is_url else path, in_one_line(path), mix)
    if isinstance(audio, bytes | bytearray | memoryview):
        return _open_file(bytes(audio), "the bytes given", mix)
    return _open_array(audio, sampling_rate)


def _one_channel(stream: AudioStream, channel: int) -> AudioStream:
    """A stream of one of the channels of a stream, counted from 1."""

    def blocks() -> Iterator[np.ndarray]:
        for block in stream.blocks:
            samples = block if block.ndim == 2 else block[:, None]
            if not 1 <= channel <= samples.shape[1]:
                raise InputError(
                    f"{stream.name}: channel {channel}, expected 1 to {samples.shape[1]}."
                )
            yield samples[:, channel - 1]

    return AudioStream(stream.name, stream.sampling_rate, blocks(), stream.num_samples)


def _open_mapping(audio: Mapping, sampling_rate: int, mix: bool) -> AudioStream:
    if audio.get("audio") is not None:
        return open_audio(audio["audio"], sampling_rate, mix=mix)
    array = audio.get("array") if audio.get("array") is not None else audio.get("raw")
    if array is not None:
        if audio.get("sampling_rate") is None:
            raise InputError(
                'a dict with samples but without "sampling_rate", expected both. Add its rate in '
                "Hz."
            )
        return _open_array(array, audio["sampling_rate"])
    if audio.get("bytes") is not None:
        name = in_one_line(str(audio.get("path") or "the bytes given"))
        return _open_file(bytes(audio["bytes"]), name, mix)
    if audio.get("path") is not None:
        return open_audio(audio["path"], sampling_rate, mix=mix)
    raise InputError(
        f'a dict with {sorted(map(str, audio))}, expected "array" or "raw" and "sampling_rate", '
        'or "bytes" or "path", or any of these as "audio".'
    )


def _open_array(samples: Any, sampling_rate: int) -> AudioStream:
    """Open samples in memory; the longer of two axes is time."""
    if hasattr(samples, "detach"):  # a tensor
        samples = samples.detach().cpu().float().numpy()
    try:
        array = np.asarray(samples)
    except ValueError:
        array = np.empty(0, object)
    if array.dtype.kind not in "fi" or array.ndim not in (1, 2):
        raise InputError(
            f"{type(samples).__name__} of type {array.dtype} and shape {array.shape}, expected a "
            "path, a URL, the bytes of a file, a dict, or an array of floats or signed integers "
            "with one axis, or with two for channels."
        )
    if array.ndim == 2 and np.argmax(array.shape) == 1:
        array = array.T
    sampling_rate = check_rate(sampling_rate, "the array given")
    num_samples = len(array) if array.size else 0
    blocks = (array[i : i + BLOCK_SAMPLES] for i in range(0, num_samples, BLOCK_SAMPLES))
    return AudioStream("the array given", sampling_rate, blocks, num_samples)


def _open_source(audio: AudioSource) -> AudioStream:
    name = audio_name(audio)
    if not isinstance(audio, Mapping):
        return _open_file(str(audio), name)
    if audio.get("bytes") is not None:
        return _open_file(bytes(audio["bytes"]), name)
    if audio.get("path") is None:
        raise InputError('audio has neither "bytes" nor "path". Give one of them.')
    return _open_file(str(audio["path"]), name)


def _open_file(source: str | bytes, name: str, mix: bool = True) -> AudioStream:
    """Open a sound file by its path or its bytes; its content tells the format."""
    if soundfile is None:
        raise ImportError(
            "Reading sound files needs soundfile: pip install soundfile soxr. Or pass an array."
        )
    size, beginning, missing = _look_into(source, name)
    try:
        sound = _decoder_of(source, beginning)
    except TypeError as error:  # soundfile asks for the rate of what is called .raw
        raise InputError(
            f"{name}: its extension says that it has no header. Give it that of its format."
        ) from error
    except (RuntimeError, OSError) as error:
        if is_container(beginning):
            rate, blocks = open_container(source, name)
            return AudioStream(name, check_rate(rate, name), _mixed(blocks) if mix else blocks)
        raise InputError(
            f"{name}: cannot be decoded as audio ({_reason(error)}). Expected WAV, FLAC, OGG, MP3 "
            "or another format of libsndfile: convert it to one of them."
        ) from error
    rate, announced = check_rate(sound.samplerate, name), sound.frames
    if missing:
        raise InputError(
            f"{name}: ends {missing} bytes before its header says. Copy the file again from its "
            "source."
        )
    known = announced < _UNKNOWN_SAMPLES
    if known and announced > size * _MOST_SAMPLES_PER_BYTE:
        raise InputError(
            f"{name}: its header announces {announced} samples, which {size} bytes cannot hold. "
            "Copy the file again from its source."
        )
    tolerance = _MP3_LENGTH_TOLERANCE if sound.format == "MP3" else 1
    blocks = _decode(sound, name, int(tolerance * announced) if known else 0)
    return AudioStream(name, rate, _mixed(blocks) if mix else blocks, announced if known else None)


def _look_into(source: str | bytes, name: str) -> tuple[int, bytes, int]:
    """Size of a file in bytes, its first bytes, and how many its header says that it lacks."""
    if isinstance(source, str):
        _check_is_file(source, name)
    try:
        with open(source, "rb") if isinstance(source, str) else io.BytesIO(source) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            beginning = file.read(16)
            file.seek(0)
            missing = missing_bytes(file, size)
    except OSError as error:
        raise InputError(
            f"{name}: cannot be read ({os.strerror(error.errno or 0)}). Check the file and who may "
            "read it."
        ) from error
    if size == 0:
        raise InputError(f"{name}: 0 bytes, expected audio. Copy the file again from its source.")
    return size, beginning, missing


def _check_is_file(path: str, name: str) -> None:
    """Refuse what is no file: a pipe would be waited for, and a device has no end."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        link = os.path.islink(path) if "\0" not in path else False
        what = "a link that leads to no file" if link else "no such audio file"
        raise InputError(
            f"{name}: {what}. Check the path and the folder it is relative to."
        ) from error
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise InputError(f"{name}: {what}, expected a sound file.")


def _decoder_of(source: str | bytes, beginning: bytes) -> Any:
    """Soundfile's decoder of a file, which is read from its beginning to its end only."""
    quiet = beginning[:4] in _WITHOUT_NOTES
    with nullcontext() if quiet else _without_decoder_notes():
        # a path as bytes, because soundfile would refuse one that is no text
        return _forward_file()(
            io.BytesIO(source) if isinstance(source, bytes) else os.fsencode(source)
        )


@cache
def _forward_file() -> type:
    """The class of decoders that do not seek: between two reads soundfile would, in what can be
    sought, which in an MP3 changes the last bit.
    """

    class ForwardFile(soundfile.SoundFile):
        def seekable(self) -> bool:
            return False

    return ForwardFile


def _mixed(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Blocks (S, C) with channels averaged, (S,)."""
    return (block.mean(axis=1) for block in blocks)


def _decode(sound: Any, name: str, expected: int) -> Iterator[np.ndarray]:
    """Blocks of an open file, (S, C) float32; at least `expected` samples in all."""
    num_read = 0
    with sound:
        while True:
            try:
                with _without_decoder_notes() if sound.format == "MP3" else nullcontext():
                    block = sound.read(BLOCK_SAMPLES, dtype="float32", always_2d=True)  # (S, C)
            except (RuntimeError, OSError) as error:
                raise InputError(
                    f"{name}: cannot be decoded after {num_read / sound.samplerate:.2f} s "
                    f"({_reason(error)}): damaged or cut off. Copy the file again from its source."
                ) from error
            if not len(block):
                break
            num_read += len(block)
            yield block
    if num_read < expected:
        raise InputError(
            f"{name}: ends after {num_read} of the {expected} samples its header announces. Copy "
            "the file again from its source."
        )


@contextmanager
def _without_decoder_notes() -> Iterator[None]:
    """Keep off the standard error what mpg123, inside libsndfile, notes of any MP3 it finds odd.

    It writes to the file descriptor itself and libsndfile has no switch for it. What makes a file
    unusable comes as an exception or as too few samples all the same.
    """
    with _standard_error:  # the descriptor belongs to the whole process
        try:
            kept = os.dup(2)
        except OSError:  # a process without standard error
            yield
            return
        try:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _check_length(stream: AudioStream, num_samples: int) -> None:
    rate = stream.sampling_rate
    if num_samples < MINIMUM_SECONDS * rate:
        raise InputError(
            f"{stream.name}: {num_samples} samples at {rate} Hz ({num_samples / rate:.4f} s), "
            f"expected at least {MINIMUM_SECONDS} s (400 samples at 16 kHz, one frame of wav2vec2)."
        )
    if num_samples > LONGEST_SECONDS * rate:
        raise InputError(
            f"{stream.name}: {num_samples / rate:.0f} s or more, expected at most "
            f"{LONGEST_SECONDS:.0f} s to be held in memory. Cut it into turns; `decomp-ser "
            "predict` takes any length."
        )


def download(url: str) -> bytes:
    """The bytes behind a URL; an InputError says if they cannot be had."""
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            return response.read()
    except (OSError, ValueError) as error:
        raise InputError(f"{url}: cannot be downloaded ({_reason(error)}).") from error


def _reason(error: Exception) -> str:
    """What the decoder or the network says, in one line without the name that it adds."""
    said = getattr(error, "error_string", None) or str(error)
    return " ".join(said.split()).removesuffix(".") or "the data are damaged"
