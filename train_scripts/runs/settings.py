"""Presets and settings: read, merged, checked, and turned into the configuration of a run.

A preset is a YAML file that names only what differs from the one it extends. Settings are merged in
this order: base, size, preset, and `key=value` from the command line.
"""

import dataclasses
import difflib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from huggingface_hub.errors import StrictDataclassError
from transformers import SchedulerType, TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy
from transformers.training_args import OptimizerNames

from modeling_decomp_ser import DecompSerConfig
from processing.errors import InputError
from processing.feature_extraction_decomp_ser import SETTINGS as SIGNAL_SETTINGS
from processing.feature_extraction_decomp_ser import DecompSerFeatureExtractor
from train_scripts.corruptions.conditions import check_corruptions
from train_scripts.runs.yaml_text import parse_yaml, read_yaml

PRESETS = Path(__file__).parents[1] / "presets"
SIZES = ("tiny", "small", "paper", "paper-fast")
FROM_SCRATCH = "scratch"
"""The explicit choice of a speech encoder without pretrained weights."""


@dataclass
class StageSettings:
    """What both stages of training have."""

    # fields of `transformers.TrainingArguments` by their own names, such as `max_steps`,
    # `learning_rate` or `lr_scheduler_type`; in a preset they stand beside the stage's own settings
    arguments: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """One flat group, as a preset has it."""
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**self.arguments, **{k: v for k, v in own.items() if k != "arguments"}}


@dataclass
class PreTrainingSettings(StageSettings):
    """Settings of `pretrain` (section 3.2). With `max_steps` 0 cross-validation leaves pre-training
    out.
    """

    shortest_crop: int = 64  # frames of the shortest crop
    longest_crop: int = 128  # frames of the longest crop
    # turns to train on: those of the "fold", or "all", test turns included, which is a leak: the
    # result says so, and fine-tuning refuses it unless told
    scope: Literal["fold", "all"] = "fold"


@dataclass
class AugmentationSettings:
    """Perturbation of the training turns in `finetune`, beside random resampling; none by default,
    as in the paper.
    """

    # the decomposition reads a random excerpt of this many frames of longer turns; 0 reads whole
    # turns
    excerpt_frames: int = 0
    # largest relative change of a turn's duration, the same throughout the turn
    time_stretch: float = 0.0
    vocal_tract_warp: float = 0.0  # largest relative shift of the mel bands up or down
    gain_decibels: float = 0.0  # largest change of level up or down, in dB
    speed: float = 0.0  # largest relative change of the speed of the sound, pitch included
    reverberation_seconds: float = 0.0  # longest reverberation time (60 dB) of the sound
    # loudest white noise in the sound, as a multiple of its own level (0.3 is a signal-to-noise
    # ratio of 10 dB)
    noise: float = 0.0
    # names of corruptions of `decomp-ser stress`, such as [babble, telephone]; a corrupted turn has
    # one of them, at one of the strengths that `stress` tries. Babble is made of other training
    # turns.
    corruptions: list[str] = field(default_factory=list)
    corrupted_share: float = 0.5  # of the turns of an epoch, where there are corruptions
    # what hears the changed sound (the five settings above): "all" parts of the model, or the
    # "speech_encoder" alone, beside the spectrogram and the pitch of the turn as it was recorded
    heard_by: Literal["all", "speech_encoder"] = "all"

    @property
    def changes_sound(self) -> bool:
        """Whether anything is changed before the signals are extracted."""
        return bool(self.speed or self.reverberation_seconds or self.noise or self.corruptions)


@dataclass
class FineTuningSettings(StageSettings):
    """Settings of `finetune` (section 3.3)."""

    # the learning rate of these parts, as a multiple of `learning_rate`; the warm-up is common to
    # all, so that heads start together
    speech_encoder_rate: float = 1.0
    decomposition_rate: float = 1.0
    emotion_head_rate: float = 1.0
    ctc_head_rate: float = 1.0
    speaker_head_rate: float = 1.0
    # weights of equation (5) by task (emotion, ctc, speaker, reconstruction) instead of the
    # preset's, for the tasks that the preset has; they are scaled to a sum of 1. Default: the
    # preset's own.
    task_weights: dict[str, float] = field(default_factory=dict)
    # "none", or "balanced": an emotion's loss counts in inverse proportion to its training turns,
    # with a mean of 1 over these
    class_weights: Literal["none", "balanced"] = "none"
    # what the emotion loss compares with: the "labels", or the shares of the raters' "votes", where
    # the corpus has them (its own label where a turn has none)
    targets: Literal["labels", "votes"] = "labels"
    # rank of low-rank adapters on the attention of the speech encoder, which then is not trained
    # otherwise; merged into it when saved. 0 trains it in full. Needs peft.
    lora_rank: int = 0
    # which checkpoint is kept: the "last", or the best on "validation" speakers by UAR after each
    # epoch
    select: Literal["last", "validation"] = "last"
    # error rate that answers shall keep to on validation speakers: the pipeline flags less
    # confident ones as "unsure". 0 answers all.
    wanted_risk: float = 0.0
    # epochs without a better one after which training stops early, with select=validation; 0 never
    # stops
    patience: int = 0

    def as_dict(self) -> dict[str, Any]:
        """As of a stage; settings of runs that knew no votes are the same."""
        plain = super().as_dict()
        if self.targets == "labels":
            del plain["targets"]
        return plain


@dataclass
class EncoderPreTrainingSettings(StageSettings):
    """Settings of `pretrain-encoder`.

    Args:
        crop_seconds: seconds of the random crop of a longer turn.
        speech_config: fields of the speech encoder's configuration for this stage alone: the masks,
            the codebooks and the negatives of wav2vec2's objective. Dropout and masks of
            `model.speech_config` are those of the saved encoder.
        gumbel_start, gumbel_end: temperature of the choice of a code at the first and the last
            step; it falls by the same factor at every step.
    """

    crop_seconds: float = 3.0
    speech_config: dict[str, Any] = field(default_factory=dict)
    gumbel_start: float = 2.0
    gumbel_end: float = 0.5


ENCODER_STAGE = "encoder_pretraining"

STAGES: dict[str, type[StageSettings]] = {
    "pretraining": PreTrainingSettings,
    "finetuning": FineTuningSettings,
    ENCODER_STAGE: EncoderPreTrainingSettings,
}

MANAGED_ARGUMENTS = {
    "output_dir": "--output",
    "seed": "seed",
    "data_seed": "seed",
    "report_to": "tracking",
    "eval_strategy": "finetuning.select",
    "load_best_model_at_end": "finetuning.select",
    "metric_for_best_model": "finetuning.select",
    "remove_unused_columns": None,
    "length_column_name": None,
}
"""Fields of TrainingArguments that a run sets itself, and the setting that decides them."""

RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**32 - 1),  # what numpy takes
    **dict.fromkeys(
        (
            *("per_device_train_batch_size", "per_device_eval_batch_size"),
            *("gradient_accumulation_steps", "shortest_crop", "longest_crop", "save_total_limit"),
        ),
        (1, 1_000_000_000),
    ),
    **dict.fromkeys(("max_steps", "local_rank", "past_index", "log_level"), (-1, math.inf)),
    **dict.fromkeys(("gumbel_start", "gumbel_end"), (1e-6, 1e6)),
    "crop_seconds": (0.1, 3600),
    **dict.fromkeys(("label_smoothing_factor", "wanted_risk"), (0, 1)),
    **dict.fromkeys(
        ("adam_beta1", "adam_beta2", "time_stretch", "vocal_tract_warp"), (0, 0.999999)
    ),
    "speed": (0, 0.999999),
    **dict.fromkeys(("save_steps", "logging_steps", "eval_steps"), (1e-6, math.inf)),
}
"""Least and most of numbers by their names; of all others, 0 and any finite number."""

CHOICES = {
    "lr_scheduler_type": SchedulerType,
    "save_strategy": SaveStrategy,
    "logging_strategy": IntervalStrategy,
    "optim": OptimizerNames,
}
"""Fields of TrainingArguments that are words."""

TASKS = ("emotion", "ctc", "speaker", "reconstruction")

FORMER_NAMES = {
    "epochs": "num_train_epochs",
    "steps": "max_steps",
    "batch_size": "per_device_train_batch_size",
    "accumulation": "gradient_accumulation_steps",
    "warmup": "warmup_steps",
    "schedule": "lr_scheduler_type",
    "label_smoothing": "label_smoothing_factor",
    "group_by_length": "train_sampling_strategy",
    "save_every": "save_steps",
}
"""Names that settings of a stage had in version 0.1."""


@dataclass
class RunSettings:
    """Everything that decides a run, beside the data and the fold."""

    preset: str = "base"  # its name
    # "tiny", "small", "paper" or "paper-fast" (fewer steps): sizes of the network and the optimiser
    # that fits them
    size: Literal["tiny", "small", "paper", "paper-fast"] = "paper"
    seed: int = 0  # of weights, order, dropout and perturbation
    # repository id or folder of pretrained weights, or "scratch"
    speech_encoder: str = FROM_SCRATCH
    # characters of speech recognition: "english" (those of wav2vec2-base) or "training" (of the
    # training transcripts)
    vocabulary: Literal["english", "training"] = "english"
    # train on the turns of validation speakers too: for a last run, whose settings others have
    # chosen. Nothing is left to select or to calibrate by.
    train_on_validation: bool = False
    # where curves go beside `log.jsonl`: "none", "tensorboard" or "trackio"
    tracking: Literal["none", "tensorboard", "trackio"] = "none"
    model: dict[str, Any] = field(default_factory=dict)  # fields of DecompSerConfig
    features: dict[str, Any] = field(default_factory=dict)  # arguments of DecompSerFeatureExtractor
    pretraining: PreTrainingSettings = field(default_factory=PreTrainingSettings)
    finetuning: FineTuningSettings = field(default_factory=FineTuningSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    encoder_pretraining: EncoderPreTrainingSettings = field(
        default_factory=EncoderPreTrainingSettings
    )

    def as_dict(self) -> dict[str, Any]:
        """Plain dictionary, as stored with a run. The pre-training of the speech encoder decides
        nothing of the other stages, and is stored with its own run only.
        """
        plain = dataclasses.asdict(self)
        del plain[ENCODER_STAGE]
        others = [stage for stage in STAGES if stage != ENCODER_STAGE]
        return {**plain, **{stage: getattr(self, stage).as_dict() for stage in others}}


def load_settings(preset: str, overrides: Sequence[str] = ()) -> RunSettings:
    """Merge a preset with its size and with settings of the command line.

    Args:
        preset: a name from `train_scripts/presets/`, or the path of a YAML file.
        overrides: "key=value" with dotted keys, such as "model.timbre_input=raw" or "size=tiny".

    Raises:
        InputError: if the preset does not exist, or a key or value is not known; names it and what
            there is.
    """
    layers = [parse_override(text) for text in overrides]
    own = read_preset(preset)
    size = next((layer["size"] for layer in reversed([own, *layers]) if "size" in layer), "paper")
    if size not in SIZES:
        raise InputError(f"size={size!r}, expected one of {', '.join(SIZES)}.")
    merged: dict[str, Any] = {}
    for layer in (
        read_yaml(PRESETS / "base.yaml"),
        read_yaml(PRESETS / "sizes" / f"{size}.yaml"),
        own,
        *layers,
    ):
        merged = merge(merged, layer)
    merged.update(preset=Path(preset).stem, size=size)
    return build_settings(merged)


def preset_names() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def read_preset(preset: str, below: Sequence[Path] = ()) -> dict[str, Any]:
    """Read a preset and, merged below it, the one it extends; base itself lies below the sizes.
    `below` are the files that extend this one.
    """
    if preset == "base":
        return {}
    path = PRESETS / f"{preset}.yaml"
    if not path.is_file():
        path = Path(preset)
    if not path.is_file() and preset.startswith("baseline_"):
        raise InputError(
            f"preset '{preset}': is a row of the tables without a preset. Run it with `decomp-ser "
            f"baselines {preset}`."
        )
    if not path.is_file():
        raise InputError(
            f"preset '{preset}': expected one of {', '.join(preset_names())}, or the path of a "
            "YAML file."
        )
    content = read_yaml(path)
    parent = content.pop("extends", None)
    if parent is None:
        return content
    if not isinstance(parent, str):
        raise InputError(f"{path}: extends={parent!r}, expected the name of one preset.")
    if path.resolve() in below:
        raise InputError(f"{path}: extends itself, by {parent!r}. Let one of them extend base.")
    return merge(read_preset(parent, (*below, path.resolve())), content)


def parse_override(text: str) -> dict[str, Any]:
    """Turn "a.b=value" into {"a": {"b": value}}; the value is read as YAML.

    Examples:
        >>> parse_override("finetuning.learning_rate=2.0e-3")
        {'finetuning': {'learning_rate': 0.002}}
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"'{text}': expected key=value, such as size=tiny or finetuning.epochs=5.")
    content: Any = parse_yaml(value, f"'{text}'")
    for part in reversed(key.split(".")):
        content = {part: content}
    return content


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two nested mappings; what is above wins.

    Examples:
        >>> merge({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}})
        {'a': {'x': 1, 'y': 3}}
    """
    result = dict(below)
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            value = merge(result[key], value)
        result[key] = value
    return result


def build_settings(content: Mapping[str, Any]) -> RunSettings:
    """Check merged settings and build them.

    Raises:
        InputError: if a key is unknown or a value has another type.
    """
    values = check_fields(RunSettings, content, "")
    values["augmentation"] = AugmentationSettings(
        **check_fields(AugmentationSettings, values.get("augmentation", {}), "augmentation.")
    )
    check_corruptions(values["augmentation"].corruptions, "augmentation.corruptions")
    for stage in STAGES:
        values[stage] = build_stage(stage, values.get(stage, {}))
    settings = RunSettings(**values)
    check_ranges(settings)
    if settings.finetuning.patience and settings.finetuning.select != "validation":
        raise InputError(
            f"finetuning.patience={settings.finetuning.patience}: training stops early by "
            "validation speakers. Set finetuning.select=validation too."
        )
    for name, asks in (
        ("select=validation", settings.finetuning.select == "validation"),
        (f"wanted_risk={settings.finetuning.wanted_risk}", settings.finetuning.wanted_risk),
    ):
        if settings.train_on_validation and asks:
            raise InputError(
                f"train_on_validation=true leaves no validation turns, which finetuning.{name} "
                "needs. Leave one of the two out."
            )
    known_model = {f.name for f in dataclasses.fields(DecompSerConfig)}
    check_names(settings.model, known_model, "model.")
    known_features = set(SIGNAL_SETTINGS)
    check_names(settings.features, known_features, "features.")
    # both raise for values that they refuse
    build_config(settings)
    build_feature_extractor(settings)
    return settings


def check_ranges(settings: RunSettings) -> None:
    """Raise InputError for a number that no training can use."""
    check_numbers({"seed": settings.seed}, "")
    check_numbers(dataclasses.asdict(settings.augmentation), "augmentation.")
    for stage in STAGES:
        plain = getattr(settings, stage).as_dict()
        check_numbers(plain, f"{stage}.")
        for name, words in CHOICES.items():
            if name in plain:
                check_type(plain[name], Literal[*(word.value for word in words)], f"{stage}.{name}")
    weights = settings.finetuning.task_weights
    check_names(weights, TASKS, "finetuning.task_weights.")
    for name, weight in weights.items():
        check_numbers({name: check_type(weight, float, name)}, "finetuning.task_weights.")
    crops = settings.pretraining
    if crops.shortest_crop > crops.longest_crop:
        raise InputError(
            f"pretraining.shortest_crop={crops.shortest_crop} is longer than longest_crop="
            f"{crops.longest_crop}."
        )


def check_numbers(group: Mapping[str, Any], prefix: str) -> None:
    """Raise InputError for a number of a group that is not finite or outside of its range."""
    for name, value in group.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        least, most = RANGES.get(name, (0, math.inf))
        if not least <= value <= most or not math.isfinite(value):
            expected = f"{least} to {most}" if most < math.inf else f"{least} or more"
            raise InputError(f"{prefix}{name}={value!r}, expected a number, {expected}.")


def build_stage(stage: str, content: Mapping[str, Any]) -> StageSettings:
    """Settings of a stage: its own, and fields of TrainingArguments by their own names.

    Raises:
        InputError: if a name is unknown, of version 0.1 or managed by the run, or a value is of
            another type or has no effect.
    """
    kind, prefix = STAGES[stage], f"{stage}."
    check_group(content, prefix)
    own = {f.name for f in dataclasses.fields(kind)} - {"arguments"}
    hints = get_type_hints(TrainingArguments)
    known = {f.name: hints[f.name] for f in dataclasses.fields(TrainingArguments) if f.init}
    for name in content:
        if name in FORMER_NAMES:
            raise InputError(
                f"setting '{prefix}{name}' is now called '{prefix}{FORMER_NAMES[name]}'."
            )
        if name in MANAGED_ARGUMENTS:
            other = MANAGED_ARGUMENTS[name]
            raise InputError(
                f"setting '{prefix}{name}' is not free: "
                + (f"{other} decides it." if other else "the batches of this project need it.")
            )
    check_names(content, own | set(known), prefix)
    arguments = {
        name: check_type(value, plain_type(known[name]), prefix + name)
        for name, value in content.items()
        if name not in own
    }
    if arguments.get("warmup_steps") and arguments.get("lr_scheduler_type") == "constant":
        raise InputError(
            f"{prefix}warmup_steps={arguments['warmup_steps']}: a constant schedule has none. Set "
            f"{prefix}lr_scheduler_type=constant_with_warmup, or warmup_steps=0."
        )
    chosen = check_fields(kind, {k: v for k, v in content.items() if k in own}, prefix)
    return kind(arguments=arguments, **chosen)


def plain_type(kind: Any) -> Any:
    """The number or text type of a field of TrainingArguments; None where it takes several.

    Examples:
        >>> plain_type(float), plain_type(int | None), plain_type(int | str)
        (<class 'float'>, <class 'int'>, None)
    """
    kinds = [part for part in get_args(kind) or (kind,) if part is not NoneType]
    return kinds[0] if len(kinds) == 1 and kinds[0] in (float, int, bool, str) else None


def build_config(settings: RunSettings, **fields: Any) -> DecompSerConfig:
    """Configuration of the model of a run, with further fields that depend on the data."""
    try:
        return DecompSerConfig(**{**settings.model, **fields})
    except (StrictDataclassError, ValueError, TypeError) as error:
        raise InputError(f"model settings: {' '.join(str(error).split())}") from error


def build_feature_extractor(settings: RunSettings) -> DecompSerFeatureExtractor:
    """Feature extractor of a run."""
    try:
        return DecompSerFeatureExtractor(**settings.features)
    except ValueError as error:
        raise InputError(f"features settings: {error}") from error


def check_fields(kind: type, content: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Check a mapping against the fields of a dataclass, and read numbers that YAML took for
    text.
    """
    check_group(content, prefix)
    fields = {f.name: f.type for f in dataclasses.fields(kind)}
    check_names(content, fields, prefix)
    return {name: check_type(value, fields[name], prefix + name) for name, value in content.items()}


def check_group(content: Any, prefix: str) -> None:
    """Raise InputError for what is not a group of settings."""
    if not isinstance(content, Mapping):
        raise InputError(f"{prefix.rstrip('.')}: expected a group of settings, found {content!r}.")


def check_names(content: Mapping[str, Any], known: Collection[str], prefix: str) -> None:
    """Raise InputError for a name that is not known."""
    check_group(content, prefix)
    former = FORMER_NAMES if prefix.rstrip(".") in STAGES else {}
    for name in content:
        if name not in known:
            alike = difflib.get_close_matches(name, [*known, *former], n=3, cutoff=0.5)
            close = list(dict.fromkeys(prefix + former.get(k, k) for k in alike))
            if not prefix:
                close = dotted_names(name) or close
            if prefix + name == "precision":  # of version 0.1
                close = ["pretraining.bf16", "finetuning.bf16"]
            close = close or sorted(prefix + k for k in known)
            raise InputError(
                f"setting '{prefix}{name}' does not exist. Did you mean {', '.join(close)}?"
            )


def dotted_names(name: str) -> list[str]:
    """Settings inside a group that are called so, or were in version 0.1.

    Examples:
        >>> dotted_names("epochs"), dotted_names("excerpt_frames")
        (['finetuning.num_train_epochs'], ['augmentation.excerpt_frames'])
    """
    only = {"epochs": ("finetuning",), "steps": ("pretraining",), "save_every": ("pretraining",)}
    argument = FORMER_NAMES.get(name, name)
    groups: dict[str, type] = {
        **STAGES,
        "augmentation": AugmentationSettings,
        "model": DecompSerConfig,
    }
    found = []
    for group, kind in groups.items():
        names = {f.name for f in dataclasses.fields(kind)} - {"arguments"}
        if group in STAGES and group in only.get(name, STAGES):
            names |= {f.name for f in dataclasses.fields(TrainingArguments) if f.init}
        if argument in names:
            found.append(f"{group}.{argument}")
    return found


def check_type(value: Any, kind: Any, name: str) -> Any:
    """Return the value in the type of its field.

    Raises:
        InputError: if it is of another type.
    """
    if get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
        raise InputError(
            f"{name}={value!r}, expected one of {', '.join(map(str, get_args(kind)))}."
        )
    if get_origin(kind) is dict:
        check_group(value, name)
    if get_origin(kind) is list:
        if isinstance(value, list):
            return [
                check_type(item, get_args(kind)[0], f"{name}[{i}]") for i, item in enumerate(value)
            ]
        raise InputError(f"{name}={value!r}, expected a list, such as {name}=[babble].")
    if kind is float and isinstance(value, int | str) and not isinstance(value, bool):
        try:  # YAML reads 5e-5, without a point, as text
            return float(value)
        except ValueError:
            pass
    if not isinstance(kind, type) or get_origin(kind) is dict or dataclasses.is_dataclass(kind):
        return value  # groups are checked by their own fields
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise InputError(f"{name}={value!r}, expected a value of type {kind.__name__}.")
