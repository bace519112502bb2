"""CREMA-D (Cao et al. 2014): 91 actors, 12 sentences, 6 emotions, American English.

Files of `AudioWAV` are named 1001_DFA_ANG_XX.wav: actor, sentence, intended emotion, level. The
actors' sex stands in `VideoDemographics.csv` of the release.
"""

import csv
import re
from pathlib import Path

from processing.corpora.registry import Corpus
from processing.corpora.rows import GENDERS, Reading, Row, make_row, read_named_clips

EMOTION_CODES = {
    "ANG": "angry",
    "DIS": "disgusted",
    "FEA": "fearful",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}

# The level is LO, MD, HI or XX; in one file of the release (1040_ITH_SAD_X) it is a single X.
_NAME = re.compile(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_(?:LO|MD|HI|XX?)")


def read_crema_d(source: str | Path, *, skip_bad: bool = False) -> Reading:
    """Rows of a CREMA-D release, or of its AudioWAV folder, by `read_named_clips`. Genders are null
    where VideoDemographics.csv is neither in the folder nor beside it.
    """
    genders = _read_genders(Path(source))

    def parse(path: Path) -> Row | None:
        match = _NAME.fullmatch(path.stem)
        if match is None or match[2] not in SENTENCES or match[3] not in EMOTION_CODES:
            return None
        actor, sentence, emotion = match.groups()
        return make_row(
            emotion=EMOTION_CODES[emotion],
            speaker=f"crema-d{actor}",
            gender=genders.get(actor),
            text=SENTENCES[sentence],
            corpus="crema-d",
        )

    return read_named_clips(source, parse, naming="1001_DFA_ANG_XX.wav", skip_bad=skip_bad)


def _read_genders(source: Path) -> dict[str, str]:
    for table in (source / "VideoDemographics.csv", source.parent / "VideoDemographics.csv"):
        if table.is_file():
            with table.open(encoding="utf-8-sig", newline="") as file:
                return {row["ActorID"]: GENDERS[row["Sex"].lower()] for row in csv.DictReader(file)}
    return {}


CORPUS = Corpus(
    name="crema-d",
    title="CREMA-D",
    terms="Open Database License 1.0: name the authors, share alike",
    citation="Cao, Cooper, Keutmann, Gur, Nenkova and Verma, CREMA-D: crowd-sourced emotional "
    "multimodal actors dataset, IEEE Transactions on Affective Computing 5(4), 2014",
    emotions=EMOTION_CODES,
    read=read_crema_d,
    url="https://github.com/CheyneyComputerScience/CREMA-D",
    language="en",
    licence="odbl",
    may_publish=True,
)
