"""RAVDESS speech (Livingstone and Russo 2018): 24 actors, 2 sentences, North American English.

Files are named by seven two-digit fields, 03-01-06-01-02-01-12.wav: modality (03 audio only),
channel (01 speech), emotion, intensity, sentence, repetition, actor (odd male, even female).
"""

import re
from pathlib import Path

from processing.corpora.registry import Corpus
from processing.corpora.rows import Reading, Row, make_row, read_named_clips

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
_OTHERS = re.compile(r"0[12]-|03-02-")


def read_ravdess(source: str | Path, *, skip_bad: bool = False) -> Reading:
    """Rows of the audio-only speech in a RAVDESS folder, by `read_named_clips`; songs (second field
    02) and other modalities are passed over.
    """
    naming = "03-01-06-01-02-01-12.wav"
    return read_named_clips(source, _parse, naming=naming, skip_bad=skip_bad, passed_over=_OTHERS)


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
