"""Units of a cross-validation: one fold of one preset and seed, and the pre-trainings they share.

The folder of a unit is a run folder: finished once its results.json exists, resumed before that.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import yaml

from modeling_decomp_ser import DecompSerConfig
from modeling_decomp_ser.configuration_decomp_ser import DECOMPOSED, SINGLE
from processing.corpora.mixture import Mixture
from processing.errors import InputError
from train_scripts.baselines.systems import find_system, is_system, row_name
from train_scripts.runs.record import RESULTS, read_record
from train_scripts.runs.run_folder import SETTINGS, is_interrupted, require_packages
from train_scripts.runs.settings import FROM_SCRATCH, RunSettings, build_config, load_settings
from train_scripts.runs.yaml_text import read_yaml

PRETRAINED = "pretrained"
NOT_OF_PRETRAINING = frozenset(
    (
        *("use_speech_encoder", "speech_config", "frozen_speech_encoder", "head_dropout"),
        *("resampling_in_finetuning", "emotion_weight", "ctc_weight", "speaker_weight"),
        *("reconstruction_weight", "ctc_reduction", "vocab_size", "pad_token_id", "speakers"),
        *("emotion_head_trained", "temperature", "abstain_below", "dimensions_weight"),
        "signals_digest",
    )
)
"""Fields of DecompSerConfig that pre-training does not read; of `speaker_weight` it reads whether
it is 0. A field that is missing here only costs a pre-training that could have been shared."""

NOT_SHARED = frozenset(("preset", "seed", "speech_encoder", "vocabulary", "model", "finetuning"))
"""Groups of settings that pre-training does not read, or that are handled by themselves."""


@dataclass(frozen=True)
class Unit:
    """One run, with the options of the verb that runs it."""

    kind: Literal["pretrain", "finetune", "baseline"]
    preset: str
    row: str
    """Its name in tables, and the name of its folder."""
    seed: int
    fold: str
    folder: Path
    data: str | Mixture
    protocol: str
    overrides: tuple[str, ...] = ()
    """Settings as "key=value", the seed among them."""
    preset_text: str = ""
    """Content of the preset where it is made for this unit."""
    pretrained: Path | None = None
    """Folder of the unit whose decomposition it starts from."""
    skip_bad: bool = False
    processes: int = 1
    """How many share each step (DDP)."""

    def __str__(self) -> str:
        return f"{self.row} seed {self.seed} fold {self.fold}"

    @property
    def finished(self) -> bool:
        """Whether its results exist."""
        return (self.folder / RESULTS).is_file()


def plan_units(
    presets: Sequence[str],
    folds: Sequence[str],
    num_seeds: int,
    output: Path,
    *,
    pretrained: Path | None = None,
    overrides: Sequence[str] = (),
    **shared,
) -> list[Unit]:
    """All units of a cross-validation, in the order in which they are best run.

    Args:
        presets: names or paths.
        folds: names.
        num_seeds: seeds 0, 1, ... this many.
        output: folder of everything.
        pretrained: folder of a pre-training that every preset with a decomposition starts from;
            default one for each fold and seed.
        overrides: "key=value" settings of all presets.
        **shared: data, protocol, skip_bad and processes of all units.

    Returns:
        Seed by seed and fold by fold, a pre-training before the first unit that needs it.

    Raises:
        InputError: if a preset or a setting does not exist, or two presets share their name.
    """
    rows = check_rows(presets)
    if any(text.partition("=")[0] == "seed" for text in overrides):
        raise InputError("seed: --seeds N runs the seeds 0 to N-1. Leave the setting out.")
    units: dict[Path, Unit] = {}
    for seed in range(num_seeds):
        settings = [*overrides, f"seed={seed}"]
        of_preset = {p: load_preset(p, settings) for p in presets}
        for fold in folds:
            place = Path(f"seed-{seed}", f"fold-{quote(fold, safe='')}")
            common = {"seed": seed, "fold": fold, **shared}
            for preset, row in zip(presets, rows, strict=True):
                if seed and is_baseline(preset) and find_system(preset)[0].is_deterministic:
                    continue  # another seed would change nothing
                loaded = of_preset[preset]
                start = pretrained if loaded and pretraining_settings(loaded) else None
                if loaded and pretraining_settings(loaded) and pretrained is None:
                    pretraining = plan_pretraining(loaded, output, place, common)
                    start = units.setdefault(pretraining.folder, pretraining).folder
                folder = output / row / place
                units[folder] = Unit(
                    kind="finetune" if loaded else "baseline",
                    preset=preset,
                    row=row,
                    folder=folder,
                    overrides=tuple(settings),
                    pretrained=start,
                    **common,
                )
    return list(units.values())


def check_rows(presets: Sequence[str]) -> list[str]:
    """Names of the presets in tables and folders; raises InputError where two are equal."""
    rows = [row_name(p) if is_baseline(p) else Path(p).stem for p in presets]
    for name in rows:
        if rows.count(name) > 1:
            raise InputError(f"preset '{name}' is given {rows.count(name)} times. Give it once.")
        if name == PRETRAINED:
            raise InputError(f"preset '{name}': the folder of pre-trainings has this name. Rename.")
    return rows


def is_baseline(preset: str) -> bool:
    """Whether a preset names one of the other systems, which `run_baseline` runs."""
    return is_system(preset)


def load_preset(preset: str, overrides: Sequence[str]) -> RunSettings | None:
    """Settings of a preset whose packages are installed, None for a baseline, which has none of
    these.
    """
    if is_baseline(preset):
        find_system(preset)
        return None
    settings = load_settings(preset, overrides)
    require_packages(settings)
    return settings


def plan_pretraining(settings: RunSettings, output: Path, place: Path, common: dict) -> Unit:
    """The pre-training that a run starts from, the same for all runs that could share it."""
    content: Any = pretraining_settings(settings)
    text = yaml.safe_dump(content, sort_keys=False)
    components = "-".join(content["model"]["components"])
    key = f"{components}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return Unit(
        kind="pretrain",
        preset=str(output / PRETRAINED / f"{key}.yaml"),
        preset_text=text,
        row=f"{PRETRAINED}/{key}",
        folder=output / PRETRAINED / key / place,
        overrides=(f"seed={settings.seed}",),
        **common,
    )


def pretraining_settings(settings: RunSettings) -> dict | None:
    """All that decides a pre-training beside data, fold and seed, as a preset; None if the run has
    no decomposition or asks for no steps.
    """
    config = build_config(settings)
    if not config.components or settings.pretraining.arguments.get("max_steps") == 0:
        return None
    known = {field.name for field in fields(RunSettings)}
    absent = tuple(f"{name}_" for name in (*DECOMPOSED, SINGLE) if name not in config.components)
    model = {
        name: getattr(config, name)
        for name in DecompSerConfig.__annotations__
        if name not in NOT_OF_PRETRAINING and not name.startswith(absent)
    }
    model["components"] = list(config.components)
    # CTC would ask for a speech encoder, and the size's speaker weight for a timbre code
    model |= {"speaker_weight": float(bool(config.speaker_weight)), "ctc_weight": 0.0}
    shared = {k: v for k, v in settings.as_dict().items() if k in known - NOT_SHARED}
    return {**shared, "speech_encoder": FROM_SCRATCH, "model": model}


def check_folder(unit: Unit) -> None:
    """Refuse a folder that holds a run of other settings, with the names of some that differ."""
    stored = read_stored_settings(unit.folder)
    # a baseline has no settings, and the folder of a pre-training is named by a hash of them
    if stored is None or unit.kind != "finetune":
        return
    now = flatten(load_settings(unit.preset, unit.overrides).as_dict())
    before = flatten(stored)
    # a setting that one of both does not know came or went with another version of the package
    differing = sorted(k for k in now.keys() & before.keys() if now[k] != before[k])
    if differing:
        name = differing[0]
        raise InputError(
            f"{unit.folder}: holds a run with other settings: {', '.join(differing[:5])} differ, "
            f"such as {name}={before[name]!r} there and {now[name]!r} now. Choose another --output "
            "or delete the folder."
        )


def read_stored_settings(folder: Path) -> dict | None:
    """Settings of the run in a folder, finished or to be resumed; None where there is none."""
    if (folder / RESULTS).is_file():
        return read_record(folder).settings
    if (folder / SETTINGS).is_file() and is_interrupted(folder):
        return read_yaml(folder / SETTINGS)
    return None


def flatten(tree: Mapping, prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names.

    Examples:
        >>> flatten({"seed": 0, "model": {"pooling": "mean"}})
        {'seed': 0, 'model.pooling': 'mean'}
    """
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat
