"""CREMA-D (Cao et al. 2014): 91 actors, 12 sentences, 6 emotions, American English.

Files of `AudioWAV` are named 1001_DFA_ANG_XX.wav: actor, sentence, intended emotion, level. The
actors' sex stands in `VideoDemographics.csv` of the release. What listeners heard stands in
`processedResults/tabulatedVotes.csv`: a row's number is 100000 times what raters had (1 the voice
alone, 2 the face, 3 both) and the number of the clip; A, D, F, H, N and S are their votes.
"""

import csv
import re
from pathlib import Path

from processing.corpora.registry import Corpus
from processing.corpora.rows import GENDERS, Reading, Row, make_row, read_named_clips
from processing.corpora.votes import write_votes
from processing.errors import InputError

EMOTION_CODES = {
    "ANG": "angry",
    "DIS": "disgusted",
    "FEA": "fearful",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
VOTES_STEP, VOICE_ALONE = 100_000, 1
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
    where VideoDemographics.csv is neither in the folder nor beside it; `votes` of those who had the
    voice alone are read where their table is.
    """
    genders, votes = _read_genders(Path(source)), _read_votes(Path(source))

    def parse(path: Path) -> Row | None:
        match = _NAME.fullmatch(path.stem)
        if match is None or match[2] not in SENTENCES or match[3] not in EMOTION_CODES:
            return None
        actor, sentence, emotion = match.groups()
        voted = {"votes": votes.get(path.stem)} if votes else {}
        return make_row(
            **voted,
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


def _read_votes(source: Path) -> dict[str, str | None]:
    """Name of a clip -> votes of those who heard the voice alone."""
    of_letter = {code[0]: emotion for code, emotion in EMOTION_CODES.items()}
    for folder in (source, source.parent):
        table = folder / "processedResults" / "tabulatedVotes.csv"
        if table.is_file():
            with table.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file)
                missing = sorted({"", "fileName", *of_letter} - set(reader.fieldnames or ()))
                if missing:
                    raise InputError(
                        f"{table}: column {missing[0]!r} is missing. Expected the table of the "
                        "release; a copy without Git LFS holds a pointer only."
                    )
                return {
                    row["fileName"]: write_votes({e: float(row[c]) for c, e in of_letter.items()})
                    for row in reader
                    if int(row[""]) // VOTES_STEP == VOICE_ALONE
                }
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
