"""Corpora that are told by their published file names: one small folder of each."""

import ast
import codecs
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from processing import corpora
from processing.corpora import preparation as prepare
from processing.corpora.crema_d import read_crema_d
from processing.corpora.emodb import read_emodb
from processing.corpora.esd import read_esd
from processing.corpora.nemo import read_nemo
from processing.corpora.ravdess import read_ravdess
from processing.corpora.registry import known_corpora, reasons_not_to_publish
from processing.corpora.savee import read_savee
from processing.corpora.tess import read_tess
from processing.errors import InputError


def write_clips(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(800, np.int16), 16000)


def described(rows):
    columns = ("emotion", "speaker", "gender", "text")
    return {row["id"]: tuple(row[column] for column in columns) for row in rows}


def test_ravdess_reads_speech_and_passes_over_songs_and_videos(tmp_path):
    write_clips(
        tmp_path,
        "Actor_12/03-01-06-01-02-01-12.wav",
        "Actor_01/03-01-02-01-01-02-01.wav",
        "Actor_01/03-02-02-01-01-02-01.wav",
        "Actor_01/01-01-02-01-01-02-01.wav",
        "Actor_01/._03-01-02-01-01-02-01.wav",
    )
    rows, bad = read_ravdess(tmp_path)
    assert not bad
    assert described(rows) == {
        "03-01-02-01-01-02-01": ("calm", "ravdess01", "male", "KIDS ARE TALKING BY THE DOOR"),
        "03-01-06-01-02-01-12": ("fearful", "ravdess12", "female", "DOGS ARE SITTING BY THE DOOR"),
    }
    assert rows[0]["duration"] == 0.05


def test_crema_d_takes_genders_from_the_demographics(tmp_path):
    write_clips(tmp_path, "AudioWAV/1001_DFA_ANG_XX.wav", "AudioWAV/1040_ITH_SAD_X.wav")
    without = described(read_crema_d(tmp_path)[0])
    assert without["1001_DFA_ANG_XX"] == ("angry", "crema-d1001", None, "Don't forget a jacket.")
    (tmp_path / "VideoDemographics.csv").write_text(
        '"ActorID","Age","Sex","Race"\n1001,51,"Male","x"\n1040,42,"Female","y"\n'
    )
    for source in (tmp_path, tmp_path / "AudioWAV"):
        rows = described(read_crema_d(source)[0])
        assert rows["1001_DFA_ANG_XX"][2] == "male"
        assert rows["1040_ITH_SAD_X"] == (
            "sad",
            "crema-d1040",
            "female",
            "I think I have a doctor's appointment.",
        )


@pytest.mark.parametrize(
    ("letter", "emotion"),
    [
        ("W", "angry"),
        ("L", "bored"),
        ("E", "disgusted"),
        ("A", "fearful"),
        ("F", "happy"),
        ("T", "sad"),
        ("N", "neutral"),
    ],
)
def test_emodb_letters_are_of_the_german_words(tmp_path, letter, emotion):
    write_clips(tmp_path, f"wav/03a01{letter}a.wav", f"wav/16b10{letter}b.wav")
    rows = described(read_emodb(tmp_path)[0])
    text = "Der Lappen liegt auf dem Eisschrank."
    assert rows[f"03a01{letter}a"] == (emotion, "emodb03", "male", text)
    assert rows[f"16b10{letter}b"][:3] == (emotion, "emodb16", "female")


def test_tess_has_two_actresses_one_of_them_once_misspelt(tmp_path):
    write_clips(
        tmp_path,
        "OAF_neutral/OA_bite_neutral.wav",
        "OAF_Pleasant_surprise/OAF_back_ps.wav",
        "YAF_fear/YAF_neat_fear.wav",
    )
    assert described(read_tess(tmp_path)[0]) == {
        "OA_bite_neutral": ("neutral", "tessOAF", "female", "Say the word bite."),
        "OAF_back_ps": ("surprised", "tessOAF", "female", "Say the word back."),
        "YAF_neat_fear": ("fearful", "tessYAF", "female", "Say the word neat."),
    }


def test_savee_is_read_in_both_layouts(tmp_path):
    write_clips(tmp_path / "a", "AudioData/DC/a01.wav", "AudioData/KL/sa15.wav")
    write_clips(tmp_path / "b", "DC_a01.wav", "KL_sa15.wav")
    expected = {
        "DC_a01": ("angry", "saveeDC", "male", None),
        "KL_sa15": ("sad", "saveeKL", "male", None),
    }
    assert described(read_savee(tmp_path / "a")[0]) == expected
    assert described(read_savee(tmp_path / "b")[0]) == expected


@pytest.mark.parametrize(
    ("speaker", "encoding", "text"),
    [
        ("0011", "utf-8", "The nine cafés."),
        ("0012", "utf-16", "The nine cafés."),
        ("0016", "latin-1", "The nine cafés."),
        ("0001", "gb2312", "\u6253\u8fdc\u4e00\u770b"),
    ],
)
def test_esd_transcripts_are_read_in_every_encoding_of_the_release(
    tmp_path, speaker, encoding, text
):
    write_clips(tmp_path, f"{speaker}/Surprise/{speaker}_001401.wav")
    line = f"{speaker}_001401\t{text}\tSurprise\r\n"
    (tmp_path / speaker / f"{speaker}.txt").write_bytes(line.encode(encoding))
    rows, _ = read_esd(tmp_path)
    gender = "female" if speaker in ("0016", "0001") else "male"
    assert described(rows) == {f"{speaker}_001401": ("surprised", f"esd{speaker}", gender, text)}
    assert "split" not in rows[0]


def test_esd_keeps_the_split_of_copies_that_have_one(tmp_path):
    write_clips(tmp_path, "0011/Angry/evaluation/0011_000351.wav")
    (tmp_path / "0011/0011.txt").write_bytes(
        codecs.BOM_UTF8 + b"0011_000351\tThe nine the eggs.\tAngry\n"
    )
    (row,) = read_esd(tmp_path)[0]
    assert (row["split"], row["emotion"]) == ("validation", "angry")
    assert row["text"] == "The nine the eggs."


def test_nemo_takes_text_and_gender_from_its_table(tmp_path):
    write_clips(tmp_path, "samples/EB0_anger_10.wav", "samples/WR0_surprised_64.wav")
    (tmp_path / "data.tsv").write_text(
        "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"
        'EB0_anger_10.wav\tanger\t"\u017b\u00f3\u0142w" \u015bpi.\tx\t        EB0\tfemale\t27\n',
        encoding="utf-8",
    )
    assert described(read_nemo(tmp_path)[0]) == {
        "EB0_anger_10": ("angry", "nemoEB0", "female", '"\u017b\u00f3\u0142w" \u015bpi.'),
        "WR0_surprised_64": ("surprised", "nemoWR0", None, None),
    }
    with pytest.raises(InputError, match="data.tsv: no such table"):
        read_nemo(tmp_path / "samples")


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (read_ravdess, "03-01-09-01-02-01-12.wav"),
        (read_crema_d, "1001_XXX_ANG_XX.wav"),
        (read_emodb, "04a01Fa.wav"),
        (read_tess, "OAF_back_joy.wav"),
        (read_savee, "XX_a01.wav"),
        (read_esd, "0021/Angry/0021_000351.wav"),
    ],
)
def test_names_outside_the_published_naming_are_refused_or_listed(tmp_path, read, name):
    good = {
        read_ravdess: "03-01-01-01-02-01-12.wav",
        read_crema_d: "1001_DFA_ANG_XX.wav",
        read_emodb: "03a01Fa.wav",
        read_tess: "OAF_back_sad.wav",
        read_savee: "DC_a01.wav",
        read_esd: "0020/Angry/0020_000351.wav",
    }[read]
    write_clips(tmp_path, name, good)
    with pytest.raises(InputError, match=r"the name does not fit the naming .*--skip-bad"):
        read(tmp_path)
    rows, bad = read(tmp_path, skip_bad=True)
    assert (len(rows), len(bad)) == (1, 1)
    assert bad[0].item in name


def test_an_empty_or_missing_folder_is_said_plainly(tmp_path):
    with pytest.raises(InputError, match="found no audio file"):
        read_tess(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        read_tess(tmp_path / "nowhere")


def test_a_corpus_unpacked_twice_in_one_folder_is_refused(tmp_path):
    write_clips(tmp_path, "a/OAF_back_sad.wav", "b/OAF_back_sad.wav")
    with pytest.raises(InputError, match="id 'OAF_back_sad' occurs twice"):
        read_tess(tmp_path)


# The declared corpora.


def test_every_reader_is_of_a_declared_corpus():
    read_here = {c.read.__module__ for c in known_corpora().values() if c.read}
    formats = {"metadata_folder", "hub"}  # they read what any corpus may be stored as
    for path in Path(corpora.__file__).parent.glob("*.py"):
        functions = [n.name for n in ast.parse(path.read_text()).body if hasattr(n, "name")]
        if f"read_{path.stem}" in functions and path.stem not in formats:
            assert f"{corpora.__name__}.{path.stem}" in read_here


@pytest.mark.parametrize("corpus", known_corpora().values(), ids=lambda c: c.name)
def test_a_corpus_has_a_licence_a_citation_and_labels(corpus):
    assert corpus.title and corpus.terms and corpus.licence and corpus.citation
    assert corpus.emotions and all(word.islower() for word in corpus.emotions.values())
    assert (corpus.read is None) != (corpus.synthesize is None)
    assert bool(corpus.settings) == (corpus.synthesize is not None)
    assert corpus.url or corpus.synthesize


@pytest.mark.parametrize("name", ["iemocap", "emodb", "esd", "savee", "tess"])
def test_weights_are_not_published_where_the_terms_do_not_clearly_let_one(name):
    (reason,) = reasons_not_to_publish(name)
    assert known_corpora()[name].title in reason


NEW_CORPUS = """
from processing.corpora.registry import Corpus
from processing.corpora.rows import make_row, read_named_clips

def read_tiny(source, *, skip_bad=False):
    row = make_row(emotion="sad", corpus="tiny")
    return read_named_clips(source, lambda path: row, naming="x", skip_bad=skip_bad)

CORPUS = Corpus(
    "tiny", "Tiny", "CC0: anything", "Nobody, 2020", {"s": "sad"}, read_tiny, may_publish=True
)
"""


def test_a_new_corpus_takes_one_file(tmp_path, monkeypatch):
    assert "tiny" not in known_corpora() and reasons_not_to_publish("tiny")
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "tiny_corpus.py").write_text(NEW_CORPUS)
    monkeypatch.setattr(corpora, "__path__", [*corpora.__path__, str(tmp_path / "modules")])
    try:
        assert not reasons_not_to_publish("tiny")
        monkeypatch.setattr(prepare, "KNOWN", known_corpora())
        monkeypatch.setattr(prepare, "CORPORA", ("tiny",))
        write_clips(tmp_path / "clips", "a.wav", "b.wav")
        manifest = prepare.prepare("tiny", str(tmp_path / "clips"), tmp_path / "out")
        assert manifest["rows"] == 2
    finally:
        sys.modules.pop("processing.corpora.tiny_corpus", None)
