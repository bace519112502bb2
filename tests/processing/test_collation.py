import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.tiny_pipeline import encode, voice

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


def test_a_row_key_is_a_hash_that_other_programs_make_too():
    # printf Ses01F_impro01_F000 | b2sum -l 64
    assert row_key("Ses01F_impro01_F000") == 0xE822899D683E1DC6 // 4


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    with_waveform=st.booleans(),
    with_text=st.booleans(),
    with_row_keys=st.booleans(),
    with_speakers=st.booleans(),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_batch_holds_each_row_followed_by_zeros_and_only_what_was_asked_for(
    processor, lengths, with_waveform, with_text, with_row_keys, with_speakers
):
    random = np.random.default_rng(len(lengths))
    rows = [
        {
            "id": str(k),
            "waveform": random.uniform(-1, 1, 256 * n).astype(np.float32),
            "mel": random.uniform(0.1, 1, (n, 80)).astype(np.float32),
            "f0_hz": random.uniform(80, 300, n).astype(np.float32),
            "speaker": "ab"[k % 2],
            "emotion": ["sad", "happy", "other"][k % 3],
            "text": "A" * (k + 1),
        }
        for k, n in enumerate(lengths)
    ]
    collator = DecompSerDataCollator(
        processor,
        labels=["happy", "sad"],
        speakers=["b", "a"] if with_speakers else [],
        with_waveform=with_waveform,
        with_text=with_text,
        with_row_keys=with_row_keys,
    )
    batch = collator(rows)
    asked = {
        "input_values": with_waveform, "attention_mask": with_waveform, "ctc_labels": with_text,
        "row_keys": with_row_keys, "speaker_labels": with_speakers,
    }  # fmt: skip
    always = {"mel", "log_f0", "voiced", "frame_mask", "labels"}
    assert set(batch) == always | {name for name, wanted in asked.items() if wanted}
    assert batch["labels"].tolist() == [(1, 0, -100)[k % 3] for k in range(len(rows))]
    if with_speakers:
        assert batch["speaker_labels"].tolist() == [1 - k % 2 for k in range(len(rows))]
    if with_text:
        assert (batch["ctc_labels"] != -100).sum(1).tolist() == list(range(1, len(rows) + 1))
    masks = {"frame_mask": ("mel", "log_f0", "voiced")}
    masks |= {"attention_mask": ("input_values",)} if with_waveform else {}
    for mask, names in masks.items():
        step = 256 if mask == "attention_mask" else 1
        assert batch[mask].sum(1).tolist() == [step * n for n in lengths]
        for name in names:
            assert batch[name].shape[:2] == (len(rows), step * max(lengths))
            for k, n in enumerate(lengths):
                assert not batch[name][k, step * n :].any()
                assert batch[mask][k, : step * n].all()
    for k, (row, n) in enumerate(zip(rows, lengths, strict=True)):
        torch.testing.assert_close(batch["mel"][k, :n], torch.from_numpy(row["mel"]))


def test_a_speaker_s_own_statistics_place_its_pitch(rows, processor):
    known = rows[0]["speaker"]
    processor.feature_extractor = DecompSerFeatureExtractor(
        f0_method="dio", f0_stats="speaker", f0_speaker_stats={known: [4.0, 1.0]}
    )
    collator = DecompSerDataCollator(processor, labels=["sad"])
    batch = collator([rows[0], {**rows[0], "speaker": "someone else"}])
    voiced = batch["voiced"][0]
    hertz = torch.as_tensor(np.array(rows[0]["f0_hz"]))[voiced]
    # four deviations to either side of the mean are mapped to 0 to 1
    expected = (hertz.log() - 4.0) / 8 + 0.5
    torch.testing.assert_close(batch["log_f0"][0][voiced], expected, atol=1e-5, rtol=0)
    assert not torch.equal(batch["log_f0"][0], batch["log_f0"][1])


def test_audio_is_read_at_the_rate_of_the_model_unless_a_row_brings_its_samples(rows, processor):
    fast = {"bytes": encode(voice(0.5, 32000), 32000), "path": None}
    row = {**rows[0], "audio": fast}
    row.pop("waveform", None)
    collator = DecompSerDataCollator(processor, labels=["sad"])
    assert len(collator.read_waveform(row)) == 8000
    samples = np.zeros(3, np.float32)
    assert collator.read_waveform({**row, "waveform": samples}) is samples
