import pytest
from hypothesis import given
from hypothesis import strategies as st

from processing.text import (
    ENGLISH_VOCABULARY,
    make_vocabulary,
    normalize_transcript,
    spreadsheet_cell,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Kids are talking by the door.", "KIDS ARE TALKING BY THE DOOR"),
        ("[LAUGHTER]", ""),
        ("[laughter] Oh [BREATHING] no [Garbage]", "OH NO"),
        ("I don\u2019t; he's 'fine'.", "I DON'T HE'S FINE"),
        ("Well-- uh-huh...yes", "WELL UH HUH YES"),
        ("rock 'n' roll", "ROCK N ROLL"),
        ("", ""),
        ("?!", ""),
        ("Call 911!", "CALL 911"),
        ("\u201eR\u00f3d smoka\u201d to \u017co\u0142wica", "R\u00d3D SMOKA TO \u017bO\u0141WICA"),
        ("stra\u00dfe", "STRASSE"),
        ("e\u0301t\u00e9", "\u00c9T\u00c9"),  # a combining accent
        ("\u4f60\u597d\uff0c\u4e16\u754c", "\u4f60\u597d \u4e16\u754c"),
        ("no[noise]yes Xerox", "NO YES XEROX"),
        ("it\u02bcs `n\u00b4t \u2018a\u2019b", "IT'S N'T A'B"),
        (
            "\u0928\u092e\u0938\u094d\u0924\u0947",
            "\u0928\u092e\u0938\u094d\u0924\u0947",
        ),  # marks of vowels
        ("\u0390", "\u03aa\u0301"),  # in upper case three characters, of which two compose
    ],
)
def test_transcripts_become_words_in_upper_case(text, expected):
    assert normalize_transcript(text) == expected


@given(st.text())
def test_normalising_twice_is_normalising_once(text):
    once = normalize_transcript(text)
    assert normalize_transcript(once) == once
    assert once == " ".join(once.split())
    assert all(c.isalnum() or c in " '" or not c.isascii() for c in once)


def test_the_english_vocabulary_is_that_of_wav2vec2_base():
    assert len(ENGLISH_VOCABULARY) == 32
    assert list(ENGLISH_VOCABULARY)[:8] == ["<pad>", "<s>", "</s>", "<unk>", "|", "E", "T", "A"]
    assert (ENGLISH_VOCABULARY["<pad>"], ENGLISH_VOCABULARY["'"], ENGLISH_VOCABULARY["Z"]) == (
        0,
        27,
        31,
    )
    assert set("ABCDEFGHIJKLMNOPQRSTUVWXYZ'") < set(ENGLISH_VOCABULARY)


def test_a_vocabulary_has_the_layout_of_wav2vec2_and_the_characters_of_the_training_texts():
    vocabulary = make_vocabulary(["\u017bona, \u017cona!", None, "", "[LAUGHTER] ab'c"])
    assert list(vocabulary)[:5] == ["<pad>", "<s>", "</s>", "<unk>", "|"]
    assert list(vocabulary.values()) == list(range(len(vocabulary)))
    assert list(vocabulary)[5:] == [*"'ABCNO\u017b"]


@given(st.lists(st.text(max_size=20)), st.randoms())
def test_a_vocabulary_does_not_depend_on_the_order_of_texts(texts, random):
    shuffled = texts.copy()
    random.shuffle(shuffled)
    assert make_vocabulary(texts) == make_vocabulary(shuffled)


def test_no_cell_is_a_formula():
    for beginning in ("=", "+", "-", "@", "\t", "\r"):
        assert spreadsheet_cell(f"{beginning}1") == f"'{beginning}1"
    assert [spreadsheet_cell(text) for text in ("", "a=1", "'=")] == ["", "a=1", "'="]
