import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st
from support.iemocap_release import small_release
from support.tone_corpora import write_tones

from processing.audio_files import encode_flac
from processing.corpora.iemocap import read_iemocap
from processing.corpora.mixture import read_data
from processing.corpora.rows import rows_to_dataset
from processing.errors import InputError
from processing.folds import fold_names, load_folds
from processing.leakage import (
    LEAK_KINDS,
    Fingerprints,
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


def test_a_copy_with_its_sign_turned_is_one(originals):
    waveform = originals["clip000"]
    found = find_copies(fingerprint_audio(rows_of({"a": encode(waveform), "b": encode(-waveform)})))
    assert [pair[:2] for pair in found] == [("a", "b")]
    assert 0.99 < found[0][2] < 1


def fingerprints(waveforms, digests=None, spectra=None):
    ids = [f"{k:02d}" for k in range(len(waveforms))]
    spectra = np.zeros((len(ids), 32)) if spectra is None else spectra
    return Fingerprints(ids, digests or ids, spectra, [w.astype(np.float16) for w in waveforms])


@pytest.mark.parametrize(("correlation", "copies"), [(0.72, 1), (0.68, 0)])
def test_clips_are_copies_from_a_correlation_of_seven_tenths_on(correlation, copies):
    noise = np.random.default_rng(0).standard_normal((2, 4000))
    a, b = (noise / np.linalg.norm(noise, axis=1, keepdims=True)).tolist()
    b = np.array(b) - np.dot(a, b) * np.array(a)
    b /= np.linalg.norm(b)
    mixed = correlation * np.array(a) + np.sqrt(1 - correlation**2) * b
    found = find_copies(fingerprints([mixed, np.array(a)]))
    assert len(found) == copies
    if copies:
        assert found[0][:2] == ("00", "01")
        assert found[0][2] == pytest.approx(correlation, abs=2e-3)
        assert found[0][2] == round(found[0][2], 4)


def test_equal_samples_are_paired_however_many_there_are():
    # more than each clip is compared with by its spectrum; 1.0 whatever the correlation
    number = 16
    noise = np.random.default_rng(0).standard_normal((number, 64))
    spectra = np.arange(number)[:, None] * np.ones(32)
    found = find_copies(fingerprints(list(noise), ["same"] * number, spectra))
    assert found == [(f"{a:02d}", f"{b:02d}", 1.0) for a in range(number) for b in range(a + 1, 16)]


def test_a_changed_copy_is_looked_for_among_the_twelve_most_similar_spectra_alone():
    sound = np.zeros(64)
    sound[3] = 1.0
    spectra = np.array([0.0, *np.linspace(1, 2, 12), 3.0])[:, None] * np.ones(32)
    noise = list(np.random.default_rng(0).standard_normal((12, 64)) / 100)
    # the last clip is the 13th of the first, which is not among the last's nearest either
    assert find_copies(fingerprints([sound, *noise, sound], spectra=spectra)) == []
    nearer = fingerprints([sound, *noise[1:], sound], spectra=np.delete(spectra, 5, axis=0))
    assert find_copies(nearer) == [("00", "12", 0.9999)]


@pytest.mark.parametrize(("a", "b", "equal"), [(0.99999, 1.0, True), (0.0, 1e-4, False)])
def test_digests_are_of_samples_at_16_bits(a, b, equal):
    clips = {
        name: encode(np.full(400, level), subtype="FLOAT") for name, level in (("a", a), ("b", b))
    }
    digests = digest_audio(rows_of(clips))
    assert (digests["a"] == digests["b"]) == equal


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
