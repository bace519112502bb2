"""`decomp-ser predict`: the emotion of recordings, whole and over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from modeling_decomp_ser.audio_windows import window_samples
from modeling_decomp_ser.pipeline_decomp_ser import WINDOW_SECONDS, DecompSerPipeline
from modeling_decomp_ser.signal_flags import TOO_QUIET, UNSURE
from modeling_decomp_ser.speech_activity import detector_is_installed
from processing.errors import InputError
from train_scripts.answers.channels import AUTO, MIX, SPLIT, choose_channels
from train_scripts.answers.segments import SPEECH, TURNS, WINDOWS, Segment, Turn, find_segments
from train_scripts.runs.foreseen_errors import require_package
from train_scripts.runs.precision import can_use_bfloat16
from train_scripts.runs.run_folder import load_model

if TYPE_CHECKING:
    from train_scripts.answers.input_files import Source

NO_SPEECH = "no_speech"
"""Of a recording in which the detector hears nobody: it gets no emotion."""
OVERLAP = "overlap"
"""Of a turn in which another speaker is heard too."""


@dataclass(frozen=True)
class Listening:
    """How recordings are heard.

    Attributes:
        window_seconds: longest piece that is answered in one; see DecompSerPipeline.
        hop_seconds: from window to window, where windows are answered.
        channels: "auto", "mix", "split", or the number of a channel, from 1.
        segments: "speech", found by the detector; "windows" of all; "auto", which is speech where
            the detector is installed and no hop is given.
        fast: compute in bfloat16 where the machine can, which changes answers a little.
    """

    window_seconds: float = WINDOW_SECONDS
    hop_seconds: float | None = None
    channels: str = AUTO
    segments: str = AUTO
    fast: bool = False

    def checked(self) -> Listening:
        """The same with "auto" of the segments decided.

        Raises:
            InputError: if a setting is wrong, or the detector is asked for and not installed.
        """
        try:
            window_samples(self.window_seconds, self.hop_seconds, 1000)
        except ValueError as error:
            raise InputError(f"--window and --hop: {error}") from error
        if self.channels not in (AUTO, MIX, SPLIT) and not self.channels.isdigit():
            raise InputError(f"--channels {self.channels}: expected mix, split or a number.")
        segments = self.segments
        if segments == AUTO:
            found = self.hop_seconds is None and detector_is_installed()
            segments = SPEECH if found else WINDOWS
        elif segments == SPEECH:
            require_package("silero_vad", "--segments speech")
        return Listening(**{**asdict(self), "segments": segments})

    def identity(self) -> dict[str, Any]:
        """What answers depend on; those that were not fast have no word of it."""
        return {name: value for name, value in asdict(self).items() if value is not False}


@dataclass
class Recording:
    """A recording to be answered, and the turns that are given of it."""

    source: Source
    turns: list[Turn] | None = None


@dataclass
class Prepared:
    """A channel of a recording, ready for the pipeline; no segments: windows of all."""

    channel: int | None
    segments: list[Segment] | None
    seconds: float
    sound: dict[str, Any]


def load_pipeline(
    model_name: str, listening: Listening, batch_size: int, device: str | None = None
) -> DecompSerPipeline:
    """The pipeline of a saved model, with all that an answer tells of a recording; on a device of
    torch, None for the first GPU, or the processors where there is none.
    """
    model, processor = load_model(model_name)
    if listening.fast and can_use_bfloat16(model, "--fast"):
        model = model.to(torch.bfloat16)
    return DecompSerPipeline(
        model=model,
        feature_extractor=processor.feature_extractor,
        task="audio-classification",
        batch_size=batch_size,
        device=device,
        top_k=None,
        return_timeline=True,
        return_flags=True,
        **({"return_dimensions": True} if model.dimensions_head is not None else {}),
        window_seconds=listening.window_seconds,
        hop_seconds=listening.hop_seconds,
    )


def answer_recordings(
    recognize: DecompSerPipeline, recordings: Sequence[Recording], listening: Listening
) -> Iterator[dict | ValueError]:
    """The answer for each recording, or why there is none; short ones share batches.

    An answer is {"file", "emotion", "probabilities": {emotion: probability}, "flags", "segments",
    "seconds", "timeline"}; the timeline has for each window, stretch of speech, turn or sentence
    {"start", "end"} in seconds, the same "emotion", "probabilities" and "flags", and where they are
    known "channel", "speaker" and "text". "speakers" and "channels" sum these up. Where nobody
    speaks, emotion and probabilities are None. "note" is what a user should be told.
    """
    try:
        yield from answer_together(recognize, recordings, listening)
    except ValueError as error:  # one of them is bad: each for itself
        if len(recordings) == 1:
            yield error
            return
        for recording in recordings:
            yield from answer_recordings(recognize, [recording], listening)


def answer_together(
    recognize: DecompSerPipeline, recordings: Sequence[Recording], listening: Listening
) -> list[dict]:
    """The answers of recordings, whose pieces share batches; ValueError if one is bad."""
    prepared = [prepare(recording, listening) for recording in recordings]
    heard = [part for parts, _ in prepared for part in parts if part.sound]
    found = iter(recognize([part.sound for part in heard]))
    abstain_below = recognize.model.config.abstain_below
    answers = []
    for recording, (parts, note) in zip(recordings, prepared, strict=True):
        timeline = [
            entry
            for part in parts
            if part.sound
            for entry in describe_part(part, next(found)["timeline"], abstain_below)
        ]
        timeline.sort(key=lambda entry: (entry["start"], entry.get("channel") or 0))
        segments = TURNS if recording.turns is not None else listening.segments
        answer = {
            "file": recording.source.name,
            **summarize(timeline, abstain_below),
            "segments": segments,
            "seconds": round(max([p.seconds for p in parts] + [e["end"] for e in timeline]), 3),
        }
        for name in ("channel", "speaker"):
            if any(name in entry for entry in timeline):
                answer[f"{name}s"] = by_value(timeline, name, abstain_below)
        answers.append({**answer, **({"note": note} if note else {}), "timeline": timeline})
    return answers


def prepare(recording: Recording, listening: Listening) -> tuple[list[Prepared], str | None]:
    """The channels of a recording that are answered, and what to tell the user of them."""
    audio, turns = recording.source.audio, recording.turns
    option, numbers = listening.channels, {t.channel for t in turns or ()}
    if turns is not None and option == AUTO:  # the diarisation knows
        option = SPLIT if len(numbers - {None}) > 1 else MIX
    channels, note = choose_channels(audio, option)
    if channels == [None] and turns is not None:
        turns = [Turn(**{**asdict(turn), "channel": None}) for turn in turns]
    parts = []
    for channel in channels:
        sound = {**audio, "channel": channel}
        if turns is None and listening.segments == WINDOWS:
            parts.append(Prepared(channel, None, 0.0, sound))
            continue
        own = None if turns is None else [t for t in turns if t.channel in (None, channel)]
        segments, seconds = find_segments(audio, channel, own, listening.window_seconds)
        spans = [piece for segment in segments for piece in segment.pieces]
        parts.append(
            Prepared(channel, segments, seconds, {**sound, "spans": spans} if spans else {})
        )
    return parts, note


def describe_part(
    part: Prepared, found: Sequence[Mapping[str, Any]], abstain_below: float
) -> Iterator[dict]:
    """Entries of the timeline of a channel from what the pipeline says of its pieces."""
    own = {} if part.channel is None else {"channel": part.channel}
    pieces = [{"start": w["start"], "end": w["end"], **describe(w)} for w in found]
    if part.segments is None:
        yield from ({**piece, **own} for piece in pieces)
        return
    # the pipeline answers by start; turns that overlap divide it among them
    spans = [(span, i) for i, s in enumerate(part.segments) for span in s.pieces]
    order = sorted(range(len(spans)), key=lambda k: spans[k][0])
    of_segment: dict[int, list[dict]] = {}
    for piece, k in zip(pieces, order, strict=True):
        of_segment.setdefault(spans[k][1], []).append(piece)
    for index, segment in enumerate(part.segments):
        turn, together = segment.turn, of_segment[index]
        span = {"start": turn.start, "end": min(turn.end, together[-1]["end"])}
        entry: dict[str, Any] = {**span, **summarize(together, abstain_below)}
        if turn.overlaps:
            entry["flags"] = [*entry["flags"], OVERLAP]
        known = {"speaker": turn.speaker, "text": turn.text}
        yield {**entry, **own, **{k: v for k, v in known.items() if v is not None}}


def describe(answer: Mapping[str, Any]) -> dict:
    """Emotion, probabilities and flags of a window."""
    return {
        "emotion": answer["scores"][0]["label"],
        "probabilities": {s["label"]: s["score"] for s in answer["scores"]},
        "flags": answer["flags"],
        **({"dimensions": answer["dimensions"]} if "dimensions" in answer else {}),
    }


def summarize(entries: Sequence[Mapping[str, Any]], abstain_below: float) -> dict[str, Any]:
    """Emotion, probabilities and flags of stretches together: the mean of their probabilities, each
    as much as it lasts, without those that are too quiet unless all are; flags that all share.
    """
    if not entries:
        return {"emotion": None, "probabilities": None, "flags": [NO_SPEECH]}
    counted = [e for e in entries if TOO_QUIET not in e["flags"]] or list(entries)
    seconds = [e["end"] - e["start"] for e in counted]

    def mean_of(kind: str) -> dict[str, float]:
        return {
            name: sum(e[kind][name] * s for e, s in zip(counted, seconds, strict=True))
            / sum(seconds)
            for name in counted[0][kind]
        }

    mean = mean_of("probabilities")
    ranked = dict(sorted(mean.items(), key=lambda item: -item[1]))
    best = next(iter(ranked))
    shared = [
        f
        for f in counted[0]["flags"]
        if f not in (UNSURE, OVERLAP) and all(f in e["flags"] for e in counted)
    ]
    unsure = [UNSURE] if ranked[best] < abstain_below else []
    dimensions = {"dimensions": mean_of("dimensions")} if "dimensions" in counted[0] else {}
    return {"emotion": best, "probabilities": ranked, "flags": shared + unsure, **dimensions}


def by_value(
    timeline: Sequence[Mapping[str, Any]], name: str, abstain_below: float
) -> dict[str, dict]:
    """A summary for each speaker or channel, with the seconds and the number of their entries."""
    values = dict.fromkeys(entry[name] for entry in timeline if name in entry)
    summaries = {}
    for value in values:
        own = [entry for entry in timeline if entry.get(name) == value]
        seconds = round(sum(e["end"] - e["start"] for e in own), 3)
        summaries[str(value)] = {
            **summarize(own, abstain_below),
            "seconds": seconds,
            "entries": len(own),
        }
    return summaries
