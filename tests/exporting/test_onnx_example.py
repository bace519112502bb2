import subprocess
import sys
from pathlib import Path

import pytest
from support.tiny_networks import HOP
from support.tiny_pipeline import as_dict, encode, tiny_pipeline, voice

from train_scripts.exporting.onnx_export import DESCRIPTION, MODEL_FILE
from train_scripts.exporting.onnx_graph import describe_graph, write_graph
from train_scripts.runs.record import write_json

EXAMPLE = Path(__file__).parents[2] / "model_cards" / "examples" / "onnx_example.py"

# An installed package cannot be taken off the path, but its import can be refused.
ELSEWHERE = """
import runpy, sys
sys.modules.update(dict.fromkeys(["modeling_decomp_ser", "processing", "train_scripts"]))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_the_example_answers_as_the_pipeline_without_the_project(tmp_path):
    recognize = tiny_pipeline(temperature=1.5)
    folder = tmp_path / "exported"
    folder.mkdir()
    write_graph(recognize.model, folder / MODEL_FILE, hop_length=HOP)
    recognize.feature_extractor.save_pretrained(folder)
    write_json(folder / DESCRIPTION, describe_graph(recognize.model, recognize.feature_extractor))
    files = []
    for name, seconds, rate in (("short.wav", 0.7, 16000), ("other rate.wav", 2.0, 44100)):
        (tmp_path / name).write_bytes(encode(voice(seconds, rate), rate))
        files.append(str(tmp_path / name))
    answer = subprocess.run(
        [sys.executable, "-P", "-c", ELSEWHERE, str(EXAMPLE), str(folder), *files],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    for line, file in zip(answer.stdout.splitlines(), files, strict=True):
        name, *entries = line.split("  ")
        found = {entry.split()[0]: float(entry.split()[1]) for entry in entries}
        assert name == file
        assert found == pytest.approx(as_dict(recognize(file)), abs=1e-3)
