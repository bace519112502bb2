"""Builds folders laid out as an IEMOCAP release, with invented sentences and every known trap."""

import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

# Turns of the four-class set by marker side of the dialogue: (turns of F, turns of M).
TURNS_OF_PREFIX = {
    "Ses01F": (237, 270),
    "Ses01M": (291, 287),
    "Ses02F": (231, 274),
    "Ses02M": (250, 268),
    "Ses03F": (264, 272),
    "Ses03M": (258, 357),
    "Ses04F": (283, 270),
    "Ses04M": (245, 233),
    "Ses05F": (307, 337),
    "Ses05M": (283, 314),
}
CODES = {"ang": 1103, "hap": 595, "exc": 1041, "sad": 1084, "neu": 1708}
SECONDS = {
    "ang": 83.0 * 60 / 1103,
    "hap": 126.0 * 60 / 1636,
    "exc": 126.0 * 60 / 1636,
    "sad": 99.3 * 60 / 1084,
    "neu": 111.1 * 60 / 1708,
}
NUM_TURNS = 10039
NUM_DIALOGUES = 151


@dataclass(frozen=True)
class Turn:
    name: str
    code: str
    start: float
    end: float
    text: str | None

    @property
    def dialogue(self) -> str:
        return self.name.rpartition("_")[0]


def label_lines(turn: Turn) -> str:
    """A block of a label file, with the odd spacings of the release."""
    times = f"[{turn.start:.4f} - {turn.end:.4f}]"
    return (
        f"{times}\t{turn.name}\t{turn.code}\t[2.5000, 3.0000, 3.5000]\n"
        "C-E2:\tNeutral;\t()\nC-F2:\tFrustration; Other;\t(a remark)\nC-F3:\t;\t()\n"
        "A-E3:\tval 3; act 2; dom  2;\t()\n\n"
    )


def transcript_line(turn: Turn) -> str:
    return f"{turn.name} [{turn.start:08.4f}-{turn.end:08.4f}]: {turn.text}\n"


def write_dialogue(
    root: Path, dialogue: str, turns: list[Turn], *, newline: str = "\n", encoding: str = "utf-8"
) -> None:
    """Label file, transcript and one wav for each turn."""
    session = root / f"Session{dialogue[4]}"
    labels = session / "dialog" / "EmoEvaluation" / f"{dialogue}.txt"
    transcripts = session / "dialog" / "transcriptions" / f"{dialogue}.txt"
    for path in (labels, transcripts):
        path.parent.mkdir(parents=True, exist_ok=True)
    header = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
    ordered = sorted(turns, key=lambda turn: turn.name)  # all F turns, then all M turns
    text = header + "".join(map(label_lines, ordered))
    labels.write_bytes(text.replace("\n", newline).encode(encoding))
    spoken = sorted((t for t in turns if t.text is not None), key=lambda turn: turn.start)
    text = "".join(map(transcript_line, spoken))
    transcripts.write_bytes(text.replace("\n", newline).encode(encoding))
    folder = session / "sentences" / "wav" / dialogue
    folder.mkdir(parents=True, exist_ok=True)
    for turn in turns:
        number = int(turn.name[-3:])
        silence = root / f"{number}.wav"  # one inode for each duration: 10,000 files take long
        if not silence.exists():
            soundfile.write(silence, np.zeros(400 + 16 * number, np.int16), 16000)
        os.link(silence, folder / f"{turn.name}.wav")


def small_release(root: Path) -> None:
    """Five dialogues of two sessions that hold every trap of the real release."""
    write_dialogue(
        root,
        "Ses01F_impro01",
        [
            Turn("Ses01F_impro01_F000", "neu", 6.2901, 8.2357, "Where is the lantern?"),
            Turn("Ses01F_impro01_F001", "hap", 9.0, 11.0, "Brilliant: it floats; really!"),
            Turn("Ses01F_impro01_M000", "exc", 10.5, 12.0, "The lantern is on the boat now."),
            Turn("Ses01F_impro01_M001", "fru", 12.5, 13.0, "[LAUGHTER]"),
        ],
    )
    transcripts = root / "Session1/dialog/transcriptions/Ses01F_impro01.txt"
    transcripts.write_text(
        transcripts.read_text()
        + "M: Yes.\nF:[LAUGHTER]\nM:\nF :Here it is.\n"
        + "Ses01F_impro01_FXX0 [014.0000-015.0000]: Nobody labelled this.\n"
        + "Ses01F_impro01_M000 [010.5000-012.0000]: A second text for one id.\n"
    )
    evaluation = root / "Session1/dialog/EmoEvaluation"
    for folder in ("Categorical", "Attribute", "Self-evaluation"):
        (evaluation / folder).mkdir()
        (evaluation / folder / "Ses01F_impro01_e2_cat.txt").write_text(
            "[1.0000 - 2.0000]\tSes01F_impro01_F000\tang\t[1.0, 1.0, 1.0]\n"
        )
    (evaluation / "._Ses01F_impro01.txt").write_bytes(b"\x00\x05\x16\x07Mac OS X\xff\n[\xfe\n")
    (evaluation / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1")
    (root / "Session1/sentences/wav/Ses01F_impro01/._Ses01F_impro01_F000.wav").write_bytes(b"\x00")
    (root / "Session1/dialog/wav").mkdir()
    soundfile.write(root / "Session1/dialog/wav/Ses01F_impro01.wav", np.zeros((800, 2)), 16000)
    write_dialogue(  # CRLF
        root,
        "Ses01M_script01_1",
        [
            Turn("Ses01M_script01_1_F000", "sad", 1.0, 3.0, "I left the red umbrella at home."),
            Turn("Ses01M_script01_1_M000", "ang", 3.5, 5.0, "You always leave the umbrella."),
        ],
        newline="\r\n",
    )
    write_dialogue(  # the dialogue before is a prefix of this one; Latin-1
        root,
        "Ses01M_script01_1b",
        [
            Turn("Ses01M_script01_1b_F000", "xxx", 1.0, 2.0, "The café is closed."),
            Turn("Ses01M_script01_1b_M000", "sad", 2.5, 4.0, "Then the café will open."),
        ],
        encoding="latin-1",
    )
    write_dialogue(
        root,
        "Ses02F_script01_1",
        [
            Turn("Ses02F_script01_1_F000", "sad", 1.0, 3.0, "I left the red umbrella at home!"),
            Turn("Ses02F_script01_1_M000", "ang", 3.5, 5.0, None),  # no transcript
            Turn("Ses02F_script01_1_F001", "neu", 6.0, 7.0, ""),  # an empty one
        ],
    )
    write_dialogue(
        root,
        "Ses02M_impro05a",
        [
            Turn("Ses02M_impro05a_F000", "neu", 1.0, 2.0, "Good evening."),
            Turn("Ses02M_impro05a_M000", "hap", 2.0, 3.0, "Good evening."),
        ],
    )


def full_size_turns() -> list[Turn]:
    """10,039 turns in 151 dialogues, with the published number of every label and speaker."""
    codes = itertools.chain.from_iterable([code] * count for code, count in CODES.items())
    codes = list(codes)
    np.random.default_rng(0).shuffle(codes)
    others = NUM_TURNS - len(codes)
    per_letter = others // 20
    turns = []
    for k, (prefix, sizes) in enumerate(TURNS_OF_PREFIX.items()):
        dialogues = [f"{prefix}_impro{n:02d}" for n in range(1, 16 + (k == 0))]
        for letter, size in zip("FM", sizes, strict=True):
            rest = others - 19 * per_letter if (k, letter) == (9, "M") else per_letter
            labels = [codes.pop() for _ in range(size)] + ["fru"] * rest
            for number, code in enumerate(labels):
                dialogue = dialogues[number % len(dialogues)]
                start = 20.0 * (number // len(dialogues))
                end = start + SECONDS.get(code, 4.0)
                name = f"{dialogue}_{letter}{number // len(dialogues):03d}"
                turns.append(Turn(name, code, start, end, f"Invented sentence {number % 40}."))
    return turns


def write_turns(root: Path, turns: Iterable[Turn]) -> None:
    by_dialogue: dict[str, list[Turn]] = {}
    for turn in turns:
        by_dialogue.setdefault(turn.dialogue, []).append(turn)
    for dialogue, members in by_dialogue.items():
        write_dialogue(root, dialogue, members)
