"""The pipeline as a saved folder brings it, in a process that does not know this repository."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.tiny_pipeline import as_dict, encode, save_tiny_model, voice
from test_hub_files import hide_installed_packages

from modeling_decomp_ser.pipeline_decomp_ser import DecompSerPipeline
from train_scripts.runs.run_folder import load_model

LOAD_ELSEWHERE = """
import importlib.util, json, sys
assert importlib.util.find_spec("modeling_decomp_ser") is None
from transformers import pipeline
recognize = pipeline("audio-classification", model=sys.argv[1], trust_remote_code=True)
options = dict(return_text=True, return_timeline=True, return_flags=True, window_seconds=1.0)
options["explain"] = True
answers = recognize([sys.argv[2]], batch_size=2, **options)
json.dump([type(recognize).__name__, answers], open(sys.argv[3], "w"))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    save_tiny_model(folder)
    return folder


def test_the_saved_folder_answers_in_a_fresh_process_without_the_repository(folder, tmp_path):
    path, script = tmp_path / "clip.flac", tmp_path / "load.py"
    path.write_bytes(encode(voice(2.2), form="FLAC"))
    script.write_text(LOAD_ELSEWHERE)
    environment = {
        **{k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        "HF_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(hide_installed_packages(tmp_path)),
    }
    arguments = [str(folder), str(path), str(tmp_path / "answers.json")]
    done = subprocess.run(
        [sys.executable, "-P", str(script), *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "not supported" not in done.stderr  # what the library says of unknown models
    name, [answer] = json.loads(Path(arguments[2]).read_text())
    assert name == "DecompSerPipeline"
    model, processor = load_model(str(folder))
    recognize = DecompSerPipeline(
        model=model, feature_extractor=processor.feature_extractor, task="audio-classification"
    )
    options = {"window_seconds": 1.0, "explain": True, "return_timeline": True}
    here = recognize(str(path), return_text=True, **options)
    assert answer["text"] == here["text"]
    for label, shares in here["shares"].items():
        assert answer["shares"][label] == pytest.approx(shares, abs=1e-5)
    assert as_dict(answer["scores"]) == pytest.approx(as_dict(here["scores"]), abs=1e-5)
    assert len(answer["timeline"]) == len(here["timeline"]) == 4


def test_the_saved_folder_holds_all_that_the_pipeline_imports(folder):
    files = {p.name: p.read_text() for p in folder.glob("*.py")}
    assert {"audio_windows.py", "component_shares.py", "timeline_formats.py"} <= files.keys()
    for name, source in files.items():
        imported = re.findall(r"^from \.(\w+) import", source, re.MULTILINE)
        assert {f"{module}.py" for module in imported} <= files.keys(), name
