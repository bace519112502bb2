"""The forms in which `decomp-ser predict` writes its answers."""

from enum import StrEnum


class Format(StrEnum):
    """How answers are written."""

    json = "json"
    csv = "csv"
    rttm = "rttm"
