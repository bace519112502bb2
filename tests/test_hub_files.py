"""What ships to the Hub beside a model: files that stand alone, and the round trip through them."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_networks import INPUTS, random_batch, tiny_autoencoder
from support.tiny_pipeline import as_dict, tiny_pipeline, trained_classifier, voice
from torch.testing import assert_close
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    AutoProcessor,
    pipeline,
)

import modeling_decomp_ser
import processing
from modeling_decomp_ser.pipeline_decomp_ser import DecompSerPipeline
from processing import DecompSerFeatureExtractor, DecompSerProcessor
from processing.text import ENGLISH_VOCABULARY

MODEL_FILES = sorted(
    p for p in Path(modeling_decomp_ser.__file__).parent.glob("*.py") if p.name != "__init__.py"
)
PROCESSING_FILES = sorted(
    Path(processing.__file__).parent / f"{name}.py"
    for name in (
        "feature_extraction_decomp_ser",
        "processing_decomp_ser",
        "announced_lengths",
        "audio_files",
        "container_files",
        "errors",
        "mel_spectrogram",
        "pitch",
        "rapt",
        "rapt_candidates",
        "rapt_path",
        "rapt_settings",
        "rapt_voicing",
        "text",
    )
)
SHIPPED = MODEL_FILES + PROCESSING_FILES
THIRD_PARTY = {"numpy", "scipy", "torch", "torchaudio", "transformers"}
# these come with transformers
REQUIRED_BY_TRANSFORMERS = {"huggingface_hub", "safetensors"}
OPTIONAL = {"pyworld", "soundfile", "soxr"}

each_file = pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)


def guarded_nodes(tree) -> set[int]:
    """Ids of the nodes inside a `try` that catches ImportError."""
    inside = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Try):
            caught = {getattr(h.type, "id", None) for h in node.handlers}
            if "ImportError" in caught:
                inside |= {id(n) for statement in node.body for n in ast.walk(statement)}
    return inside


def import_problems(source: str, siblings: set[str]) -> list[str]:
    """Imports that the loader of the Hub could not follow."""
    tree = ast.parse(source)
    guarded = guarded_nodes(tree)
    problems = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom) and node.level:
            if node.level > 1 or node.module is None or "." in node.module:
                problems.append(f"line {node.lineno}: relative import of another form")
            elif node.module not in siblings:
                problems.append(f"line {node.lineno}: .{node.module} is not beside it")
        elif isinstance(node, ast.ImportFrom):
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            top = name.split(".")[0]
            allowed = top in sys.stdlib_module_names or top in THIRD_PARTY
            allowed |= top in REQUIRED_BY_TRANSFORMERS
            allowed |= top in OPTIONAL and id(node) in guarded
            if not allowed:
                problems.append(f"line {node.lineno}: import of {top}")
    # the copier reads by regular expression, docstrings too
    own = {n.lineno for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level}
    for number, line in enumerate(source.splitlines(), 1):
        if re.match(r"\s*(import|from)\s+\.", line) and number not in own:
            problems.append(f"line {number}: text that reads as a relative import")
    return problems


@each_file
def test_a_shipped_file_imports_only_what_the_loader_can_follow(path):
    siblings = {p.stem for p in SHIPPED if p.parent == path.parent}
    assert import_problems(path.read_text(encoding="utf-8"), siblings) == []


@pytest.mark.parametrize(
    "source",
    [
        "from . import rapt",
        "from ..processing.rapt import rapt",
        "from .layers.encoder import E",
        "from .ghost import x",
        "from processing.rapt import rapt",
        "import datasets",
        "def f():\n    import pyworld",
        "try:\n    import soxr\nexcept ValueError:\n    pass",
        '"""Text\nfrom .rapt import x\n"""',
    ],
)
def test_the_check_finds_what_the_loader_cannot_follow(source):
    assert import_problems(source, {"rapt"}) != []


def test_the_check_passes_what_the_loader_can_follow():
    source = "import torch\nfrom .rapt import rapt\n"
    source += "try:\n    import soxr\nexcept ImportError:\n    soxr = None\n"
    assert import_problems(source, {"rapt"}) == []


def test_no_two_shipped_files_have_one_name():
    names = [p.name for p in SHIPPED]
    assert len(names) == len(set(names))
    assert all(p.is_file() for p in SHIPPED)


@each_file
def test_a_shipped_file_reads_no_file_beside_it(path):
    assert "__file__" not in path.read_text(encoding="utf-8")


# The round trip.

LOAD_ELSEWHERE = """
import importlib.util, json, sys
import numpy as np
import torch
for name in ("modeling_decomp_ser", "processing", "train_scripts"):
    assert importlib.util.find_spec(name) is None, name
from transformers import (
    AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification, AutoModelForPreTraining,
    AutoProcessor, AutoTokenizer, pipeline,
)
folder, autoencoder = sys.argv[1:3]
trust = {"trust_remote_code": True}
inputs = torch.load(sys.argv[3])
wave = np.sin(np.arange(16000) / 20).astype(np.float32)
with torch.no_grad():
    model = AutoModelForAudioClassification.from_pretrained(folder, **trust)
    logits = model(**inputs).logits
    extractor = AutoFeatureExtractor.from_pretrained(folder, **trust)
    features = extractor(wave, sampling_rate=16000, return_tensors="pt")
    processor = AutoProcessor.from_pretrained(folder, **trust)
    of_processor = processor(wave, sampling_rate=16000, return_tensors="pt")
    assert all(torch.equal(features[k], of_processor[k]) for k in features)
    crops = {k: inputs[k] for k in ("mel", "log_f0", "voiced", "frame_mask")}
    pretraining = AutoModelForPreTraining.from_pretrained(autoencoder, **trust)
    torch.save({
        "logits": logits,
        "of wave": model(**features).logits,
        "reconstruction": pretraining(**crops).reconstruction,
    }, sys.argv[4])
assert AutoConfig.from_pretrained(folder, **trust).model_type == "decomp_ser"
tokenizer = AutoTokenizer.from_pretrained(folder, **trust)
assert tokenizer("HELLO").input_ids == processor.tokenizer("HELLO").input_ids

# what was loaded from there can be saved and loaded once more, the pipeline too
def recognise(folder):
    ask = pipeline("audio-classification", model=folder, return_text=True, **trust)
    assert type(ask).__name__ == "DecompSerPipeline", type(ask)
    return ask(wave)
again = sys.argv[5]
model.save_pretrained(again)
processor.save_pretrained(again)
assert recognise(again) == recognise(folder)
reloaded = AutoProcessor.from_pretrained(again, **trust)
assert type(reloaded).__name__ == "DecompSerProcessor"
assert type(reloaded.feature_extractor).__name__ == "DecompSerFeatureExtractor"
"""


@pytest.fixture
def saved(tmp_path):
    model, autoencoder = trained_classifier(), tiny_autoencoder().eval()
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    autoencoder.save_pretrained(tmp_path / "autoencoder")
    DecompSerProcessor.from_vocabulary(
        DecompSerFeatureExtractor(), ENGLISH_VOCABULARY, folder
    ).save_pretrained(folder)
    return tmp_path, model, autoencoder


# what the Auto classes name; the model imports the pipeline
ENTRY_FILES = (
    "configuration_decomp_ser",
    "modeling_decomp_ser",
    "feature_extraction_decomp_ser",
    "processing_decomp_ser",
)


def closure(names) -> set[str]:
    """These files and all that they import from beside them, directly or not."""
    paths = {p.stem: p for p in SHIPPED}
    found, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            tree = ast.parse(paths[name].read_text(encoding="utf-8"))
            waiting += [
                n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level
            ]
    return found


def test_a_saved_model_holds_every_file_it_needs_and_no_other_code(saved):
    folder = saved[0] / "model"
    shipped = {p.name for p in folder.glob("*.py")}
    assert shipped == {f"{name}.py" for name in closure(ENTRY_FILES)} == {p.name for p in SHIPPED}
    for path in SHIPPED:
        if path.name in shipped:
            assert (folder / path.name).read_bytes() == path.read_bytes()
    auto_map = json.loads((folder / "config.json").read_text())["auto_map"]
    assert auto_map["AutoModelForAudioClassification"] == (
        "modeling_decomp_ser.DecompSerForAudioClassification"
    )


def test_a_fresh_process_without_the_repository_answers_bit_for_bit(saved):
    root, model, autoencoder = saved
    inputs = {k: v for k, v in random_batch([20000, 9000]).items() if k in INPUTS}
    torch.save(inputs, root / "inputs.pt")
    arguments = ["model", "autoencoder", "inputs.pt", "outputs.pt", "again"]
    script = root / "load.py"
    script.write_text(LOAD_ELSEWHERE)
    hidden = hide_installed_packages(root)
    environment = {
        **{k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        "HF_HOME": str(root / "home"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(hidden),
    }
    done = subprocess.run(
        [sys.executable, "-P", str(script), *(str(root / a) for a in arguments)],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    outputs = torch.load(root / "outputs.pt")
    wave = np.sin(np.arange(16000) / 20).astype(np.float32)
    features = DecompSerFeatureExtractor()(wave, sampling_rate=16000, return_tensors="pt")
    crops = {k: inputs[k] for k in ("mel", "log_f0", "voiced", "frame_mask")}
    with torch.no_grad():
        assert torch.equal(outputs["logits"], model(**inputs).logits)
        # the last bit may depend on where the memory of the inputs lies
        assert_close(outputs["of wave"], model(**features).logits, atol=1e-6, rtol=1e-6)
        assert torch.equal(outputs["reconstruction"], autoencoder(**crops).reconstruction)
    for path in (root / "model").glob("*.py"):
        assert (root / "again" / path.name).read_bytes() == path.read_bytes()
    configurations = [
        json.loads((root / folder / "config.json").read_text()) for folder in ("model", "again")
    ]
    for entry in ("auto_map", "custom_pipelines"):
        assert configurations[0][entry] == configurations[1][entry]


def test_an_installed_package_needs_no_trust_in_remote_code(saved):
    folder = str(saved[0] / "model")
    for kind in (
        AutoConfig,
        AutoModelForAudioClassification,
        AutoFeatureExtractor,
        AutoProcessor,
    ):
        loaded = kind.from_pretrained(folder, trust_remote_code=False)
        assert type(loaded).__module__.startswith(("modeling_decomp_ser.", "processing."))
    recognise = pipeline(
        "audio-classification",
        model=folder,
        pipeline_class=DecompSerPipeline,
        trust_remote_code=False,
    )
    sound = voice(1.0)
    expected = tiny_pipeline(f0_method="rapt")(sound)
    assert as_dict(recognise(sound)) == pytest.approx(as_dict(expected), abs=1e-6)


def hide_installed_packages(root: Path) -> Path:
    """A folder whose `sitecustomize` makes an editable installation of the project unseen."""
    folder = root / "hidden"
    folder.mkdir()
    repository = str(Path(processing.__file__).parents[1])
    folder.joinpath("sitecustomize.py").write_text(
        "import sys\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if '__editable__' not in repr(f)]\n"
        f"sys.path[:] = [p for p in sys.path if p != {repository!r}]\n"
    )
    return folder


def test_a_file_missing_from_the_folder_is_noticed(saved):
    # shows that the fresh process reads the shipped files, not the repository
    root, _, _ = saved
    shutil.rmtree(root / "autoencoder")
    (root / "model" / "masked_layers.py").unlink()
    with pytest.raises(OSError, match="masked_layers"):
        from transformers.dynamic_module_utils import get_class_from_dynamic_module

        get_class_from_dynamic_module("modeling_decomp_ser.DecompSerOutput", str(root / "model"))
