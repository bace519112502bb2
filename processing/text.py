"""Transcripts as CTC targets: normalisation and the character vocabulary."""

import re
import unicodedata
from collections.abc import Iterable

SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>", "|")
"""Ids 0 to 4, as of wav2vec2: <pad> is the blank of CTC and | divides words."""

ENGLISH_VOCABULARY = {
    token: index for index, token in enumerate([*SPECIAL_TOKENS, *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"])
}
"""The 32 tokens of wav2vec2-base, letters by frequency: the paper's CTC head has V = 32."""

_TAG = re.compile(r"\[[^\[\]]*\]")
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\u00b4": "'", "`": "'"})


def normalize_transcript(text: str) -> str:
    """Upper-case words divided by one blank, without tags, which stand in square brackets, and
    punctuation; "" if there are none.

    Letters of every script stay (Polish, German, Chinese and so on); vowels with marks are composed
    (NFC). Digits stay as they are: how they were spoken is not known; the English vocabulary reads
    them as <unk>. An apostrophe stays inside a word only, where it cannot be a quotation mark. All
    else, hyphens too, divides words.

    Examples:
        >>> normalize_transcript("Well-- I don\u2019t know. [LAUGHTER] 'Really'?")
        "WELL I DON'T KNOW REALLY"
        >>> normalize_transcript("[breathing]")
        ''
    """
    text = unicodedata.normalize("NFC", _TAG.sub(" ", text)).translate(_APOSTROPHES).upper()
    kept = "".join(c if c == "'" or unicodedata.category(c)[0] in "LMN" else " " for c in text)
    words = (word.strip("'") for word in kept.split())
    return unicodedata.normalize("NFC", " ".join(word for word in words if word))


def make_vocabulary(training_texts: Iterable[str | None]) -> dict[str, int]:
    """Token to id for training transcripts, normalised or not, None where unknown: the
    `SPECIAL_TOKENS` of wav2vec2, then the characters in code point order.

    Make it from training transcripts only: a character that only a test speaker says must stay
    unknown.

    Examples:
        >>> make_vocabulary(["A cab!", None])
        {'<pad>': 0, '<s>': 1, '</s>': 2, '<unk>': 3, '|': 4, 'A': 5, 'B': 6, 'C': 7}
    """
    characters = {
        c for text in training_texts if text is not None for c in normalize_transcript(text)
    }
    tokens = [*SPECIAL_TOKENS, *sorted(characters - {" "})]
    return {token: index for index, token in enumerate(tokens)}


def spreadsheet_cell(text: str) -> str:
    """Text as a cell of a CSV file that no spreadsheet takes for a formula.

    Examples:
        >>> spreadsheet_cell("=1+1"), spreadsheet_cell("a=1")
        ("'=1+1", 'a=1')
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
