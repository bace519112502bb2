"""`decomp-ser export`: a trained model in a form that runs without Python."""

import math
import os
import shutil
from importlib.metadata import version
from pathlib import Path

import typer

from processing.errors import InputError
from train_scripts.exporting import onnx_graph
from train_scripts.exporting.onnx_parity import largest_difference
from train_scripts.runs.record import git_commit, package_versions, write_json
from train_scripts.runs.run_folder import load_model

MODEL_FILE = "model.onnx"
INT8_FILE = "model_int8.onnx"
DESCRIPTION = "export.json"
TOLERANCE = 1e-4
"""Largest difference of an output that an exported model may have to its original."""


def export_onnx(model_name: str, output: str | Path, *, int8: bool = False) -> dict:
    """Write a model as ONNX and compare what was written with it.

    Args:
        model_name: folder of a run, or a repository id.
        output: new folder. It gets model.onnx, the settings and code of the feature extractor, and
            export.json, which says what the inputs and outputs are and how the file was checked.
        int8: also write model_int8.onnx with 8-bit weights.

    Returns:
        The content of export.json.

    Raises:
        InputError: if the model or the folder cannot be used.
        RuntimeError: if an output of model.onnx is more than 1e-4 off that of the model.
    """
    output = Path(output)
    check_output(output)
    model, processor = load_model(model_name)
    model, extractor = model.float(), processor.feature_extractor
    part = output.with_name(f"{output.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of an interrupted export
    part.mkdir(parents=True)
    description, hop = onnx_graph.describe_graph(model, extractor), extractor.hop_length
    files = {}
    for kind, name in [("float32", MODEL_FILE)] + [("int8", INT8_FILE)] * int8:
        typer.echo(f"Writing {name} ...", err=True)
        if kind == "int8":
            onnx_graph.quantize_weights(part / MODEL_FILE, part / name)
        else:
            onnx_graph.write_graph(model, part / name, hop_length=hop)
        onnx_graph.write_description(part / name, description)
        exported = onnx_graph.OnnxClassifier(part / name)
        files[kind] = {
            "name": name,
            "bytes": (part / name).stat().st_size,
            "largest_difference": largest_difference(model, exported, hop_length=hop),
        }
    check_parity(files["float32"]["largest_difference"], part / MODEL_FILE)
    extractor.save_pretrained(part)
    content = {
        "model": model_name,
        "opset": onnx_graph.OPSET,
        **description,
        "tolerance": TOLERANCE,
        "files": files,
        "versions": package_versions() | {n: version(n) for n in ("onnx", "onnxruntime")},
        "commit": git_commit(),
    }
    write_json(part / DESCRIPTION, content)
    os.replace(part, output)  # also where an empty folder stands
    return content


def check_output(folder: Path) -> None:
    """Raise InputError where the folder cannot be written or holds something."""
    if folder.suffix == ".onnx":
        raise InputError(
            f"{folder}: expected a folder, which gets {MODEL_FILE}, {DESCRIPTION} and the feature "
            "extractor."
        )
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise InputError(f"{folder}: exists already. Choose another folder, or delete it.")


def check_parity(difference: float, path: Path) -> None:
    """Raise RuntimeError where the exported model is another one than its original."""
    if math.isnan(difference) or difference > TOLERANCE:
        raise RuntimeError(
            f"{path}: an output differs from the model's by {difference:.3g}, expected at most "
            f"{TOLERANCE:g}. The file is left for inspection; do not use it."
        )


def summarize_export(content: dict) -> str:
    """The files written, their sizes and differences, for standard output."""
    lines = [f"{'file':16} {'MB':>8} {'largest difference of an output':>32}"]
    for file in content["files"].values():
        size, difference = file["bytes"] / 1e6, file["largest_difference"]
        lines.append(f"{file['name']:16} {size:8.1f} {difference:32.1e}")
    return "\n".join(lines)
