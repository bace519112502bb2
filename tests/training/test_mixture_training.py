import json

import pyarrow.parquet
import pytest
import yaml
from support.tone_corpora import write_tones
from typer.testing import CliRunner

from processing import DecompSerFeatureExtractor
from processing.corpora.mixture import read_data
from processing.errors import InputError
from train_scripts.answers.evaluation import evaluate
from train_scripts.finetune import app
from train_scripts.runs.fold_data import load_fold_data
from train_scripts.runs.record import read_record

SETTINGS = [
    "size=tiny",
    "vocabulary=training",
    "features.f0_method=dio",
    "finetuning.num_train_epochs=1",
    "finetuning.per_device_train_batch_size=8",
]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpora")
    spoken = write_tones(root / "spoken", corpus="spoken", text="łó b", num_speakers=4)
    silent = write_tones(root / "silent", corpus=None, text=None, num_speakers=4, seed=9)
    return [spoken, silent]


@pytest.fixture(scope="module")
def run(corpora, tmp_path_factory):
    """A run that was trained on the corpus without transcripts and tested on that of others."""
    folder = tmp_path_factory.mktemp("run") / "model"
    options = ["--data", corpora[0], "--data", corpora[1], "--sampling", "equal"]
    options += ["--protocol", "speaker-paper", "--fold", "spoken/s0", "--output", str(folder)]
    done = CliRunner().invoke(app, ["base", *SETTINGS, *options], catch_exceptions=False)
    assert done.exit_code == 0
    return folder, done.stdout


def test_a_run_on_two_corpora_says_what_it_was_trained_on(run):
    record = read_record(run[0])
    assert record.corpus == "spoken" and record.trained_on == "silent+spoken"
    assert record.mixture is not None and record.mixture.shares == {"silent": 0.5, "spoken": 0.5}
    counts = record.mixture.counts["train"]
    # a tenth of each speaker's turns, one at least, is held out
    assert (counts["silent"].turns, counts["silent"].without_text) == (28, 28)
    assert (counts["spoken"].turns, counts["spoken"].without_text) == (21, 0)
    assert record.mixture.turns == {"silent": 32, "spoken": 32}
    assert record.per_corpus["spoken"].num_turns == 8
    assert "spoken (8 turns)" in run[1]


def test_characters_are_of_the_corpora_that_have_transcripts(run):
    vocabulary = json.loads((run[0] / "vocab.json").read_text())
    assert set(vocabulary) >= {"Ł", "Ó", "B"}
    assert "ctc" not in read_record(run[0]).tasks_switched_off


def test_the_settings_of_a_run_hold_its_mixture(run, corpora):
    stored = yaml.safe_load((run[0] / "settings.yaml").read_text())["data"]
    assert stored["sampling"] == "equal" and [c["data"] for c in stored["corpora"]] == corpora


def test_a_model_of_a_mixture_knows_its_speakers_alone_too(run, corpora):
    with pytest.raises(InputError, match="21 of the test turns and 3 of the test speakers"):
        evaluate(str(run[0]), data=corpora[0])
    both = evaluate(str(run[0]), data=read_data(corpora), allow_overlap=True)
    assert set(both.per_corpus) == {"silent", "spoken"} and both.corpus == "silent+spoken"


def test_predictions_keep_the_names_of_corpora(run):
    turns = pyarrow.parquet.read_table(run[0] / "predictions.parquet").to_pydict()
    assert set(turns["speaker"]) == {"spoken/s0"}


def test_a_recording_of_two_names_is_not_trained_on_and_tested(tmp_path):
    names = [write_tones(tmp_path / name, corpus=name, turns_each=1) for name in ("a", "b")]
    extractor = DecompSerFeatureExtractor(f0_method="dio")
    with pytest.raises(
        InputError, match="20 test turns are in training or validation as turns of another"
    ):
        load_fold_data(read_data(names), "corpus", "a", extractor)


def test_a_label_that_only_the_tested_corpus_has_names_the_way_out(tmp_path, corpora):
    other = write_tones(tmp_path / "other", corpus="other", emotions=("angry", "calm"), seed=3)
    both = read_data([corpora[0], other], labels="union")
    with pytest.raises(
        InputError, match=r"'calm' is none of the labels .* with `--labels intersection`"
    ):
        load_fold_data(both, "corpus", "other", DecompSerFeatureExtractor(f0_method="dio"))
