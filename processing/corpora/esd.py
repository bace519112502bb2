"""ESD (Zhou et al. 2022): 10 Mandarin and 10 English speakers, 5 emotions, 350 sentences each.

Files are named 0011/Angry/0011_000351.wav, in some copies with a folder train, evaluation or test
between; the transcripts stand in 0011/0011.txt as file, text and emotion divided by tabulators.
"""

import re
from pathlib import Path

from processing.corpora.registry import Corpus
from processing.corpora.rows import Reading, Row, make_row, read_named_clips

EMOTION_FOLDERS = {
    "angry": "angry",
    "happy": "happy",
    "neutral": "neutral",
    "sad": "sad",
    "surprise": "surprised",
}
FEMALE_SPEAKERS = {
    *("0001", "0002", "0003", "0007", "0009"),
    *("0015", "0016", "0017", "0018", "0019"),
}
LAST_MANDARIN_SPEAKER = 10
SPLIT_FOLDERS = {"train": "train", "evaluation": "validation", "test": "test"}

_NAME = re.compile(r"(\d{4})_(\d{6})")


def read_esd(source: str | Path, *, skip_bad: bool = False) -> Reading:
    """Rows of an ESD release, or of single speakers' folders of it, by `read_named_clips`. The
    column `split` is there where the copy has the folders train, evaluation and test; all speakers
    are in all of them.
    """
    texts: dict[Path, dict[str, str]] = {}

    def parse(path: Path) -> Row | None:
        match = _NAME.fullmatch(path.stem)
        folders = [folder.name.lower() for folder in path.parents]
        emotion = next((EMOTION_FOLDERS[f] for f in folders[:2] if f in EMOTION_FOLDERS), None)
        if match is None or emotion is None or not 1 <= int(match[1]) <= 20:
            return None
        speaker = match[1]
        folder = path.parents[2] if folders[0] in SPLIT_FOLDERS else path.parents[1]
        if folder not in texts:
            texts[folder] = _read_transcripts(folder / f"{speaker}.txt", int(speaker))
        row = make_row(
            emotion=emotion,
            speaker=f"esd{speaker}",
            gender="female" if speaker in FEMALE_SPEAKERS else "male",
            text=texts[folder].get(path.stem),
            corpus="esd",
        )
        return {**row, "split": SPLIT_FOLDERS[folders[0]]} if folders[0] in SPLIT_FOLDERS else row

    return read_named_clips(source, parse, naming="0011/Angry/0011_000351.wav", skip_bad=skip_bad)


def _read_transcripts(table: Path, speaker: int) -> dict[str, str]:
    """File stem -> text; the tables of the release are in UTF-8, UTF-16, GB 2312 or Latin-1."""
    if not table.is_file():
        return {}
    content = table.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = content.decode("utf-16")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            fallback = "gb18030" if speaker <= LAST_MANDARIN_SPEAKER else "latin-1"
            text = content.decode(fallback, errors="replace")
    cells = (line.split("\t") for line in text.splitlines())
    return {row[0].strip(): row[1].strip() for row in cells if len(row) >= 2}


CORPUS = Corpus(
    name="esd",
    title="ESD",
    terms="for research, by a form that its users sign; whether weights trained on it may be "
    "public, its terms decide",
    citation="Zhou, Sisman, Liu and Li, Emotional voice conversion: theory, databases and ESD, "
    "Speech Communication 137, 2022",
    emotions=EMOTION_FOLDERS,
    read=read_esd,
    url="https://github.com/HLTSingapore/Emotional-Speech-Data",
)
