"""The record of a run: `results.json`, typed, written and read here alone.

An entry that a kind of run does not have is null. A file without `record_version` is of the first
layout, before the record was typed; it is completed when it is read.
"""

import json
import subprocess
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from importlib import metadata
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from processing.errors import InputError

RESULTS = "results.json"
VERSION = 2
PACKAGES = (
    "decomp-ser",
    "torch",
    "torchaudio",
    "transformers",
    "datasets",
    "accelerate",
    "numpy",
    "scipy",
    "pyworld",
)


@dataclass(kw_only=True)
class Protocol:
    """How the corpus was split.

    Attributes:
        name: of the protocol; "all" where a whole corpus was scored.
        version: of its rule.
        hash: of the ids of each split; null for a whole corpus.
        leaks: the model knows test speakers or test turns, by rule or by what it was trained on.
    """

    name: str
    version: int
    hash: str | None
    leaks: bool


@dataclass(kw_only=True)
class Leaks:
    """What the test turns share with the others; see `processing.leakage.leak_report`.

    Attributes:
        turns: number of turns of each split.
        speakers: number of speakers of each split.
        shared_speakers: names of speakers in test and training.
        in_train: for each kind of leak the number of test turns that share it with training; null
            where it is unknown or was not looked for.
        in_validation: likewise with validation.
    """

    turns: dict[str, int]
    speakers: dict[str, int]
    shared_speakers: list[str]
    in_train: dict[str, int | None]
    in_validation: dict[str, int | None] = field(default_factory=dict)


@dataclass(kw_only=True)
class GroupScores:
    """WA and UAR of a speaker's or gender's turns, fractions in [0, 1].

    Attributes:
        weighted_accuracy: correct turns / all turns.
        unweighted_average_recall: mean recall of the classes that occur.
        num_turns: number of turns.
        absent_labels: number of classes that no turn has.
    """

    weighted_accuracy: float
    unweighted_average_recall: float
    num_turns: int
    absent_labels: int


@dataclass(kw_only=True)
class ClassScores:
    """Scores of the turns of one emotion, fractions in [0, 1]; null where undefined."""

    recall: float | None
    precision: float | None
    f1: float | None
    num_turns: int


@dataclass(kw_only=True)
class Metrics:
    """Metrics of a list of turns; null where a model does not have the task.

    Attributes:
        weighted_accuracy: correct turns / all turns.
        unweighted_average_recall: mean recall of the classes that occur.
        num_turns: number of turns.
        absent_labels: number of classes that no turn has.
        macro_f1: mean F1 of the classes that occur.
        word_error_rate: wrong words / words of the references; may exceed 1.
        speaker_accuracy: share of held-out turns of training speakers whose speaker is recognised.
        speech_mse: squared error of the log-mel spectrogram over a turn's own frames, mean over
            the turns.
        speech_mse_padded: the same over the frames of the turn and of its padding, up to at least
            192. Padding counts as right, so it is lower than `speech_mse`, the more so the shorter
            the turns are.
        ece: expected calibration error of the probabilities at temperature 1, in [0, 1].
    """

    weighted_accuracy: float | None = None
    unweighted_average_recall: float | None = None
    num_turns: int | None = None
    absent_labels: int | None = None
    macro_f1: float | None = None
    word_error_rate: float | None = None
    speaker_accuracy: float | None = None
    speech_mse: float | None = None
    speech_mse_padded: float | None = None
    ece: float | None = None


@dataclass(kw_only=True)
class Scores:
    """Everything that is counted of the predictions of test turns.

    Attributes:
        metrics: of all turns.
        per_class: by emotion word.
        per_speaker: by speaker.
        per_gender: by gender, as the corpus names it.
        confusion: numbers of turns, references in rows and predictions in columns, in the order of
            the labels.
    """

    metrics: Metrics
    per_class: dict[str, ClassScores] = field(default_factory=dict)
    per_speaker: dict[str, GroupScores] = field(default_factory=dict)
    per_gender: dict[str, GroupScores] = field(default_factory=dict)
    confusion: list[list[int]] = field(default_factory=list)


@dataclass(kw_only=True)
class Calibration:
    """Temperature and threshold that were fitted to validation turns.

    Attributes:
        temperature: divisor of the logits that the model takes: the fitted one where it is kept,
            otherwise 1.
        fitted_temperature: the one with the least negative log-likelihood.
        kept: the fitted temperature leaves the expected calibration error no larger than it was.
            With one number the likelihood of a few loud errors may be bought with worse confidence
            everywhere else.
        abstain_below: least confidence of an answer; 0 answers all.
        num_turns: number of validation turns.
        ece_before: expected calibration error at temperature 1.
        ece_after: at the fitted one, kept or not, on the same turns.
        nll_before: mean negative log-likelihood at temperature 1.
        nll_after: at the fitted one.
        wanted_risk: error rate that `abstain_below` keeps to; null where none was asked for.
        risk_coverage: {"confidence", "coverage", "risk"}: of the answers at least as confident,
            their share of all and their error rate; from the most confident on.
        ece_test_before: expected calibration error of the test turns at temperature 1.
        ece_test_after: at the temperature that the model takes, on the same turns.
    """

    temperature: float
    fitted_temperature: float
    kept: bool
    abstain_below: float
    num_turns: int
    ece_before: float
    ece_after: float
    nll_before: float
    nll_after: float
    wanted_risk: float | None
    risk_coverage: list[dict[str, float]]
    ece_test_before: float | None = None
    ece_test_after: float | None = None


@dataclass(kw_only=True)
class RunRecord(Scores):
    """What a run of finetune, pretrain, evaluate or a baseline leaves behind.

    Attributes:
        preset: name of the preset or baseline; null for `evaluate`.
        size: of the preset.
        backbone: speech encoder: a repository id, "scratch", or for `evaluate` its model type.
        model: what `evaluate` scored.
        corpus: names of the corpora of the test turns, joined by "+".
        trained_on: likewise of the training turns, those of pre-training included; null where one
            of them is not known.
        protocol: how the corpus was split.
        fold: name of the fold.
        leaks: what the test turns share with the others.
        overlap: what of the scored turns the model was trained on, in words (`evaluate`).
        pretraining_overlap: what of the test turns the pre-training knew, in words.
        labels: emotion words in the order of the labels.
        seed: of the run.
        selected_by: what chose the epoch: "last", "validation", "test", or words.
        epochs_trained: epochs of fine-tuning that were trained.
        best_epoch: the epoch whose weights are the model's, where validation speakers chose it.
        precision: what training computed in: "float32" or "bfloat16".
        pretrained: name of the folder of the pre-training that it began with.
        n_parameters: number of parameters.
        predictions: name of the file of the predictions.
        task_weights: weight of each task in the loss.
        tasks_switched_off: task to the reason.
        validation_metrics: of the validation turns.
        calibration: what was fitted to the validation turns.
        chosen: settings that a baseline chose on its inner folds.
        probabilities: what the probabilities of a baseline are, in words.
        temperature: of the decision values of a baseline.
        settings: of the run, with `overrides`, what the command line changed.
        seconds: of training; for `evaluate` of scoring.
        constant_baselines: errors of the best answers that do not listen, by metric.
        versions: of the packages that the figures depend on.
        commit: of the source, with "+changes" where it differed; null outside a checkout.
    """

    preset: str | None = None
    size: str | None = None
    backbone: str | None = None
    model: str | None = None
    corpus: str | None = None
    trained_on: str | None = None
    protocol: Protocol
    fold: str | None = None
    leaks: Leaks | None = None
    overlap: str | None = None
    pretraining_overlap: str | None = None
    labels: list[str] = field(default_factory=list)
    seed: int | None = None
    selected_by: str | None = None
    epochs_trained: float | None = None
    best_epoch: int | None = None
    precision: str | None = None
    pretrained: str | None = None
    n_parameters: int | None = None
    predictions: str | None = None
    task_weights: dict[str, float] | None = None
    tasks_switched_off: dict[str, str] = field(default_factory=dict)
    validation_metrics: Metrics | None = None
    calibration: Calibration | None = None
    chosen: dict[str, Any] | None = None
    probabilities: str | None = None
    temperature: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    seconds: float
    constant_baselines: dict[str, float] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    commit: str | None = None

    @property
    def shared_settings(self) -> dict[str, Any]:
        """Settings without those that the folds and seeds of one row may differ in."""
        return {k: v for k, v in self.settings.items() if k not in ("seed", "overrides")}

    def publishable(self) -> "RunRecord":
        """The record without what only its machine knows: names of its folders and files."""
        settings = {k: v for k, v in self.settings.items() if k != "data"}
        for name in {"speech_encoder", "model"} & set(settings):
            if isinstance(settings[name], str):
                settings[name] = _folder_name(settings[name])
        backbone = _folder_name(self.backbone)
        cleared = {"pretrained": None, "predictions": None, "model": None}
        return replace(self, settings=settings, backbone=backbone, **cleared)

    def to_dict(self) -> dict[str, Any]:
        """The content of results.json."""
        return {"record_version": VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, content: Any) -> "RunRecord":
        """The record that a results.json holds.

        Args:
            content: of the file.

        Raises:
            ValueError: if it is of an unknown version, or an entry is missing, unknown or of
                another type than the record declares.
        """
        if not isinstance(content, dict):
            raise ValueError("it is no object with entries")
        content = dict(content)
        version = content.pop("record_version", 1)
        if version not in (1, VERSION):
            raise ValueError(
                f"record_version {version!r} is unknown to this software, which knows versions up "
                f"to {VERSION}"
            )
        return _typed(cls, _from_first_layout(content) if version == 1 else content, "")


def read_record(path: str | Path) -> RunRecord:
    """Read the results.json of a run.

    Args:
        path: of the file, or of the folder that holds it.

    Raises:
        InputError: if it cannot be read, or is no record that this software knows.
    """
    path = Path(path)
    path = path / RESULTS if path.is_dir() else path
    try:
        return RunRecord.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}). Run again what wrote it, or read it with the "
            "decomp-ser that did."
        ) from error


def write_record(folder: Path, record: RunRecord) -> RunRecord:
    """Write the results.json of a run; the file appears when it is whole.

    Args:
        folder: of the run.
        record: completed with the versions of the packages and the commit, if it has none.

    Returns:
        What was written.
    """
    if not record.versions:
        record = replace(record, versions=package_versions(), commit=git_commit())
    write_json(folder / RESULTS, record.to_dict())
    return record


def write_json(path: Path, content: Any, *, indent: int = 2) -> None:
    """Write a file of JSON that appears only when it is whole."""
    part = path.with_name(f"{path.name}.part")
    text = json.dumps(content, indent=indent, ensure_ascii=False)
    part.write_text(f"{text}\n", encoding="utf-8")
    part.replace(path)


def package_versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    return {name: metadata.version(name) for name in PACKAGES}


def git_commit() -> str | None:
    """Commit of the source, with "+changes" where the work tree differs from it; None outside a
    checkout.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _from_first_layout(content: dict[str, Any]) -> dict[str, Any]:
    """Entries that the first layout did not have."""
    # scores of `evaluate` have no preset, and name the corpus that was scored
    trained_on = content.get("corpus") if content.get("preset") else None
    calibration = content.get("calibration")
    if calibration:  # every temperature was kept
        fitted = {"fitted_temperature": calibration.get("temperature"), "kept": True}
        calibration = {**fitted, **calibration}
    return {"trained_on": trained_on, **content, "calibration": calibration or None}


def _folder_name(name: str | None) -> str | None:
    """The last part of a path of this machine, and anything else as it is."""
    return Path(name).name if name and Path(name).exists() else name


def _typed(kind: Any, value: Any, name: str) -> Any:
    """A value of JSON as the type that the record declares for it.

    Raises:
        ValueError: if it is not of that type; names the entry.
    """
    if kind is Any:
        return value
    arguments = get_args(kind)
    if NoneType in arguments:
        return None if value is None else _typed(arguments[0], value, name)
    basic = dict if is_dataclass(kind) else get_origin(kind) or kind
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not basic:
        raise ValueError(
            f"entry '{name}' is {str(value)[:40]!r}, expected {getattr(basic, '__name__', basic)}"
        )
    if is_dataclass(kind):
        return _typed_fields(kind, value, f"{name}." if name else "")
    if basic is dict and arguments:
        return {k: _typed(arguments[1], v, f"{name}.{k}") for k, v in value.items()}
    if basic is list:
        return [_typed(arguments[0], v, f"{name}[{i}]") for i, v in enumerate(value)]
    return value


def _typed_fields(kind: Any, content: dict[str, Any], prefix: str) -> Any:
    """A dataclass of the record from an object of JSON."""
    hints = get_type_hints(kind)
    unknown = [name for name in content if name not in hints]
    needed = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
    missing = [name for name in needed if name not in content]
    for names, problem in ((missing, "is missing"), (unknown, "is unknown")):
        if names:
            raise ValueError(f"entry '{prefix}{names[0]}' {problem}")
    return kind(**{k: _typed(hints[k], v, f"{prefix}{k}") for k, v in content.items()})
