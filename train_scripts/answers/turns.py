"""Who speaks when, and what: diarisations (RTTM, CSV) and transcripts (SRT, VTT, CTM).

A recording is found in them by its name without the folder and the ending.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from processing.errors import InputError
from train_scripts.answers.segments import Turn

LEAST_OVERLAP = 0.1
"""Seconds that two speakers are heard at once before a turn is flagged."""
SENTENCE_PAUSE = 0.8
"""Seconds between words of a CTM file that end a sentence without a full stop."""

Turns = dict[str | None, list[Turn]]
"""By the name of the recording; None where the file does not say of which it speaks."""

TIME = r"(?:(\d+):)?(\d+):(\d+)[.,](\d+)"
CUE = re.compile(rf"{TIME}\s*-->\s*{TIME}")


class Conversations:
    """Diarisations and transcripts of several recordings.

    Args:
        speakers: paths of RTTM or CSV files, or of folders with them.
        transcripts: paths of SRT, VTT or CTM files, or of folders with them.

    Raises:
        InputError: if a file cannot be read.
    """

    def __init__(self, speakers: Sequence[Path] = (), transcripts: Sequence[Path] = ()):
        self.speakers = read_all(speakers, (".rttm", ".csv"))
        self.sentences = read_all(transcripts, (".srt", ".vtt", ".ctm"))

    def __bool__(self) -> bool:
        return bool(self.speakers or self.sentences)

    def turns_of(self, name: str, *, alone: bool) -> list[Turn] | None:
        """Turns of a recording in order, None if nothing is given at all.

        Args:
            name: of the recording.
            alone: no other recording is answered, so that what names none is of this one.

        Raises:
            InputError: if other recordings are spoken of, and not this one.
        """
        if not self:
            return None
        stem = Path(name).stem
        who, what = (pick(turns, stem, alone) for turns in (self.speakers, self.sentences))
        if not (who or what):
            known = sorted(str(n) for n in {*self.speakers, *self.sentences} - {None})
            raise InputError(
                f"{name}: no turn is given of '{stem}'; given are those of {', '.join(known[:5])}."
            )
        turns = [with_speaker(s, who) for s in what] if what else who
        return mark_overlaps(sorted(turns, key=lambda t: (t.start, t.end)), who or turns)


def pick(turns: Turns, stem: str, alone: bool) -> list[Turn]:
    """Those of one recording."""
    return [*turns.get(stem, ()), *(turns.get(None, ()) if alone else ())]


def with_speaker(sentence: Turn, turns: Sequence[Turn]) -> Turn:
    """A sentence with the speaker and the channel of whoever speaks longest in it."""
    best = max(turns, key=lambda turn: shared_seconds(sentence, turn), default=None)
    if best is None or shared_seconds(sentence, best) <= 0:
        return sentence
    return replace(sentence, speaker=best.speaker, channel=best.channel)


def shared_seconds(a: Turn, b: Turn) -> float:
    """Seconds that two turns have in common; negative where they are apart."""
    return min(a.end, b.end) - max(a.start, b.start)


def mark_overlaps(turns: list[Turn], spoken: Sequence[Turn]) -> list[Turn]:
    """The turns, and of each whether someone else speaks at the same time on its channel."""
    marked, others = [], sorted(spoken, key=lambda t: t.start)
    for turn in turns:
        overlaps = any(
            shared_seconds(turn, other) > LEAST_OVERLAP
            for other in others
            if other.start < turn.end
            and other.speaker != turn.speaker
            and other.channel == turn.channel
        )
        marked.append(replace(turn, overlaps=overlaps))
    return marked


def read_all(paths: Iterable[Path], endings: tuple[str, ...]) -> Turns:
    """Turns of files, or of all files with these endings in folders."""
    turns: Turns = {}
    for path in paths:
        files = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in endings]
        for file in files if path.is_dir() else [path]:
            for name, turn in read_turns(file, endings):
                if turn.end > turn.start >= 0:
                    turns.setdefault(name, []).append(turn)
    return turns


def read_turns(path: Path, endings: tuple[str, ...]) -> Iterator[tuple[str | None, Turn]]:
    """Turns of a file, each with the name of its recording; its ending tells the form."""
    readers = {
        ".rttm": read_rttm,
        ".csv": read_rows,
        ".srt": read_cues,
        ".vtt": read_cues,
        ".ctm": read_words,
    }
    if path.suffix.lower() not in endings:
        raise InputError(f"{path}: expected a file that ends in {', '.join(endings)}.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: it is not in UTF-8. Write it again in that encoding.") from error
    try:
        yield from readers[path.suffix.lower()](text, path)
    except (ValueError, IndexError, KeyError) as error:
        raise InputError(f"{path}: cannot be read as {path.suffix[1:]} ({error}).") from error


def read_rttm(text: str, path: Path) -> Iterator[tuple[str, Turn]]:
    """Lines SPEAKER file channel start duration <NA> <NA> speaker."""
    for line in text.splitlines():
        fields = line.split()
        if fields and fields[0] == "SPEAKER":
            start, seconds = float(fields[3]), float(fields[4])
            turn = Turn(start, round(start + seconds, 6), fields[7], channel=int(fields[2]))
            yield Path(fields[1]).stem, turn


def read_rows(text: str, path: Path) -> Iterator[tuple[str | None, Turn]]:
    """Rows with the columns start and end, and those of speaker, text, file, channel as known."""
    rows = csv.DictReader(text.splitlines())
    missing = {"start", "end"} - set(rows.fieldnames or ())
    if missing:
        raise ValueError(f"column {min(missing)} is missing")
    for row in rows:
        name = Path(row["file"]).stem if row.get("file") else None
        channel = int(row["channel"]) if row.get("channel") else None
        speaker, words = row.get("speaker") or None, row.get("text") or None
        yield name, Turn(float(row["start"]), float(row["end"]), speaker, words, channel)


def read_cues(text: str, path: Path) -> Iterator[tuple[str, Turn]]:
    """Subtitles of SRT and VTT; a voice of VTT (<v NAME>) is the speaker."""
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        timing = CUE.search(block)
        if timing is None:
            continue
        start, end = seconds_of(timing.groups()[:4]), seconds_of(timing.groups()[4:])
        said = block[timing.end() :].partition("\n")[2]
        voice = re.search(r"<v(?:\.\S+)?\s+([^>]+)>", said)
        words = " ".join(re.sub(r"<[^>]*>", "", said).split())
        yield path.stem, Turn(start, end, voice[1].strip() if voice else None, words)


def seconds_of(fields: Sequence[str | None]) -> float:
    """Hours, minutes, seconds and their decimals as seconds."""
    hours, minutes, seconds, decimals = fields
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(f"{seconds}.{decimals}")


def read_words(text: str, path: Path) -> Iterator[tuple[str, Turn]]:
    """Sentences of a CTM file, whose lines are file, channel, start, duration, word: they end with
    a full stop, or a pause.
    """
    sentence: Turn | None = None
    of = None
    for line in text.splitlines():
        if not line.strip() or line.startswith(";;"):
            continue
        name, channel, start, duration, word = line.split()[:5]
        begin, end = float(start), float(start) + float(duration)
        number = {"A": 1, "B": 2}.get(channel, int(channel) if channel.isdigit() else 1)
        goes_on = (
            sentence is not None
            and (of, sentence.channel) == (Path(name).stem, number)
            and begin - sentence.end < SENTENCE_PAUSE
            and not (sentence.text or "").endswith((".", "?", "!"))
        )
        if sentence is not None and not goes_on:
            yield str(of), sentence
        if sentence is not None and goes_on:
            sentence = replace(sentence, end=round(end, 6), text=f"{sentence.text} {word}")
        else:
            of = Path(name).stem
            sentence = Turn(begin, round(end, 6), text=word, channel=number)
    if sentence is not None:
        yield str(of), sentence
