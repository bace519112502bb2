"""Faults of the machine: a disk that fills, a clock that goes back. See docs/faults.md."""

import errno
import os
import re
import resource
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from support.planted_runs import plant_row
from support.records import make_record
from support.tiny_pipeline import save_tiny_model
from typer.testing import CliRunner

from processing.corpora.loading import load_corpus
from processing.corpora.preparation import prepare
from processing.errors import InputError
from train_scripts.exporting.onnx_export import export_onnx
from train_scripts.prepare import app
from train_scripts.reports.writing import report
from train_scripts.runs.foreseen_errors import describe_foreseen
from train_scripts.runs.record import read_record, write_json, write_record
from train_scripts.runs.run_folder import load_model

DOCUMENT = Path(__file__).parents[1] / "docs" / "faults.md"


@contextmanager
def full_disk(room: int):
    """No file may grow beyond some bytes, as on a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, 16000)
    soundfile.write(folder / "a.wav", noise, 16000)
    (folder / "metadata.csv").write_text("file_name,emotion,speaker\na.wav,sad,s1\n")
    return folder


@pytest.mark.parametrize("room", [0, 100, 4000, 20_000])
def test_a_disk_that_fills_in_prepare_leaves_the_corpus_of_before(source, tmp_path, room):
    prepare("folder", str(source), tmp_path / "out")
    expected = load_corpus(tmp_path / "out").to_list()
    with full_disk(room), pytest.raises(OSError) as error:
        prepare("folder", str(source), tmp_path / "out", overwrite=True)
    assert error.value.errno == errno.EFBIG or "os error 27" in str(error.value)
    assert describe_foreseen(error.value, []) is not None  # one line, exit code 2
    assert load_corpus(tmp_path / "out").to_list() == expected
    result = CliRunner().invoke(app, ["folder", str(source), f"{tmp_path}/out", "--overwrite"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("room", [0, 300])
def test_a_disk_that_fills_leaves_the_record_of_before(tmp_path, room):
    first = write_record(tmp_path, make_record(seconds=1.0))
    with full_disk(room), pytest.raises(OSError):
        write_record(tmp_path, make_record(seconds=2.0))
    assert read_record(tmp_path) == first


@pytest.mark.parametrize("room", [0, 3000, 50_000])
def test_a_disk_that_fills_while_a_model_is_saved_leaves_no_half_that_answers(tmp_path, room):
    model, processor = save_tiny_model(tmp_path / "model")
    shutil.copytree(tmp_path / "model", tmp_path / "new")
    assert (tmp_path / "new" / "model.safetensors").stat().st_size > 50_000
    with full_disk(room), pytest.raises(Exception, match="(?i)large|error 27"):
        model.save_pretrained(tmp_path / "new")
    whole, _ = load_model(str(tmp_path / "model"))
    try:
        found, _ = load_model(str(tmp_path / "new"))
    except InputError as error:
        assert room >= 50_000 or "config.json" in str(error), error
    else:  # nothing was written yet: it is what it was
        assert room < 50_000
        for name, value in whole.state_dict().items():
            assert torch.equal(value, found.state_dict()[name])
    model.save_pretrained(tmp_path / "new")
    processor.save_pretrained(tmp_path / "new")
    load_model(str(tmp_path / "new"))


def content_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("room", [0, 2000, 20_000])
def test_a_disk_that_fills_leaves_the_report_of_before(tmp_path, room):
    plant_row(tmp_path / "runs", "table3_ours", seeds=(0,))
    report([tmp_path / "runs"], tmp_path / "out", num_resamples=2000)
    expected = content_of(tmp_path / "out")
    assert len(expected) == 5 and max(map(len, expected.values())) > 20_000
    plant_row(tmp_path / "runs", "table3_m1", seeds=(0,))
    with full_disk(room), pytest.raises(OSError) as error:
        report([tmp_path / "runs"], tmp_path / "out", num_resamples=2000)
    assert describe_foreseen(error.value, []) is not None
    assert content_of(tmp_path / "out") == expected
    report([tmp_path / "runs"], tmp_path / "out", num_resamples=2000)
    assert len(content_of(tmp_path / "out")) > len(expected)


@pytest.mark.parametrize("room", [0, 3000, 50_000])
def test_a_disk_that_fills_leaves_no_export(tmp_path, room):
    save_tiny_model(tmp_path / "model")
    with full_disk(room), pytest.raises(Exception, match="(?i)large|error 27|write|space"):
        export_onnx(str(tmp_path / "model"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    export_onnx(str(tmp_path / "model"), tmp_path / "out")
    assert (tmp_path / "out" / "model.onnx").stat().st_size > 50_000


def test_a_clock_that_was_set_back_decides_nothing(source, tmp_path):
    write_json(tmp_path / "first.json", 1)
    prepare("folder", str(source), tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        os.utime(path, (0, 0))
    assert load_corpus(tmp_path / "out")["id"] == ["a.wav"]
    prepare("folder", str(source), tmp_path / "out", overwrite=True)
    assert load_corpus(tmp_path / "out")["id"] == ["a.wav"]


def test_every_test_that_the_list_of_faults_names_exists():
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", DOCUMENT.read_text(encoding="utf-8"))
    assert len(named) > 20
    for file, test in named:
        content = (DOCUMENT.parents[1] / file).read_text(encoding="utf-8")
        assert not test or f"def {test}(" in content, (file, test)
