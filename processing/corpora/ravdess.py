"""RAVDESS speech (Livingstone and Russo 2018): 24 actors, 2 sentences, North American English.

Files are named by seven two-digit fields, 03-01-06-01-02-01-12.wav: modality (03 audio only),
channel (01 speech), emotion, intensity, sentence, repetition, actor (odd male, even female).
"""

import re
from pathlib import Path

from processing.corpora.registry import Corpus
from processing.corpora.rows import BadClip, Row, check_clips, find_clips, make_row, parse_clips

EMOTION_CODES = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgusted",
    "08": "surprised",
}
SENTENCES = {"01": "KIDS ARE TALKING BY THE DOOR", "02": "DOGS ARE SITTING BY THE DOOR"}

_NAME = re.compile(r"03-01-(0[1-8])-0[12]-(0[12])-0[12]-(\d\d)")


def read_ravdess(source: str | Path, *, skip_bad: bool = False) -> tuple[list[Row], list[BadClip]]:
    """Rows of a folder with the audio-only speech of RAVDESS, in any subfolders.

    Songs (second field 02) and other modalities are passed over. For arguments, result and errors
    see `check_clips`.
    """
    paths = (
        path for path in find_clips(source, ".wav") if re.match(r"0[12]-|03-02-", path.name) is None
    )
    return check_clips(
        parse_clips(paths, _parse, naming="03-01-06-01-02-01-12.wav"), skip_bad=skip_bad
    )


def _parse(path: Path) -> Row | None:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        return None
    emotion, sentence, actor = match.groups()
    return make_row(
        emotion=EMOTION_CODES[emotion],
        speaker=f"ravdess{actor}",
        gender="male" if int(actor) % 2 else "female",
        text=SENTENCES[sentence],
        corpus="ravdess",
    )


CORPUS = Corpus(
    name="ravdess",
    title="RAVDESS",
    terms="CC BY-NC-SA 4.0: name the authors, no commercial use, share alike",
    citation="Livingstone and Russo, The Ryerson audio-visual database of emotional speech and "
    "song (RAVDESS), PLoS ONE 13(5), 2018",
    emotions=EMOTION_CODES,
    read=read_ravdess,
    url="https://zenodo.org/records/1188976",
    language="en",
    licence="cc-by-nc-sa-4.0",
    may_publish=True,
)
