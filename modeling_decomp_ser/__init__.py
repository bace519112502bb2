"""Configuration and models of emotion from decomposed speech, registered with the Auto classes."""

from transformers import AutoConfig, AutoModelForAudioClassification, AutoModelForPreTraining

from .configuration_decomp_ser import COMPONENTS, DecompSerConfig
from .modeling_decomp_ser import (
    DecompSerForAudioClassification,
    DecompSerForPreTraining,
    DecompSerOutput,
)

# The installed classes win over the code saved beside a model, and need no trust_remote_code.
AutoConfig.register("decomp_ser", DecompSerConfig, exist_ok=True)
AutoModelForAudioClassification.register(
    DecompSerConfig, DecompSerForAudioClassification, exist_ok=True
)
AutoModelForPreTraining.register(DecompSerConfig, DecompSerForPreTraining, exist_ok=True)

__all__ = [
    "COMPONENTS",
    "DecompSerConfig",
    "DecompSerForAudioClassification",
    "DecompSerForPreTraining",
    "DecompSerOutput",
]
