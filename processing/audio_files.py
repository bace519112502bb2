"""The one place where sounds are opened: files, embedded audio and arrays, as a stream of blocks.

soundfile decodes and encodes: no FFmpeg, no torchcodec; what it does not read, such as M4A and
video, PyAV does where it is installed. A file is read block by block, so that
memory does not grow with its length, and two faults that libsndfile passes over are found: a WAV
file that ends before its header says, at once, and any other file that does, at its end. This file
ships with a model, whose pipeline reaches it through the feature extractor.

Axes: S samples, C channels.
"""

import io
import os
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np

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

BLOCK_SAMPLES = 16384

# Streaming writers that cannot go back leave a size of 0 or about 2 or 4 GiB in the header, or the
# largest integer: it tells nothing.
_UNKNOWN_WAV_BYTES = 0x7FFF0000
_UNKNOWN_SAMPLES = 2**62
_MP3_LENGTH_TOLERANCE = 0.9  # the length in its header is an estimate

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
        return str(audio.get("path") or "embedded audio")
    return str(audio)


def audio_duration(audio: AudioSource) -> float:
    """Duration in seconds from the header alone, where it knows; else the audio is decoded. An
    InputError says if it is missing, unreadable, empty, shorter than `MINIMUM_SECONDS`, or a WAV
    file that ends before its header says.
    """
    stream = _open_source(audio)
    num_samples = stream.num_samples
    if num_samples is None:
        num_samples = sum(len(block) for block in stream.blocks)
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
        InputError: if the audio is missing, unreadable, empty, too short, ends early or has samples
            that are not finite. The message names the file.
    """
    # All in one read: between two, soundfile seeks, which in an MP3 changes the last bit.
    stream = _open_source(audio, block_samples=-1)
    waveform = np.concatenate([np.zeros(0, np.float32), *stream.blocks])  # (S,)
    _check_length(stream, len(waveform))
    if not np.isfinite(waveform).all():
        raise InputError(
            f"{stream.name}: {np.count_nonzero(~np.isfinite(waveform))} of {len(waveform)} samples "
            "are NaN or infinite, expected finite numbers. Write the file again from its source."
        )
    if stream.sampling_rate != sampling_rate:
        waveform = soxr.resample(waveform, stream.sampling_rate, sampling_rate, quality="VHQ")
    return np.ascontiguousarray(waveform, dtype=np.float32)


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
        name = os.fsdecode(audio)
        is_url = name.startswith(("http://", "https://"))
        return _open_file(download(name) if is_url else name, name, mix=mix)
    if isinstance(audio, bytes | bytearray | memoryview):
        return _open_file(bytes(audio), "the bytes given", mix=mix)
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
        name = str(audio.get("path") or "the bytes given")
        return _open_file(bytes(audio["bytes"]), name, mix=mix)
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
    num_samples = len(array) if array.size else 0
    blocks = (array[i : i + BLOCK_SAMPLES] for i in range(0, num_samples, BLOCK_SAMPLES))
    return AudioStream("the array given", sampling_rate, blocks, num_samples)


def _open_source(audio: AudioSource, block_samples: int = BLOCK_SAMPLES) -> AudioStream:
    name = audio_name(audio)
    if not isinstance(audio, Mapping):
        return _open_file(name, name, block_samples)
    if audio.get("bytes") is not None:
        return _open_file(bytes(audio["bytes"]), name, block_samples)
    if audio.get("path") is None:
        raise InputError('audio has neither "bytes" nor "path". Give one of them.')
    return _open_file(str(audio["path"]), name, block_samples)


def _open_file(
    source: str | bytes, name: str, block_samples: int = BLOCK_SAMPLES, mix: bool = True
) -> AudioStream:
    """Open a sound file by its path or its bytes; its content tells the format."""
    if soundfile is None:
        raise ImportError(
            "Reading sound files needs soundfile: pip install soundfile soxr. Or pass an array."
        )
    if isinstance(source, str) and not os.path.isfile(source):
        raise InputError(
            f"{name}: no such audio file. Check the path and the folder it is relative to."
        )
    size = os.path.getsize(source) if isinstance(source, str) else len(source)
    if size == 0:
        raise InputError(f"{name}: 0 bytes, expected audio. Copy the file again from its source.")
    try:
        with _without_decoder_notes():
            sound = soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else source)
    except TypeError as error:  # soundfile asks for the rate of what is called .raw
        raise InputError(
            f"{name}: its extension says that it has no header. Give it that of its format."
        ) from error
    except (RuntimeError, OSError) as error:
        if is_container(_beginning(source)):
            rate, blocks = open_container(source, name)
            return AudioStream(name, rate, _mixed(blocks) if mix else blocks)
        raise InputError(
            f"{name}: cannot be decoded as audio ({_reason(error)}). Expected WAV, FLAC, OGG, MP3 "
            "or another format of libsndfile: convert it to one of them."
        ) from error
    with open(source, "rb") if isinstance(source, str) else io.BytesIO(source) as file:
        missing = _missing_wav_bytes(file, size)
    if missing:
        raise InputError(
            f"{name}: ends {missing} bytes before its header says. Copy the file again from its "
            "source."
        )
    known = sound.frames < _UNKNOWN_SAMPLES
    tolerance = _MP3_LENGTH_TOLERANCE if sound.format == "MP3" else 1
    expected, size = (int(tolerance * sound.frames), block_samples) if known else (0, BLOCK_SAMPLES)
    blocks = _decode(sound, name, expected, size)
    return AudioStream(
        name,
        sound.samplerate,
        _mixed(blocks) if mix else blocks,
        sound.frames if known else None,
    )


def _beginning(source: str | bytes) -> bytes:
    """The first bytes of a file."""
    if isinstance(source, bytes):
        return source[:16]
    with open(source, "rb") as file:
        return file.read(16)


def _mixed(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Blocks (S, C) with channels averaged, (S,)."""
    return (block.mean(axis=1) for block in blocks)


def _decode(sound: Any, name: str, expected: int, block_samples: int) -> Iterator[np.ndarray]:
    """Blocks of an open file, (S, C) float32; at least `expected` samples in all."""
    num_read = 0
    with sound:
        while True:
            try:
                with _without_decoder_notes() if sound.format == "MP3" else nullcontext():
                    block = sound.read(block_samples, dtype="float32", always_2d=True)  # (S, C)
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


def _missing_wav_bytes(file: BinaryIO, size: int) -> int:
    """Bytes that the data chunk of a WAVE file lacks; 0 if complete or another format.

    libsndfile reads such a file without complaint. It notes the fault in its log, but the log ends
    after 2 kB, which a few comments in the file fill.
    """
    header = file.read(12)
    if header[:4] not in (b"RIFF", b"RIFX") or header[8:] != b"WAVE":
        return 0
    while len(chunk := file.read(8)) == 8:
        length = int.from_bytes(chunk[4:], "little" if header[:4] == b"RIFF" else "big")
        if chunk[:4] == b"data":
            return 0 if length >= _UNKNOWN_WAV_BYTES else max(0, file.tell() + length - size)
        file.seek(length + length % 2, os.SEEK_CUR)  # chunks are padded to even sizes
    return 0


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
