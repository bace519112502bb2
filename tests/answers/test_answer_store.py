import json

import pyarrow.parquet
import pytest

from processing.errors import InputError
from train_scripts.answers.answer_formats import format_answers
from train_scripts.answers.answer_store import AnswerStore, file_names


def answer(name, *, speaker=None, text=None, channel=None, start=0.0):
    known = {"speaker": speaker, "text": text, "channel": channel}
    entry = {
        "start": start,
        "end": start + 2.5,
        "emotion": "sad",
        "probabilities": {"sad": 0.75, "happy": 0.25},
        "flags": ["unsure"],
        **{k: v for k, v in known.items() if v is not None},
    }
    return {
        "file": name,
        **{k: entry[k] for k in ("emotion", "probabilities", "flags")},
        "segments": "turns",
        "seconds": 9.0,
        "timeline": [entry],
    }


SILENT = {
    "file": "silent.wav",
    "emotion": None,
    "probabilities": None,
    "flags": ["no_speech"],
    "segments": "speech",
    "seconds": 3.0,
    "timeline": [],
}


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "rttm", "parquet"])
def test_what_is_written_in_two_calls_is_what_one_call_writes(tmp_path, form):
    names = ["c.wav", "a.wav", "silent.wav"]
    answers = {"c.wav": answer("c.wav"), "a.wav": answer("a.wav"), "silent.wav": SILENT}
    whole, halves = tmp_path / f"whole.{form}", tmp_path / f"halves.{form}"
    store = AnswerStore(whole, form, names)
    for name in names:
        store.add(name, answers[name], is_new=True)
    store.finish()
    first = AnswerStore(halves, form, names)
    first.add("a.wav", answers["a.wav"], is_new=True)  # killed here
    assert halves.exists() == (form in ("jsonl", "csv", "rttm"))
    second = AnswerStore(halves, form, names)
    for name in names:
        known = second.known(name, name)
        assert (known is None) == (name != "a.wav")
        second.add(name, known or answers[name], is_new=known is None)
    second.finish()
    assert whole.read_bytes() == halves.read_bytes()


def test_a_line_that_was_cut_off_is_answered_again(tmp_path):
    path = tmp_path / "out.jsonl"
    store = AnswerStore(path, None, ["a.wav", "b.wav"])
    store.add("a", answer("a.wav"), is_new=True)
    store.add("b", answer("b.wav"), is_new=True)
    content = path.read_bytes()
    for cut in (1, 20):
        path.write_bytes(content[:-cut])
        again = AnswerStore(path, None, ["a.wav", "b.wav"])
        assert set(again.answers) == {"a"}
        assert path.read_bytes().endswith(b"\n")
        path.write_bytes(content)


@pytest.mark.parametrize("name", ["notes.jsonl", "notes.csv", "notes.json"])
def test_a_file_of_someone_else_is_left_alone(tmp_path, name):
    path = tmp_path / name
    path.write_text("precious\n")
    with pytest.raises(InputError, match="not by such a call"):
        AnswerStore(path, None, ["a.wav"])
    assert path.read_text() == "precious\n"


def test_a_folder_gets_a_file_a_recording(tmp_path):
    names = ["x/a.wav", "y/a.wav", "b.flac"]
    store = AnswerStore(tmp_path / "out", "srt", names)
    for name in names:
        store.add(name, answer(name), is_new=True)
    store.finish()
    found = {p.name for p in (tmp_path / "out").iterdir()}
    assert found == {*file_names(names, ".srt").values(), "answers.jsonl"}
    assert "b.srt" in found and len(found) == 4
    assert (tmp_path / "out" / "b.srt").read_text().startswith("1\n00:00:00,000 --> 00:00:02,500\n")


def test_forms_of_one_recording_are_refused_for_several(tmp_path):
    with pytest.raises(InputError, match="give --output a folder"):
        AnswerStore(tmp_path / "a.srt", None, ["a.wav", "b.wav"])
    with pytest.raises(InputError, match="give --output a file"):
        AnswerStore(None, "parquet", ["a.wav"])


def test_the_same_recording_by_another_name_is_known(tmp_path):
    store = AnswerStore(tmp_path / "out.json", None, ["a.wav", "copy.wav"])
    store.add("hash", answer("a.wav"), is_new=True)
    store.add("hash", store.known("hash", "copy.wav"), is_new=False)
    store.finish()
    written = json.loads((tmp_path / "out.json").read_text())
    assert [entry["file"] for entry in written] == ["a.wav", "copy.wav"]


def test_parquet_has_a_row_a_stretch(tmp_path):
    store = AnswerStore(tmp_path / "out.parquet", None, ["a.wav", "silent.wav"])
    store.add("a", answer("a.wav", speaker="agent", text="Hi.", channel=2), is_new=True)
    store.add("s", SILENT, is_new=True)
    store.finish()
    rows = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert rows[0] == {
        **{"file": "a.wav", "start": 0.0, "end": 2.5, "emotion": "sad", "happy": 0.25},
        **{"sad": 0.75, "flags": ["unsure"], "channel": 2, "speaker": "agent", "text": "Hi."},
    }
    assert rows[1]["emotion"] is None and rows[1]["flags"] == ["no_speech"]
    assert rows[1]["end"] == 3.0


def test_labels_say_who_and_how():
    told = format_answers([answer("a.wav", speaker="agent", start=1.0)], "audacity")
    assert told == "1.000000\t3.500000\tagent: sad 0.75 [unsure]"
    told = format_answers([answer("a.wav", channel=2, text="Hello.")], "srt")
    assert told == "1\n00:00:00,000 --> 00:00:02,500\nchannel 2: sad 0.75 [unsure]\nHello.\n"


def test_silence_has_a_row_and_no_label():
    assert format_answers([SILENT], "csv").splitlines()[1] == "silent.wav,0.000,3.000,,no_speech,,,"
    for form in ("rttm", "audacity", "srt"):
        assert format_answers([SILENT], form) == ""


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "rttm", "parquet"])
def test_a_name_that_is_no_text_is_written_with_its_bytes_in_words(tmp_path, form):
    path, name = tmp_path / f"answers.{form}", "a\udcff.wav"
    store = AnswerStore(path, form, [name])
    store.add(name, answer(name), is_new=True)
    store.finish()
    if form == "parquet":
        assert pyarrow.parquet.read_table(path)["file"].to_pylist() == ["a\\udcff.wav"]
    else:
        assert b"udcff.wav" in path.read_bytes()
