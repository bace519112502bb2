import json

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from processing.errors import InputError
from processing.leakage import leaks
from train_scripts.leaks import app


@pytest.fixture
def folder(tmp_path):
    """Six speakers of three turns; one turn of s1 is a quieter copy of one of s0."""
    rng = np.random.default_rng(0)
    table = ["file_name,emotion,speaker,gender,text"]
    for speaker in range(6):
        for turn in range(3):
            name = f"s{speaker}-{turn}.wav"
            noise = rng.standard_normal(8000) * 0.1
            if (speaker, turn) == (0, 0):
                original = noise
            if (speaker, turn) == (1, 0):
                noise = 0.3 * original
            soundfile.write(tmp_path / name, noise, 16000)
            table.append(
                f"{name},angry,s{speaker},{'fm'[speaker % 2]},Sentence number {turn} here."
            )
    (tmp_path / "metadata.csv").write_text("\n".join(table) + "\n")
    return tmp_path


def test_copies_and_transcripts_are_counted_in_every_fold(folder):
    report = leaks(folder, "speaker-paper")
    assert [(a, b) for a, b, _ in report["copies"]] == [("s0-0.wav", "s1-0.wav")]
    assert list(report["folds"]) == [f"s{k}" for k in range(6)]
    assert all(fold["in_train"]["transcript"] == 3 for fold in report["folds"].values())
    assert report["folds"]["s3"]["in_train"]["near_identical_audio"] == 0
    found = [report["folds"][f"s{k}"]["in_train"]["near_identical_audio"] for k in (0, 1)]
    held_out = [report["folds"][f"s{k}"]["turns"]["heldout_turns"] for k in (0, 1)]
    assert held_out == [5, 5]
    assert max(found) == 1
    assert len({fold["hash"] for fold in report["folds"].values()}) == 6


def test_the_audio_part_can_be_left_out(folder):
    report = leaks(folder, "speaker", folds=["s2"], audio=False)
    assert list(report["folds"]) == ["s2"]
    assert report["folds"]["s2"]["in_train"]["identical_audio"] is None


def test_the_command_prints_a_table_or_json(folder):
    arguments = ["--data", str(folder), "--protocol", "speaker", "--fold", "s2", "--no-audio"]
    table = CliRunner().invoke(app, arguments)
    assert table.exit_code == 0, table.output
    assert "does not allow shared speakers" in table.stdout
    assert "test turns found in validation" in table.stdout
    as_json = CliRunner().invoke(app, [*arguments, "--json"])
    assert json.loads(as_json.stdout)["folds"]["s2"]["turns"]["test"] == 3


def test_an_unknown_fold_is_refused(folder):
    with pytest.raises(InputError, match="no fold 'x'"):
        leaks(folder, "speaker", folds=["x"], audio=False)
