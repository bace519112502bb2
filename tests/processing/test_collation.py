import numpy as np
import pytest
import torch

from processing import DecompSerDataCollator, DecompSerFeatureExtractor, DecompSerProcessor
from processing.collation import row_key
from processing.corpora.rows import rows_to_dataset
from processing.features import add_signals
from processing.text import ENGLISH_VOCABULARY
from train_scripts.runs.fold_data import with_arrays


@pytest.fixture(scope="module")
def extractor():
    return DecompSerFeatureExtractor(f0_method="dio")


@pytest.fixture(scope="module")
def rows(corpus, extractor):
    return with_arrays(add_signals(corpus.select(range(4)), extractor, num_proc=1))


@pytest.fixture
def processor(extractor, tmp_path):
    return DecompSerProcessor.from_vocabulary(extractor, ENGLISH_VOCABULARY, tmp_path)


def test_a_batch_is_what_the_feature_extractor_makes_of_the_audio(rows, processor):
    from processing.audio_files import read_audio

    collator = DecompSerDataCollator(processor, labels=["angry", "happy", "sad", "neutral"])
    batch = collator([rows[0], rows[1]])
    waves = [read_audio(rows[i]["audio"]) for i in range(2)]
    direct = processor.feature_extractor(waves, sampling_rate=16000, return_tensors="pt")
    assert set(direct) <= set(batch)
    for name, value in direct.items():
        torch.testing.assert_close(batch[name], value, rtol=0, atol=0)


def test_labels_follow_the_order_given_and_unknown_ones_are_ignored(rows, processor):
    order = ["sad", "neutral"]
    collator = DecompSerDataCollator(
        processor, labels=order, speakers=["nobody", rows[0]["speaker"]]
    )
    batch = collator([rows[i] for i in range(4)])
    expected = [order.index(e) if e in order else -100 for e in rows["emotion"][:4]]
    assert batch["labels"].tolist() == expected
    known = rows[0]["speaker"]
    assert batch["speaker_labels"].tolist() == [1 if s == known else -100 for s in rows["speaker"]]


def test_transcripts_become_labels_and_missing_ones_a_row_of_minus_100(rows, processor):
    first = {**rows[0], "text": None}
    batch = DecompSerDataCollator(processor, labels=["sad"])([first, rows[1]])
    assert (batch["ctc_labels"][0] == -100).all()
    spoken = batch["ctc_labels"][1]
    letters = {v: k for k, v in ENGLISH_VOCABULARY.items()}
    read = "".join(letters[int(i)] for i in spoken if i >= 0).replace("|", " ")
    assert read == rows[1]["text"]


def test_what_a_model_does_not_read_is_left_out(rows, processor):
    collator = DecompSerDataCollator(
        processor, labels=["sad"], with_waveform=False, with_text=False
    )
    batch = collator([rows[0]])
    assert "input_values" not in batch and "ctc_labels" not in batch and "mel" in batch


def test_row_keys_depend_on_the_id_alone(rows, processor):
    collator = DecompSerDataCollator(processor, labels=["sad"], with_row_keys=True)
    together = collator([rows[0], rows[1]])["row_keys"]
    alone = collator([rows[1]])["row_keys"]
    assert together[1] == alone[0] and together[0] != together[1]
    assert 0 <= row_key("x") < 2**62


def test_signals_are_extracted_once_and_again_when_content_or_settings_change(
    corpus, extractor, tmp_path, monkeypatch
):
    few = corpus.select(range(3))
    calls = []
    extract = DecompSerFeatureExtractor.extract

    def count(self, waveforms, genders=None):
        calls.append(len(waveforms))
        return extract(self, waveforms, genders)

    monkeypatch.setattr(DecompSerFeatureExtractor, "extract", count)
    first = add_signals(few, extractor, cache_folder=tmp_path, num_proc=1)
    assert sum(calls) == 3
    again = add_signals(few, extractor, cache_folder=tmp_path, num_proc=1)
    assert sum(calls) == 3
    np.testing.assert_array_equal(first[2]["f0_hz"], again[2]["f0_hz"])
    other = DecompSerFeatureExtractor(f0_method="dio", num_mel_bins=40)
    assert np.shape(add_signals(few, other, cache_folder=tmp_path, num_proc=1)[0]["mel"])[1] == 40
    assert sum(calls) == 6
    quieter = few.map(lambda row: {"audio": {"bytes": few[0]["audio"]["bytes"], "path": None}})
    add_signals(quieter, extractor, cache_folder=tmp_path, num_proc=1)
    assert sum(calls) == 9


def test_an_interrupted_extraction_goes_on_with_the_next_shard(
    corpus, extractor, tmp_path, monkeypatch
):
    monkeypatch.setattr("processing.features.SHARD_ROWS", 2)
    few = corpus.select(range(4))
    extract, done = DecompSerFeatureExtractor.extract, []

    def stop_at_third(self, waveforms, genders=None):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return extract(self, waveforms, genders)

    monkeypatch.setattr(DecompSerFeatureExtractor, "extract", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        add_signals(few, extractor, cache_folder=tmp_path, num_proc=1)
    monkeypatch.setattr(
        DecompSerFeatureExtractor, "extract", lambda *a: done.append(1) or extract(*a)
    )
    assert len(add_signals(few, extractor, cache_folder=tmp_path, num_proc=1)) == 4
    assert len(done) == 4  # two of the first shard, kept, and two of the second


def test_processes_do_not_change_the_signals(corpus, extractor, tmp_path):
    few = corpus.select(range(6))
    one = add_signals(few, extractor, cache_folder=tmp_path / "one", num_proc=1)
    two = add_signals(few, extractor, cache_folder=tmp_path / "two", num_proc=2)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a["mel"], b["mel"])
        np.testing.assert_array_equal(a["f0_hz"], b["f0_hz"])


def test_a_bad_clip_stops_with_its_name_or_is_left_out_and_listed(
    corpus, extractor, tmp_path, caplog
):
    from processing.errors import InputError

    rows = corpus.select(range(3)).to_list()
    rows[1]["audio"] = {"bytes": b"no sound", "path": "clips/broken.wav"}
    broken = rows_to_dataset(rows)
    with pytest.raises(InputError, match=r"clips/broken.wav.*1 of 3 clips.*--skip-bad"):
        add_signals(broken, extractor, cache_folder=tmp_path, num_proc=1)
    kept = add_signals(broken, extractor, cache_folder=tmp_path, num_proc=1, skip_bad=True)
    assert kept["id"] == [rows[0]["id"], rows[2]["id"]]
    assert "1 of 3 clips" in caplog.text and "clips/broken.wav" in caplog.text
