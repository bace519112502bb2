from pathlib import Path

import pytest

from processing.errors import InputError
from train_scripts.answers.turns import Conversations

RTTM = """\
SPEAKER call 1 0.50 2.00 <NA> <NA> agent <NA> <NA>
SPEAKER call 1 2.20 3.00 <NA> <NA> caller <NA> <NA>
SPEAKER other 1 0.00 1.00 <NA> <NA> x <NA> <NA>
SPEAKER call 1 6.00 1.00 <NA> <NA> agent <NA> <NA>
"""
ROWS = "start,end,speaker,text\n0.5,2.5,agent,Good morning.\n2.2,5.2,caller,\n"
SRT = """\
1
00:00:00,500 --> 00:00:02,500
Good morning,
how can I help?

2
00:00:02,700 --> 00:00:05,200
It is <i>broken</i>.
"""
VTT = "WEBVTT\n\n00:01.000 --> 00:02.500 align:start\n<v Ann>Good morning.\n\nNOTE none\n"
CTM = """\
;; a remark
call A 0.50 0.40 good
call A 1.00 0.50 morning.
call A 1.60 0.30 how
call A 3.50 0.30 well
call B 3.90 0.30 fine
"""


def write(folder, name, text) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def told(turns):
    return [(t.start, t.end, t.speaker, t.text) for t in turns]


def test_rttm_gives_turns_by_recording_in_order(tmp_path):
    given = Conversations([write(tmp_path, "all.rttm", RTTM)])
    turns = given.turns_of("/calls/call.wav", alone=False)
    assert told(turns) == [
        (0.5, 2.5, "agent", None),
        (2.2, 5.2, "caller", None),
        (6.0, 7.0, "agent", None),
    ]
    assert [t.overlaps for t in turns] == [True, True, False]
    assert [t.channel for t in turns] == [1, 1, 1]


def test_rows_without_a_file_are_of_a_recording_alone(tmp_path):
    given = Conversations([write(tmp_path, "rows.csv", ROWS)])
    assert told(given.turns_of("any.wav", alone=True)) == [
        (0.5, 2.5, "agent", "Good morning."),
        (2.2, 5.2, "caller", None),
    ]
    with pytest.raises(InputError, match=r"any\.wav: no turn is given of 'any'"):
        given.turns_of("any.wav", alone=False)


def test_sentences_get_the_speaker_who_speaks_longest_in_them(tmp_path):
    given = Conversations([write(tmp_path, "call.rttm", RTTM)], [write(tmp_path, "call.srt", SRT)])
    turns = given.turns_of("call.wav", alone=True)
    assert told(turns) == [
        (0.5, 2.5, "agent", "Good morning, how can I help?"),
        (2.7, 5.2, "caller", "It is broken."),
    ]
    assert [t.overlaps for t in turns] == [True, False]


def test_a_voice_of_vtt_is_the_speaker(tmp_path):
    given = Conversations([], [write(tmp_path, "talk.vtt", VTT)])
    assert told(given.turns_of("talk.mp3", alone=True)) == [(1.0, 2.5, "Ann", "Good morning.")]


def test_words_of_ctm_are_sentences_by_stops_and_pauses(tmp_path):
    given = Conversations([], [write(tmp_path, "x.ctm", CTM)])
    turns = given.turns_of("call.wav", alone=False)
    assert told(turns) == [
        (0.5, 1.5, None, "good morning."),
        (1.6, 1.9, None, "how"),
        (3.5, 3.8, None, "well"),
        (3.9, 4.2, None, "fine"),
    ]
    assert [t.channel for t in turns] == [1, 1, 1, 2]


def test_a_folder_stands_for_its_files(tmp_path):
    write(tmp_path, "call.srt", SRT)
    write(tmp_path, "talk.vtt", VTT)
    write(tmp_path, "notes.txt", "none")
    given = Conversations([], [tmp_path])
    assert len(given.turns_of("call.wav", alone=False)) == 2
    assert len(given.turns_of("talk.wav", alone=False)) == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.rttm", "SPEAKER a 1 x 2 <NA> <NA> b", "cannot be read as rttm"),
        ("a.csv", "begin,end\n1,2\n", "column start is missing"),
        ("a.txt", "", "expected a file that ends in"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, text, message):
    with pytest.raises(InputError, match=message):
        Conversations([write(tmp_path, name, text)])
    with pytest.raises(InputError, match=r"gone\.rttm: No such file"):
        Conversations([tmp_path / "gone.rttm"])


def test_nothing_given_means_that_speech_is_looked_for():
    assert Conversations().turns_of("a.wav", alone=True) is None
