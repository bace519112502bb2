import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from support.copied_sounds import encode, rows_of, utterance
from support.iemocap_release import small_release

from processing.audio_files import encode_flac
from processing.copies import digest_audio
from processing.corpora.iemocap import read_iemocap
from processing.corpora.rows import rows_to_dataset
from processing.errors import InputError
from processing.folds import fold_names, load_folds
from processing.leakage import (
    check_shared_speakers,
    format_leak_table,
    leak_report,
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
    corpus = rows_to_dataset(read_iemocap(tmp_path, "all")[0])
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
