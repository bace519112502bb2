"""Files that users have and nobody wants, made from a seed."""

from pathlib import Path

import numpy as np
from support.tiny_pipeline import encode, voice

ERROR, ANSWER, EITHER = "error", "answer", "either"
FORMATS = {"WAV": "wav", "FLAC": "flac", "OGG": "ogg", "MP3": "mp3"}
MP3_RATES = (8000, 16000, 22050, 32000, 44100, 48000)
ANY_RATES = (8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000, 192000)


def random_file(random: np.random.Generator, seconds: float | None = None) -> tuple[bytes, str]:
    """A sound file in a random format, rate and number of channels."""
    form = str(random.choice(list(FORMATS)))
    rate = int(random.choice(MP3_RATES if form == "MP3" else ANY_RATES))
    channels = int(random.integers(1, 3 if form == "MP3" else 7))
    seconds = random.uniform(0.1, 1.2) if seconds is None else seconds
    mono = voice(seconds, rate, seed=int(random.integers(2**31)))
    samples = np.stack([mono * random.uniform(0.2, 1) for _ in range(channels)], axis=1)
    return encode(samples, rate, form), FORMATS[form]


def healthy(random):
    content, extension = random_file(random)
    return content, extension, ANSWER


def wrong_extension(random):
    content, extension = random_file(random)
    other = random.choice([e for e in ("wav", "mp3", "flac", "txt", "raw", "") if e != extension])
    # libsndfile asks for the rate of what is called .raw
    return content, other, ERROR if other == "raw" else ANSWER


def empty(random):
    return b"", str(random.choice(["wav", "mp3", "flac", "ogg"])), ERROR


def no_samples(random):
    return encode(np.zeros((0, 2)), 16000), "wav", ERROR


def truncated(random):
    content, extension = random_file(random, seconds=1.0)
    cut = content[: int(len(content) * random.uniform(0.05, 0.9))]
    # the header of an OGG file does not know its length, that of MP3 roughly
    return cut, extension, ERROR if extension in ("wav", "flac") else EITHER


def text(random):
    return b"file_name,emotion\na.wav,happy\n" * int(random.integers(1, 50)), "wav", ERROR


def random_bytes(random):
    return random.bytes(int(random.integers(1, 5000))), "wav", ERROR


def damaged(random):
    """Some bytes after the header changed; the decoder may or may not notice."""
    content, extension = random_file(random)
    changed = bytearray(content)
    for _ in range(20):
        changed[int(random.integers(64, len(changed)))] = int(random.integers(256))
    return bytes(changed), extension, EITHER


def damaged_header(random):
    content, extension = random_file(random)
    changed = bytearray(content)
    for _ in range(4):
        changed[int(random.integers(min(44, len(changed))))] = int(random.integers(256))
    return bytes(changed), extension, EITHER


def not_finite(random):
    samples = voice(0.5)
    samples[int(random.integers(len(samples)))] = random.choice([np.nan, np.inf, -np.inf])
    return encode(samples, 16000, subtype="FLOAT"), "wav", ERROR


def out_of_scale(random):
    return encode(voice(0.5) * 20000, 16000, subtype="FLOAT"), "wav", ERROR


def ten_milliseconds(random):
    rate = int(random.choice(ANY_RATES))
    return encode(voice(0.01, rate), rate), "wav", ERROR


def one_sample(random):
    return encode(np.array([0.1]), int(random.choice(ANY_RATES))), "wav", ERROR


def silent(random):
    rate = int(random.choice(ANY_RATES))
    return encode(np.zeros((rate, int(random.integers(1, 7)))), rate), "wav", ANSWER


def constant(random):
    return encode(np.full(8000, random.uniform(-1, 1)), 16000), "wav", ANSWER


def clipped(random):
    return encode(np.sign(voice(0.5, seed=int(random.integers(99)))), 16000), "wav", ANSWER


def strange_rate(random):
    rate = int(random.choice([1, 50, 900, 2_000_000]))
    return encode(voice(0.5), rate), "wav", ERROR


def unusual_encoding(random):
    subtype = str(random.choice(["PCM_U8", "PCM_24", "PCM_32", "ULAW", "ALAW", "DOUBLE"]))
    return encode(voice(0.5), 16000, subtype=subtype), "wav", ANSWER


KINDS = (
    healthy,
    wrong_extension,
    empty,
    no_samples,
    truncated,
    text,
    random_bytes,
    damaged,
    damaged_header,
    not_finite,
    out_of_scale,
    ten_milliseconds,
    one_sample,
    silent,
    constant,
    clipped,
    strange_rate,
    unusual_encoding,
)


def write_odd_files(folder: Path, count: int, *, seed=0) -> list[tuple[Path, str]]:
    """Files of every kind in turn, and what to expect of each."""
    random = np.random.default_rng(seed)
    files = []
    for index in range(count):
        kind = KINDS[index % len(KINDS)]
        content, extension, expected = kind(random)
        path = folder / f"{index:04}-{kind.__name__}{'.' * bool(extension)}{extension}"
        path.write_bytes(content)
        files.append((path, expected))
    return files
