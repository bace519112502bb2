"""A folder of calls, from one command to answers that can be used."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import Dataset
from support.tiny_pipeline import encode, save_tiny_model, voice

from modeling_decomp_ser import DecompSerForAudioClassification
from processing import DecompSerFeatureExtractor, DecompSerProcessor
from processing.text import ENGLISH_VOCABULARY
from train_scripts.answers.input_files import Source
from train_scripts.answers.prediction import (
    Listening,
    Recording,
    answer_recordings,
    load_pipeline,
)
from train_scripts.runs.run_folder import save_model
from train_scripts.runs.settings import build_config, load_settings

RATE = 8000
REPOSITORY = Path(__file__).parents[2]
SENTENCES, GAP = 4, 0.6
HAS_AV = importlib.util.find_spec("av") is not None
HAS_DETECTOR = importlib.util.find_spec("silero_vad") is not None


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_tiny_model(folder)
    return folder


@pytest.fixture(scope="module")
def sentences(corpus):
    """Sentences of two speakers at 8 kHz, as over a telephone."""
    import soxr

    from processing.audio_files import read_audio

    first = corpus["speaker"][0]
    own = [row for row in corpus if row["speaker"] == first][:SENTENCES]
    others = [row for row in corpus if row["speaker"] != first][:SENTENCES]
    return [
        [soxr.resample(read_audio(row["audio"]), 16000, RATE) for row in rows]
        for rows in (own, others)
    ]


def conversation(sentences, order: int) -> np.ndarray:
    """Two people in turn, each on a channel of their own, (S, 2)."""
    pieces, gap = [], np.zeros((round(GAP * RATE), 2))
    for turn in range(4):
        said = sentences[turn % 2][(turn + order) % SENTENCES]
        piece = np.zeros((len(said), 2))
        piece[:, turn % 2] = said
        pieces += [gap, piece]
    return np.concatenate(pieces) + 1e-4 * np.random.default_rng(order).standard_normal(2)


def chords(seconds=4.0):
    time_axis = np.arange(round(seconds * RATE)) / RATE
    out = np.zeros(len(time_axis))
    for beat in range(round(2 * seconds)):
        since = np.clip(time_axis - beat / 2, 0, None)
        for interval in (0, 4, 7):
            note = 220 * 2 ** ((interval + 5 * (beat % 3)) / 12)
            out += (since > 0) * np.exp(-3 * since) * np.sin(2 * np.pi * note * since)
    return 0.1 * out


def write_folder(folder: Path, sentences, long_seconds: float) -> Path:
    """40 recordings as they come, below each other, one of them broken."""
    calls, notes = folder / "calls", folder / "calls" / "below"
    notes.mkdir(parents=True)
    talks = [conversation(sentences, order) for order in range(SENTENCES)]
    for number in range(28):
        content = encode(talks[number % SENTENCES][number * 40 :], RATE, subtype="ULAW")
        (calls / f"call {number:02}.wav").write_bytes(content)
    for number in range(6):
        said = sentences[0][number % SENTENCES]
        (notes / f"note{number}.ogg").write_bytes(encode(said[number:], RATE, "OGG"))
    once = np.concatenate([talk.mean(1) for talk in talks])
    long = np.tile(once, int(long_seconds * RATE / len(once)) + 1)[: round(long_seconds * RATE)]
    (calls / "long.flac").write_bytes(encode(long, RATE, "FLAC"))
    (calls / "silence.wav").write_bytes(encode(np.zeros(4 * RATE), RATE))
    (calls / "music.wav").write_bytes(encode(chords(), RATE))
    (calls / "broken.wav").write_bytes(b"RIFF is all there is of it")
    (calls / "minutes.txt").write_text("no sound")
    mono = encode(once, RATE, "MP3")
    (calls / "memo.mp3").write_bytes(mono)
    if HAS_AV:
        from support.containers import contain

        (calls / "phone.m4a").write_bytes(contain(talks[0].astype(np.float32), RATE))
    return calls


def predict(*arguments) -> list[str]:
    return [sys.executable, "-m", "train_scripts.cli", "predict", *map(str, arguments)]


def start(command, log) -> subprocess.Popen:
    return subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def run(command) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


def wait_for_lines(path: Path, number: int, process) -> None:
    patience = time.monotonic() + 600
    while process.poll() is None and time.monotonic() < patience:
        if path.exists() and path.read_bytes().count(b"\n") >= number:
            return
        time.sleep(0.02)
    raise AssertionError(f"it ended before {number} answers were there")


def travel(folder, model, sentences, long_seconds):
    """Answer a folder in one go and with a kill between; returns both outputs and what was said."""
    calls = write_folder(folder, sentences, long_seconds)
    options = ["--skip-bad", "--batch-size", "4"]
    whole, halves = folder / "whole.jsonl", folder / "halves.jsonl"
    page = folder / "page.html"
    done = run(predict(model, calls, "--output", whole, "--summary", page, *options))
    assert done.returncode == 3, done.stderr[-3000:]
    command = predict(model, calls, "--output", halves, "--jobs", 2, *options)
    with (folder / "log.txt").open("w") as log:
        process = start(command, log)
        try:
            wait_for_lines(halves, 9, process)
        finally:
            process.kill()
            process.wait()
    before = halves.read_bytes().count(b"\n")
    assert 9 <= before < 38
    resumed = run(command)
    assert resumed.returncode == 3, resumed.stderr[-3000:]
    known = int(resumed.stdout.split(" of them answered before")[0].split()[-1])
    assert known >= 9
    return calls, whole, halves, page, done


def check(calls, whole, halves, page, done):
    assert "broken.wav: cannot be decoded" in done.stderr
    one, other = (
        [json.loads(line) for line in path.read_text().splitlines()] for path in (whole, halves)
    )
    answers = {Path(answer["file"]).name: answer for answer in one}
    assert len(one) == sum(p.suffix != ".txt" for p in calls.rglob("*.*")) - 1
    assert [a["file"] for a in one] == [a["file"] for a in other]
    for a, b in zip(one, other, strict=True):
        assert a["emotion"] == b["emotion"] and a["flags"] == b["flags"]
        times = [[(e["start"], e["end"]) for e in x["timeline"]] for x in (a, b)]
        assert times[0] == times[1]
        for x, y in zip(a["timeline"], b["timeline"], strict=True):
            assert x["probabilities"] == pytest.approx(y["probabilities"], abs=1e-5)
    call = answers["call 00.wav"]
    assert set(call["channels"]) == {"1", "2"} and "two channels" in call["note"]
    assert "--channels mix" in done.stderr
    for name in ("silence.wav", "music.wav"):
        assert answers[name]["emotion"] is None
        assert answers[name]["flags"] == ["no_speech"]
    spoken = [e for e in call["timeline"] if e["channel"] == 1]
    assert len(spoken) in (1, 2, 3) and spoken[0]["start"] == pytest.approx(GAP, abs=0.4)
    assert all(e["end"] - e["start"] <= 10.001 for e in answers["long.flac"]["timeline"])
    assert "Article 5(1)(f)" in page.read_text(encoding="utf-8")
    assert "broken.wav" in page.read_text(encoding="utf-8")


needs_detector = pytest.mark.skipif(
    not HAS_DETECTOR, reason="silero-vad is not installed (decomp-ser[vad])"
)


@needs_detector
def test_a_folder_of_calls_is_answered_killed_and_resumed(tmp_path, model, sentences):
    check(*travel(tmp_path, model, sentences, 180.0))


@needs_detector
@pytest.mark.slow
def test_half_an_hour_takes_little_more_than_its_speech(tmp_path, sentences):
    """Processor time of a long recording, against that of what is said in it alone, by a model of
    the paper's size; a small one is faster than the detector of speech.
    """
    calls = write_folder(tmp_path, sentences, 1800.0)
    save_paper_model(tmp_path / "model")
    heard = Listening(segments="speech").checked()
    recognize = load_pipeline(str(tmp_path / "model"), heard, batch_size=1)
    answer_one(recognize, calls / "call 00.wav", heard)  # what is loaded with the first answer
    whole, timeline = answer_one(recognize, calls / "long.flac", heard)
    samples, rate = soundfile.read(calls / "long.flac", dtype="float32")
    said = [samples[round(e["start"] * rate) : round(e["end"] * rate)] for e in timeline]
    soundfile.write(tmp_path / "speech.flac", np.concatenate(said), rate)
    windows = Listening(hop_seconds=10.0, segments="windows").checked()
    recognize = load_pipeline(str(tmp_path / "model"), windows, batch_size=1)
    alone, _ = answer_one(recognize, tmp_path / "speech.flac", windows)
    print(f"whole {whole:.1f} s, its speech alone {alone:.1f} s of processor time")
    assert whole <= 1.2 * alone, (whole, alone)


def save_paper_model(folder: Path) -> None:
    """Random weights of *Ours* at the paper's size."""
    settings = load_settings("table3_ours", ["size=paper"])
    config = build_config(settings, speakers=["a", "b"], emotion_head_trained=True)
    # ln Hz, which a training set would tell
    extractor = DecompSerFeatureExtractor(f0_deviation=0.25, **settings.features)
    processor = DecompSerProcessor.from_vocabulary(extractor, ENGLISH_VOCABULARY, folder)
    rows = Dataset.from_dict({"id": ["a"], "speaker": ["a"]})
    save_model(folder, DecompSerForAudioClassification(config), processor, rows)


def answer_one(recognize, path, listening) -> tuple[float, list[dict]]:
    """Seconds of processor time of an answer, and its timeline."""
    begin = time.process_time()
    [answer] = answer_recordings(recognize, [Recording(Source(str(path)), None)], listening)
    seconds = time.process_time() - begin
    assert isinstance(answer, dict), answer
    return seconds, answer["timeline"]


@needs_detector
def test_ctrl_c_ends_the_workers_too_and_keeps_what_is_answered(tmp_path, model):
    # so much that it is not all answered before the signal comes, also from a test that waits long
    for number in range(120):
        (tmp_path / f"{number}.wav").write_bytes(encode(voice(10.0, seed=number)))
    out = tmp_path / "out.csv"
    command = predict(model, tmp_path, "--output", out, "--jobs", 2, "--segments", "windows")
    with (tmp_path / "log.txt").open("w+") as log:
        process = start(command, log)
        wait_for_lines(Path(f"{out}.answers.jsonl"), 2, process)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=120) == 130
        log.seek(0)
        assert "interrupted. The answers of the files that are finished" in log.read()
    number = out.read_text().count("\n") - 1
    assert 2 <= number <= 120
    end = time.monotonic() + 60
    while still_running(process.pid) and time.monotonic() < end:
        time.sleep(0.2)
    assert not still_running(process.pid)


def still_running(group: int) -> list[str]:
    """Processes of a group, without those that have ended and nobody asked about."""
    listed = subprocess.run(["ps", "-eo", "pgid,stat"], capture_output=True, text=True).stdout
    lines = [line.split() for line in listed.splitlines()[1:]]
    return [stat for pgid, stat in lines if pgid == str(group) and not stat.startswith("Z")]
