"""Fixtures that several test files share: a small corpus of synthesised speech and a run."""

import os
import shutil
import sys

import pytest
import torch

# Before any test opens a process: signals are cached for these tests only, and nothing asks the
# Hub.
os.environ["HF_HUB_OFFLINE"] = "1"
# The order of a sum depends on the number of threads: processes that are compared bit for bit share
# it.
os.environ["OMP_NUM_THREADS"] = "1"


LONGEST_FILES = (
    "test_typed_pages.py",
    "training/test_finetuning.py",
    "answers/test_journey.py",
    "explanations/test_probing.py",
    "test_wheel.py",
    "test_examples.py",
    "exporting/test_onnx_graph.py",
    "exporting/test_onnx_export.py",
    "training/test_encoder_pretraining.py",
    "explanations/test_disentanglement.py",
)
"""Run first, so that no process is left alone with one of them at the end."""


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONGEST_FILES)}

    def place(item):
        name = item.path.as_posix().rpartition("/tests/")[2]
        return places.get(name, len(places))

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def signal_cache(tmp_path_factory):
    """Keep extracted signals out of the user's cache."""
    folder = tmp_path_factory.mktemp("signals")
    os.environ["DECOMP_SER_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def few_threads():
    """Tests share their processors with others."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def few_pictures(tmp_path_factory):
    """Draw the losses of the first run of each kind only, which takes about as long as its
    training, and give the others a copy; test_loss_plot draws as many as it likes.
    """
    stage = sys.modules.get("train_scripts.training.stage")
    if stage is None:
        yield
        return
    folder, draw = tmp_path_factory.mktemp("pictures"), stage.plot_losses

    def draw_once(log, path, *, title):
        picture = folder / f"{title}.png"
        if not picture.exists():
            draw(log, picture, title=title)
        if picture.exists():
            shutil.copy(picture, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "plot_losses", draw_once)
        yield


@pytest.fixture(scope="session")
def corpus():
    """48 turns: 4 speakers, 4 emotions, 3 sentences."""
    from processing.corpora.synthetic import synthesize_corpus

    return synthesize_corpus(num_speakers=4, num_sentences=3, seed=1, progress=False)


@pytest.fixture(scope="session")
def corpus_folder(corpus, tmp_path_factory):
    """The same corpus as a folder with metadata.csv."""
    import csv

    folder = tmp_path_factory.mktemp("corpus")
    (folder / "audio").mkdir()
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "emotion", "speaker", "gender", "text"])
        for row in corpus:
            name = f"audio/{row['id']}.flac"
            (folder / name).write_bytes(row["audio"]["bytes"])
            table.writerow([name, row["emotion"], row["speaker"], row["gender"], row["text"]])
    return folder


@pytest.fixture(scope="session")
def fold(corpus):
    """Name of the fold that tests use: its first speaker is left out."""
    return sorted(set(corpus["speaker"]))[0]


@pytest.fixture(scope="session")
def quick_settings():
    """Settings of a run that takes seconds."""
    return [
        "size=tiny",
        "pretraining.max_steps=4",
        "pretraining.per_device_train_batch_size=4",
        "finetuning.num_train_epochs=2",
        "finetuning.per_device_train_batch_size=8",
        "features.f0_method=dio",
    ]


@pytest.fixture(scope="session")
def tiny_quickstart(quick_settings, tmp_path_factory):
    """What `decomp-ser quickstart` says and leaves in runs/quickstart, with a smaller corpus and
    hardly any training: (the folder that it was called in, its output)
    """
    from typer.testing import CliRunner

    from train_scripts.experiments import demonstration
    from train_scripts.quickstart import app

    folder = tmp_path_factory.mktemp("quickstart")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(demonstration, "CORPUS", "num_speakers=5,num_sentences=2")
        patch.setattr(demonstration, "SETTINGS", quick_settings)
        patch.setattr(demonstration, "check", lambda results: None)
        done = CliRunner().invoke(app, [], catch_exceptions=False)
    assert done.exit_code == 0
    return folder, done.stdout


@pytest.fixture(scope="session")
def trained_run(corpus_folder, fold, quick_settings, tmp_path_factory):
    """A pre-trained and fine-tuned run: (folder of pretrain, folder of finetune, results)."""
    from train_scripts.training.finetuning import finetune
    from train_scripts.training.pretraining import pretrain

    root = tmp_path_factory.mktemp("runs")
    options = {
        "data": str(corpus_folder),
        "protocol": "speaker",
        "fold": fold,
        "overrides": quick_settings,
    }
    pretrain("base", output=root / "pretrained", **options)
    results = finetune(
        "base", output=root / "model", pretrained=str(root / "pretrained"), **options
    )
    return root / "pretrained", root / "model", results


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub that this process talks to."""
    from huggingface_hub import constants
    from support.stub_hub import TOKEN, StubHub

    with StubHub() as stub:
        monkeypatch.setattr(constants, "ENDPOINT", stub.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield stub
