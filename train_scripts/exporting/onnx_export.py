"""`decomp-ser export`: a trained model in a form that runs without Python."""

import logging
import math
import os
import shutil
from pathlib import Path

import torch
import typer

from processing.errors import InputError
from train_scripts.answers.evaluation import check_protocol, scored_turns
from train_scripts.runs.record import git_commit, package_versions, write_json
from train_scripts.runs.run_folder import load_model

logger = logging.getLogger(__name__)

MODEL_FILE = "model.onnx"
INT8_FILE = "model_int8.onnx"
DESCRIPTION = "export.json"
TOLERANCE = 1e-4
"""Largest difference of an output that an exported model may have to its original."""


def export_onnx(
    model_name: str,
    output: str | Path,
    *,
    int8: bool = False,
    data: str | None = None,
    protocol: str | None = None,
    fold: str | None = None,
    skip_bad: bool = False,
    allow_overlap: bool = False,
) -> dict:
    """Write a model as ONNX and measure what was written.

    Args:
        model_name: folder of a run, or a repository id.
        output: new folder. It gets model.onnx, the settings and code of the feature extractor, and
            export.json, which says what the inputs and outputs are and how the file was checked.
        int8: also write model_int8.onnx with 8-bit weights.
        data: corpus on which accuracy is measured; see `load_corpus`.
        protocol: measure on the test turns of this protocol only.
        fold: of the protocol.
        skip_bad: leave out clips that cannot be used.
        allow_overlap: measure on turns or speakers that the model was trained on; it is marked.

    Returns:
        The content of export.json.

    Raises:
        InputError: if the model, the corpus or the folder cannot be used.
        RuntimeError: if an output of model.onnx is more than 1e-4 off that of the model.
    """
    output = Path(output)
    check_output(output)
    check_protocol(protocol, fold)
    if protocol is not None and data is None:
        raise InputError("--protocol without --data: give the corpus that it splits.")
    onnx_graph, measurements = load_onnx_modules()
    model, processor = load_model(model_name)
    model.float()
    extractor = processor.feature_extractor
    scored = None
    if data is not None:  # first, because it is what may be wrong
        scored = scored_turns(
            model_name,
            model,
            processor,
            data=data,
            protocol=protocol,
            fold=fold,
            skip_bad=skip_bad,
            allow_overlap=allow_overlap,
        )

    part = output.with_name(f"{output.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of an interrupted export
    part.mkdir(parents=True)
    say(f"Writing {MODEL_FILE} ...")
    onnx_graph.write_graph(model, part / MODEL_FILE, hop_length=extractor.hop_length)
    description = onnx_graph.describe_graph(model, extractor)
    files = {"float32": MODEL_FILE}
    if int8:
        say(f"Writing {INT8_FILE} ...")
        files["int8"] = INT8_FILE
        onnx_graph.quantize_weights(part / MODEL_FILE, part / INT8_FILE)
    for name in files.values():
        onnx_graph.write_description(part / name, description)
    extractor.save_pretrained(part)

    say("Comparing with the model ...")
    classifiers = {"torch": measurements.as_classifier(model)} | {
        kind: onnx_graph.OnnxClassifier(part / name) for kind, name in files.items()
    }
    described_files = {
        kind: {
            "name": name,
            "bytes": (part / name).stat().st_size,
            "largest_difference": measurements.largest_difference(
                model, classifiers[kind], hop_length=extractor.hop_length
            ),
        }
        for kind, name in files.items()
    }
    check_parity(described_files["float32"]["largest_difference"], part / MODEL_FILE)
    speed = {
        kind: measurements.milliseconds_per_second(
            model, classifier, hop_length=extractor.hop_length
        )
        for kind, classifier in classifiers.items()
    }
    content = {
        "model": model_name,
        "opset": onnx_graph.OPSET,
        **description,
        "tolerance": TOLERANCE,
        "files": described_files,
        "milliseconds_per_second": speed,
        "threads": torch.get_num_threads(),
        "accuracy": None,
        "versions": package_versions() | onnx_graph.runtime_versions(),
        "commit": git_commit(),
    }
    if scored is not None:
        rows, described, overlap, collator = scored
        say(f"Scoring {len(rows)} turns ...")
        content["accuracy"] = {
            "data": data,
            "protocol": described,
            "fold": fold,
            "overlap": overlap,
            "turns": len(rows),
            "scores": measurements.score_classifiers(
                classifiers, collator, rows, description["labels"]
            ),
        }
    write_json(part / DESCRIPTION, content)
    os.replace(part, output)  # also where an empty folder stands
    return content


def load_onnx_modules():
    """The modules that need the extra `export`.

    Raises:
        InputError: if it is not installed.
    """
    try:
        from train_scripts.exporting import onnx_graph, onnx_measurements
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed: install the extra with pip install "
            "'decomp-ser[export]'."
        ) from error
    return onnx_graph, onnx_measurements


def say(text: str) -> None:
    """Tell the user what happens, beside the results."""
    typer.echo(text, err=True)


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
    """Short summary for standard output."""
    scores = (content["accuracy"] or {}).get("scores", {})
    lines = [
        f"{'':8} {'MB':>8} {'largest diff.':>14} {'ms per s':>9} {'WA':>7} {'UAR':>7} {'same':>7}"
    ]
    for kind, speed in content["milliseconds_per_second"].items():
        file = content["files"].get(kind)
        size = f"{file['bytes'] / 1e6:.1f}" if file else ""
        difference = f"{file['largest_difference']:.1e}" if file else ""
        score = scores.get(kind)
        names = ("weighted_accuracy", "unweighted_average_recall", "same_answers")
        shown = " ".join(f"{score[name]:7.3f}" if score else f"{'-':>7}" for name in names)
        lines.append(f"{kind:8} {size:>8} {difference:>14} {speed:9.2f} {shown}")
    lines.append(
        f"ms per s: milliseconds for a second of sound, one turn of 4.5 s, "
        f"{content['threads']} thread(s), without the feature extractor."
    )
    if not scores:
        lines.append("Accuracy was not measured: give --data (and --protocol, --fold).")
    return "\n".join(lines)
