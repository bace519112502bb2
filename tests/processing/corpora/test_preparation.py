import csv
import json
import os
import subprocess
import sys

import datasets
import numpy as np
import pytest
import soundfile
from datasets import ClassLabel, Dataset, Features, Value
from support.iemocap_release import small_release
from typer.testing import CliRunner

from processing.audio_files import read_audio
from processing.corpora import shards
from processing.corpora.loading import load_corpus
from processing.corpora.preparation import PrepareOptions, parse_pairs, prepare
from processing.errors import InputError
from train_scripts.prepare import app


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def source(tmp_path):
    """Four clips of noise; the last has the samples of the first."""
    folder = tmp_path / "source"
    folder.mkdir()
    emotions = ["angry", "excited", "calm", "angry"]
    table = ["file_name,emotion,speaker,gender,text"]
    for k, emotion in enumerate(emotions):
        noise = np.random.default_rng(k % 3).integers(-8000, 8000, 4000 + 100 * (k % 3))
        soundfile.write(folder / f"{k}.wav", noise.astype(np.int16), 16000)
        table.append(f"{k}.wav,{emotion},s{k % 2},{'fm'[k % 2]},Number {k}.")
    (folder / "metadata.csv").write_text("\n".join(table) + "\n")
    return folder


def test_prepared_rows_are_those_of_the_source_with_the_samples_inside(source, tmp_path):
    manifest = prepare("folder", str(source), tmp_path / "out")
    before, after = load_corpus(source), load_corpus(tmp_path / "out")
    assert manifest["rows"] == len(after) == 4
    assert after.remove_columns("audio").to_list() == before.remove_columns("audio").to_list()
    assert after.features == before.features
    for old, new in zip(before["audio"], after["audio"], strict=True):
        assert np.array_equal(read_audio(old), read_audio(new))
        assert new["bytes"][:4] == b"fLaC" and new["path"].endswith(".flac")


def test_labels_are_mapped_then_chosen(source, tmp_path):
    options = PrepareOptions(label_map={"excited": "happy"}, labels=["angry", "happy"])
    manifest = prepare("folder", str(source), tmp_path / "out", options=options)
    assert load_corpus(tmp_path / "out")["emotion"] == ["angry", "happy", "angry"]
    assert manifest["other_labels"] == 1


def test_duplicates_are_dropped_on_demand_and_listed(source, tmp_path):
    options = PrepareOptions(drop_duplicates=True)
    assert prepare("folder", str(source), tmp_path / "out", options=options)["left_out"] == 1
    assert load_corpus(tmp_path / "out")["id"] == ["0.wav", "1.wav", "2.wav"]
    with (tmp_path / "out/left_out.csv").open(newline="") as file:
        assert list(csv.reader(file))[1] == ["3.wav", "the same samples as 0.wav."]


def test_trimming_shortens_clip_and_duration(source, tmp_path):
    tone = 0.5 * np.sin(0.3 * np.arange(8000))
    soundfile.write(source / "0.wav", np.pad(tone, 16000), 16000)
    prepare("folder", str(source), tmp_path / "out", options=PrepareOptions(trim=True))
    row = load_corpus(tmp_path / "out")[0]
    assert row["duration"] == 0.9  # 0.2 s on either side of 0.5 s
    assert len(read_audio(row["audio"])) == 14400


def test_damage_behind_a_sound_header_is_found_and_skipped_on_demand(source, tmp_path):
    soundfile.write(source / "1.wav", np.full(4000, np.nan), 16000, subtype="FLOAT")
    with pytest.raises(InputError, match=r"1.wav: .*NaN.*--skip-bad"):
        prepare("folder", str(source), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    prepare("folder", str(source), tmp_path / "out", options=PrepareOptions(skip_bad=True))
    assert load_corpus(tmp_path / "out")["id"] == ["0.wav", "2.wav", "3.wav"]


def test_statistics_count_turns_and_minutes_of_each_group(source, tmp_path):
    prepare("folder", str(source), tmp_path / "out")
    statistics = json.loads((tmp_path / "out/statistics.json").read_text())
    seconds = [4000 / 16000, 4100 / 16000, 4200 / 16000, 4000 / 16000]
    assert statistics["turns"] == 4
    assert statistics["minutes"] == pytest.approx(sum(seconds) / 60, abs=5e-4)
    assert statistics["emotion"]["angry"]["turns"] == 2
    assert statistics["speaker"]["s0"]["emotion"] == {"angry": 1, "calm": 1, "excited": 0}
    assert statistics["gender"]["male"]["turns"] == 2
    assert statistics["seconds"]["maximum"] == 0.263
    table = (tmp_path / "out/statistics.md").read_text()
    assert "| s1 | 1 | 0 | 1 | 2 |" in table and "| angry | 2 | 50.0% |" in table
    assert (tmp_path / "out/statistics.png").read_bytes()[1:4] == b"PNG"


def test_large_corpora_are_cut_into_shards(source, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 10000)
    monkeypatch.setattr(shards, "ROWS_PER_GROUP", 1)
    manifest = prepare("folder", str(source), tmp_path / "out")
    assert [shard["rows"] for shard in manifest["shards"]] == [2, 2]
    assert load_corpus(tmp_path / "out")["id"] == ["0.wav", "1.wav", "2.wav", "3.wav"]


def test_a_killed_run_leaves_nothing_that_is_trusted_and_the_next_one_restarts(source, tmp_path):
    script = (
        "import os, sys\n"
        "from processing.corpora import preparation as module\n"
        "from processing.corpora import shards\n"
        "shards.ROWS_PER_GROUP = shards.SHARD_BYTES = 1\n"
        "encode, calls = module.encode_flac, []\n"
        "def die_at_the_third(waveform, **options):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 3:\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return encode(waveform, **options)\n"
        "module.encode_flac = die_at_the_third\n"
        "module.prepare('folder', sys.argv[1], sys.argv[2])\n"
    )
    output = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", script, source, output], capture_output=True)
    assert killed.returncode == -9
    assert len(list((tmp_path / "out.partial").glob("*.parquet"))) == 2
    assert not output.exists()
    with pytest.raises(InputError, match="Parquet files without corpus.json"):
        load_corpus(tmp_path / "out.partial")
    prepare("folder", str(source), output)
    assert len(load_corpus(output)) == 4
    assert not (tmp_path / "out.partial").exists()


def test_a_shard_that_is_missing_or_cut_is_noticed(source, tmp_path):
    prepare("folder", str(source), tmp_path / "out")
    shard = tmp_path / "out/data-00000.parquet"
    os.truncate(shard, shard.stat().st_size - 10)
    with pytest.raises(InputError, match=r"data-00000.parquet: expected a shard of \d+ bytes, but"):
        load_corpus(tmp_path / "out")
    shard.unlink()
    with pytest.raises(InputError, match="it is missing. Run `prepare` again"):
        load_corpus(tmp_path / "out")


def test_an_output_is_replaced_only_on_demand_and_only_if_it_was_prepared(source, tmp_path):
    output = tmp_path / "out"
    prepare("folder", str(source), output)
    with pytest.raises(InputError, match="holds a prepared corpus.*--overwrite"):
        prepare("folder", str(source), output)
    options = PrepareOptions(labels=["calm"])
    prepare("folder", str(source), output, options=options, overwrite=True)
    assert len(load_corpus(output)) == 1
    with pytest.raises(InputError, match="is no prepared corpus"):
        prepare("folder", str(source), source, overwrite=True)
    assert (source / "metadata.csv").is_file()


def test_an_iemocap_release_keeps_its_further_columns(tmp_path):
    small_release(tmp_path / "release")
    prepare("iemocap", str(tmp_path / "release"), tmp_path / "out", configuration="all")
    corpus = load_corpus(tmp_path / "out")
    assert corpus.num_rows == 13
    row = corpus[0]
    assert (row["id"], row["style"], row["start"]) == ("Ses01F_impro01_F000", "improvised", 6.2901)
    assert (row["valence"], row["session"]) == (2.5, "Ses01")


@pytest.fixture
def parquet(source, tmp_path):
    """A Parquet file with names, labels and ids of its own."""
    audio = [{"bytes": (source / f"{k}.wav").read_bytes(), "path": f"{k}.wav"} for k in range(3)]
    features = Features(
        {
            "sound": {"bytes": Value("binary"), "path": Value("string")},
            "label": ClassLabel(names=["Anger", "Joy"]),
            "who": Value("int64"),
            "sex": Value("string"),
        }
    )
    rows = {"sound": audio, "label": [0, 1, 1], "who": [7, 8, 8], "sex": ["F", "m", None]}
    path = tmp_path / "foreign" / "part.parquet"
    path.parent.mkdir()
    Dataset.from_dict(rows, features=features).to_parquet(path)
    return path


def test_parquet_of_another_origin_is_read_with_a_column_mapping(parquet, tmp_path):
    columns = {"audio": "sound", "emotion": "label", "speaker": "who", "gender": "sex"}
    options = PrepareOptions(label_map={"anger": "angry", "joy": "happy"})
    for source in (parquet, parquet.parent):
        output = tmp_path / f"out-{source.name}"
        prepare("hub", str(source), output, options=options, columns=columns)
        corpus = load_corpus(output).remove_columns("audio")
        assert corpus["emotion"] == ["angry", "happy", "happy"]
        assert corpus["speaker"] == ["7", "8", "8"]
        assert corpus["gender"] == ["female", "male", None]
        assert corpus["id"] == ["000000", "000001", "000002"]
        assert corpus["duration"] == [0.25, 4100 / 16000, 4200 / 16000]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"audio": "sound"}, "no column 'emotion'; found sound, .* --columns emotion=NAME"),
        ({"emotion": "mood"}, "no column 'mood'; found sound, label, who, sex"),
        ({"mood": "label"}, "no column 'mood' in a row. Choose from: id, audio, emotion"),
    ],
)
def test_a_wrong_column_mapping_is_answered_with_the_columns(parquet, tmp_path, columns, message):
    with pytest.raises(InputError, match=message):
        prepare("hub", str(parquet), tmp_path / "out", columns=columns)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("nothing", "source"), {}, "no corpus 'nothing'. Choose one of: crema-d, emodb"),
        (("folder", "source"), {"columns": {"a": "b"}}, "--columns is for `hub`"),
        (("folder", "nowhere"), {}, "metadata.csv: no such table"),
        (("hub", "source"), {}, "no Parquet file in this folder"),
        (("synthetic", "speakers=2"), {}, "expected - or settings of the synthetic corpus"),
        (
            ("folder", "source"),
            {"options": PrepareOptions(labels=["joy"])},
            "--labels: no emotion 'joy' in this corpus. Found: angry, calm, excited",
        ),
        (
            ("folder", "source"),
            {"options": PrepareOptions(label_map={"joy": "happy"})},
            "--map: no emotion 'joy'",
        ),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(
    source, tmp_path, monkeypatch, arguments, options, message
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        prepare(*arguments, tmp_path / "out", **options)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("text", ["a", "a=", "=b", "a=b,c"])
def test_pairs_that_are_none_are_refused(text):
    with pytest.raises(InputError, match="--map .*expected NAME=VALUE pairs"):
        parse_pairs(text, "--map")


def test_the_command_prints_the_statistics_and_writes_to_the_folder(source, tmp_path):
    arguments = ["folder", source, tmp_path / "out", "--map", "excited=happy", "--trim"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert "| angry | 2 | 50.0% |" in result.stdout
    assert "4 rows in 1 shards" in result.stdout
    assert json.loads((tmp_path / "out/corpus.json").read_text())["settings"]["trim"] is True


def test_the_factorial_corpus_keeps_what_was_varied(tmp_path):
    pytest.importorskip("espeakng_loader")
    sizes = "num_sentences=1,num_voices=2,num_contours=1,num_rhythms=2"
    prepare("factorial", sizes, tmp_path / "out")
    rows = load_corpus(tmp_path / "out")
    assert list(zip(rows["voice"], rows["rhythm"], strict=True)) == [
        ("s01", "slow"), ("s01", "fast"), ("s02", "slow"), ("s02", "fast"),
    ]  # fmt: skip
    with pytest.raises(InputError, match="whole numbers for num_sentences, num_voices"):
        prepare("factorial", "num_speakers=2", tmp_path / "other")


def test_what_is_damaged_behind_its_header_leaves_nothing_that_a_later_run_would_read(
    source, tmp_path
):
    damaged = source / "2.wav"
    samples, rate = soundfile.read(damaged, dtype="int16")
    soundfile.write(damaged, samples, rate, format="FLAC")
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1  # the header is whole: only decoding tells
    damaged.write_bytes(content)
    output = tmp_path / "prepared"
    with pytest.raises(InputError, match=r"2\.wav: cannot be decoded after .* --skip-bad"):
        prepare("folder", str(source), output)
    assert not output.exists()
    with pytest.raises(
        InputError, match=r"neither corpus\.json|Parquet files without corpus\.json"
    ):
        load_corpus(output.with_name("prepared.partial"))
    options = PrepareOptions(skip_bad=True)
    assert prepare("folder", str(source), output, options=options)["left_out"] == 1
    assert load_corpus(output)["id"] == ["0.wav", "1.wav", "3.wav"]
