"""`decomp-ser push`: a trained model with its card to the Hub, in one commit.

What is published: weights, configuration, processor, the code that loads them, what Inference
Endpoints calls, the card, the results, and which speakers and turns it was trained on. What is not:
checkpoints, logs, and predictions, since these hold the transcripts of licensed corpora.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id
from transformers.dynamic_module_utils import get_relative_import_files

from processing.corpora.registry import reasons_not_to_publish
from processing.errors import InputError
from train_scripts.publishing.eval_results import EVAL_RESULTS, eval_results_file
from train_scripts.publishing.model_card import render_card
from train_scripts.robustness.stress_page import FIGURE, STRESS
from train_scripts.runs.record import RunRecord, read_record
from train_scripts.runs.run_folder import RESULTS, TRAINING_ROWS, load_model, model_identity

CARD = "README.md"
CONFIGURATIONS = ("config.json", "processor_config.json")
"""They name the code that loads the model."""

OTHER_FILES = (
    "preprocessor_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "vocab.json",
    "special_tokens_map.json",
    "added_tokens.json",
    TRAINING_ROWS,
)
ENDPOINT = Path(__file__).with_name("endpoint")
"""The files that Inference Endpoints looks for in a repository."""
WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")

# The library's errors of the connection; its own are of this kind too.
CONNECTION_ERROR: type[Exception] = HfHubHTTPError.__mro__[1]


def push(
    folder: str | Path,
    repo_id: str,
    *,
    public: bool = False,
    gated: Literal["auto", "manual"] | None = None,
    may_publish: bool = False,
    report: str | Path | None = None,
    probe: str | Path | None = None,
    stress: str | Path | None = None,
) -> dict[str, Any]:
    """Publish a run; a second time, update it. The repository changes whole or not at all.

    Args:
        folder: of `finetune`, or one with a saved model and the results.json of `evaluate`.
        repo_id: "namespace/name"; created if it does not exist.
        public: create a public repository rather than a private one.
        gated: who wants the files of a public repository has to ask: "auto", and is let in and
            listed; "manual", and is let in by its owner. None leaves a repository as it is.
        may_publish: the caller has read the terms of the training corpora.
        report: a report.json whose row of this model joins the metadata of the card.
        probe: a probe.json of this model, shown in the card.
        stress: a stress.json of this model, shown in the card with its figure; default the one in
            the folder `stress` of the run, if there is one.

    Returns:
        {"url": of the commit, "commit": its hash, "revision": the tag that the card pins,
        "files": names}.

    Raises:
        InputError: if the run is no trained model, may not be public, or the Hub refuses.
    """
    folder = Path(folder)
    record = read_run(folder)
    check_repo_id(repo_id)
    check_terms(record, public, may_publish)
    if gated and not public:
        raise InputError("--gated: nobody sees a private repository; give --public too.")
    published = record.publishable()
    results = json.dumps(published.to_dict(), indent=2, ensure_ascii=False) + "\n"
    contents: dict[str, Any] = {path.name: path for path in model_files(folder)}
    contents[RESULTS] = results.encode()
    contents |= {path.name: path for path in ENDPOINT.iterdir() if path.is_file()}
    if (evaluated := eval_results_file(published, repo_id)) is not None:
        contents[EVAL_RESULTS] = evaluated.encode()
    revision = f"run-{content_hash(contents)}"
    stress = stress or find_stress(folder)
    files = {"report": report, "probe": probe, "stress": stress}
    shown = {name: read_json(path) for name, path in files.items() if path is not None}
    if stress is not None:
        check_stress(shown["stress"], stress, folder)
        contents |= {path.name: path for path in [Path(stress).with_name(FIGURE)] if path.is_file()}
    card = render_card(published, repo_id, revision=revision, **shown)
    contents[CARD] = str(card).encode()
    with plain_errors(repo_id):
        commit = commit_files(repo_id, contents, revision=revision, public=public, gated=gated)
    return {
        "url": commit.commit_url,
        "commit": commit.oid,
        "revision": revision,
        "files": sorted(contents),
    }


def commit_files(
    repo_id: str,
    contents: Mapping[str, Path | bytes],
    *,
    revision: str,
    public: bool,
    gated: Literal["auto", "manual"] | None,
) -> CommitInfo:
    """Commit and tag files by their names. Weights of an earlier push, which the new model would be
    confused with, are deleted, and results that no longer hold.
    """
    api = HfApi()
    existing = open_repository(api, repo_id, public)
    if gated:  # before there is anything to be had
        api.update_repo_settings(repo_id, gated=gated)
    ours = [n for n in existing if WEIGHTS.fullmatch(n) or n == EVAL_RESULTS]
    stale = [name for name in ours if name not in contents]
    commit = api.create_commit(
        repo_id,
        [
            *(CommitOperationAdd(name, content) for name, content in contents.items()),
            *(CommitOperationDelete(name) for name in stale),
        ],
        commit_message="Publish a model of decomp-ser",
    )
    api.create_tag(repo_id, tag=revision, revision=commit.oid, exist_ok=True)
    return commit


def read_run(folder: Path) -> RunRecord:
    """Record of a run whose model is whole, and trained; InputError where it is not."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Give an output folder of `finetune`.")
    load_model(str(folder))
    if not (folder / RESULTS).is_file():
        raise InputError(
            f"{folder}: has no {RESULTS}, from which the card is made. Score the model first: "
            f"decomp-ser evaluate {folder} --data DATA --output {folder}"
        )
    return read_record(folder)


def read_json(path: str | Path) -> dict[str, Any]:
    """Content of a file of JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}).") from error


def find_stress(folder: Path) -> Path | None:
    """The stress.json that `decomp-ser stress` left in a folder of the run; None without one."""
    path = folder / "stress" / STRESS
    return path if path.is_file() else None


def check_stress(report: Mapping[str, Any], path: str | Path, folder: Path) -> None:
    """Raise InputError for a stress test of another model."""
    if report.get("weights") != model_identity(str(folder)):
        raise InputError(
            f"{path}: is of another model, or of this one before it was trained again. Run "
            f"`decomp-ser stress {folder}` with another --output, or delete the file."
        )


def check_repo_id(repo_id: str) -> None:
    """Raise InputError for what is no name of a repository."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InputError(f"repository '{repo_id}': {error}") from error
    if "/" not in repo_id:
        raise InputError(f"repository '{repo_id}': expected NAMESPACE/NAME, such as me/{repo_id}.")


def check_terms(record: RunRecord, public: bool, may_publish: bool) -> None:
    """Refuse to make public what the terms of a corpus may forbid."""
    reasons = reasons_not_to_publish(record.trained_on)
    if public and reasons and not may_publish:
        raise InputError(
            f"--public: {'; '.join(reasons)}. Leave --public out for a private repository, or "
            "pass --i-may-publish if you have read these terms and they allow it."
        )


def model_files(folder: Path) -> list[Path]:
    """The files of a saved model that are published; InputError where one is missing."""
    weights = [p for p in sorted(folder.iterdir()) if WEIGHTS.fullmatch(p.name)]
    needed = [folder / name for name in CONFIGURATIONS]
    text = "".join(path.read_text(encoding="utf-8") for path in needed)
    # "module.Class" in the entries auto_map and custom_pipelines
    code = {folder / f"{module}.py" for module in re.findall(r'"(\w+)\.DecompSer\w+"', text)}
    try:
        code |= {Path(file) for entry in code for file in get_relative_import_files(entry)}
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: the code of the model is incomplete.") from error
    others = [folder / name for name in OTHER_FILES if (folder / name).is_file()]
    return [*weights, *needed, *others, *sorted(code)]


def content_hash(contents: Mapping[str, Path | bytes]) -> str:
    """Name of what is published, the card apart, which states it."""
    digest = hashlib.sha256()
    for name, content in sorted(contents.items()):
        data = content.read_bytes() if isinstance(content, Path) else content
        digest.update(f"{name}\0{hashlib.sha256(data).hexdigest()}\n".encode())
    return digest.hexdigest()[:12]


def open_repository(api: HfApi, repo_id: str, public: bool) -> list[str]:
    """Names of the files of a repository of the visibility asked for, which is created if new."""
    if get_token() is None:
        raise InputError(
            "no token of the Hub is known here. Log in with `hf auth login`, or set HF_TOKEN to a "
            "token that may write."
        )
    try:
        info = api.model_info(repo_id)
    except RepositoryNotFoundError:
        api.create_repo(repo_id, private=not public)
        return []
    if bool(info.private) is public:
        found, asked = ("private", "public") if info.private else ("public", "private")
        way = "leave --public out" if public else "pass --public"
        raise InputError(
            f"repository '{repo_id}': exists and is {found}, not {asked}. Change that in its "
            f"settings on the Hub, {way}, or choose another name."
        )
    return [sibling.rfilename for sibling in info.siblings or []]


@contextmanager
def plain_errors(repo_id: str) -> Iterator[None]:
    """Answer what the Hub refuses with one line."""
    try:
        yield
    except (OfflineModeIsEnabled, CONNECTION_ERROR, RuntimeError) as error:
        # an upload's error comes inside of a RuntimeError
        cause = error.__cause__ if type(error) is RuntimeError else error
        if isinstance(cause, OfflineModeIsEnabled):
            raise InputError("HF_HUB_OFFLINE is set: unset it to push.") from error
        if isinstance(cause, HfHubHTTPError):
            raise InputError(refusal(cause, repo_id)) from error
        if isinstance(cause, CONNECTION_ERROR):
            raise InputError(f"the Hub cannot be reached ({cause}). Push again later.") from error
        raise


def refusal(error: HfHubHTTPError, repo_id: str) -> str:
    """What the Hub said, and the way out."""
    said = error.server_message or str(error).splitlines()[0]
    ways = {
        401: " The token was not accepted: log in again with `hf auth login`.",
        403: f" The token may not write to '{repo_id}': use one that may.",
    }
    return f"repository '{repo_id}': {said}{ways.get(error.response.status_code, '')}"
