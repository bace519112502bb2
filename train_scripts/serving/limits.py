"""What the server takes on, and what it refuses."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of the server; memory is bounded by them.

    Attributes:
        megabytes: 10**6 bytes of an upload.
        minutes: length of a recording.
        places: recordings that are read, wait or are answered at once; others are told when to try
            again. Their bytes are held, at most `places` times `megabytes`.
        seconds: from the beginning of a request to its answer; also, the silence of a client after
            which its live stream is closed.
        streams: live streams at once.
    """

    megabytes: float = 64.0
    minutes: float = 30.0
    places: int = 32
    seconds: float = 300.0
    streams: int = 4

    @property
    def num_bytes(self) -> int:
        """Bytes of an upload."""
        return round(1e6 * self.megabytes)
