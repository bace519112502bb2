import csv
import io
import json
import sys

import numpy as np
import pytest
from support.tiny_pipeline import RATE, as_dict, encode, save_tiny_model, tiny_pipeline, voice

from modeling_decomp_ser.pipeline_decomp_ser import DecompSerPipeline
from processing.errors import InputError
from train_scripts.answers.answer_formats import format_answers
from train_scripts.answers.answer_store import AnswerStore
from train_scripts.answers.input_files import find_inputs
from train_scripts.answers.many_recordings import answer_many
from train_scripts.answers.prediction import Listening
from train_scripts.cli import main


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_tiny_model(folder, temperature=1.5)
    return str(folder)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A short file, and one of 7 s whose name has a blank."""
    folder = tmp_path_factory.mktemp("files")
    short, long = folder / "short.flac", folder / "long talk.wav"
    short.write_bytes(encode(voice(1.2), form="FLAC"))
    long.write_bytes(encode(voice(7.0, 44100, seed=1), 44100))
    return [str(short), str(long)]


@pytest.fixture(scope="module")
def bad_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("bad") / "bad.wav"
    path.write_bytes(b"no sound")
    return str(path)


def predict(model, files, *, listening=None, **options) -> list[dict]:
    """Answers in memory; of windows, since the sounds of these tests are no speech."""
    sources = find_inputs(files)
    store = AnswerStore(None, None, [source.name for source in sources])
    listening = listening or Listening(segments="windows")
    answer_many(model, sources, store, listening=listening, **options)
    return store.in_order()


WINDOWS = {"window_seconds": 4.0, "hop_seconds": 2.0}


@pytest.fixture(scope="module")
def answers(model, files):
    return predict(model, files, listening=Listening(**WINDOWS))


def call(monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["decomp-ser", "predict", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


def test_answers_are_those_of_the_pipeline(answers, files):
    recognize = tiny_pipeline(temperature=1.5)
    for answer, file in zip(answers, files, strict=True):
        expected = recognize(file, return_timeline=True, **WINDOWS)
        assert answer["file"] == file
        assert answer["probabilities"] == pytest.approx(as_dict(expected["scores"]), abs=1e-6)
        assert answer["emotion"] == expected["scores"][0]["label"]
        for window, same in zip(answer["timeline"], expected["timeline"], strict=True):
            assert (window["start"], window["end"]) == (same["start"], same["end"])
            assert window["probabilities"] == pytest.approx(as_dict(same["scores"]), abs=1e-6)
    assert [(w["start"], w["end"]) for w in answers[1]["timeline"]] == [(0, 4), (2, 6), (3, 7)]


def test_json_is_the_answers(monkeypatch, capsys, model, files, answers):
    options = ["--window", "4", "--hop", "2", "--batch-size", "3"]
    assert call(monkeypatch, model, *files, *options) == 0
    written = json.loads(capsys.readouterr().out)
    assert [a.keys() for a in written] == [a.keys() - {"of"} for a in answers]
    for answer, same in zip(written, answers, strict=True):
        assert answer["probabilities"] == pytest.approx(same["probabilities"], abs=1e-5)
        assert len(answer["timeline"]) == len(same["timeline"])


def test_csv_has_a_row_a_window(answers, files):
    rows = list(csv.DictReader(io.StringIO(format_answers(answers, "csv"))))
    windows = [(a["file"], w) for a in answers for w in a["timeline"]]
    assert len(rows) == len(windows) == 4
    for row, (file, window) in zip(rows, windows, strict=True):
        assert row["file"] == file
        assert (float(row["start"]), float(row["end"])) == (window["start"], window["end"])
        assert row["emotion"] == window["emotion"]
        for label, probability in window["probabilities"].items():
            assert float(row[label]) == pytest.approx(probability, abs=1e-6)
    labels = ["angry", "happy", "neutral", "sad"]
    assert list(rows[0])[4:] == [*labels, "flags", "channel", "speaker", "text"]


def test_rttm_labels_each_instant_once(answers, files):
    lines = [line.split(" ") for line in format_answers(answers, "rttm").splitlines()]
    assert all(len(line) == 10 for line in lines)
    assert {line[0] for line in lines} == {"SPEAKER"}
    of_long = [line for line in lines if line[1] == files[1].replace(" ", "_")]
    times = [(float(line[3]), float(line[4])) for line in of_long]
    assert times == [(0, 3), (3, 1.5), (4.5, 2.5)]
    for line, window in zip(of_long, answers[1]["timeline"], strict=True):
        assert line[7] == window["emotion"]
        assert float(line[8]) == pytest.approx(max(window["probabilities"].values()), abs=1e-3)
        assert line[2] == "1"
        assert line[5] == line[6] == line[9] == "<NA>"


def test_flags_are_in_every_format(tmp_path, model):
    path = tmp_path / "silent.wav"
    path.write_bytes(encode(np.zeros(RATE)))
    answers = predict(model, [str(path)])
    assert answers[0]["flags"] == answers[0]["timeline"][0]["flags"] == ["too_quiet"]
    assert format_answers(answers, "csv").splitlines()[1].endswith(",too_quiet,,,")


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_a_bad_file_stops_with_its_name_unless_skipped(model, files, bad_file, batch_size):
    given = [files[0], bad_file, files[1]]
    with pytest.raises(InputError, match=r"bad\.wav: cannot be decoded .* --skip-bad"):
        predict(model, given, batch_size=batch_size)
    answers = predict(model, given, batch_size=batch_size, skip_bad=True)
    assert [a["file"] for a in answers] == files


def test_a_bad_file_is_one_line_and_exit_code_2(monkeypatch, capsys, model, files, bad_file):
    assert call(monkeypatch, model, files[0], bad_file) == 2
    written = capsys.readouterr()
    assert written.out == ""
    [line] = [x for x in written.err.splitlines() if x.startswith("decomp-ser")]
    assert line.startswith(f"decomp-ser predict: {bad_file}: cannot be decoded")


def test_a_file_left_out_is_listed_and_exit_code_3(
    monkeypatch, capsys, caplog, model, files, bad_file
):
    assert call(monkeypatch, model, bad_file, files[0], "--skip-bad") == 3
    assert [answer["file"] for answer in json.loads(capsys.readouterr().out)] == [files[0]]
    assert caplog.messages[-1].startswith(f"1 of 2 files cannot be used:\n{bad_file}: ")
    assert call(monkeypatch, model, files[0], "--skip-bad") == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--skip-bad"], "none of the 1 files"),
        (["--window", "0.1"], "--window and --hop: window_seconds=0.1"),
        (["--hop", "11"], "leave gaps"),
        (["--batch-size", "0"], "--batch-size"),
        (["--format", "xml"], "--format"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    monkeypatch, capsys, model, bad_file, options, message
):
    assert call(monkeypatch, model, bad_file, *options) == 2
    assert message in capsys.readouterr().err


def test_a_model_that_does_not_exist_is_refused(files):
    with pytest.raises(InputError, match="model 'gone'"):
        predict("gone", files)


def test_an_interrupted_call_writes_what_was_answered(monkeypatch, capsys, model, files):
    recognize = DecompSerPipeline.__call__

    def stop_at_the_second_file(self, together, **options):
        if any(sound["path"] == files[1] for sound in together):
            raise KeyboardInterrupt
        return recognize(self, together, **options)

    monkeypatch.setattr(DecompSerPipeline, "__call__", stop_at_the_second_file)
    assert call(monkeypatch, model, *files) == 130
    written = capsys.readouterr()
    assert [answer["file"] for answer in json.loads(written.out)] == [files[0]]
    assert written.err.splitlines()[-1] == (
        "decomp-ser predict: interrupted. The answers of the files that are finished are written."
    )
