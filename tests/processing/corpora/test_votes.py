import numpy as np
import pytest
import soundfile
from support.iemocap_release import small_release
from support.tone_corpora import write_tones

from processing.corpora.crema_d import read_crema_d
from processing.corpora.iemocap import read_iemocap
from processing.corpora.loading import load_corpus
from processing.corpora.preparation import PrepareOptions, prepare
from processing.corpora.votes import parse_votes
from processing.errors import InputError

HEADER = '"","A","D","F","H","N","S","fileName","numResponses"\n'


@pytest.mark.parametrize("text", ["angry", "angry:x", ":3", "angry:-1", "angry:0", "a:nan"])
def test_wrong_votes_are_refused(text):
    with pytest.raises(InputError, match="votes"):
        parse_votes(text)


def add_votes(folder, votes):
    """Fill the column `votes` of the first rows of a table."""
    lines = (folder / "metadata.csv").read_text().splitlines()
    cells = [*votes, *[""] * (len(lines) - 1 - len(votes))]
    filled = [lines[0] + ",votes", *(f"{a},{b}" for a, b in zip(lines[1:], cells, strict=True))]
    (folder / "metadata.csv").write_text("\n".join(filled) + "\n")


def test_votes_of_a_table_are_kept_and_renamed_with_the_labels(tmp_path):
    folder = tmp_path / "own"
    write_tones(folder, corpus="own", num_speakers=1, emotions=("happy", "excited", "sad"))
    add_votes(folder, ["Happy: 2;excited:1", "excited:3"])
    assert load_corpus(folder)[0]["votes"] == "excited:1;happy:2"
    prepare(
        "folder",
        str(folder),
        tmp_path / "prepared",
        options=PrepareOptions(label_map={"excited": "happy"}),
    )
    assert load_corpus(tmp_path / "prepared")["votes"][:3] == ["happy:3", "happy:3", None]


def test_a_wrong_cell_is_named(tmp_path):
    folder = tmp_path / "own"
    write_tones(folder, corpus="own", num_speakers=1)
    add_votes(folder, ["happy:1", "many"])
    with pytest.raises(InputError, match=r"own/metadata.csv line 3: votes 'many'"):
        load_corpus(folder)


def test_crema_d_has_the_votes_of_those_who_heard_the_voice_alone(tmp_path):
    audio = tmp_path / "AudioWAV"
    audio.mkdir()
    for name in ("1001_IEO_HAP_LO", "1001_IEO_SAD_HI"):
        soundfile.write(audio / f"{name}.wav", np.zeros(8000), 16000)
    (tmp_path / "processedResults").mkdir()
    table = tmp_path / "processedResults" / "tabulatedVotes.csv"
    table.write_text(
        HEADER + '"100002",0,1,0,3,6,0,"1001_IEO_HAP_LO",10\n'
        '"200002",0,0,0,9,0,0,"1001_IEO_HAP_LO",9\n"300007",9,0,0,0,0,0,"1001_IEO_SAD_HI",9\n'
    )
    for source in (tmp_path, audio):  # the release, or its folder of clips
        rows, _ = read_crema_d(source)
        assert [row["votes"] for row in rows] == ["disgusted:1;happy:3;neutral:6", None]
    table.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match="holds a pointer only"):
        read_crema_d(tmp_path)
    table.unlink()
    assert "votes" not in read_crema_d(tmp_path)[0][0]


def test_iemocap_has_the_votes_of_its_evaluators(tmp_path):
    small_release(tmp_path)
    path = tmp_path / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    blocks = path.read_text().split("\n[")
    lines = (
        "C-E2:\tExcited; Happiness;\t(a)\nC-E3:\tHappiness;\t()\nC-E4:\tFrustration; Anger;\t()\n"
    )
    changed = [b.replace("C-E2:\tNeutral;\t()\n", lines) if "_F001" in b else b for b in blocks]
    path.write_text("\n[".join(changed))
    four = {row["id"]: row["votes"] for row in read_iemocap(tmp_path)[0]}
    assert four["Ses01F_impro01_F001"] == "angry:0.5;frustrated:0.5;happy:2"
    assert four["Ses01F_impro01_F000"] == "neutral:1"  # not of the speakers themselves
    every = {row["id"]: row["votes"] for row in read_iemocap(tmp_path, "all")[0]}
    assert every["Ses01F_impro01_F001"] == "angry:0.5;excited:0.5;frustrated:0.5;happy:1.5"
