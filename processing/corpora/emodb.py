"""EmoDB (Burkhardt et al. 2005): 10 actors, 10 sentences, 7 emotions, German.

Files of `wav` are named 03a01Fa.wav: speaker, sentence, first letter of the German emotion word,
version.
"""

import re
from pathlib import Path

from processing.corpora.registry import Corpus
from processing.corpora.rows import Reading, Row, make_row, read_named_clips

EMOTION_CODES = {
    "W": "angry",  # Wut
    "L": "bored",  # Langeweile
    "E": "disgusted",  # Ekel
    "A": "fearful",  # Angst
    "F": "happy",  # Freude
    "T": "sad",  # Trauer
    "N": "neutral",
}
FEMALE_SPEAKERS = {"08", "09", "13", "14", "16"}
MALE_SPEAKERS = {"03", "10", "11", "12", "15"}
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}

_NAME = re.compile(r"(\d\d)([ab]\d\d)([WLEAFTN])[a-z]")


def read_emodb(source: str | Path, *, skip_bad: bool = False) -> Reading:
    """Rows of the WAV files in an EmoDB release, by `read_named_clips`."""
    return read_named_clips(source, _parse, naming="03a01Fa.wav", skip_bad=skip_bad)


def _parse(path: Path) -> Row | None:
    match = _NAME.fullmatch(path.stem)
    if match is None or match[2] not in SENTENCES:
        return None
    speaker, sentence, emotion = match.groups()
    if speaker not in FEMALE_SPEAKERS | MALE_SPEAKERS:
        return None
    return make_row(
        emotion=EMOTION_CODES[emotion],
        speaker=f"emodb{speaker}",
        gender="female" if speaker in FEMALE_SPEAKERS else "male",
        text=SENTENCES[sentence],
        corpus="emodb",
    )


CORPUS = Corpus(
    name="emodb",
    title="EmoDB",
    terms="its publishers name no licence and ask to be cited in research; ask them before "
    "publishing",
    citation="Burkhardt, Paeschke, Rolfes, Sendlmeier and Weiss, A database of German emotional "
    "speech, Interspeech 2005",
    emotions=EMOTION_CODES,
    read=read_emodb,
    url="http://emodb.bilderbar.info/docu/",
    language="de",
)
