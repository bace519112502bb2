"""How many bytes of sound a file lacks of what its header announces: WAV, RF64, W64 and AIFF.

libsndfile reads such a file without complaint. It notes the fault in its log, but the log ends
after 2 kB, which a few comments in the file fill.
"""

from collections.abc import Iterator
from typing import BinaryIO, Literal

# Streaming writers that cannot go back leave a size of 0 or about 2 or 4 GiB in the header: it
# tells nothing.
_UNKNOWN_BYTES = 0x7FFF0000
_MOST_CHUNKS = 10_000  # a file of zeros is one chunk of no length after the other

_W64_FILE = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"

Chunk = tuple[bytes, int, int]
"""Name, length in bytes, and position of what it holds."""


def missing_bytes(file: BinaryIO, size: int) -> int:
    """Bytes that the sound of a file of `size` bytes lacks; 0 if it is complete, its length is not
    known, or the format is another one.
    """
    header = file.read(40)
    data = _data_chunk(file, header)
    if data is None:
        return 0
    length, position = data
    return max(0, position + length - size)


def _data_chunk(file: BinaryIO, header: bytes) -> tuple[int, int] | None:
    """Announced length and position of the samples."""
    if header[:16] == _W64_FILE:
        return _find(_chunks(file, 40, "little", wide=True), _W64_DATA)
    form, kind = header[:4], header[8:12]
    if form == b"FORM" and kind in (b"AIFF", b"AIFC"):
        return _find(_chunks(file, 12, "big"), b"SSND")
    if form not in (b"RIFF", b"RIFX", b"RF64") or kind != b"WAVE":
        return None
    chunks = _chunks(file, 12, "big" if form == b"RIFX" else "little")
    found = _find(chunks, b"data")
    if form == b"RF64" and header[12:16] == b"ds64":  # the length of `data` stands in here
        return found and (int.from_bytes(header[28:36], "little"), found[1])
    return None if found is None or found[0] >= _UNKNOWN_BYTES else found


def _find(chunks: Iterator[Chunk], wanted: bytes) -> tuple[int, int] | None:
    return next(((length, at) for name, length, at in chunks if name == wanted), None)


def _chunks(
    file: BinaryIO, position: int, order: Literal["little", "big"], *, wide: bool = False
) -> Iterator[Chunk]:
    """The chunks of a file from a position on. `wide` ones, of W64, have names of 16 bytes, and
    lengths of 8 which count the header too.
    """
    name_bytes, length_bytes, alignment = (16, 8, 8) if wide else (4, 4, 2)
    for _ in range(_MOST_CHUNKS):
        file.seek(position)
        header = file.read(name_bytes + length_bytes)
        if len(header) < name_bytes + length_bytes:
            return
        length = int.from_bytes(header[name_bytes:], order)
        length = max(0, length - len(header)) if wide else length
        position += len(header)
        yield header[:name_bytes], length, position
        position += length + -length % alignment
        if position >= 2**62:  # beyond what can be sought
            return
