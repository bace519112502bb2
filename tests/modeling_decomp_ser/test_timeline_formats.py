import csv
import io

from modeling_decomp_ser.timeline_formats import spreadsheet_cell, timeline_csv, timeline_rttm


def window(start, end, best, *others, **fields):
    scores = [{"label": label, "score": score} for label, score in (best, *others)]
    return {"start": start, "end": end, "scores": scores, **fields}


TIMELINES = [
    (
        "my talk.wav",
        [
            window(0.0, 10.0, ("very sad", 0.7), ("happy", 0.3), flags=["too_quiet", "unsure"]),
            window(5.0, 15.0, ("happy", 0.6), ("very sad", 0.4), flags=[]),
            window(8.0, 18.0, ("happy", 0.9), ("very sad", 0.1), flags=[]),
        ],
    ),
    ("short, very.wav", [window(0.0, 1.5, ("happy", 1.0))]),
]


def test_csv_has_a_row_a_window_and_a_column_an_emotion():
    rows = list(csv.reader(io.StringIO(timeline_csv(TIMELINES))))
    assert rows == [
        ["file", "start", "end", "emotion", "happy", "very sad", "flags"],
        ["my talk.wav", "0.000", "10.000", "very sad", "0.300000", "0.700000", "too_quiet unsure"],
        ["my talk.wav", "5.000", "15.000", "happy", "0.600000", "0.400000", ""],
        ["my talk.wav", "8.000", "18.000", "happy", "0.900000", "0.100000", ""],
        # the answers had one emotion each, and no flags were asked for
        ["short, very.wav", "0.000", "1.500", "happy", "1.000000", "", ""],
    ]


def test_rttm_divides_overlaps_in_the_middle():
    assert timeline_rttm(TIMELINES).splitlines() == [
        "SPEAKER my_talk.wav 1 0.000 7.500 <NA> <NA> very_sad 0.700 <NA>",
        "SPEAKER my_talk.wav 1 7.500 4.000 <NA> <NA> happy 0.600 <NA>",
        "SPEAKER my_talk.wav 1 11.500 6.500 <NA> <NA> happy 0.900 <NA>",
        "SPEAKER short,_very.wav 1 0.000 1.500 <NA> <NA> happy 1.000 <NA>",
    ]


def test_a_recording_given_twice_is_written_twice():
    assert len(timeline_rttm(TIMELINES[1:] * 2).splitlines()) == 2
    assert len(timeline_csv(TIMELINES[1:] * 2).splitlines()) == 3


def test_a_line_ends_as_on_unix_and_the_last_one_not_at_all():
    timeline = [window(0.0, 1.5, ("happy", 1.0), flags=["FAXX"])]
    assert timeline_csv([("a", timeline)]) == (
        "file,start,end,emotion,happy,flags\na,0.000,1.500,happy,1.000000,FAXX"
    )
    assert timeline_csv([]) == "file,start,end,emotion,flags"
    assert timeline_rttm([]) == ""


def test_no_cell_is_a_formula():
    for beginning in ("=", "+", "-", "@", "\t", "\r"):
        assert spreadsheet_cell(f"{beginning}1") == f"'{beginning}1"
    assert [spreadsheet_cell(text) for text in ("", "a=1", "'=")] == ["", "a=1", "'="]
    text = timeline_csv([("=a", [window(0.0, 1.0, ("-b", 1.0), flags=["+c"])])])
    assert text.splitlines() == [
        "file,start,end,emotion,'-b,flags",
        "'=a,0.000,1.000,'-b,1.000000,'+c",
    ]


def test_blanks_in_names_are_one_underscore():
    assert timeline_rttm([(" a \t b ", [window(0.25, 1.0, ("so  sad", 0.5))])]) == (
        "SPEAKER a_b 1 0.250 0.750 <NA> <NA> so_sad 0.500 <NA>"
    )
