from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st
from support.copied_sounds import encode, rows_of, utterance
from support.iemocap_release import small_release
from support.tone_corpora import write_tones

from processing.audio_files import encode_flac
from processing.copies import digest_audio
from processing.corpora.iemocap import read_iemocap
from processing.corpora.mixture import read_data
from processing.errors import InputError
from processing.folds import fold_names, load_folds
from processing.leakage import (
    LEAK_KINDS,
    check_shared_speakers,
    format_leak_table,
    leak_report,
    leaks,
    same_people,
)


def folds_of(train, test, validation=()):
    columns = ("id", "speaker", "dialogue", "text")

    def split(rows):
        return Dataset.from_dict({c: [row[k] for row in rows] for k, c in enumerate(columns)})

    return DatasetDict(
        train=split(train), validation=split(validation), heldout_turns=split([]), test=split(test)
    )


def test_every_kind_of_leak_is_counted_in_test_turns():
    folds = folds_of(
        train=[
            ("a", "s1", "d1", "Good evening!"),
            ("b", "s2", "d2", "Shut the green door, please"),
        ],
        validation=[("c", "s4", "d1", None)],
        test=[
            ("d", "s1", "d3", "good evening"),
            ("e", "s3", "d2", "SHUT the green door please."),
            ("f", "s3", "d1", "[LAUGHTER]"),
            ("g", "s3", "d3", "Never said before"),
        ],
    )
    report = leak_report(
        folds, [("a", "d", 1.0), ("b", "d", 0.8), ("b", "e", 0.8), ("f", "g", 1.0)]
    )
    assert report["shared_speakers"] == ["s1"]
    assert report["turns"] == {"train": 2, "validation": 1, "heldout_turns": 0, "test": 4}
    assert report["in_train"] == {
        "speaker": 1,
        "dialogue": 2,
        "transcript": 2,
        "transcript_4_words": 1,
        "identical_audio": 1,
        "near_identical_audio": 2,
    }
    assert report["in_validation"] == {
        "speaker": 0,
        "dialogue": 1,
        "transcript": 0,
        "transcript_4_words": 0,
        "identical_audio": 0,
        "near_identical_audio": 0,
    }


def test_what_is_unknown_is_not_zero():
    report = leak_report(folds_of([("a", None, None, None)], [("b", None, None, None)]))
    assert set(report["in_train"].values()) == {None}
    assert "unknown" in format_leak_table({"1": report})


def test_the_table_has_a_line_for_each_fold_and_their_sum():
    report = leak_report(
        folds_of([("a", "s1", "d1", "Yes")], [("b", "s1", "d2", "yes"), ("c", "s2", "d1", "no")])
    )
    lines = format_leak_table({"x": report, "y": report}).splitlines()
    assert len(lines) == 4
    assert lines[1].split()[:5] == ["x", "2", "1", "1", "(50.0%)"]
    assert lines[3].split()[:4] == ["all", "4", "2", "(50.0%)"]


@pytest.mark.filterwarnings("error")
def test_the_table_reads_as_a_whole():
    folds = folds_of(
        train=[("a", "s1", "d1", "Yes"), ("z", "s4", "d1", "Yes")],
        test=[("b", "s1", "d2", "yes"), ("c", "s2", "d1", "no"), ("d", "s3", "d3", None)],
    )
    report = leak_report(folds, [("a", "b", 0.9)])
    lines = [line.split() for line in format_leak_table({"x": report, "y": report}).splitlines()]
    kinds = [word for kind in LEAK_KINDS for word in kind.split("_")]
    shares = "1 (33.3%) 1 (33.3%) 1 (33.3%) 0 (0.0%) 0 (0.0%) 1 (33.3%)"
    assert lines == [
        ["fold", "test", "train", *kinds],
        ["x", "3", "2", *shares.split()],
        ["y", "3", "2", *shares.split()],
        ["all", "6", *shares.replace("1 ", "2 ").split()],
    ]


def test_speakers_of_two_names_are_listed_with_the_most_shared_recordings_first():
    columns = {"id": list("abcdefg"), "speaker": ["s3", "s1", "s2", "s1", None, "s4", "s2"]}
    pairs = [("g", "f"), ("a", "f"), ("c", "d"), ("b", "d"), ("e", "a"), ("f", "a")]
    found = same_people(columns, [(*pair, 0.9) for pair in pairs])
    assert found == [("s3", "s4", 2), ("s1", "s2", 1), ("s2", "s4", 1)]
    with pytest.raises(ValueError, match="shorter"):
        same_people({"id": ["a", "b"], "speaker": ["s1"]}, [])


def test_shared_speakers_are_refused_unless_the_protocol_declares_them():
    report = leak_report(folds_of([("a", "s1", "d1", "x")], [("b", "s1", "d2", "y")]))
    with pytest.raises(InputError, match="1 test speakers are in the training set too, first 's1'"):
        check_shared_speakers(report, "predefined")
    check_shared_speakers(report, "dialogue-prefix")
    clean = leak_report(folds_of([("a", "s1", "d1", "x")], [("b", "s2", "d1", "x")]))
    check_shared_speakers(clean, "predefined")


def test_identical_audio_is_counted_by_digests_where_no_copies_are_looked_for():
    sound = utterance(0)
    integers = np.round(sound * 32768).astype(np.int16)
    clips = {"a": encode(integers), "b": encode_flac(sound), "c": encode(0.5 * sound)}
    digests = digest_audio(rows_of(clips))
    assert digests["a"] == digests["b"] != digests["c"]
    folds = folds_of([("b", "s1", None, None)], [(name, "s2", None, None) for name in ("a", "c")])
    shared = leak_report(folds, digests=digests)["in_train"]
    assert shared["identical_audio"] == 1 and shared["near_identical_audio"] is None
    assert leak_report(folds)["in_train"]["identical_audio"] is None


def test_the_iemocap_protocols_leak_as_declared(tmp_path):
    small_release(tmp_path)
    corpus = read_iemocap(tmp_path, "all")[0]
    reports = {
        protocol: {
            fold: leak_report(load_folds(corpus, protocol, fold))
            for fold in fold_names(corpus, protocol)
        }
        for protocol in ("speaker", "session", "dialogue-prefix")
    }
    # The partner 02M trains on one turn of Ses02F_script01_1; the other one is held out.
    partner = reports["speaker"]["02F"]["in_train"]
    assert (partner["speaker"], partner["dialogue"], partner["transcript"]) == (0, 2, 0)
    session = reports["session"]["Ses02"]["in_train"]
    assert (session["speaker"], session["dialogue"]) == (0, 0)
    # "I left the red umbrella at home" is acted in both sessions.
    prefix = reports["dialogue-prefix"]["Ses01M"]["in_train"]
    assert (prefix["speaker"], prefix["dialogue"], prefix["transcript"]) == (4, 0, 1)
    for protocol, folds in reports.items():
        shared = any(report["shared_speakers"] for report in folds.values())
        assert shared == (protocol == "dialogue-prefix")


def test_people_and_recordings_of_two_names_are_found_across_corpora(tmp_path):
    first = write_tones(tmp_path / "first", corpus="first", num_speakers=3, turns_each=1, seed=4)
    again = write_tones(tmp_path / "again", corpus="again", num_speakers=3, turns_each=1, seed=4)
    table = Path(again) / "metadata.csv"
    lines = table.read_text().splitlines()
    # one speaker of the second corpus has other recordings
    table.write_text("\n".join(line for line in lines if ",s2," not in line) + "\n")
    report = leaks(read_data([first, again]), "corpus")
    names = {(a, b): n for a, b, n in report["same_people"] if a.split("/")[1] == b.split("/")[1]}
    assert names == {("again/s0", "first/s0"): 4, ("again/s1", "first/s1"): 4}
    # of eight shared recordings, the others validate or are held out
    for fold, number in (("again", 3), ("first", 6)):
        assert report["folds"][fold]["in_train"]["identical_audio"] == number
    assert report["folds"]["first"]["turns"]["test"] == 12


WORDS = ["one", "two three", "four five six", "seven eight nine ten", "Seven, eight nine TEN!"]
turns = st.lists(
    st.tuples(
        st.sampled_from([None, "s1", "s2", "s3"]),
        st.sampled_from([None, "d1", "d2"]),
        st.sampled_from([None, "[LAUGHTER]", *WORDS]),
        st.sampled_from(["x", "y", "z", None]),
    ),
    min_size=1,
    max_size=6,
)


def bare(text):
    """Words that count, with the means of a reader: no cases, no signs, no noises in brackets."""
    letters = "" if text is None or text[0] == "[" else text.lower()
    return "".join(c for c in letters if c.isalpha() or c == " ")


@settings(deadline=None, max_examples=60)
@given(train=turns, validation=turns, test=turns)
def test_each_count_is_that_of_test_turns_with_a_like_in_the_other_split(train, validation, test):
    named = {
        split: [(f"{split}{k}", *turn[:3]) for k, turn in enumerate(rows)]
        for split, rows in (("train", train), ("validation", validation), ("test", test))
    }
    digests = {
        f"{split}{k}": turn[3]
        for split, rows in (("train", train), ("validation", validation), ("test", test))
        for k, turn in enumerate(rows)
        if turn[3]
    }
    report = leak_report(folds_of(**named), digests=digests)
    for split, others in (("train", train), ("validation", validation)):
        found = report[f"in_{split}"]
        for kind, column in (("speaker", 0), ("dialogue", 1), ("identical_audio", 3)):
            values = [turn[column] for turn in test]
            shared = sum(any(v == o[column] for o in others) for v in values if v is not None)
            assert found[kind] == (shared if any(values) else None)
        for kind, least in (("transcript", 1), ("transcript_4_words", 4)):
            said = [bare(turn[2]) for turn in test]
            heard = {bare(turn[2]) for turn in others}
            shared = sum(text in heard and len(text.split()) >= least for text in said)
            assert found[kind] == (shared if any(said) else None)
        assert found["near_identical_audio"] is None
    speakers = {turn[0] for turn in train} & {turn[0] for turn in test} - {None}
    assert report["shared_speakers"] == sorted(speakers)
    assert report["turns"]["test"] == len(test) and report["turns"]["train"] == len(train)
    assert report["speakers"]["train"] == len({turn[0] for turn in train} - {None})


def test_the_table_can_be_of_validation_turns_and_names_every_kind():
    folds = folds_of(
        [("a", "s1", "d1", "Yes")], [("b", "s2", "d2", "no")], validation=[("c", "s2", "d1", "no")]
    )
    reports = {"x": leak_report(folds, [])}
    heads, *lines = format_leak_table(reports, against="validation").splitlines()
    assert "test" in heads and "validation" in heads and "train" not in heads
    assert all(kind.replace("_", " ") in heads for kind in LEAK_KINDS)
    assert len(lines) == 1 and lines[0].split()[:5] == ["x", "1", "1", "1", "(100.0%)"]


def test_a_sum_with_an_unknown_part_is_unknown():
    known = leak_report(folds_of([("a", "s1", "d1", "x")], [("b", "s1", "d1", "x")]))
    unknown = leak_report(folds_of([("a", "s1", "d1", "x")], [("b", None, "d1", "x")]))
    last = format_leak_table({"1": known, "2": unknown}).splitlines()[-1]
    assert last.split()[:4] == ["all", "2", "unknown", "2"]


@pytest.mark.parametrize("audio", [True, False])
def test_leaks_of_a_corpus_are_reported_fold_by_fold(audio):
    sounds = {name: encode(utterance(k)) for k, name in enumerate("abc")}
    rows = [
        {"id": f"{s}{k}", "speaker": s, "emotion": "sad", "text": None, "dialogue": None}
        | {"audio": {"bytes": sounds[s if k else "a"], "path": None}}
        for s in "abc"
        for k in range(2)
    ]
    corpus = Dataset.from_list(rows)
    found = leaks(corpus, "speaker-paper", audio=audio)
    assert list(found["folds"]) == ["a", "b", "c"] and found["protocol"] == "speaker-paper"
    assert found["declares_shared_speakers"] is False
    assert len({report["hash"] for report in found["folds"].values()}) == 3
    one = leaks(corpus, "speaker-paper", folds=["b"], audio=audio)
    assert one["folds"] == {"b": found["folds"]["b"]}
    if audio:
        same = [pair for pair in found["copies"] if pair[2] == 1.0]
        assert [pair[:2] for pair in same] == [
            ("a0", "a1"), ("a0", "b0"), ("a0", "c0"), ("a1", "b0"), ("a1", "c0"), ("b0", "c0"),
        ]  # fmt: skip
        assert found["folds"]["b"]["in_train"]["identical_audio"] == 1
    else:
        assert found["copies"] is None
        assert found["folds"]["b"]["in_train"]["near_identical_audio"] is None
