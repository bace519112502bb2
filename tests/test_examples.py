"""The examples of fine-tuning, run as a user would, and their place on a page."""

import ast
import csv
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from support.tiny_pipeline import encode, save_tiny_model, voice
from transformers import pipeline

from processing import DecompSerDataCollator, load_folds
from processing.corpora.loading import load_corpus
from processing.errors import InputError
from processing.features import add_signals
from train_scripts.answers.evaluation import evaluate
from train_scripts.publishing.upload import push
from train_scripts.runs.fold_data import with_arrays
from train_scripts.runs.run_folder import load_model, read_training_rows, save_model
from train_scripts.runs.training_mean import mean_pooled_features

REPOSITORY = Path(__file__).parents[1]
EXAMPLES = REPOSITORY / "model_cards" / "examples"
OTHER_WORDS = {"angry": "tense", "sad": "tense", "happy": "amused", "neutral": "calm"}
LABELS = ["amused", "calm", "tense"]


def run(*command) -> str:
    """What a program of Python says that is typed on the command line."""
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


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


@pytest.fixture(scope="module", params=["finetune_csv", "finetune_lora"])
def tuned(request, base, own_table, tmp_path_factory):
    """(name of the example, the folder that it saved, what it said)"""
    output = tmp_path_factory.mktemp("tuned") / "model"
    said = run(EXAMPLES / f"{request.param}.py", base, own_table, output, "1")
    return request.param, output, said


def test_an_example_says_how_well_it_does_on_the_speaker_left_out(tuned, own_table):
    said = tuned[2]
    rows = load_corpus(own_table)
    (scores,) = re.findall(r"\{'eval_loss'.*?\}", said)
    scores = ast.literal_eval(re.sub(r"np\.float64\((.*?)\)", r"\1", scores))
    assert scores["eval_num_turns"] == sum(s == min(rows["speaker"]) for s in rows["speaker"])
    for name in ("weighted_accuracy", "unweighted_average_recall"):
        assert 0 <= float(scores[f"eval_{name}"]) <= 1


def test_a_model_of_an_example_is_scored_on_the_speaker_left_out_and_pushed(
    tuned, base, own_table, hub
):
    _, output, said = tuned
    rows = load_corpus(own_table)
    left_out = min(rows["speaker"])
    train = load_folds(rows, "speaker", left_out)["train"]
    trained = read_training_rows(str(output))
    assert set(trained["speakers"]) == {"a", *train["speaker"]}  # "a" is of the base
    assert set(trained["ids"]) == {"a", *train["id"]}
    fold = {"data": str(own_table), "protocol": "speaker"}
    with pytest.raises(InputError, match="1 of the test speakers are in its training set"):
        evaluate(str(output), **fold, fold=max(train["speaker"]))
    scores = evaluate(str(output), **fold, fold=left_out, output=output)
    assert scores.overlap is None and not scores.protocol.leaks
    told = float(re.search(r"'eval_weighted_accuracy': ([^,]+)", said)[1])
    assert scores.metrics.weighted_accuracy == pytest.approx(told)

    push(output, "me/speech")
    published = hub.repositories["me/speech"].files()
    assert {"README.md", "model.safetensors", "training_rows.json"} <= published.keys()
    assert f"fold {left_out}" in published["README.md"].decode()


def test_training_that_goes_on_from_unknown_turns_says_so(base, tmp_path, caplog):
    model, processor = load_model(str(base))
    unknown = shutil.copytree(base, tmp_path / "unknown")
    (unknown / "training_rows.json").unlink()
    rows = Dataset.from_dict({"id": ["b"], "speaker": ["b"]})
    save_model(tmp_path / "next", model, processor, rows, base=str(unknown))
    assert "It is not known which turns" in caplog.text
    assert read_training_rows(str(tmp_path / "next")) is None


def test_an_example_gives_a_model_that_answers_with_the_new_labels(tuned, base, own_table):
    name, output, _ = tuned
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


def test_the_cells_run_one_after_the_other(base, tmp_path, monkeypatch, capsys):
    import matplotlib

    matplotlib.use("agg")
    (tmp_path / "clip.wav").write_bytes(encode(voice(12.0)))
    monkeypatch.setenv("DECOMP_SER_MODEL", str(base))
    monkeypatch.setenv("DECOMP_SER_RECORDING", str(tmp_path / "clip.wav"))
    path = EXAMPLES / "recognise_cells.py"
    left = runpy.run_path(str(path))
    assert len(left["rows"]) == 2 and left["best"] in left["rows"][0]
    said = capsys.readouterr().out
    assert f"{left['best']:10} " in said and "reasons not to trust it" in said
    assert path.read_text(encoding="utf-8").count("\n# %%") == 7


def test_the_page_shows_lines_of_the_example_with_adapters():
    example = (EXAMPLES / "finetune_lora.py").read_text(encoding="utf-8")
    page = (REPOSITORY / "docs" / "how-to" / "fine-tune.md").read_text(encoding="utf-8")
    shown = page.split("these lines differ:")[1].split("```")[1].splitlines()[1:]
    assert len(shown) > 4
    for line in shown:
        assert line.split("  #")[0] in example
