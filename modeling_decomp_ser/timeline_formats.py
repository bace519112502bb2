"""The timeline of a recording as CSV and as RTTM, for tables and for tools of diarisation."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from .audio_windows import own_spans

NamedTimelines = Sequence[tuple[str, Sequence[Mapping[str, Any]]]]
"""Names of recordings, each with what the pipeline returns as its "timeline"."""


def timeline_csv(timelines: NamedTimelines) -> str:
    """One row a window: file, start, end, emotion, a probability for each emotion in alphabetical
    order, and flags divided by blanks; best of answers with all emotions (`top_k=None`).

    Examples:
        >>> scores = [{"label": "sad", "score": 0.75}, {"label": "happy", "score": 0.25}]
        >>> print(timeline_csv([("talk.wav", [{"start": 0.0, "end": 2.5, "scores": scores}])]))
        file,start,end,emotion,happy,sad,flags
        talk.wav,0.000,2.500,sad,0.250000,0.750000,
    """
    rows = [(name, window) for name, timeline in timelines for window in timeline]
    labels = sorted({score["label"] for _, window in rows for score in window["scores"]})
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    head = ["file", "start", "end", "emotion", *labels, "flags"]
    table.writerow(map(spreadsheet_cell, head))
    for name, window in rows:
        times = [f"{window[key]:.3f}" for key in ("start", "end")]
        scores = {score["label"]: f"{score['score']:.6f}" for score in window["scores"]}
        shown = [scores.get(label, "") for label in labels]
        flags = " ".join(window.get("flags", ()))
        cells = [name, *times, window["scores"][0]["label"], *shown, flags]
        table.writerow(map(spreadsheet_cell, cells))
    return text.getvalue().rstrip("\n")


def spreadsheet_cell(text: str) -> str:
    """Text as a cell of a CSV file that no spreadsheet takes for a formula.

    Examples:
        >>> spreadsheet_cell("=1+1"), spreadsheet_cell("a=1")
        ("'=1+1", 'a=1')
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def timeline_rttm(timelines: NamedTimelines) -> str:
    """Rich Transcription Time Marked (NIST), with the emotion in the place of the speaker.

    One line a window: SPEAKER, file, channel 1, start and duration in seconds, <NA>, <NA>, emotion,
    its probability, <NA>. Overlaps of windows are divided in the middle, so that each instant of a
    file has one label. Blanks in names become underscores, since blanks divide fields.

    Examples:
        >>> scores = [{"label": "sad", "score": 0.75}]
        >>> print(timeline_rttm([("my talk.wav", [{"start": 0.0, "end": 2.5, "scores": scores}])]))
        SPEAKER my_talk.wav 1 0.000 2.500 <NA> <NA> sad 0.750 <NA>
    """
    lines = []
    for name, timeline in timelines:
        spans = own_spans([(window["start"], window["end"]) for window in timeline])
        for window, (start, end) in zip(timeline, spans, strict=True):
            best = window["scores"][0]
            lines.append(
                f"SPEAKER {'_'.join(name.split())} 1 {start:.3f} {end - start:.3f} <NA> <NA> "
                f"{'_'.join(best['label'].split())} {best['score']:.3f} <NA>"
            )
    return "\n".join(lines)
