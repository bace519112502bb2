"""Answers of recordings as JSON, JSON lines, CSV, RTTM, labels of Audacity, SRT and Parquet."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from modeling_decomp_ser.audio_windows import own_spans
from modeling_decomp_ser.timeline_formats import spreadsheet_cell

Answer = Mapping[str, Any]
FORMATS = ("json", "jsonl", "csv", "rttm", "audacity", "srt", "parquet")
ENDINGS = {
    "json": ".json",
    "jsonl": ".jsonl",
    "csv": ".csv",
    "rttm": ".rttm",
    "audacity": ".txt",
    "srt": ".srt",
    "parquet": ".parquet",
}
ONE_RECORDING = ("audacity", "srt")
"""Forms that do not say of which recording they speak."""
GROWING = ("jsonl", "csv", "rttm")
"""Forms to which the answer of one more recording can be appended."""


def format_answers(answers: Sequence[Answer], form: str, labels: Iterable[str] = ()) -> str:
    """Answers as text; for the forms see `table_rows`, `rttm_lines`, `label_lines` and
    `subtitles`.

    Args:
        answers: of `answer_recordings`.
        form: one of FORMATS that is text.
        labels: emotions that have a column even where no answer has them.
    """
    if form == "json":
        return json.dumps(answers, indent=2, ensure_ascii=False)
    if form == "jsonl":
        return "\n".join(json.dumps(answer, ensure_ascii=False) for answer in answers)
    if form == "csv":
        return csv_text(answers, labels)
    writers = {"rttm": rttm_lines, "audacity": label_lines, "srt": subtitles}
    return "\n".join(line for answer in answers for line in writers[form](answer))


def write_parquet(answers: Sequence[Answer], path: Path, labels: Iterable[str] = ()) -> None:
    """The rows of the table as Parquet."""
    import pyarrow
    import pyarrow.parquet

    text, numbers = pyarrow.string(), pyarrow.float64()
    names = emotions_of(answers, labels)
    columns = [("file", text), ("start", numbers), ("end", numbers), ("emotion", text)]
    columns += [(name, numbers) for name in names]
    columns += [("flags", pyarrow.list_(text)), ("channel", pyarrow.int64())]
    columns += [("speaker", text), ("text", text)]
    rows = [row for answer in answers for row in table_rows(answer, names)]
    table = pyarrow.Table.from_pylist(rows, schema=pyarrow.schema(columns))
    with path.open("wb") as file:  # pyarrow takes no path that is no text
        pyarrow.parquet.write_table(table, file)


def emotions_of(answers: Iterable[Answer], labels: Iterable[str] = ()) -> list[str]:
    """Emotions in alphabetical order."""
    found = {name for answer in answers for name in answer["probabilities"] or ()}
    return sorted(found | set(labels))


def table_rows(answer: Answer, labels: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row for each entry of the timeline; one without an emotion where nobody speaks."""
    whole = {"start": 0.0, "end": answer["seconds"], "emotion": None, "flags": answer["flags"]}
    for entry in answer["timeline"] or [whole]:
        probabilities = entry.get("probabilities") or {}
        yield {
            # a name may hold bytes that are no text
            "file": answer["file"].encode("utf-8", "backslashreplace").decode(),
            **{name: entry[name] for name in ("start", "end", "emotion")},
            **{label: probabilities.get(label) for label in labels},
            "flags": list(entry["flags"]),
            **{name: entry.get(name) for name in ("channel", "speaker", "text")},
        }


def csv_text(answers: Sequence[Answer], labels: Iterable[str] = ()) -> str:
    """The rows of the table: file, start, end, emotion, a probability for each emotion in
    alphabetical order, flags divided by blanks, channel, speaker, text.
    """
    names = emotions_of(answers, labels)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    head = ["file", "start", "end", "emotion", *names, "flags", "channel", "speaker", "text"]
    table.writerow(map(spreadsheet_cell, head))
    for answer in answers:
        for row in table_rows(answer, names):
            written = {key: "" if value is None else value for key, value in row.items()}
            for key in ("start", "end"):
                written[key] = f"{row[key]:.3f}"
            for key in names:
                written[key] = "" if row[key] is None else f"{row[key]:.6f}"
            written["flags"] = " ".join(row["flags"])
            table.writerow(spreadsheet_cell(str(written[key])) for key in head)
    return text.getvalue().rstrip("\n")


def by_channel(answer: Answer) -> Iterator[tuple[Mapping[str, Any], tuple[float, float]]]:
    """Entries of the timeline, each with the span that it speaks for: overlaps of windows are
    divided in the middle, so that each instant of a channel has one label. Turns stay whole.
    """
    channels = dict.fromkeys(entry.get("channel") for entry in answer["timeline"])
    for channel in channels:
        entries = [e for e in answer["timeline"] if e.get("channel") == channel]
        spans = [(e["start"], e["end"]) for e in entries]
        if answer["segments"] == "windows":
            spans = own_spans(spans)
        yield from zip(entries, spans, strict=True)


def rttm_lines(answer: Answer) -> Iterator[str]:
    """Rich Transcription Time Marked (NIST), with the emotion in the place of the speaker: SPEAKER,
    file, channel, start and duration in seconds, <NA>, <NA>, emotion, its probability, <NA>. Blanks
    in names become underscores, since blanks divide fields.
    """
    name = "_".join(answer["file"].split())
    for entry, (start, end) in by_channel(answer):
        emotion = "_".join(entry["emotion"].split())
        probability = entry["probabilities"][entry["emotion"]]
        yield (
            f"SPEAKER {name} {entry.get('channel') or 1} {start:.3f} {end - start:.3f} <NA> <NA> "
            f"{emotion} {probability:.3f} <NA>"
        )


def label_lines(answer: Answer) -> Iterator[str]:
    """Labels of Audacity: start, end and label, divided by tabs."""
    for entry, (start, end) in by_channel(answer):
        yield f"{start:.6f}\t{end:.6f}\t{caption(entry)}"


def subtitles(answer: Answer) -> Iterator[str]:
    """Subtitles of SRT, with what is said where it is known."""
    shown = sorted(by_channel(answer), key=lambda pair: pair[1])
    for number, (entry, (start, end)) in enumerate(shown, 1):
        yield from (str(number), f"{clock(start)} --> {clock(end)}", caption(entry))
        if entry.get("text"):
            yield entry["text"]
        yield ""


def caption(entry: Mapping[str, Any]) -> str:
    """Who, and how: `agent: happy 0.81 [unsure]`."""
    channel = f"channel {entry['channel']}" if entry.get("channel") else ""
    who = entry.get("speaker") or channel
    flags = f" [{' '.join(entry['flags'])}]" if entry["flags"] else ""
    probability = entry["probabilities"][entry["emotion"]]
    return f"{who}{': ' if who else ''}{entry['emotion']} {probability:.2f}{flags}"


def clock(seconds: float) -> str:
    """Time of a subtitle.

    Examples:
        >>> clock(3725.0416)
        '01:02:05,042'
    """
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02},{rest % 1000:03}"
