import csv
import io

import pytest
import soundfile

from processing import DecompSerFeatureExtractor
from processing.errors import InputError
from train_scripts.runs.fold_data import load_fold_data
from train_scripts.runs.run_folder import open_run_folder
from train_scripts.runs.settings import load_settings
from train_scripts.training.further_speech import add_speech
from train_scripts.training.pretraining import pretrain

EXTRACTOR = DecompSerFeatureExtractor(f0_method="dio")


def write_corpus(folder, rows, *, prefix="other-", gain=0.5):
    """Another corpus: the same turns under other names of ids and speakers, at another level."""
    (folder / "audio").mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "emotion", "speaker", "text"])
        for row in rows:
            waveform, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]))
            name = f"audio/{prefix}{row['id']}.flac"
            soundfile.write(folder / name, waveform * gain, rate)
            table.writerow([name, "calm", f"{prefix}{row['speaker']}", row["text"]])
    return str(folder)


@pytest.fixture(scope="module")
def fold_data(corpus_folder, fold):
    return load_fold_data(str(corpus_folder), "speaker", fold, EXTRACTOR)


def test_all_turns_of_another_corpus_are_trained_on(corpus, fold_data, tmp_path):
    other = write_corpus(tmp_path / "other", list(corpus)[:20])
    both = add_speech(fold_data, [other], EXTRACTOR)
    before, after = fold_data.folds.all_turns(), both.folds.all_turns()
    new = {s: set(after[s]["id"]) - set(before[s]["id"]) for s in after}
    assert not new["test"] and not new["validation"]
    assert len(new["train"]) + len(new["heldout_turns"]) == 20
    assert not new["train"] & new["heldout_turns"] and new["heldout_turns"]
    heard = {s for s in after["train"]["speaker"] if s.startswith("other-")}
    assert heard and set(both.speakers) == set(fold_data.speakers) | heard
    # their emotions are no labels
    assert both.labels == fold_data.labels
    assert both.leaks["turns"]["train"] == len(after["train"])


def test_a_corpus_with_a_tested_speaker_or_turn_is_refused(corpus, fold_data, fold, tmp_path):
    rows = [row for row in corpus if row["speaker"] == fold]
    other = write_corpus(tmp_path / "other", rows, prefix="")
    with pytest.raises(InputError, match=f"speaker '{fold}' is among the test turns"):
        add_speech(fold_data, [other], EXTRACTOR)


def test_tested_recordings_under_other_names_are_refused(corpus, fold_data, fold, tmp_path):
    rows = [row for row in corpus if row["speaker"] == fold][:3]
    other = write_corpus(tmp_path / "other", rows, gain=1.0)
    with pytest.raises(InputError, match="3 of its recordings are test turns of the fold"):
        add_speech(fold_data, [other], EXTRACTOR)


def test_pretraining_hears_it_and_says_so(corpus, corpus_folder, fold, quick_settings, tmp_path):
    other = write_corpus(tmp_path / "other", list(corpus)[:8])
    options = {"data": str(corpus_folder), "protocol": "speaker", "fold": fold}
    record = pretrain(
        "base",
        output=tmp_path / "run",
        overrides=quick_settings,
        further=[other],
        **options,
    )
    text = (tmp_path / "run" / "training_rows.json").read_text()
    assert '"other-' in text
    assert record.leaks.shared_speakers == []
    assert record.metrics.speech_mse > 0


def test_a_run_is_not_resumed_with_another_corpus(tmp_path):
    settings = load_settings("base", ["size=tiny"])
    options = {"data": "d", "protocol": "speaker", "fold": "a"}
    folder = open_run_folder(tmp_path / "run", settings, **options, further=["x"])
    (folder / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    with pytest.raises(InputError, match="further"):
        open_run_folder(folder, settings, **options, further=["y"])
