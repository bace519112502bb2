"""TESS (Pichora-Fuller and Dupuis 2020): 2 actresses, 200 words in one carrier phrase, 7 emotions.

Files are named OAF_back_angry.wav: speaker (OAF older, YAF younger), word, emotion (ps = pleasant
surprise).
"""

import re
from pathlib import Path

from processing.corpora.registry import Corpus
from processing.corpora.rows import Reading, Row, make_row, read_named_clips

EMOTION_CODES = {
    "angry": "angry",
    "disgust": "disgusted",
    "fear": "fearful",
    "happy": "happy",
    "neutral": "neutral",
    "ps": "surprised",
    "sad": "sad",
}

# One file of the release lacks a letter: OA_bite_neutral.wav belongs to OAF.
_NAME = re.compile(r"(OAF?|YAF)_([a-z]+)_([a-z]+)")


def read_tess(source: str | Path, *, skip_bad: bool = False) -> Reading:
    """Rows of the WAV files in a TESS release, by `read_named_clips`."""
    return read_named_clips(source, _parse, naming="OAF_back_angry.wav", skip_bad=skip_bad)


def _parse(path: Path) -> Row | None:
    match = _NAME.fullmatch(path.stem)
    if match is None or match[3] not in EMOTION_CODES:
        return None
    speaker, word, emotion = match.groups()
    return make_row(
        emotion=EMOTION_CODES[emotion],
        speaker="tessYAF" if speaker == "YAF" else "tessOAF",
        gender="female",
        text=f"Say the word {word}.",
        corpus="tess",
    )


CORPUS = Corpus(
    name="tess",
    title="TESS",
    terms="CC BY-NC-ND 4.0: name the authors, no commercial use, no derivatives; whether trained "
    "weights are one, nobody has decided",
    citation="Pichora-Fuller and Dupuis, Toronto emotional speech set (TESS), Borealis, 2020, "
    "doi:10.5683/SP2/E8H2MF",
    emotions=EMOTION_CODES,
    read=read_tess,
    url="https://doi.org/10.5683/SP2/E8H2MF",
    language="en",
    licence="cc-by-nc-nd-4.0",
)
