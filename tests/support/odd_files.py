"""Files that users have and nobody wants, made from a seed."""

import functools
import io
import os
import socket
from pathlib import Path

import numpy as np
import soundfile
from support.containers import contain
from support.tiny_pipeline import encode, voice

ERROR, ANSWER, EITHER = "error", "answer", "either"
LONG = "long"  # an answer by windows, in a time that grows with its length; too long for memory
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
    rate = int(random.choice([1, 50, 900, 2_000_000, 4_000_000]))
    return encode(voice(0.5), rate), "wav", ERROR


def unusual_encoding(random):
    subtype = str(random.choice(["PCM_U8", "PCM_24", "PCM_32", "ULAW", "ALAW", "DOUBLE"]))
    return encode(voice(0.5), 16000, subtype=subtype), "wav", ANSWER


# What a transfer, a full disk or somebody's will makes of them.


def flip_bits(random, content: bytes, first: int, end: int) -> bytes:
    changed = bytearray(content)
    for _ in range(int(random.integers(1, 9))):
        position = int(random.integers(min(first, len(changed) - 1), min(end, len(changed))))
        changed[position] ^= 1 << int(random.integers(8))
    return bytes(changed)


def bits_flipped_in_header(random):
    content, extension = random_file(random)
    return flip_bits(random, content, 0, 128), extension, EITHER


def bits_flipped_in_frames(random):
    content, extension = random_file(random)
    return flip_bits(random, content, 128, len(content)), extension, EITHER


OTHER_FORMATS = {"RF64": "wav", "W64": "w64", "AIFF": "aiff", "AU": "au", "CAF": "caf"}


def other_file(random, names=tuple(OTHER_FORMATS)) -> tuple[bytes, str]:
    form = str(random.choice(names))
    samples = voice(random.uniform(0.1, 1.0), seed=int(random.integers(2**31)))
    return encode(samples, int(random.choice(ANY_RATES)), form), OTHER_FORMATS[form]


def other_format(random):
    return *other_file(random), ANSWER


def other_format_truncated(random):
    content, extension = other_file(random, ("RF64", "W64", "AIFF"))
    return content[: int(len(content) * random.uniform(0.3, 0.95))], extension, ERROR


def other_format_bits_flipped(random):
    content, extension = other_file(random)
    return flip_bits(random, content, 0, 200), extension, EITHER


def four_gigabytes_declared(random):
    """A length in the header of 4 GB or far more, of which the file has nothing."""
    content, extension = (random_file if random.random() < 0.3 else other_file)(random)
    size = random.choice([b"\xff\xff\xff\xff", b"\xf0\xff\xff\xff", b"\xff\xff\xff\x7f"])
    changed = bytearray(content)
    for name in (b"data", b"SSND", b"ds64"):
        found = content.find(name)
        if found >= 0:
            changed[found + len(name) : found + len(name) + 4] = bytes(size)
    return bytes(changed), extension, EITHER


def flac_of_terabytes(random):
    changed = bytearray(encode(voice(0.5), 16000, "FLAC"))
    changed[21] |= 0x0F  # the 36 bits of the number of samples end at byte 25
    changed[22:26] = random.bytes(3) + b"\xff"
    return bytes(changed), "flac", ERROR


def mp3_of_gigabytes(random):
    content = encode(voice(1.0), 16000, "MP3")
    changed = bytearray(content)
    for name in (b"Xing", b"Info"):
        found = content.find(name)
        if found >= 0:  # number of frames, number of bytes
            changed[found + 4 : found + 16] = b"\0\0\0\x03\x7f\xff\xff\xff\x7f\xff\xff\xff"
    return bytes(changed), "mp3", EITHER


def mp3_with_broken_frames(random):
    content = encode(voice(1.0), int(random.choice(MP3_RATES)), "MP3")
    pieces = []
    for start in range(0, len(content), 400):
        pieces += [content[start : start + 400], random.bytes(int(random.integers(0, 300)))]
    return b"".join(pieces), "mp3", EITHER


def mp3_behind_a_tag(random):
    size = bytes(random.choice([b"\x7f\x7f\x7f\x7f", b"\0\0\x01\0"]))
    tag = b"ID3\x04\0\0" + size + random.bytes(128)
    return tag + encode(voice(0.5), 16000, "MP3"), "mp3", EITHER


def chained_ogg(random):
    rates = random.choice([8000, 16000, 44100], 2)
    return b"".join(encode(voice(0.4), int(rate), "OGG") for rate in rates), "ogg", EITHER


def ogg_without_pages(random):
    content = encode(voice(1.0), 16000, "OGG")
    cut = int(random.integers(100, len(content) - 200))
    return content[:cut] + content[cut + int(random.integers(1, 200)) :], "ogg", EITHER


def many_channels(random):
    channels = int(random.choice([16, 64, 256]))
    return encode(np.repeat(voice(0.2)[:, None], channels, axis=1), 16000), "wav", ANSWER


def channels_declared(random):
    changed = bytearray(encode(voice(0.3), 16000))
    changed[22:24] = int(random.choice([0, 3, 1024, 1025, 65535])).to_bytes(2, "little")
    return bytes(changed), "wav", EITHER


def endless_chunks(random):
    return b"RIFF\xff\xff\xff\xffWAVE" + bytes(int(random.integers(1, 2_000_000))), "wav", ERROR


@functools.cache
def m4a() -> bytes:
    return contain(np.stack([voice(0.5), voice(0.5, seed=1)], axis=1))


def container(random):
    return m4a(), "m4a", ANSWER


def container_damaged(random):
    kept = int(len(m4a()) * random.uniform(0.1, 1))
    return flip_bits(random, m4a()[:kept], 0, kept), "m4a", EITHER


def container_in_name(random):
    marks = (b"\0\0\0\x18ftypM4A ", b"\x1aE\xdf\xa3", b"\xff\xf1", b"FLV\x01", b"#!AMR\n")
    return bytes(random.choice(marks)) + random.bytes(int(random.integers(0, 3000))), "m4a", EITHER


def other_content(random):
    marks = (b"PK\x03\x04", b"\x80\x04\x95", b"\x1f\x8b", b"#EXTM3U\nfile:///etc/passwd\n", b"%PDF")
    return bytes(random.choice(marks)) + random.bytes(500), "wav", ERROR


@functools.cache
def hours_of_silence() -> bytes:
    """Three hours in a FLAC file of some hundred kB."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", 8000, 1, "PCM_16", format="FLAC") as file:
        for _ in range(3 * 60):
            file.write(np.zeros(60 * 8000, np.int16))
    return buffer.getvalue()


def three_hours_of_silence(random):
    """Of which the header tells the length, or none, as that of a stream does."""
    content = bytearray(hours_of_silence())
    if random.random() < 0.5:
        content[21] &= 0xF0
        content[22:26] = bytes(4)
    return bytes(content), "flac", LONG


# What stands where a file should be, and files of odd names: these make it themselves.


def pipe(random, path):
    os.mkfifo(path)
    return ERROR


def device(random, path):
    path.symlink_to(str(random.choice(["/dev/zero", "/dev/null", "/dev/full", "/dev/stdin"])))
    return ERROR


def file_of_the_kernel(random, path):
    path.symlink_to(str(random.choice(["/proc/self/mem", "/proc/self/maps", "/proc/self/status"])))
    return ERROR


def folder_called_sound(random, path):
    path.mkdir()
    return ERROR


def dangling_link(random, path):
    path.symlink_to(path.with_name("gone.wav"))
    return ERROR


def looping_link(random, path):
    path.symlink_to(path.name)
    return ERROR


def listening_socket(random, path):
    there = os.getcwd()
    os.chdir(path.parent)  # its full name may be longer than a socket's may
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path.name)
    os.chdir(there)
    return ERROR


def link_to_sound(random, path):
    target = path.with_name(f"{path.stem}-target")
    target.write_bytes(encode(voice(0.3), 16000))
    path.symlink_to(target.name)
    return ANSWER


def hole_of_gigabytes(random, path):
    """A WAV file of 12 GiB, nearly all of which is a hole that takes no room on the disk."""
    with path.open("wb") as file:
        file.write(encode(voice(0.3), 16000, "RF64"))
        file.truncate(12 * 2**30)
    return EITHER


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
    bits_flipped_in_header,
    bits_flipped_in_frames,
    other_format,
    other_format_truncated,
    other_format_bits_flipped,
    four_gigabytes_declared,
    flac_of_terabytes,
    mp3_of_gigabytes,
    mp3_with_broken_frames,
    mp3_behind_a_tag,
    chained_ogg,
    ogg_without_pages,
    many_channels,
    channels_declared,
    endless_chunks,
    container,
    container_damaged,
    container_in_name,
    other_content,
    three_hours_of_silence,
)
PLACES = (
    pipe,
    device,
    file_of_the_kernel,
    folder_called_sound,
    dangling_link,
    looping_link,
    listening_socket,
    link_to_sound,
    hole_of_gigabytes,
)
NAMES = ("", "", "", "-a\nb", "-tab\tend", "-é中", "-\udcff\udc80", "-%s{0}$HOME", "-'\"")
"""Ends of the names; what is no text is a byte that a file system keeps all the same."""


def write_odd_files(folder: Path, count: int, *, seed=0) -> list[tuple[Path, str]]:
    """Files of every kind in turn, and what to expect of each. One is the same however many are
    made, but for the serial number that libsndfile draws for an Ogg stream.
    """
    files = []
    for index in range(count):
        random = np.random.default_rng([seed, index])
        kind = (*KINDS, *PLACES)[index % (len(KINDS) + len(PLACES))]
        stem = f"{index:04}-{kind.__name__}{random.choice(NAMES)}"
        if kind in PLACES:
            path = folder / f"{stem}.wav"
            expected = kind(random, path)
        else:
            content, extension, expected = kind(random)
            path = folder / f"{stem}{'.' * bool(extension)}{extension}"
            path.write_bytes(content)
        files.append((path, expected))
    return files
