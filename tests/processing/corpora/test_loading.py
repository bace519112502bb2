import logging

import datasets
import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset, DatasetDict

from processing.corpora.loading import load_corpus
from processing.errors import InputError

HEADER = "file_name,emotion,speaker,gender,text,corpus\n"


@pytest.fixture
def folder(tmp_path):
    """Two clips and a table."""
    (tmp_path / "audio").mkdir()
    for name, samples in (("a.wav", 800), ("b.wav", 1600)):
        soundfile.write(tmp_path / "audio" / name, np.zeros(samples, np.int16), 16000)
    (tmp_path / "metadata.csv").write_text(
        HEADER + 'audio/a.wav,angry,s1,female,"Oh, no!",mine\naudio/b.wav,Happy,s2,M,,mine\n'
    )
    return tmp_path


def test_a_metadata_folder_gives_the_columns_of_the_schema(folder):
    first, second = load_corpus(folder)
    assert first == {
        "id": "audio/a.wav",
        "audio": {"bytes": None, "path": str(folder / "audio/a.wav")},
        "emotion": "angry",
        "speaker": "s1",
        "gender": "female",
        "text": "Oh, no!",
        "corpus": "mine",
        "session": None,
        "dialogue": None,
        "duration": 0.05,
    }
    assert (second["emotion"], second["gender"], second["text"]) == ("happy", "male", None)


def test_file_name_and_emotion_are_enough(folder):
    (folder / "metadata.csv").write_bytes(
        b"\xef\xbb\xbfemotion, file_name,intensity\r\nsad,audio/a.wav,3\r\n"
    )
    (row,) = load_corpus(folder)
    assert (row["emotion"], row["speaker"], row["gender"]) == ("sad", None, None)
    assert "split" not in row


def test_further_columns_of_the_schema_are_kept(folder):
    (folder / "metadata.csv").write_text(
        "file_name,emotion,id,session,dialogue,split\naudio/a.wav,sad,one,s,d,train\n"
    )
    (row,) = load_corpus(folder)
    assert [row[c] for c in ("id", "session", "dialogue", "split")] == ["one", "s", "d", "train"]


def test_another_table_of_the_folder_is_loaded_by_its_path(folder):
    (folder / "balanced.csv").write_text("file_name,emotion\naudio/b.wav,sad\n")
    assert load_corpus(folder / "balanced.csv")["id"] == ["audio/b.wav"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "column 'file_name' is missing; found nothing"),
        ("file_name,label\nx,y\n", "column 'emotion' is missing; found file_name, label"),
        (HEADER + "audio/a.wav,,s1,,,\n", "metadata.csv line 2: emotion is empty"),
        (HEADER + "audio/a.wav,sad,s1,robot,,\n", "line 2: gender 'robot', expected female, male"),
        (HEADER + "audio/c.wav,sad,s1,,,\n", r"line 2: .*c.wav: no such audio file"),
        (HEADER + "audio/a.wav,sad,,,,\n" * 2, "id 'audio/a.wav' occurs twice"),
        (HEADER + 'audio/a.wav,"sad\n', "metadata.csv line 1: unexpected end"),
        (HEADER, "found no audio file"),
    ],
)
def test_a_wrong_table_is_named_with_line_and_cell(folder, table, message):
    (folder / "metadata.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        load_corpus(folder)


def test_a_table_that_is_not_utf_8_is_refused(folder):
    (folder / "metadata.csv").write_bytes(HEADER.encode() + b"audio/a.wav,sad,Ren\xe9,,,\n")
    with pytest.raises(InputError, match="not UTF-8"):
        load_corpus(folder)


def test_bad_clips_are_refused_or_skipped_and_listed(folder, caplog):
    (folder / "audio/c.wav").write_bytes(b"no audio")
    with (folder / "metadata.csv").open("a") as table:
        table.write("audio/c.wav,sad,s1,,,\naudio/d.wav,sad,s1,,,\n")
    with pytest.raises(InputError, match=r"line 4: .*c.wav.*2 of 4 clips are bad.*skip_bad=True"):
        load_corpus(folder)
    with caplog.at_level(logging.WARNING):
        assert len(load_corpus(folder, skip_bad=True)) == 2
    (message,) = [record.getMessage() for record in caplog.records]
    assert "left out 2 of 4 clips" in message and "c.wav" in message and "d.wav" in message


def test_a_data_set_in_memory_gets_missing_columns_as_null():
    corpus = load_corpus(Dataset.from_dict({"id": ["a"], "emotion": ["sad"], "x": [1.5]}))
    assert corpus[0]["x"] == 1.5
    assert corpus.features["speaker"].dtype == "string"
    assert corpus[0]["speaker"] is None
    with pytest.raises(InputError, match="column 'emotion' is missing; found id"):
        load_corpus(Dataset.from_dict({"id": ["a"]}))


def test_audio_is_never_decoded_by_the_data_set(folder):
    corpus = load_corpus(folder).cast_column("audio", Audio(sampling_rate=16000))
    assert load_corpus(corpus)[0]["audio"]["path"].endswith("a.wav")


def test_splits_become_a_column():
    one = Dataset.from_dict({"id": ["a"], "emotion": ["sad"]})
    two = Dataset.from_dict({"id": ["b"], "emotion": ["happy"]})
    corpus = load_corpus(DatasetDict(train=one, test=two))
    assert dict(zip(corpus["id"], corpus["split"], strict=True)) == {"a": "train", "b": "test"}


def test_a_folder_without_a_corpus_is_explained(tmp_path):
    with pytest.raises(InputError, match=r"neither corpus.json nor metadata.csv .*prepare"):
        load_corpus(tmp_path)
    (tmp_path / "data-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="Parquet files without corpus.json.*interrupted"):
        load_corpus(tmp_path)


def test_a_name_that_is_neither_here_nor_on_the_hub_is_explained(monkeypatch):
    def refuse(name):
        raise ConnectionError("no network")

    monkeypatch.setattr("processing.corpora.hub.get_dataset_split_names", refuse)
    with pytest.raises(InputError, match=r"'some/corpus': no such folder .*\(no network\)"):
        load_corpus("some/corpus")


def test_a_data_set_of_the_hub_is_loaded_with_its_splits(monkeypatch):
    splits = {
        "train": Dataset.from_dict({"id": ["a"], "emotion": ["sad"]}),
        "test": Dataset.from_dict({"id": ["b"], "emotion": ["happy"]}),
    }
    monkeypatch.setattr("processing.corpora.hub.get_dataset_split_names", lambda name: list(splits))
    monkeypatch.setattr("processing.corpora.hub.load_dataset", lambda name, split: splits[split])
    corpus = load_corpus("some/corpus")
    assert isinstance(corpus, datasets.Dataset)
    assert corpus["split"] == ["train", "test"]
