"""The record of a run: `results.json`, typed, written and read here alone.

An entry that a kind of run does not have is null. A file without `record_version` is of the first
layout, before the record was typed; it is completed when it is read.
"""

import hashlib
import json
import re
import subprocess
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from importlib import metadata
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from processing.errors import InputError

RESULTS = "results.json"
SETTINGS = "settings.yaml"
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
    """How the corpus was split."""

    name: str  # of the protocol; "all" where a whole corpus was scored
    version: int  # of its rule
    hash: str | None  # of the ids of each split; null for a whole corpus
    leaks: bool  # the model knows test speakers or test turns, by rule or by what it was trained on


@dataclass(kw_only=True)
class Leaks:
    """What the test turns share with the others; see `processing.leakage.leak_report`."""

    turns: dict[str, int]  # number of turns of each split
    speakers: dict[str, int]  # number of speakers of each split
    shared_speakers: list[str]  # names of speakers in test and training
    # for each kind of leak the number of test turns that share it with training; null where it is
    # unknown or was not looked for
    in_train: dict[str, int | None]
    in_validation: dict[str, int | None] = field(default_factory=dict)  # likewise with validation


@dataclass(kw_only=True)
class Recalls:
    """WA and UAR of some turns, fractions in [0, 1]."""

    weighted_accuracy: float  # correct turns / all turns
    unweighted_average_recall: float  # mean recall of the classes that occur
    num_turns: int  # number of turns
    absent_labels: int  # number of classes that no turn has


@dataclass(kw_only=True)
class GroupScores(Recalls):
    """Scores of the turns of a speaker, a gender or another group."""

    # mean of the best probability, minus WA: above 0 the model is surer than it should be. Tells
    # less than `ece`, but of few turns too; null in records of before
    overconfidence: float | None = None


@dataclass(kw_only=True)
class Fairness:
    """How far apart the UAR of groups of one kind are; see `runs.groups`."""

    num_groups: int  # with enough turns, and every emotion
    mean: float  # of their UAR
    worst: str  # name of the group with the least UAR
    spread: float  # largest minus least UAR
    # 95 % of random models of the same accuracy, which treat all alike, have no larger spread
    threshold: float
    uneven: bool  # the spread is larger


@dataclass(kw_only=True)
class ClassScores:
    """Scores of the turns of one emotion, fractions in [0, 1]; null where undefined."""

    recall: float | None
    precision: float | None
    f1: float | None
    num_turns: int


@dataclass(kw_only=True)
class CorpusCounts:
    """What a split has of one corpus of a mixture."""

    turns: int  # number of turns
    speakers: int  # number of speakers
    minutes: float  # of speech
    without_text: int  # number of turns without a transcript, which train no speech recognition
    emotions: dict[str, int]  # number of turns of each emotion


@dataclass(kw_only=True)
class MixtureRecord:
    """The corpora of a run on several."""

    labels: str | None  # "union" or "intersection" of their emotions; null where they are the same
    sampling: str  # "proportional", "equal" or a temperature; not read where corpora have weights
    # share of the training draws of each corpus; null where every turn is drawn once an epoch
    shares: dict[str, float] | None
    counts: dict[str, dict[str, CorpusCounts]]  # of each split and corpus

    @property
    def corpora(self) -> list[str]:
        """Names of all corpora."""
        return sorted({name for of_split in self.counts.values() for name in of_split})

    @property
    def turns(self) -> dict[str, int]:
        """Turns of each corpus, of all splits."""
        return {
            name: sum(of[name].turns for of in self.counts.values() if name in of)
            for name in self.corpora
        }


@dataclass(kw_only=True)
class Metrics:
    """Metrics of a list of turns; null where a model does not have the task."""

    weighted_accuracy: float | None = None  # correct turns / all turns
    unweighted_average_recall: float | None = None  # mean recall of the classes that occur
    num_turns: int | None = None  # number of turns
    absent_labels: int | None = None  # number of classes that no turn has
    macro_f1: float | None = None  # mean F1 of the classes that occur
    word_error_rate: float | None = None  # wrong words / words of the references; may exceed 1
    # share of held-out turns of training speakers whose speaker is recognised
    speaker_accuracy: float | None = None
    # squared error of the log-mel spectrogram over a turn's own frames, mean over the turns
    speech_mse: float | None = None
    # the same over the frames of the turn and of its padding, up to at least 192. Padding counts as
    # right, so it is lower than `speech_mse`, the more so the shorter the turns are.
    speech_mse_padded: float | None = None
    # expected calibration error of the probabilities at temperature 1, in [0, 1]
    ece: float | None = None
    # against the shares of the raters' votes, mean over the turns that have votes: cross entropy in
    # nats, which is their own entropy at least; and Spearman's correlation of the ranks of emotions
    vote_cross_entropy: float | None = None
    vote_rank_correlation: float | None = None
    # concordance correlation coefficient with the ratings, over the turns that have all
    ccc_valence: float | None = None
    ccc_activation: float | None = None
    ccc_dominance: float | None = None


@dataclass(kw_only=True)
class Scores:
    """Everything that is counted of the predictions of test turns."""

    metrics: Metrics  # of all turns
    per_class: dict[str, ClassScores] = field(default_factory=dict)  # by emotion word
    per_speaker: dict[str, GroupScores] = field(default_factory=dict)  # by speaker
    # by gender, as the corpus names it
    per_gender: dict[str, GroupScores] = field(default_factory=dict)
    per_age: dict[str, GroupScores] = field(default_factory=dict)  # by decade of years, or words
    per_language: dict[str, GroupScores] = field(default_factory=dict)  # by language
    per_corpus: dict[str, GroupScores] = field(default_factory=dict)  # by corpus
    # by the kind of group ("speaker", "gender", "age", "language", "corpus") of which there are two
    fairness: dict[str, Fairness] = field(default_factory=dict)
    # numbers of turns, references in rows and predictions in columns, in the order of the labels
    confusion: list[list[int]] = field(default_factory=list)


@dataclass(kw_only=True)
class Calibration:
    """Temperature and threshold that were fitted to validation turns."""

    # divisor of the logits that the model takes: the fitted one where it is kept, otherwise 1
    temperature: float
    fitted_temperature: float  # the one with the least negative log-likelihood
    # the fitted temperature leaves the expected calibration error no larger than it was. With one
    # number the likelihood of a few loud errors may be bought with worse confidence everywhere
    # else.
    kept: bool
    abstain_below: float  # least confidence of an answer; 0 answers all
    num_turns: int  # number of validation turns
    ece_before: float  # expected calibration error at temperature 1
    ece_after: float  # at the fitted one, kept or not, on the same turns
    nll_before: float  # mean negative log-likelihood at temperature 1
    nll_after: float  # at the fitted one
    # error rate that `abstain_below` keeps to; null where none was asked for
    wanted_risk: float | None
    # {"confidence", "coverage", "risk"}: of the answers at least as confident, their share of all
    # and their error rate; from the most confident on
    risk_coverage: list[dict[str, float]]
    # expected calibration error of the test turns at temperature 1
    ece_test_before: float | None = None
    # at the temperature that the model takes, on the same turns
    ece_test_after: float | None = None


@dataclass(kw_only=True)
class RunRecord(Scores):
    """What a run of finetune, pretrain, evaluate or a baseline leaves behind."""

    preset: str | None = None  # name of the preset or baseline; null for `evaluate`
    size: str | None = None  # of the preset
    # speech encoder: a repository id, "scratch", or for `evaluate` its model type
    backbone: str | None = None
    model: str | None = None  # what `evaluate` scored
    corpus: str | None = None  # names of the corpora of the test turns, joined by "+"
    # likewise of the training turns, those of pre-training included; null where one of them is not
    # known
    trained_on: str | None = None
    mixture: MixtureRecord | None = None  # where the data are several corpora
    protocol: Protocol  # how the corpus was split
    fold: str | None = None  # name of the fold
    leaks: Leaks | None = None  # what the test turns share with the others
    # what of the scored turns the model was trained on, in words (`evaluate`)
    overlap: str | None = None
    pretraining_overlap: str | None = None  # what of the test turns the pre-training knew, in words
    labels: list[str] = field(default_factory=list)  # emotion words in the order of the labels
    seed: int | None = None  # of the run
    selected_by: str | None = None  # what chose the epoch: "last", "validation", "test", or words
    epochs_trained: float | None = None  # epochs of fine-tuning that were trained
    # the epoch whose weights are the model's, where validation speakers chose it
    best_epoch: int | None = None
    precision: str | None = None  # what training computed in: "float32" or "bfloat16"
    pretrained: str | None = None  # name of the folder of the pre-training that it began with
    n_parameters: int | None = None  # number of parameters
    predictions: str | None = None  # name of the file of the predictions
    task_weights: dict[str, float] | None = None  # weight of each task in the loss
    tasks_switched_off: dict[str, str] = field(default_factory=dict)  # task to the reason
    validation_metrics: Metrics | None = None  # of the validation turns
    calibration: Calibration | None = None  # what was fitted to the validation turns
    chosen: dict[str, Any] | None = None  # settings that a baseline chose on its inner folds
    probabilities: str | None = None  # what the probabilities of a baseline are, in words
    temperature: float | None = None  # of the decision values of a baseline
    # of the run, with `overrides`, what the command line changed
    settings: dict[str, Any] = field(default_factory=dict)
    seconds: float  # of training; for `evaluate` of scoring
    # errors of the best answers that do not listen, by metric
    constant_baselines: dict[str, float] | None = None
    # of the packages that the figures depend on
    versions: dict[str, str] = field(default_factory=dict)
    # of the source, with "+changes" where it differed; null outside a checkout
    commit: str | None = None

    @property
    def shared_settings(self) -> dict[str, Any]:
        """Settings without those that the folds and seeds of one row may differ in."""
        return {k: v for k, v in self.settings.items() if k not in ("seed", "overrides")}

    def publishable(self) -> "RunRecord":
        """The record without what only its machine knows: paths of it, and tokens."""
        settings = {k: v for k, v in self.settings.items() if k != "data"}
        for name in {"speech_encoder", "model"} & set(settings):
            if isinstance(settings[name], str):
                settings[name] = _folder_name(settings[name])
        if "overrides" in settings:
            kept = [text for text in settings["overrides"] if not _is_secret(text.split("=")[0])]
            settings["overrides"] = [without_path(text) for text in kept]
        backbone = _folder_name(self.backbone)
        cleared = {"pretrained": None, "predictions": None, "model": None}
        published = replace(self, settings=settings, backbone=backbone, **cleared)
        return RunRecord.from_dict(_without_secrets(published.to_dict()))

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
        InputError: if it cannot be read, is no record that this software knows, or was changed, or
            a file beside it that it speaks of.
    """
    path = Path(path)
    path = path / RESULTS if path.is_dir() else path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        digests = content.pop("digests", None) if isinstance(content, dict) else None
        record = RunRecord.from_dict(content)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}). Run again what wrote it, or read it with the "
            "decomp-ser that did."
        ) from error
    if digests is not None:
        check_digests(path, content, digests)
    return record


def check_digests(path: Path, content: dict, digests: Any) -> None:
    """Raise InputError where a record or a file beside it is not what was written."""
    known = digests if isinstance(digests, dict) else {}
    files = {name: path.with_name(name) for name in known if name != RESULTS}
    # a file that was moved away is named by whoever needs it
    found = {name: file_digest(file) for name, file in files.items() if file.is_file()}
    found[RESULTS] = content_digest(content)
    for name, digest in sorted(found.items()):
        if known.get(name) != digest:
            raise InputError(
                f"{path.with_name(name)}: was changed after the run: its SHA-256 is not the one in "
                f"{RESULTS}. Copy the folder again from its source, or run again."
            )


def has_digests(path: Path) -> bool:
    """Whether a results.json can be told from one that was changed; those of earlier versions
    cannot.
    """
    return "digests" in json.loads(path.read_text(encoding="utf-8"))


def content_digest(content: dict) -> str:
    """SHA-256 of a record as JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_record(folder: Path, record: RunRecord) -> RunRecord:
    """Write the results.json of a run; the file appears when it is whole.

    Args:
        folder: of the run.
        record: completed with the versions of the packages and the commit, if it has none. Its
            predictions and settings are in the folder by now; their digests and its own are written
            with it.

    Returns:
        What was written.
    """
    if not record.versions:
        record = replace(record, versions=package_versions(), commit=git_commit())
    content = json.loads(json.dumps(record.to_dict()))  # keys as they will be read
    named = [*folder.glob("*predictions.parquet"), folder / SETTINGS]
    digests = {path.name: file_digest(path) for path in named if path.is_file()}
    digests[RESULTS] = content_digest(content)
    write_json(folder / RESULTS, {**content, "digests": digests})
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


ABSOLUTE_PATH = re.compile(r"(?<![\w.~])~?(?:/[^/\s'\",;:)]+){2,}")


def _is_secret(name: str) -> bool:
    return name.endswith(("token", "api_key", "password"))


def _without_secrets(value: Any) -> Any:
    """A value of JSON in which absolute paths are their last parts, without entries for tokens."""
    if isinstance(value, dict):
        return {k: _without_secrets(v) for k, v in value.items() if not _is_secret(k)}
    if isinstance(value, list):
        return [_without_secrets(part) for part in value]
    if isinstance(value, str):
        return ABSOLUTE_PATH.sub(lambda found: found[0].rpartition("/")[2], value)
    return value


def without_path(override: str) -> str:
    """A "key=value" whose value is a path of this machine with the path's last part."""
    name, _, value = override.partition("=")
    return f"{name}={_folder_name(value)}"


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
