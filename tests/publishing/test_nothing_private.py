"""Secrets in every place that a run could pick them up: none is in what `push` sends."""

from dataclasses import replace

import pytest
from datasets import Dataset
from support.stub_hub import TOKEN, StubHub
from support.tiny_pipeline import trained_classifier
from test_upload import RESULTS

from processing import DecompSerFeatureExtractor, DecompSerProcessor
from processing.text import ENGLISH_VOCABULARY
from train_scripts.publishing.upload import push
from train_scripts.runs.record import read_record, write_record
from train_scripts.runs.run_folder import save_model

USER, HOST, SPEAKER = "alicesecret", "secrethost", "Zoe Secretperson"
HOME = f"/home/{USER}/projects/{HOST}"
SPOKEN = "the words nobody else may read"
KEY = "hf_secretsecretsecret"
WITH_SPEAKERS = {"training_rows.json", "config.json", "results.json", "README.md"}
"""They name speakers as the corpus does, so that nobody is tested on whom the model was trained."""


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    """A run in which everything is named after what nobody shall know."""
    for name, value in {
        "USER": USER,
        "LOGNAME": USER,
        "HOSTNAME": HOST,
        "WANDB_API_KEY": KEY,
    }.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / USER / HOST / "model"
    folder.mkdir(parents=True)
    model = trained_classifier(speakers=[SPEAKER, "b"])
    model.config._name_or_path = model.config.speech_config._name_or_path = f"{HOME}/wav2vec2"
    extractor = DecompSerFeatureExtractor(f0_method="dio")
    processor = DecompSerProcessor.from_vocabulary(extractor, ENGLISH_VOCABULARY, folder)
    rows = {"id": ["a"], "speaker": [SPEAKER], "text": [SPOKEN]}
    save_model(folder, model, processor, Dataset.from_dict(rows), protocol={"name": "x"}, fold="a")
    write_record(folder, planted_record())
    for name in (
        "predictions.parquet",
        "log.jsonl",
        "settings.yaml",
        "notes.md",
        ".env",
        "vocab.txt",
    ):
        (folder / name).write_text(f"{USER} {HOST} {HOME} {SPOKEN} {KEY} {SPEAKER}")
    (folder / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    (folder / "checkpoints" / "checkpoint-1" / "trainer_state.json").write_text(HOME)
    return folder


def planted_record():
    record = read_record(RESULTS)
    stage = {
        **{
            name: f"{HOME}/{name}"
            for name in ("logging_dir", "deepspeed", "resume_from_checkpoint")
        },
        **{"hub_token": KEY, "run_name": f"{HOME}/run", "hub_model_id": f"{HOME}/id"},
    }
    settings = {
        **record.settings,
        "data": f"{HOME}/corpus",
        "preset": f"{HOME}/mine.yaml",
        "speech_encoder": f"{HOME}/encoder",
        "further": [f"{HOME}/more"],
        "finetuning": {**record.settings["finetuning"], **stage},
        "model": {**record.settings["model"], "_name_or_path": f"{HOME}/base"},
        "overrides": [f"speech_encoder={HOME}/encoder", f"finetuning.hub_token={KEY}", "size=tiny"],
    }
    words = f"3 turns that '{HOME}/pretrained' was trained on"
    return replace(
        record,
        settings=settings,
        corpus="ravdess",
        trained_on="ravdess",
        backbone=f"{HOME}/encoder",
        model=f"{HOME}/model",
        pretrained=f"{HOME}/pretrained",
        overlap=words,
        pretraining_overlap=words,
        tasks_switched_off={"ctc": f"no transcripts in {HOME}/corpus"},
        chosen={"cache": f"{HOME}/cache", "C": 0.1},
        probabilities=f"of {HOME}/machine",
        per_speaker={SPEAKER: next(iter(record.per_speaker.values()))},
    )


def test_no_secret_is_in_what_push_sends(run_folder, hub):  # noqa: F811
    push(run_folder, "me/speech")
    ((_, files),) = hub.repositories["me/speech"].commits
    assert {"results.json", "config.json", "README.md", "model.safetensors"} <= set(files)
    for name, content in files.items():
        for secret in (USER, HOST, SPOKEN, KEY, TOKEN, str(run_folder)):
            assert secret.encode() not in content, f"{secret} in {name}"
        if SPEAKER.encode() in content:
            assert name in WITH_SPEAKERS, name
    sent = [name for name in files if name.startswith((".", "checkpoint", "log", "predictions"))]
    assert sent == [".gitattributes"] or not sent
    assert isinstance(hub, StubHub)
