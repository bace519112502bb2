"""What an answer loads: nothing that only training, corpora or pages need."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.tiny_pipeline import encode, save_tiny_model, voice

REPOSITORY = Path(__file__).parents[1]
NOT_NEEDED = ("datasets", "evaluate", "matplotlib", "pyworld", "jiwer", "pandas", "gradio", "av")

BY_PIPELINE = """
from transformers import pipeline
recognise = pipeline("audio-classification", model=model, trust_remote_code=True)
recognise(clip, return_timeline=True, return_flags=True)
"""
BY_COMMAND = """
from train_scripts import cli
sys.argv = ["decomp-ser", "predict", model, clip, "--output", clip + ".csv"]
try: cli.main()
except SystemExit as stopped: assert not stopped.code, stopped.code
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model that hears F0 by RAPT, and a clip."""
    from processing import DecompSerFeatureExtractor

    folder = tmp_path_factory.mktemp("imports")
    save_tiny_model(folder / "model")
    DecompSerFeatureExtractor(f0_method="rapt").save_pretrained(folder / "model")
    settings = json.loads((folder / "model" / "processor_config.json").read_text())
    settings["feature_extractor"] |= {"f0_method": "rapt", "settings_digest": None}
    (folder / "model" / "processor_config.json").write_text(json.dumps(settings))
    (folder / "clip.wav").write_bytes(encode(voice(1.0)))
    return folder


@pytest.mark.parametrize("code", [BY_PIPELINE, BY_COMMAND], ids=["pipeline", "predict"])
def test_an_answer_imports_no_more_than_it_needs(made, code):
    script = (
        f"import json, sys\nmodel, clip = {str(made / 'model')!r}, {str(made / 'clip.wav')!r}\n"
        f"{code}\nprint(json.dumps(sorted(sys.modules.keys() & {set(NOT_NEEDED)})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env={**os.environ, "HF_HOME": str(made / "home"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == []
