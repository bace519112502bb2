"""Pushing to a Hub, and loading from it in a process that does not know this repository."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import soundfile
import torch
import yaml
from huggingface_hub import ModelCard, constants, parse_eval_result_entries
from support.records import edit_record
from support.stub_hub import TOKEN
from support.tiny_pipeline import as_dict, save_tiny_model, voice
from test_hub_files import hide_installed_packages

from modeling_decomp_ser.pipeline_decomp_ser import DecompSerPipeline
from processing.errors import InputError
from train_scripts.publishing.eval_results import EVAL_RESULTS
from train_scripts.publishing.upload import ENDPOINT, push
from train_scripts.runs.record import read_record, write_json, write_record
from train_scripts.runs.run_folder import model_identity

RESULTS = Path(__file__).parents[1] / "assets" / "model_card" / "results.json"

REPOSITORY = "me/speech"
PUBLISHED = {
    "README.md",
    "config.json",
    "model.safetensors",
    "processor_config.json",
    "tokenizer_config.json",
    "vocab.json",
    "results.json",
    "training_rows.json",
    "modeling_decomp_ser.py",
    "pipeline_decomp_ser.py",
    "audio_windows.py",
    "rapt.py",
    "handler.py",
    "requirements.txt",
}
PRIVATE = {"predictions.parquet", "log.jsonl", "settings.yaml", "notes.py", "losses.png"}


@pytest.fixture(scope="module")
def saved_run(tmp_path_factory):
    """A folder as `finetune` leaves it."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    save_tiny_model(folder)
    record = replace(
        read_record(RESULTS),
        corpus="ravdess",
        trained_on="ravdess",
        pretrained="/home/someone/pretrained",
        predictions="predictions.parquet",
    )
    write_record(folder, record)
    for name in PRIVATE:
        (folder / name).write_text("from .ghost import secret transcript")
    (folder / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    (folder / "checkpoints" / "checkpoint-1" / "model.safetensors").write_text("half")
    return folder


@pytest.fixture
def run_folder(saved_run, tmp_path):
    return shutil.copytree(saved_run, tmp_path / "run")


def plant_stress(run_folder, **changes):
    """What `decomp-ser stress` leaves in a folder of the run, of one condition."""
    (run_folder / "stress").mkdir()
    score = {"value": 0.612, "interval_95": [0.5, 0.7]}
    none = {"value": 0.0, "interval_95": [0.0, 0.0]}
    clean = {"corruption": None, "title": "clean", "uar": score, "change": none}
    clean |= {"unchanged": 1.0, "ece": 0.05, "flags": {}, "flagged": 0.0}
    report = {"weights": model_identity(str(run_folder)), "conditions": [clean]}
    report |= {"corpus": "ravdess", "protocol": {"name": "speaker-5", "version": 1}, "fold": "1"}
    report |= {"num_turns": 9, "num_speakers": 3, "seed": 0, "overlap": None, "detector": True}
    write_json(run_folder / "stress" / "stress.json", {**report, "commit": None, **changes})
    (run_folder / "stress" / "stress.png").write_bytes(b"figure")


def edit(path, **changes):
    content = json.loads(path.read_text())
    write_json(path, {**content, **changes})


# --- the whole way, over HTTP --------------------------------------------------------------------

LOAD_FROM_HUB = """
import importlib.util, json, sys
import torch
import yaml
for name in ("modeling_decomp_ser", "processing", "train_scripts"):
    assert importlib.util.find_spec(name) is None, name
from transformers import (
    AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification, AutoProcessor,
    AutoTokenizer, pipeline,
)
repository, revision, sound, outputs = sys.argv[1:]
pinned = {"revision": revision, "trust_remote_code": True}
assert AutoConfig.from_pretrained(repository, **pinned).model_type == "decomp_ser"
model = AutoModelForAudioClassification.from_pretrained(repository, **pinned)
extractor = AutoFeatureExtractor.from_pretrained(repository, **pinned)
processor = AutoProcessor.from_pretrained(repository, **pinned)
assert AutoTokenizer.from_pretrained(repository, **pinned).get_vocab() == (
    processor.tokenizer.get_vocab()
)
wave = torch.linspace(-1, 1, 16000).sin().numpy()
with torch.no_grad():
    logits = model(**extractor(wave, sampling_rate=16000, return_tensors="pt")).logits
recognise = pipeline("audio-classification", model=repository, **pinned)
answer = recognise(sound, return_text=True, return_timeline=True)
torch.save({"logits": logits, "answer": answer}, outputs)
"""


def run_process(arguments, root, hub, **variables):
    """A process that knows the stub as the Hub, and nothing of this user."""
    environment = {
        **{k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "HF_HUB_OFFLINE")},
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(root / "home"),
        **variables,
    }
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_pushed_model_answers_by_its_name_where_the_repository_is_unknown(
    run_folder, hub, tmp_path
):
    repository_root = str(Path(__file__).parents[2])
    said = run_process(
        ["-m", "train_scripts.cli", "push", run_folder, REPOSITORY],
        tmp_path,
        hub,
        PYTHONPATH=repository_root,
    )
    (oid, files), *others = hub.repositories[REPOSITORY].commits
    assert not others and hub.repositories[REPOSITORY].private
    assert f"{hub.url}/{REPOSITORY}/commit/{oid}" in said and "private" in said
    (revision,) = hub.repositories[REPOSITORY].tags
    assert f'revision="{revision}"'.encode() in files["README.md"]

    sound = tmp_path / "clip.wav"
    soundfile.write(sound, voice(1.5), 16000)
    script = tmp_path / "load.py"
    script.write_text(LOAD_FROM_HUB)
    outputs = tmp_path / "outputs.pt"
    shutil.move(run_folder, tmp_path / "elsewhere")
    run_process(
        ["-P", script, REPOSITORY, revision, sound, outputs],
        tmp_path,
        hub,
        PYTHONPATH=str(hide_installed_packages(tmp_path)),
    )

    here = local_pipeline(tmp_path / "elsewhere")
    wave = torch.linspace(-1, 1, 16000).sin().numpy()
    with torch.no_grad():
        inputs = here.feature_extractor(wave, sampling_rate=16000, return_tensors="pt")
        expected = here.model(**inputs).logits
    found = torch.load(outputs)
    torch.testing.assert_close(found["logits"], expected, atol=1e-6, rtol=1e-6)
    answer = found["answer"]
    wanted = here(str(sound), return_text=True, return_timeline=True)
    assert as_dict(answer["scores"]) == pytest.approx(as_dict(wanted["scores"]), abs=1e-6)
    assert answer["text"] == wanted["text"]
    assert len(answer["timeline"]) == len(wanted["timeline"])


def local_pipeline(folder) -> DecompSerPipeline:
    from train_scripts.runs.run_folder import load_model

    model, processor = load_model(str(folder))
    return DecompSerPipeline(
        model=model,
        feature_extractor=processor.feature_extractor,
        tokenizer=processor.tokenizer,
        task="audio-classification",
    )


# --- what is published ---------------------------------------------------------------------------


def test_one_commit_holds_all_that_is_needed_and_nothing_private(run_folder, hub):
    done = push(run_folder, REPOSITORY)
    ((oid, files),) = hub.repositories[REPOSITORY].commits
    assert (done["commit"], set(done["files"])) == (oid, set(files))
    assert set(files) >= PUBLISHED and set(files).isdisjoint(PRIVATE)
    for name, content in files.items():
        assert b"someone" not in content and b"secret transcript" not in content, name
        if name not in ("README.md", "results.json"):
            own = ENDPOINT if (ENDPOINT / name).exists() else run_folder
            assert content == (own / name).read_bytes()
    assert sum(r.endswith("/commit/main") for r in hub.requests) == 1
    # the weights went by LFS, not as text in the commit
    assert any(r.startswith("PUT /lfs/") for r in hub.requests)
    card = ModelCard(files["README.md"].decode())
    results = json.loads((run_folder / "results.json").read_text())
    values = {e.metric_type: e.metric_value for e in card.data.eval_results}
    assert values["recall"] == results["metrics"]["unweighted_average_recall"]
    assert json.loads(files["results.json"])["metrics"] == results["metrics"]


def test_pushing_again_updates_and_pushing_the_same_changes_nothing(run_folder, hub):
    first = push(run_folder, REPOSITORY)
    again = push(run_folder, REPOSITORY)
    repository = hub.repositories[REPOSITORY]
    assert len(repository.commits) == 1
    assert (again["commit"], again["revision"]) == (first["commit"], first["revision"])

    repository.commits[0][1]["model-00001-of-00002.safetensors"] = b"of an earlier model"
    repository.commits[0][1]["picture.png"] = b"of the user"
    edit_record(run_folder, seed=7)
    second = push(run_folder, REPOSITORY)
    assert len(repository.commits) == 2 and second["revision"] != first["revision"]
    assert set(repository.tags) == {first["revision"], second["revision"]}
    assert "picture.png" in repository.files()
    assert "model-00001-of-00002.safetensors" not in repository.files()
    # who pinned the first still gets it
    assert json.loads(repository.files(first["revision"])["results.json"])["seed"] == 0


@pytest.mark.parametrize("broken", ["PUT /lfs/", "POST /commit/"])
def test_a_push_that_breaks_off_leaves_nothing_half(run_folder, hub, broken):
    hub.refuse[broken] = 403
    with pytest.raises(InputError, match="refused by the stub"):
        push(run_folder, REPOSITORY)
    assert hub.repositories[REPOSITORY].commits == []
    hub.refuse.clear()
    push(run_folder, REPOSITORY)
    assert set(hub.repositories[REPOSITORY].files()) >= PUBLISHED


# --- visibility and terms ------------------------------------------------------------------------


def test_a_repository_is_public_only_where_told(run_folder, hub):
    push(run_folder, REPOSITORY)
    push(run_folder, "me/open", public=True)
    assert hub.repositories[REPOSITORY].private and not hub.repositories["me/open"].private


@pytest.mark.parametrize("how", ["auto", "manual"])
def test_a_repository_is_gated_before_there_is_anything_in_it(run_folder, hub, how):
    push(run_folder, REPOSITORY, public=True, gated=how)
    assert hub.repositories[REPOSITORY].gated == how
    begun = [r.split("/")[-1] for r in hub.requests if "settings" in r or "commit" in r]
    assert begun == ["settings", "main"]
    edit_record(run_folder, seed=7)
    push(run_folder, REPOSITORY, public=True)
    assert hub.repositories[REPOSITORY].gated == how


def test_a_private_repository_is_not_gated(run_folder, hub):
    with pytest.raises(InputError, match="--public"):
        push(run_folder, REPOSITORY, gated="manual")
    assert not hub.repositories


def test_results_on_a_data_set_of_the_hub_are_entries_of_its_leaderboard(run_folder, hub):
    push(run_folder, REPOSITORY)
    assert EVAL_RESULTS not in hub.repositories[REPOSITORY].files()
    edit_record(run_folder, corpus="nemo", trained_on="nemo")
    push(run_folder, REPOSITORY)
    files = hub.repositories[REPOSITORY].files()
    entries = parse_eval_result_entries(yaml.safe_load(files[EVAL_RESULTS]))
    metrics = json.loads(files["results.json"])["metrics"]
    assert {e.dataset_id for e in entries} == {"amu-cai/nEMO"}
    assert {e.task_id: e.value for e in entries} == {
        f"speaker-5_{name}": metrics[name]
        for name in ("weighted_accuracy", "unweighted_average_recall")
    }
    assert all(e.source_url.endswith(REPOSITORY) and "fold 1" in e.notes for e in entries)
    assert ModelCard(files["README.md"].decode()).data.datasets == ["amu-cai/nEMO"]
    edit_record(run_folder, corpus="ravdess", trained_on="ravdess")
    push(run_folder, REPOSITORY)
    assert EVAL_RESULTS not in hub.repositories[REPOSITORY].files()


@pytest.mark.parametrize("public", [True, False])
def test_the_visibility_of_an_existing_repository_is_not_changed(run_folder, hub, public):
    push(run_folder, REPOSITORY, public=public)
    edit_record(run_folder, seed=7)
    with pytest.raises(InputError, match=f"exists and is {'public' if public else 'private'}, not"):
        push(run_folder, REPOSITORY, public=not public)
    assert len(hub.repositories[REPOSITORY].commits) == 1


@pytest.mark.parametrize("corpus", ["iemocap", "iemocap+ravdess", None, "my calls"])
def test_weights_of_corpora_with_such_terms_are_public_only_if_told_twice(run_folder, hub, corpus):
    edit_record(run_folder, corpus=corpus, trained_on=corpus)
    with pytest.raises(InputError, match="--i-may-publish"):
        push(run_folder, REPOSITORY, public=True)
    assert hub.requests == []
    push(run_folder, REPOSITORY, public=True, may_publish=True)
    assert not hub.repositories[REPOSITORY].private


def test_iemocap_may_be_private(run_folder, hub):
    edit_record(run_folder, corpus="iemocap", trained_on="iemocap")
    push(run_folder, REPOSITORY)
    assert hub.repositories[REPOSITORY].private


# --- wrong input ---------------------------------------------------------------------------------


def test_a_model_whose_head_was_never_trained_is_refused(run_folder, hub):
    edit(run_folder / "config.json", emotion_head_trained=False, settings_digest=None)
    with pytest.raises(InputError, match="never trained"):
        push(run_folder, REPOSITORY)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("results.json", "decomp-ser evaluate"),
        ("model.safetensors", "model.safetensors"),
        ("signal_flags.py", "signal_flags.py: the code of the model is incomplete"),
    ],
)
def test_an_incomplete_run_is_refused(run_folder, hub, name, message):
    (run_folder / name).unlink()
    with pytest.raises(InputError, match=message):
        push(run_folder, REPOSITORY)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("repo_id", "message"),
    [
        ("speech", "expected NAMESPACE/NAME"),
        ("me/a b", "me/a b"),
        ("others/speech", "may not write to 'others/speech'"),
    ],
)
def test_a_repository_that_one_cannot_have_is_refused(run_folder, hub, repo_id, message):
    with pytest.raises(InputError, match=message):
        push(run_folder, repo_id)
    assert not hub.repositories


def test_a_wrong_or_missing_token_is_said_in_one_line(run_folder, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(InputError, match="The token was not accepted"):
        push(run_folder, REPOSITORY)
    monkeypatch.delenv("HF_TOKEN")
    assert huggingface_hub.get_token() is None
    with pytest.raises(InputError, match="hf auth login"):
        push(run_folder, REPOSITORY)


def test_a_hub_that_does_not_answer_is_said_in_one_line(run_folder, hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="cannot be reached"):
        push(run_folder, REPOSITORY)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE"):
        push(run_folder, REPOSITORY)


def test_a_folder_that_is_no_run_is_refused(tmp_path, hub):
    with pytest.raises(InputError, match="no such folder"):
        push(tmp_path / "nothing", REPOSITORY)
    with pytest.raises(InputError, match="Expected an output folder"):
        push(tmp_path, REPOSITORY)


def test_a_stress_test_in_the_run_joins_the_card_with_its_figure(run_folder, hub):
    plant_stress(run_folder)
    done = push(run_folder, REPOSITORY)
    assert "stress.png" in done["files"] and "stress.json" not in done["files"]
    ((_, files),) = hub.repositories[REPOSITORY].commits
    card = files["README.md"].decode()
    assert "### When the recording changes" in card
    assert "| clean | 0.612 [0.500, 0.700] |" in card


def test_a_stress_test_of_another_model_is_refused(run_folder, hub):
    plant_stress(run_folder, weights="0123456789abcdef")
    with pytest.raises(InputError, match="stress.json: is of another model"):
        push(run_folder, REPOSITORY)
