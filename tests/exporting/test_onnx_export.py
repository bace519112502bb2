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
def exported(trained_run, corpus_folder, fold, tmp_path_factory):
    """An export beside what an interrupted one left: (folder, content of export.json)."""
    folder = tmp_path_factory.mktemp("exports") / "ours"
    left = folder.with_name("ours.part")
    left.mkdir()
    (left / "left_over").touch()
    content = export_onnx(
        str(trained_run[1]),
        folder,
        int8=True,
        data=str(corpus_folder),
        protocol="speaker",
        fold=fold,
    )
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
    assert content["milliseconds_per_second"].keys() == {"torch", "float32", "int8"}


def test_accuracy_of_torch_and_float32_is_that_of_the_run(exported, trained_run):
    _, content = exported
    accuracy = content["accuracy"]
    assert accuracy["protocol"] == vars(trained_run[2].protocol) and accuracy["overlap"] is None
    assert accuracy["turns"] == sum(map(sum, trained_run[2]["confusion"]))
    for kind in ("torch", "float32"):
        scores = accuracy["scores"][kind]
        for name in ("weighted_accuracy", "unweighted_average_recall"):
            assert scores[name] == pytest.approx(getattr(trained_run[2].metrics, name))
        assert scores["same_answers"] == 1
    assert 0 <= accuracy["scores"]["int8"]["same_answers"] <= 1


def test_the_summary_has_a_line_for_each_and_says_what_was_not_measured(exported):
    _, content = exported
    lines = summarize_export(content).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["torch", "float32", "int8"]
    score = content["accuracy"]["scores"]["int8"]["weighted_accuracy"]
    assert f"{score:.3f}" in lines[3].split()
    assert "not measured" in summarize_export({**content, "accuracy": None})


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
    ("output", "options", "message"),
    [
        ("full", {}, "exists already"),
        ("model.onnx", {}, "expected a folder"),
        ("out", {"fold": "a"}, "go together"),
        ("out", {"protocol": "speaker", "fold": "a"}, "--protocol without --data"),
        ("out", {"data": "nowhere"}, "nowhere"),
    ],
)
def test_wrong_input_is_named_before_anything_is_written(
    output, options, message, trained_run, tmp_path
):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match=message):
        export_onnx(str(trained_run[1]), tmp_path / output, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["full"]


def test_turns_that_the_model_was_trained_on_are_refused(trained_run, corpus_folder, tmp_path):
    with pytest.raises(InputError, match="in its training set"):
        export_onnx(str(trained_run[1]), tmp_path / "out", data=str(corpus_folder))


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
