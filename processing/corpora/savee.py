"""SAVEE (Haq and Jackson 2009): 4 male speakers, 7 emotions, British English.

Files are named AudioData/DC/a01.wav, or DC_a01.wav in one folder: speaker, emotion letters, number
of the sentence for this emotion. The naming does not tell the words, so texts are unknown.
"""

import re
from pathlib import Path

from processing.corpora.registry import Corpus
from processing.corpora.rows import BadClip, Reading, Row, make_row, read_named_clips

EMOTION_CODES = {
    "a": "angry",
    "d": "disgusted",
    "f": "fearful",
    "h": "happy",
    "n": "neutral",
    "sa": "sad",
    "su": "surprised",
}
NAMING = "DC/a01.wav or DC_a01.wav"

_NAME = re.compile(r"(DC|JE|JK|KL)[_/](a|d|f|h|n|sa|su)(\d\d)")


def read_savee(source: str | Path, *, skip_bad: bool = False) -> Reading:
    """Rows of the WAV files in a SAVEE release, with ids like DC_a01, by `read_named_clips`."""
    return read_named_clips(source, _parse, naming=NAMING, skip_bad=skip_bad)


def _parse(path: Path) -> Row | BadClip:
    name = path.stem if "_" in path.stem else f"{path.parent.name}/{path.stem}"
    match = _NAME.fullmatch(name)
    if match is None:
        return BadClip(name, f"the name does not fit the naming {NAMING}.")
    speaker, emotion, number = match.groups()
    return make_row(
        id=f"{speaker}_{emotion}{number}",
        emotion=EMOTION_CODES[emotion],
        speaker=f"savee{speaker}",
        gender="male",
        corpus="savee",
    )


CORPUS = Corpus(
    name="savee",
    title="SAVEE",
    terms="for research, to users who register; whether weights trained on it may be public, its "
    "terms decide",
    citation="Haq and Jackson, Speaker-dependent audio-visual emotion recognition, AVSP 2009",
    emotions=EMOTION_CODES,
    read=read_savee,
    url="http://kahlan.eps.surrey.ac.uk/savee/",
    language="en",
)
