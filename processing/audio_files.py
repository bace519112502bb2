"""Audio files and embedded audio, decoded and encoded by soundfile: no FFmpeg, no torchcodec.

Two steps, because a header is read a hundred times faster than its samples:

* `audio_duration` reads the header only. It finds files that are missing, unreadable, empty, too
  short, or shorter than their own header says (WAV).
* `read_audio` decodes. It finds the rest: compressed files that end early, and samples that are not
  finite.

Axes: S samples.
"""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import soundfile
import soxr

from processing.errors import InputError

AudioSource: TypeAlias = str | Path | Mapping[str, Any]
"""A file's path, or a row's {"bytes", "path"} (`datasets.Audio(decode=False)`); bytes win where
both are given."""

MINIMUM_SECONDS = 0.025
"""Seconds. The receptive field of wav2vec2's convolutions, 400 samples at 16 kHz: anything shorter
has no frame."""

# Streaming writers that cannot go back leave a size of 0 or about 2 or 4 GiB in the header: it
# tells nothing.
_UNKNOWN_WAV_SIZE = 0x7FFF0000
_WAV_HEADER_BYTES = 65536


def audio_name(audio: AudioSource) -> str:
    """The name of an audio in error messages: its path, or "embedded audio" where it has none."""
    if isinstance(audio, Mapping):
        return str(audio.get("path") or "embedded audio")
    return str(audio)


def audio_duration(audio: AudioSource) -> float:
    """Duration in seconds from the header alone; nothing is decoded.

    Raises:
        InputError: if the audio is missing, unreadable, empty, shorter than `MINIMUM_SECONDS`, or a
            WAV file that ends before its header says.
    """
    source = _locate(audio)
    info = _apply(soundfile.info, audio, source)
    _check_wav_is_complete(audio, source)
    _check_length(audio, info.frames, info.samplerate)
    return info.frames / info.samplerate


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
    source = _locate(audio)
    _check_wav_is_complete(audio, source)
    samples, expected, rate = _apply(_decode, audio, source)  # (S, channels)
    _check_length(audio, len(samples), rate)
    if len(samples) < expected:
        raise InputError(
            f"{audio_name(audio)}: ends after {len(samples)} of the {expected} samples its header "
            "announces. "
            "Copy the file again from its source."
        )
    if not np.isfinite(samples).all():
        raise InputError(
            f"{audio_name(audio)}: {np.count_nonzero(~np.isfinite(samples))} of {samples.size} "
            "samples are NaN or "
            "infinite, expected finite numbers. Write the file again from its source."
        )
    waveform = samples.mean(axis=1, dtype=np.float32)  # (S, channels) -> (S,)
    if rate != sampling_rate:
        waveform = soxr.resample(waveform, rate, sampling_rate, quality="VHQ")
    return np.ascontiguousarray(waveform, dtype=np.float32)


def encode_flac(waveform: np.ndarray, *, sampling_rate: int = 16000) -> bytes:
    """Encode to 16 bit FLAC; 16 bit audio that `read_audio` decoded comes back sample for sample.

    Args:
        waveform: shape (S,), full scale 1.0; what lies outside is clipped.
        sampling_rate: Hz.
    """
    # libsndfile would scale by 32767 on the way out and by 1 / 32768 on the way in.
    integers = np.clip(np.round(waveform.astype(np.float64) * 32768.0), -32768, 32767).astype(
        np.int16
    )
    buffer = io.BytesIO()
    soundfile.write(buffer, integers, sampling_rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _locate(audio: AudioSource) -> Path | bytes:
    """The file or the bytes of an audio; they exist and are not empty."""
    source: Any = audio
    if isinstance(audio, Mapping):
        source = audio["path"] if audio.get("bytes") is None else bytes(audio["bytes"])
        if source is None:
            raise InputError('audio has neither "bytes" nor "path". Give one of them.')
    if not isinstance(source, bytes):
        source = Path(source)
        if not source.is_file():
            raise InputError(
                f"{source}: no such audio file. Check the path and the folder it is relative to."
            )
    if not (len(source) if isinstance(source, bytes) else source.stat().st_size):
        raise InputError(
            f"{audio_name(audio)}: 0 bytes, expected audio. Copy the file again from its source."
        )
    return source


def _apply(read: Callable[[Any], Any], audio: AudioSource, source: Path | bytes) -> Any:
    """Call a reader of soundfile; its errors become `InputError`."""
    try:
        return read(io.BytesIO(source) if isinstance(source, bytes) else source)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
        raise InputError(
            f"{audio_name(audio)}: cannot be decoded as audio "
            f"({reason or 'the data are damaged'}). Expected WAV, FLAC, OGG, MP3 or another format "
            "of libsndfile: convert it to one of them."
        ) from error


def _decode(source: Any) -> tuple[np.ndarray, int, int]:
    with soundfile.SoundFile(source) as file:
        samples = file.read(dtype="float32", always_2d=True)  # (S, channels)
        # The length in an MP3 header is an estimate, within a few frames of 1,152 samples.
        expected = int(0.9 * file.frames) if file.format == "MP3" else file.frames
        return samples, expected, file.samplerate


def _check_length(audio: AudioSource, num_samples: int, sampling_rate: int) -> None:
    if num_samples < MINIMUM_SECONDS * sampling_rate:
        raise InputError(
            f"{audio_name(audio)}: {num_samples} samples at {sampling_rate} Hz "
            f"({num_samples / sampling_rate:.4f} s), "
            f"expected at least {MINIMUM_SECONDS} s (400 samples at 16 kHz, one frame of wav2vec2)."
        )


def _check_wav_is_complete(audio: AudioSource, source: Path | bytes) -> None:
    """A WAV file that ends early is read without complaint by libsndfile; its header tells."""
    if isinstance(source, bytes):
        header, size = source[:_WAV_HEADER_BYTES], len(source)
    else:
        with source.open("rb") as file:
            header, size = file.read(_WAV_HEADER_BYTES), source.stat().st_size
    missing = _missing_wav_bytes(header, size)
    if missing > 0:
        raise InputError(
            f"{audio_name(audio)}: ends {missing} bytes before its header says. "
            "Copy the file again from its source."
        )


def _missing_wav_bytes(header: bytes, file_size: int) -> int:
    """Bytes that the data chunk of a RIFF WAVE file lacks; 0 if complete or another format."""
    if header[:4] != b"RIFF" or header[8:12] != b"WAVE":
        return 0
    position = 12
    while position + 8 <= len(header):
        chunk_size = int.from_bytes(header[position + 4 : position + 8], "little")
        if header[position : position + 4] == b"data":
            return (
                0
                if chunk_size >= _UNKNOWN_WAV_SIZE
                else max(0, position + 8 + chunk_size - file_size)
            )
        position += 8 + chunk_size + chunk_size % 2  # chunks are padded to even sizes
    return 0
