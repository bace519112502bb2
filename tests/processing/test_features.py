"""What the stored signals are named after: everything that they depend on, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from support.tiny_pipeline import RATE, encode, voice

from processing import DecompSerFeatureExtractor, features
from processing.features import (
    add_signals,
    content_hash,
    default_cache_folder,
    extract_row,
    signal_settings,
)

OTHER_SETTINGS = {
    "sampling_rate": 16016,
    "hop_length": 200,
    "n_fft": 2048,
    "win_length": 800,
    "num_mel_bins": 40,
    "mel_f_min": 60.0,
    "mel_f_max": 7000.0,
    "f0_method": "harvest",
    "f0_range": "gender",
    "f0_stats": "speaker",
    "f0_global_stats": [4.8, 0.3],
    "f0_speaker_stats": {"a": [4.8, 0.3]},
    "f0_deviation": 0.2,
    "padding_value": 1.0,
}


def extractor(**settings):
    return DecompSerFeatureExtractor(**{"f0_method": "dio"} | settings)


def row(**changes):
    audio = {"bytes": encode(voice(0.4)), "path": None}
    return {"id": "a", "gender": "male", "audio": audio, "speaker": "s"} | changes


def dataset(*rows):
    return Dataset.from_list(list(rows))


@pytest.mark.parametrize("name", OTHER_SETTINGS)
def test_a_setting_that_changes_the_signals_changes_the_name_they_are_stored_by(name):
    # at 90 Hz, which only the ranges of a gender cut off
    sound, genders = voice(0.6, f0_hz=90.0), ["female"]
    usual, other = extractor(), extractor(**{name: OTHER_SETTINGS[name]})
    (a,), (b,) = (e.extract([sound], genders) for e in (usual, other))
    same = a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)
    assert same == (signal_settings(usual) == signal_settings(other))
    assert same == (name.startswith(("f0_stats", "padding")) or "_stats" in name or "devi" in name)


def test_the_version_of_the_cache_is_part_of_the_name(monkeypatch):
    before = signal_settings(extractor())
    monkeypatch.setattr(features, "CACHE_VERSION", features.CACHE_VERSION + 1)
    assert signal_settings(extractor()) != before


def test_shards_are_named_after_settings_ids_genders_and_audio_alone():
    other_sound = {"bytes": encode(voice(0.4, seed=1)), "path": None}
    two = [row(), row(id="b", gender=None)]
    reference = content_hash(dataset(*two), "settings")
    assert content_hash(dataset(*two), "settings") == reference
    assert content_hash(dataset(*(r | {"speaker": "t"} for r in two)), "settings") == reference
    others = [
        content_hash(dataset(*two), "other settings"),
        content_hash(dataset(two[1], two[0]), "settings"),
        content_hash(dataset(two[0]), "settings"),
        content_hash(dataset(two[0], two[1] | {"id": "c"}), "settings"),
        content_hash(dataset(two[0], two[1] | {"gender": "female"}), "settings"),
        content_hash(dataset(two[0], two[1] | {"audio": other_sound}), "settings"),
        content_hash(dataset(two[0] | {"id": "a\tmale\t", "gender": ""}, two[1]), "settings"),
    ]
    assert len({reference, *others}) == 1 + len(others)
    assert all(len(digest) == 32 for digest in others)


def test_audio_in_a_file_counts_by_what_the_file_holds(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(encode(voice(0.4)))
    by_path = dataset(row(audio={"bytes": None, "path": str(path)}))
    before = content_hash(by_path, "settings")
    assert before == content_hash(dataset(row()), "settings")
    path.write_bytes(encode(voice(0.4, seed=1)))
    assert content_hash(by_path, "settings") != before


@pytest.mark.parametrize("variable", ["elsewhere", None])
def test_the_cache_is_where_the_variable_says_or_the_user_s(variable, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DECOMP_SER_CACHE", raising=False)
    if variable is not None:
        monkeypatch.setenv("DECOMP_SER_CACHE", variable)
    expected = Path("elsewhere") if variable else tmp_path / ".cache" / "decomp_ser"
    assert default_cache_folder() == expected


def test_signals_are_those_of_the_resampled_clip_and_its_gender():
    ranged = extractor(f0_range="gender")
    clip = voice(0.6, f0_hz=90.0)
    found = {
        gender: extract_row(
            row(gender=gender, audio={"bytes": encode(clip, 16000), "path": None}), ranged
        )
        for gender in ("male", "female")
    }
    # a woman's range begins at 100 Hz
    assert (found["male"]["f0_hz"] > 0).sum() > (found["female"]["f0_hz"] > 0).sum()
    fast = {"bytes": encode(voice(0.6, 32000, f0_hz=180.0), 32000), "path": None}
    resampled = extract_row(row(audio=fast), extractor())
    assert len(resampled["mel"]) == pytest.approx(0.6 * RATE / 256, abs=1)
    heard = resampled["f0_hz"][resampled["f0_hz"] > 0]
    assert np.median(heard) == pytest.approx(180, rel=0.12)
    assert resampled["problem"] is None


@pytest.mark.parametrize(
    ("audio", "named"),
    [
        ({"bytes": b"no sound", "path": "clips/x.wav"}, "clips/x.wav"),
        ({"bytes": encode(np.zeros(0, np.float32)), "path": "clips/empty.wav"}, "clips/empty.wav"),
    ],
)
def test_a_clip_that_cannot_be_used_says_why_once_and_has_empty_signals(audio, named):
    found = extract_row(row(audio=audio), extractor(num_mel_bins=40))
    assert found["mel"].shape == (0, 40) and found["f0_hz"].shape == (0,)
    assert found["problem"].startswith("row 'a': ") and found["problem"].count(named) == 1


def test_shards_lose_no_row_and_mix_none_up(monkeypatch, tmp_path):
    monkeypatch.setattr(features, "SHARD_ROWS", 2)
    rows = [
        row(id=str(k), audio={"bytes": encode(voice(0.2 + 0.1 * k, seed=k)), "path": None})
        for k in range(5)
    ]
    found = add_signals(dataset(*rows), extractor(), cache_folder=tmp_path, num_proc=1)
    assert found["id"] == ["0", "1", "2", "3", "4"] and "problem" not in found.column_names
    assert len(list(tmp_path.glob("signals-*.arrow"))) == 3
    for one in found:
        alone = extract_row(rows[int(one["id"])], extractor())
        np.testing.assert_array_equal(np.asarray(one["mel"], np.float32), alone["mel"])
        np.testing.assert_array_equal(np.asarray(one["f0_hz"], np.float32), alone["f0_hz"])


@pytest.mark.parametrize(("shards", "told"), [(1, False), (2, True)])
def test_progress_over_several_shards_names_what_is_extracted(
    shards, told, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(features, "SHARD_ROWS", 1)
    rows = [row(id=str(k)) for k in range(shards)]
    folder = tmp_path / "not" / "there"
    add_signals(dataset(*rows), extractor(), cache_folder=folder, num_proc=1)
    said = capsys.readouterr().err
    assert ("shard" in said) == told
    lines = said.replace("\r", "\n").splitlines()
    assert all(line.strip().startswith("Signals") for line in lines if "shard" in line)
    assert any(line.strip().startswith("Signals") for line in lines)
    assert not any(line.strip().startswith("Map") for line in lines)
    assert len(list(folder.glob("signals-*.arrow"))) == shards


@pytest.mark.parametrize("said", ["too loud", "clips/x.wav: too loud"])
def test_a_problem_names_its_clip_once(said, monkeypatch):
    def refuse(audio, sampling_rate):
        raise ValueError(said)

    monkeypatch.setattr(features, "read_audio", refuse)
    audio = {"bytes": b"", "path": "clips/x.wav"}
    found = extract_row(row(audio=audio), extractor())
    assert found["problem"] == "row 'a': clips/x.wav: too loud"
