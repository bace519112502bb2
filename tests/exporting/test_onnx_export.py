import json
import sys

import numpy as np
import pytest

from processing import DecompSerFeatureExtractor
from processing.errors import InputError
from train_scripts.cli import main
from train_scripts.exporting import onnx_graph
from train_scripts.exporting.onnx_export import (
    DESCRIPTION,
    MODEL_FILE,
    TOLERANCE,
    check_parity,
    export_onnx,
    summarize_export,
)


@pytest.fixture(scope="module")
def exported(trained_run, tmp_path_factory):
    """An export beside what an interrupted one left: (folder, content of export.json)."""
    folder = tmp_path_factory.mktemp("exports") / "ours"
    left = folder.with_name("ours.part")
    left.mkdir()
    (left / "left_over").touch()
    content = export_onnx(str(trained_run[1]), folder, int8=True)
    return folder, content


def test_a_folder_has_all_that_is_needed_and_nothing_of_an_interrupted_export(exported):
    folder, content = exported
    assert json.loads((folder / DESCRIPTION).read_text(encoding="utf-8")) == content
    assert not (folder / "left_over").exists()
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]
    for file in content["files"].values():
        assert (folder / file["name"]).stat().st_size == file["bytes"]
    extractor = DecompSerFeatureExtractor.from_pretrained(folder)
    assert extractor.f0_method == content["feature_extractor"]["f0_method"] == "dio"


def test_float32_is_within_the_tolerance_and_int8_is_measured_too(exported):
    _, content = exported
    differences = {kind: f["largest_difference"] for kind, f in content["files"].items()}
    assert 0 < differences["float32"] <= content["tolerance"] == TOLERANCE
    assert differences["int8"] > differences["float32"]


def test_the_summary_has_a_line_for_each_file(exported):
    _, content = exported
    lines = summarize_export(content).splitlines()
    assert [line.split()[0] for line in lines] == ["file", MODEL_FILE, "model_int8.onnx"]
    assert f"{content['files']['int8']['largest_difference']:.1e}" in lines[2].split()


def test_a_graph_that_answers_otherwise_is_an_error(trained_run, tmp_path, monkeypatch):
    def write_another(model, path, *, hop_length, write=onnx_graph.write_graph):
        model.emotion_head.bias.data += 2 * TOLERANCE
        write(model, path, hop_length=hop_length)
        model.emotion_head.bias.data -= 2 * TOLERANCE

    monkeypatch.setattr(onnx_graph, "write_graph", write_another)
    with pytest.raises(RuntimeError, match=r"differs from the model's by 0\.0002"):
        export_onnx(str(trained_run[1]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("difference", [np.nan, np.inf, 1.01 * TOLERANCE])
def test_a_difference_above_the_tolerance_is_refused(difference, tmp_path):
    check_parity(TOLERANCE, tmp_path / MODEL_FILE)
    with pytest.raises(RuntimeError, match="expected at most 0.0001"):
        check_parity(difference, tmp_path / MODEL_FILE)


@pytest.mark.parametrize(
    ("output", "message"), [("full", "exists already"), ("model.onnx", "expected a folder")]
)
def test_a_wrong_folder_is_named_before_anything_is_written(output, message, trained_run, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match=message):
        export_onnx(str(trained_run[1]), tmp_path / output)
    assert [p.name for p in tmp_path.iterdir()] == ["full"]


def test_the_command_names_its_target(monkeypatch, capsys, tmp_path):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["decomp-ser", "export", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code, capsys.readouterr()

    code, streams = call("onnx", str(tmp_path), str(tmp_path / "out"))
    assert code == 2 and streams.err.count("\n") == 1 and f"'{tmp_path}'" in streams.err
    code, streams = call("--help")
    assert code == 0 and "onnx" in streams.out
