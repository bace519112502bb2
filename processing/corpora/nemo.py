"""nEMO (Christop 2024): 9 actors, 90 sentences, 6 emotions, Polish.

Files of `samples` are named EB0_anger_10.wav: speaker, emotion, sentence. Transcripts and genders
stand in `data.tsv`.
"""

import csv
import re
from pathlib import Path

from processing.corpora.registry import Corpus
from processing.corpora.rows import GENDERS, Reading, Row, make_row, read_named_clips
from processing.errors import InputError

EMOTION_CODES = {
    "anger": "angry",
    "fear": "fearful",
    "happiness": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprised": "surprised",
}

_NAME = re.compile(r"([A-Z]{2}\d)_([a-z]+)_(\d+)")


def read_nemo(source: str | Path, *, skip_bad: bool = False) -> Reading:
    """Rows of an nEMO release: the folder with data.tsv, without which there is an InputError, and
    samples, by `read_named_clips`.
    """
    table = Path(source) / "data.tsv"
    if not table.is_file():
        raise InputError(
            f"{table}: no such table. Give the folder of nEMO that has data.tsv and samples."
        )
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        described = {cells["file_id"].strip(): cells for cells in reader}

    def parse(path: Path) -> Row | None:
        match = _NAME.fullmatch(path.stem)
        if match is None or match[2] not in EMOTION_CODES:
            return None
        cells = described.get(path.name, {})
        gender = (cells.get("gender") or "").strip().lower()
        return make_row(
            emotion=EMOTION_CODES[match[2]],
            speaker=f"nemo{match[1]}",
            gender=GENDERS.get(gender),
            text=(cells.get("raw_text") or "").strip() or None,
            corpus="nemo",
        )

    return read_named_clips(
        Path(source) / "samples", parse, naming="EB0_anger_10.wav", skip_bad=skip_bad
    )


CORPUS = Corpus(
    name="nemo",
    title="nEMO",
    terms="CC BY-NC-SA 4.0: name the authors, no commercial use, share alike",
    citation="Christop, nEMO: dataset of emotional speech in Polish, LREC-COLING 2024",
    emotions=EMOTION_CODES,
    read=read_nemo,
    url="https://huggingface.co/datasets/amu-cai/nEMO",
    language="pl",
    licence="cc-by-nc-sa-4.0",
    may_publish=True,
)
