"""Fixtures that several test files share: a small corpus of synthesised speech and a run."""

import os

import pytest
import torch

# Before any test opens a process: signals are cached for these tests only, and nothing asks the
# Hub.
os.environ["HF_HUB_OFFLINE"] = "1"
# The order of a sum depends on the number of threads: processes that are compared bit for bit share
# it.
os.environ["OMP_NUM_THREADS"] = "1"


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
