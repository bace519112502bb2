"""The other systems by name: what runs each, and where it comes from. The module of a system is
imported when it is run.
"""

import importlib
from dataclasses import dataclass
from typing import Any

from processing.errors import InputError


@dataclass(frozen=True)
class System:
    """One system.

    Attributes:
        module: of this room, with `Settings`, `add_features` and `answer`.
        source: whom it follows, in a few words.
        is_reconstruction: built again from a description; see `Settings.UNSTATED` of its module.
        is_deterministic: another seed would change nothing.
        options: values of its settings that make it this system of its module.
    """

    module: str
    source: str
    is_reconstruction: bool = False
    is_deterministic: bool = False
    options: tuple[tuple[str, Any], ...] = ()


HUB = "rival_hub"
"""Takes the model that it fine-tunes after a colon: rival_hub:NAMESPACE/NAME, or a folder."""

LATIF = "Latif et al., IEEE TAFFC 13(2), 2022"

SYSTEMS = {
    "baseline_majority": System("majority", "the commonest emotion", is_deterministic=True),
    "baseline_egemaps": System(
        "functional_machine",
        "Eyben et al., IEEE TAFFC 7(2), 2016",
        is_deterministic=True,
        options=(("feature_set", "eGeMAPSv02"),),
    ),
    "baseline_compare": System(
        "functional_machine",
        "Schuller et al., Interspeech 2016",
        is_deterministic=True,
        options=(("feature_set", "ComParE_2016"),),
    ),
    "table4_prognet": System("prognet", "Gideon et al., Interspeech 2017", is_reconstruction=True),
    "table4_multitask_cnn": System("multitask_cnn", LATIF, is_reconstruction=True),
    "table4_multitask_aae": System("multitask_aae", LATIF, is_reconstruction=True),
    "table4_two_stream_ae": System(
        "two_stream_ae", "reference [18] of the paper", is_reconstruction=True
    ),
    "rival_reslstm_sa": System(
        "reslstm_sa", "Krasnoproshin and Vashkevich, DSPA 2026", is_reconstruction=True
    ),
    HUB: System("hub_model", "a model of the Hub, fine-tuned as it comes"),
}
"""Every system that `decomp-ser baselines` runs."""


def is_system(name: str) -> bool:
    """Whether a name is that of a system and not of a preset.

    Examples:
        >>> is_system("table4_prognet"), is_system("rival_hub:a/b"), is_system("table3_ours")
        (True, True, False)
    """
    return name.partition(":")[0] in SYSTEMS


def find_system(name: str) -> tuple[System, str]:
    """A system and what its name carries after a colon, "" where nothing.

    Raises:
        InputError: if there is none of the name, or it lacks or has too much after the colon.
    """
    base, _, model = name.partition(":")
    if base not in SYSTEMS:
        raise InputError(f"no baseline {name!r}. Choose one of: {', '.join(SYSTEMS)}.")
    if base == HUB and not model:
        raise InputError(
            f"{HUB}: which model? Give a repository id or a folder after it, such as "
            f"{HUB} facebook/wav2vec2-base."
        )
    if base != HUB and model:
        raise InputError(f"{name}: only {HUB} takes a model.")
    return SYSTEMS[base], model


def row_name(name: str) -> str:
    """Name of a system in tables and folders.

    Examples:
        >>> row_name("table4_prognet"), row_name("rival_hub:facebook/wav2vec2-base")
        ('table4_prognet', 'rival_hub_wav2vec2-base')
    """
    base, _, model = name.partition(":")
    last = model.rstrip("/").rpartition("/")[2]
    return f"{base}_{last}" if last else base


def load_system(name: str) -> tuple[Any, dict[str, Any]]:
    """The module that runs a system, and the settings that its name makes; see `find_system`."""
    system, model = find_system(name)
    module = importlib.import_module(f"train_scripts.baselines.{system.module}")
    return module, {**dict(system.options), **({"model": model} if model else {})}
