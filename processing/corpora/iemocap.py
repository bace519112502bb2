"""IEMOCAP (Busso et al. 2008) from a local copy of the licensed release.

A turn's name says all but its label: Ses01F_impro01_M003 is turn 3 of the man of session 1 in the
dialogue Ses01F_impro01. The F or M after the session is who wore the motion-capture markers, not
who speaks; the letter of the turn is. So the speaker is 01M.
"""

import hashlib
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

from datasets import (
    BuilderConfig,
    Dataset,
    DatasetDict,
    DatasetInfo,
    Features,
    GeneratorBasedBuilder,
    Split,
    Value,
)
from datasets import SplitGenerator as Splits

from processing.corpora.registry import Corpus
from processing.corpora.rows import (
    OPTIONAL_FEATURES,
    BadClip,
    Reading,
    Row,
    check_clips,
    make_row,
    warn_of_bad_clips,
)
from processing.corpora.schema import ROW_FEATURES
from processing.corpora.votes import map_votes, write_votes
from processing.errors import InputError

logger = logging.getLogger(__name__)

EMOTION_CODES = {
    "ang": "angry",
    "hap": "happy",
    "exc": "excited",
    "sad": "sad",
    "neu": "neutral",
    "fru": "frustrated",
    "sur": "surprised",
    "fea": "fearful",
    "dis": "disgusted",
    "oth": "other",
    "xxx": "undecided",  # the raters did not agree
}
CONFIGURATIONS = {
    "four-class": {"ang": "angry", "hap": "happy", "exc": "happy", "sad": "sad", "neu": "neutral"},
    "all": EMOTION_CODES,
}
"""four-class is the set of the paper (Table 1): excited counts as happy. Label code to emotion."""

TABLE_1 = {
    "angry": (1103, 83.0),
    "happy": (1636, 126.0),
    "sad": (1084, 99.3),
    "neutral": (1708, 111.1),
}
"""The paper's Table 1: turns and minutes of each emotion."""

NUM_TURNS = 10039
NUM_DIALOGUES = 151
MINUTES_TOLERANCE = 0.01
SESSIONS = ("Session1", "Session2", "Session3", "Session4", "Session5")

NOT_STATED = ("split", "age", "language")
"""Optional columns that the release has nothing for."""

IEMOCAP_FEATURES = Features(
    {
        **ROW_FEATURES,
        # Not Audio, because writing that would ask for torchcodec; as_dataset makes it Audio.
        "audio": {"bytes": Value("binary"), "path": Value("string")},
        **{name: kind for name, kind in OPTIONAL_FEATURES.items() if name not in NOT_STATED},
    }
)

_DIALOGUE = re.compile(r"Ses0[1-5][FM]_(?:impro|script)\w+")
EVALUATOR_WORDS = {
    "anger": "ang",
    "happiness": "hap",
    "excited": "exc",
    "sadness": "sad",
    "neutral": "neu",
    "neutral state": "neu",
    "frustration": "fru",
    "surprise": "sur",
    "fear": "fea",
    "disgust": "dis",
    "other": "oth",
}
"""Words of the lines `C-E2: Anger; Frustration; ()` -> label code. Raters may give several."""

_EVALUATOR_LINE = re.compile(r"C-E\d+\s*:([^()]*)")
_NUMBER = r"(-?[\d.]+)"
_LABEL_LINE = re.compile(
    rf"\[\s*{_NUMBER}\s*-\s*{_NUMBER}\s*\]\s+(\S+)\s+(\w+)\s+"
    rf"\[\s*{_NUMBER}\s*,\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\]"
)
_TRANSCRIPT_LINE = re.compile(r"(Ses0[1-5][FM]_\w+_[FM]\d{3})\s*\[[^\]]*\]\s*:(.*)")


def read_iemocap(
    source: str | Path, configuration: str = "four-class", *, skip_bad: bool = False
) -> Reading:
    """Rows of an IEMOCAP release: labelled turns with transcripts, times and mean ratings.

    On a release with all five sessions the counts and minutes are compared with the published ones,
    and what differs is logged as a warning; so are turns without a transcript, whose text is null.

    Args:
        source: the folder with Session1 to Session5, or with some of them.
        configuration: "four-class" or "all".
        skip_bad: collect turns that have no usable audio or label instead of raising.

    Returns:
        Rows sorted by id, with the further columns style, start, end (seconds in the dialogue),
        valence, activation and dominance (1 to 5) and votes (of the raters, of whom one who gives
        several emotions has as many parts of a vote; not of the speakers themselves), and the turns
        that were left out.

    Raises:
        InputError: if the folder is no release or the configuration is unknown; for bad turns see
            `check_clips`.
    """
    if configuration not in CONFIGURATIONS:
        raise InputError(
            f"IEMOCAP has no configuration {configuration!r}. Choose one of: "
            f"{', '.join(CONFIGURATIONS)}."
        )
    sessions = _find_sessions(Path(source))
    turns = [turn for session in sessions for turn in _read_session(session)]
    labelled = [row for _, row in turns if not isinstance(row, BadClip)]
    if len(sessions) == len(SESSIONS):
        for difference in verify_release(labelled):
            logger.warning("this IEMOCAP release differs from the published one: %s", difference)
    chosen = CONFIGURATIONS[configuration]
    clips = [
        (item, row if isinstance(row, BadClip) else _relabel(row, chosen))
        for item, row in turns
        if isinstance(row, BadClip) or row["emotion"] in chosen
    ]
    rows, bad = check_clips(sorted(clips, key=itemgetter(0)), skip_bad=skip_bad)
    untold = [turn for turn, text in zip(rows["id"], rows["text"], strict=True) if text is None]
    if untold:
        logger.warning(
            "%d turns have no transcript, first %s: their text is null", len(untold), untold[0]
        )
    return rows, bad


def _relabel(row: Row, chosen: Mapping[str, str]) -> Row:
    """A row with the emotions of a configuration, its votes too."""
    renamed = {EMOTION_CODES[code]: emotion for code, emotion in chosen.items()}
    votes = map_votes(row["votes"], renamed)
    return {**row, "emotion": chosen[row["emotion"]], "votes": votes}


def verify_release(turns: Iterable[Mapping[str, Any]]) -> list[str]:
    """What differs between the labelled turns of a full release and the published figures, a
    sentence for each difference; minutes may differ by 1 %.

    The turns have "emotion" as label code (ang, hap, ...), "dialogue", and "start" and "end" in
    seconds.
    """
    turns = list(turns)
    seconds: dict[str | None, list[float]] = defaultdict(list)
    for turn in turns:
        emotion = CONFIGURATIONS["four-class"].get(turn["emotion"])
        seconds[emotion].append(turn["end"] - turn["start"])
    dialogues = {turn["dialogue"] for turn in turns}
    differences = [
        f"{len(found)} {what}, published are {published}"
        for what, found, published in (
            ("labelled turns", turns, NUM_TURNS),
            ("dialogues", dialogues, NUM_DIALOGUES),
        )
        if len(found) != published
    ]
    for emotion, (published, minutes) in TABLE_1.items():
        number, found = len(seconds[emotion]), sum(seconds[emotion]) / 60
        if number != published:
            differences.append(f"{number} turns {emotion}, published are {published}")
        if abs(found - minutes) > MINUTES_TOLERANCE * minutes:
            line = f"{found:.1f} minutes {emotion}, published are {minutes} (within 1 %)"
            differences.append(line)
    return differences


def parse_turn_name(name: str) -> dict[str, str] | None:
    """Speaker, gender, session, dialogue and style of a turn's name; None for other names.

    Examples:
        >>> parse_turn_name("Ses01F_impro01_M003")["speaker"]
        '01M'
    """
    dialogue, _, turn = name.rpartition("_")
    if _DIALOGUE.fullmatch(dialogue) is None or re.fullmatch(r"[FM]\d{3}", turn) is None:
        return None
    return {
        "speaker": dialogue[3:5] + turn[0],
        "gender": "female" if turn[0] == "F" else "male",
        "session": dialogue[:5],
        "dialogue": dialogue,
        "style": "scripted" if "script" in dialogue else "improvised",
    }


def _find_sessions(source: Path) -> list[Path]:
    sessions = [source / name for name in SESSIONS if (source / name).is_dir()]
    if not any((session / "dialog" / "EmoEvaluation").is_dir() for session in sessions):
        raise InputError(
            f"{source}: no Session1 to Session5 with dialog/EmoEvaluation. "
            "Give the folder IEMOCAP_full_release."
        )
    return sessions


def _dialogue_files(folder: Path) -> list[Path]:
    """Files of whole dialogues: neither the raters' folders nor what macOS leaves (._*)."""
    return [path for path in sorted(folder.glob("*.txt")) if _DIALOGUE.fullmatch(path.stem)]


def _read_session(session: Path) -> Iterator[tuple[str, Row | BadClip]]:
    for path in _dialogue_files(session / "dialog" / "EmoEvaluation"):
        transcripts = _read_transcripts(session / "dialog" / "transcriptions" / path.name)
        for line, votes in _read_blocks(path):
            item, row = _read_turn(line, path, session / "sentences" / "wav", transcripts)
            yield item, row if isinstance(row, BadClip) else row | {"votes": votes}


def _read_blocks(path: Path) -> Iterator[tuple[str, str | None]]:
    """Label lines of a dialogue, each with the votes in the lines below it."""
    label: str | None = None
    votes: dict[str, float] = defaultdict(float)
    for line in [*_read_text(path).splitlines(), "["]:
        if line.startswith("["):
            if label is not None:
                yield label, write_votes(votes)
            label, votes = line, defaultdict(float)
        elif match := _EVALUATOR_LINE.match(line):
            words = [word.strip().lower() for word in match[1].split(";")]
            codes = [EVALUATOR_WORDS[word] for word in words if word in EVALUATOR_WORDS]
            for code in codes:
                votes[EMOTION_CODES[code]] += 1 / len(codes)


def _read_turn(
    line: str, path: Path, wav: Path, transcripts: dict[str, str]
) -> tuple[str, Row | BadClip]:
    match = _LABEL_LINE.match(line)
    fields = parse_turn_name(match[3]) if match else None
    if match is None or fields is None or fields["dialogue"] != path.stem:
        item = match[3] if match else path.stem
        return item, BadClip(item, f"{path}: cannot read the label line {line.strip()!r}.")
    start, end, name, code, *ratings = match.groups()
    if code not in EMOTION_CODES:
        return name, BadClip(
            name, f"{path}: unknown label {code!r}, expected one of {', '.join(EMOTION_CODES)}."
        )
    try:
        numbers = [float(number) for number in (start, end, *ratings)]
    except ValueError:
        return name, BadClip(name, f"{path}: a number is wrong in {line.strip()!r}.")
    row = make_row(
        id=name,
        audio={"bytes": None, "path": str(wav / path.stem / f"{name}.wav")},
        emotion=code,
        text=transcripts.get(name),
        corpus="iemocap",
        **fields,
    )
    return name, row | dict(
        zip(("start", "end", "valence", "activation", "dominance"), numbers, strict=True)
    )


def _read_transcripts(path: Path) -> dict[str, str]:
    """Turn -> text. Lines that are no turns (`M: Yes.`, ids like ..._FXX0) are passed over.

    Where an id repeats, its first text that is not empty counts.
    """
    transcripts: dict[str, str] = {}
    for line in _read_text(path).splitlines() if path.is_file() else ():
        match = _TRANSCRIPT_LINE.match(line.strip())
        if match and not transcripts.get(match[1]):
            transcripts[match[1]] = match[2].strip()
    return transcripts


def _read_text(path: Path) -> str:
    """The release mixes encodings: UTF-8, or else Latin-1, which reads any byte."""
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


# --- the builder ---------------------------------------------------------------------------------


def fingerprint_release(source: str | Path) -> str:
    """Hash of names, sizes and modification times of the files that the rows depend on."""
    digest = hashlib.sha256()
    for session in _find_sessions(Path(source)):
        files = _dialogue_files(session / "dialog" / "EmoEvaluation")
        files += _dialogue_files(session / "dialog" / "transcriptions")
        files += sorted((session / "sentences" / "wav").glob("Ses*/Ses*.wav"))
        for path in files:
            status = path.stat()
            name = path.relative_to(session.parent).as_posix()
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


@dataclass
class IemocapConfig(BuilderConfig):
    """Settings that tell one build of IEMOCAP from another in the cache."""

    # leave out turns without usable audio or label, with a warning that lists them
    skip_bad: bool = False
    # of `fingerprint_release`; the builder fills it in, so that a changed release is read anew
    release_fingerprint: str = field(default="")


class Iemocap(GeneratorBasedBuilder):
    """IEMOCAP as a `datasets` builder; one split, `train`: folds are made by `load_folds`.

    Examples:
        ```python
        builder = Iemocap(config_name="four-class", data_dir="IEMOCAP_full_release")
        builder.download_and_prepare()
        corpus = builder.as_dataset(split="train")
        ```
    """

    config: IemocapConfig
    BUILDER_CONFIG_CLASS = IemocapConfig
    BUILDER_CONFIGS = [IemocapConfig(name=name) for name in CONFIGURATIONS]
    DEFAULT_CONFIG_NAME = "four-class"

    def __init__(
        self,
        config_name: str | None = None,
        *,
        data_dir: str | Path,
        cache_dir: str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            config_name=config_name,
            data_dir=str(data_dir),
            cache_dir=str(cache_dir) if cache_dir is not None else None,
            release_fingerprint=fingerprint_release(data_dir),
            **kwargs,
        )

    def as_dataset(self, *args: Any, **kwargs: Any) -> Dataset | DatasetDict:
        """The rows, with the column `audio` as undecoded `datasets.Audio`."""
        dataset = super().as_dataset(*args, **kwargs)
        return dataset.cast_column("audio", ROW_FEATURES["audio"])

    def _info(self) -> DatasetInfo:
        return DatasetInfo(
            features=IEMOCAP_FEATURES,
            homepage="https://sail.usc.edu/iemocap/",
            license="IEMOCAP release licence of USC SAIL: not to be redistributed",
        )

    def _split_generators(self, dl_manager: Any) -> list[Splits]:
        return [Splits(name=str(Split.TRAIN))]

    def _generate_examples(self) -> Iterator[tuple[str, Row]]:
        reading: Any = read_iemocap(
            self.config.data_dir or "", self.config.name, skip_bad=self.config.skip_bad
        )
        rows, bad = reading
        warn_of_bad_clips(bad, total=len(rows) + len(bad))
        for row in rows:
            yield row["id"], row


CORPUS = Corpus(
    name="iemocap",
    title="IEMOCAP",
    terms="licensed by USC SAIL to each user who signs its form, for research; whether weights "
    "trained on it may be public, its terms decide",
    citation="Busso, Bulut, Lee, Kazemzadeh, Mower, Kim, Chang, Lee and Narayanan, IEMOCAP: "
    "interactive emotional dyadic motion capture database, Language Resources and Evaluation "
    "42(4), 2008",
    emotions=EMOTION_CODES,
    read=read_iemocap,
    url="https://sail.usc.edu/iemocap/",
    language="en",
)
