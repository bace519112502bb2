import json

import pyarrow.parquet
import pytest
import torch
from safetensors import safe_open
from support.tiny_pipeline import encode, save_tiny_model, voice
from typer.testing import CliRunner

from modeling_decomp_ser.component_shares import part_names
from train_scripts.encode import app


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model, and a folder of two sounds, of which one is longer than a window."""
    root = tmp_path_factory.mktemp("encode")
    model, processor = save_tiny_model(root / "model")
    (root / "sounds").mkdir()
    (root / "sounds" / "a.wav").write_bytes(encode(voice(1.0), subtype="FLOAT"))
    (root / "sounds" / "b.flac").write_bytes(encode(voice(5.0, seed=1), form="FLAC"))
    return root, model, processor


def call(*words):
    arguments = [*map(str, words), "--segments", "windows", "--window", "2"]
    return CliRunner().invoke(app, arguments)


def test_a_table_has_a_row_a_window(made):
    root, model, processor = made
    out = root / "codes.parquet"
    assert call(root / "model", root / "sounds", "--output", out).exit_code == 0
    rows = pyarrow.parquet.read_table(out).to_pylist()
    assert [(row["start"], row["end"]) for row in rows] == [(0, 1), (0, 2), (2, 4), (3, 5)]
    [speech] = model.encode(voice(1.0), processor.feature_extractor, 16000)
    assert set(rows[0]) == {
        *("file", "channel", "start", "end", "speaker_embedding"),
        *part_names(model.config),
    }
    for name, part in speech.parts.items():
        assert rows[0][name] == pytest.approx(part.pooled.tolist(), abs=1e-4)


def test_tensors_hold_frames_and_tell_what_they_are_of(made):
    root, model, _ = made
    out = root / "codes.safetensors"
    assert call(root / "model", root / "sounds", "--output", out, "--frames").exit_code == 0
    with safe_open(out, "pt") as file:
        rows = json.loads(file.metadata()["rows"])
        assert [row["end"] for row in rows] == [1.0, 2.0, 4.0, 5.0]
        frames = file.get_tensor("1.pitch_frames")
        assert frames.shape[0] == len(file.get_tensor("1.pitch_times"))
        assert torch.isfinite(frames).all()


def test_a_bad_file_is_listed_or_stops(made):
    root, _, _ = made
    (root / "bad.wav").write_bytes(b"no sound")
    words = [root / "model", root / "sounds", root / "bad.wav", "--output", root / "c.parquet"]
    assert call(*words, "--skip-bad").exit_code == 3
    stopped = call(*words)
    assert stopped.exit_code == 1 and "bad.wav" in str(stopped.exception)
    assert call(*words[:-1], root / "c.txt").exit_code == 2
