"""The examples of fine-tuning, run as a user would, and their place on a page."""

import csv
import importlib.util
from pathlib import Path

import pytest
import torch
from support.tiny_pipeline import save_tiny_model, voice
from transformers import pipeline

from processing import DecompSerDataCollator
from processing.corpora.loading import load_corpus
from processing.features import add_signals
from train_scripts.runs.fold_data import with_arrays
from train_scripts.runs.run_folder import load_model
from train_scripts.runs.training_mean import mean_pooled_features

REPOSITORY = Path(__file__).parents[1]
EXAMPLES = REPOSITORY / "model_cards" / "examples"
OTHER_WORDS = {"angry": "tense", "sad": "tense", "happy": "amused", "neutral": "calm"}
LABELS = ["amused", "calm", "tense"]


def load_example(name: str):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A trained model for the paper's four emotions, with all tasks."""
    folder = tmp_path_factory.mktemp("base")
    save_tiny_model(folder, temperature=3.0)
    return folder


@pytest.fixture(scope="module")
def own_table(corpus, tmp_path_factory):
    """A CSV of some of the turns with other labels, and neither transcripts nor genders."""
    folder = tmp_path_factory.mktemp("own")
    with (folder / "own.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "emotion", "speaker"])
        for row in corpus.select(range(0, len(corpus), 2)):
            name = f"{row['id']}.flac"
            (folder / name).write_bytes(row["audio"]["bytes"])
            table.writerow([name, OTHER_WORDS[row["emotion"]], row["speaker"]])
    return folder / "own.csv"


@pytest.mark.parametrize("name", ["finetune_csv", "finetune_lora"])
def test_an_example_gives_a_model_that_answers_with_the_new_labels(name, base, own_table, tmp_path):
    output = tmp_path / "tuned"
    load_example(name).main(str(base), str(own_table), str(output), epochs=1)
    model, processor = load_model(str(output))
    config = model.config
    assert [config.id2label[i] for i in range(config.num_labels)] == LABELS
    assert config.label2id == {word: i for i, word in enumerate(LABELS)}
    assert (config.temperature, model.ctc_head, model.speaker_head) == (1.0, None, None)

    answers = pipeline("audio-classification", model=str(output), trust_remote_code=True)(
        voice(1.0)
    )
    assert {a["label"] for a in answers} == set(LABELS)
    assert sum(a["score"] for a in answers) == pytest.approx(1)

    before, after = load_model(str(base))[0].state_dict(), model.state_dict()
    moved = {
        key
        for key in after
        if key in before
        and before[key].shape == after[key].shape
        and not torch.equal(before[key], after[key])
    }
    attention = "speech_encoder.encoder.layers.0.attention.q_proj.weight"
    assert attention in moved and "pooled_mean" in moved
    assert not any("lora" in key or "base_layer" in key for key in after)
    decomposed = {key for key in moved if key.startswith("decomposition.")}
    # adapters leave all other weights as they were
    assert bool(decomposed) == (name == "finetune_csv")

    # a component share is a deviation from the turns that it was trained on now
    rows = with_arrays(add_signals(load_corpus(own_table), processor.feature_extractor, num_proc=1))
    collator = DecompSerDataCollator(processor, labels=LABELS, with_text=False)
    trained = rows.filter(lambda speaker: speaker != min(rows["speaker"]), input_columns="speaker")
    nearby = mean_pooled_features(model, collator, with_arrays(trained))
    # of all turns, those held out included, so it is near and not equal
    distance = (model.pooled_mean - nearby).norm()
    assert distance < 0.1 * (before["pooled_mean"] - nearby).norm()


def test_the_page_shows_lines_of_the_example_with_adapters():
    example = (EXAMPLES / "finetune_lora.py").read_text(encoding="utf-8")
    page = (REPOSITORY / "docs" / "how-to" / "fine-tune.md").read_text(encoding="utf-8")
    shown = page.split("these lines differ:")[1].split("```")[1].splitlines()[1:]
    assert len(shown) > 4
    for line in shown:
        assert line.split("  #")[0] in example
