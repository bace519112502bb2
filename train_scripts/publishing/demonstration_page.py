"""`decomp-ser demo`: the demonstration page on this computer."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from processing.errors import InputError
from train_scripts.runs.foreseen_errors import require_package
from train_scripts.runs.run_folder import RESULTS, check_fine_tuned

SPACE = Path(__file__).with_name("space")
QUICKSTART = Path("runs/quickstart")
"""Where `decomp-ser quickstart` leaves its model and a clip."""


def default_model() -> str:
    """The model of the quickstart; InputError where there is none."""
    folder = QUICKSTART / "model"
    if not (folder / RESULTS).is_file():
        raise InputError(
            f"no MODEL given, and none in {folder}: train the small one with `decomp-ser "
            "quickstart` (a few minutes), or give the output folder of "
            "`decomp-ser finetune` or a repository id."
        )
    return str(folder)


def load_space() -> ModuleType:
    """The page's own module, which is no part of a package: it is copied into Spaces as it is.

    Raises:
        InputError: if the extra `demo` is not installed.
    """
    require_package("gradio", "decomp-ser demo")
    sys.path.insert(0, str(SPACE))  # as where a script of that folder is run
    try:
        spec = importlib.util.spec_from_file_location("decomp_ser_space", SPACE / "app.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(SPACE))
    return module


def build_page(model_name: str | None = None):
    """The page of a model, and its module.

    Args:
        model_name: folder of a run, or a repository id; default that of the quickstart.

    Raises:
        InputError: if the model cannot be used or gradio is missing.
    """
    name = model_name or default_model()
    check_fine_tuned(name)
    space = load_space()
    clip = Path(name).parent / "clip.flac"
    example = clip if Path(name).is_dir() and clip.is_file() else None
    try:
        return space, space.build_page(name, example)
    except (OSError, ValueError) as error:
        raise InputError(
            f"model '{name}': {' '.join(str(error).split())} Expected an output folder of "
            "`decomp-ser finetune` or a repository id."
        ) from error
