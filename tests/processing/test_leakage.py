import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from datasets import Dataset, DatasetDict
from support.iemocap_release import small_release
from support.tone_corpora import write_tones

from processing.audio_files import encode_flac
from processing.corpora.iemocap import read_iemocap
from processing.corpora.mixture import read_data
from processing.corpora.rows import rows_to_dataset
from processing.errors import InputError
from processing.folds import fold_names, load_folds
from processing.leakage import (
    check_shared_speakers,
    digest_audio,
    find_copies,
    fingerprint_audio,
    format_leak_table,
    leak_report,
    leaks,
)

RATE = 16000


def utterance(seed, seconds=1.2):
    """A voiced sound with gliding F0 and formants, pauses and breath; every seed another one."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    knots = np.linspace(0, seconds, 6)
    f0 = np.interp(time, knots, rng.uniform(100, 250, 6))
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    formants = [np.interp(time, knots, rng.uniform(*band, 6)) for band in ((300, 800), (900, 2400))]
    voice = np.zeros_like(time)
    for k in range(1, 25):
        gain = sum(1 / (1 + ((k * f0 - formant) / 120) ** 2) for formant in formants)
        voice += gain * np.sin(k * phase + rng.uniform(0, 2 * np.pi))
    level = np.interp(time, knots, rng.uniform(0.05, 1.0, 6))
    voice = level * voice / np.abs(voice).max() + 0.003 * rng.standard_normal(len(time))
    return 0.5 * voice


def encode(waveform, rate=RATE, file_format="WAV", subtype="PCM_16"):
    buffer = io.BytesIO()
    waveform = waveform if waveform.dtype == np.int16 else np.clip(waveform, -1, 1)
    soundfile.write(buffer, waveform, rate, format=file_format, subtype=subtype)
    return buffer.getvalue()


def rows_of(encoded):
    return [{"id": name, "audio": {"bytes": b, "path": None}} for name, b in encoded.items()]


COPIES = {
    "quieter": lambda w: encode(0.25 * w),
    "louder and clipped": lambda w: encode(3 * w),
    "0.1 s off the start": lambda w: encode(w[1600:]),
    "0.1 s off the end": lambda w: encode(w[:-1600]),
    "0.1 s off both, at an odd sample": lambda w: encode(w[1607:-1603]),
    "telephone rate": lambda w: encode(soxr.resample(w, RATE, 8000), 8000),
    "CD rate": lambda w: encode(soxr.resample(w, RATE, 44100), 44100),
    "Vorbis": lambda w: encode(w, file_format="OGG", subtype="VORBIS"),
    "MP3": lambda w: encode(w, file_format="MP3", subtype="MPEG_LAYER_III"),
    "all at once": lambda w: encode(
        soxr.resample(0.3 * w[1607:], RATE, 8000), 8000, "MP3", "MPEG_LAYER_III"
    ),
}


@pytest.fixture(scope="module")
def originals():
    return {f"clip{k:03d}": utterance(k) for k in range(60)}


@pytest.mark.parametrize("change", COPIES)
def test_planted_copies_are_found_and_nothing_else(originals, change):
    planted = {f"copy{k:03d}": COPIES[change](originals[f"clip{k:03d}"]) for k in range(20)}
    encoded = {name: encode(waveform) for name, waveform in originals.items()} | planted
    found = find_copies(fingerprint_audio(rows_of(encoded)))
    expected = {(f"clip{k:03d}", f"copy{k:03d}") for k in range(20)}
    pairs = {(a, b) for a, b, _ in found}
    assert pairs <= expected
    assert len(pairs) >= 19  # 95 %
    assert all(correlation < 1 for _, _, correlation in found)


def test_identical_samples_correlate_fully_whatever_the_format(originals):
    waveform = originals["clip000"]
    integers = np.round(waveform * 32768).astype(np.int16)
    encoded = {
        "b-flac": encode_flac(waveform),
        "a-wav": encode(integers),
        "other": encode(originals["clip001"]),
    }
    assert find_copies(fingerprint_audio(rows_of(encoded))) == [("a-wav", "b-flac", 1.0)]


def test_silent_clips_are_copies_only_if_identical():
    encoded = {
        "a": encode(np.zeros(8000)),
        "b": encode(np.zeros(8000)),
        "c": encode(np.zeros(9000)),
    }
    assert find_copies(fingerprint_audio(rows_of(encoded))) == [("a", "b", 1.0)]


@pytest.mark.parametrize("number", [0, 1])
def test_a_corpus_of_no_or_one_clip_has_no_copies(number):
    encoded = {name: encode(utterance(0)) for name in ["a"][:number]}
    assert find_copies(fingerprint_audio(rows_of(encoded))) == []


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
