"""Audio and corpora to model inputs. The feature extractor and processor are registered with Auto.

The classes of a corpus need `datasets`, which takes a second to import, so they are loaded on use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from transformers import AutoFeatureExtractor, AutoProcessor

from .feature_extraction_decomp_ser import DecompSerFeatureExtractor
from .processing_decomp_ser import DecompSerProcessor

# The installed classes win over the code saved beside a model, and need no trust_remote_code. They
# are found by the class name that a saved folder gives, so the type of the model suffices as key
# and its configuration class, which belongs to the other package, is not needed.
AutoFeatureExtractor.register("decomp_ser", DecompSerFeatureExtractor, exist_ok=True)
AutoProcessor.register("decomp_ser", DecompSerProcessor, exist_ok=True)

if TYPE_CHECKING:
    from .collation import DecompSerDataCollator
    from .folds import load_folds


def __getattr__(name: str):
    modules = {"load_folds": "folds", "DecompSerDataCollator": "collation"}
    if name in modules:
        return getattr(import_module(f".{modules[name]}", __name__), name)
    raise AttributeError(f"module 'processing' has no attribute {name!r}")


__all__ = ["DecompSerDataCollator", "DecompSerFeatureExtractor", "DecompSerProcessor", "load_folds"]
