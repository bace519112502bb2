import sys

import numpy as np
import pytest
from datasets import Dataset

from processing.audio_files import encode_flac
from processing.errors import InputError
from train_scripts.baselines.functionals import add_functionals, load_smile


def tone(hz: float, seconds: float) -> np.ndarray:
    times = np.arange(int(16000 * seconds)) / 16000
    return (0.3 * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def rows(**clips) -> Dataset:
    columns: dict = {"id": list(clips), "gender": [None] * len(clips)}
    columns["audio"] = [{"bytes": clip, "path": None} for clip in clips.values()]
    return Dataset.from_dict(columns)


@pytest.fixture(scope="module")
def tones():
    return rows(low=encode_flac(tone(120, 1.0)), high=encode_flac(tone(240, 1.0)))


def test_the_pitch_of_a_tone_is_in_its_functionals(tones, tmp_path):
    found = add_functionals(tones, "eGeMAPSv02", cache_folder=tmp_path, num_proc=2)
    values = np.array(found["functionals"])
    assert values.shape == (2, 88) and np.isfinite(values).all()
    place = load_smile("eGeMAPSv02").feature_names.index("F0semitoneFrom27.5Hz_sma3nz_amean")
    assert values[1, place] - values[0, place] == pytest.approx(12, abs=0.2)
    assert values[0, place] == pytest.approx(12 * np.log2(120 / 27.5), abs=0.2)


def test_what_was_extracted_is_kept_and_not_mixed_up(tones, tmp_path, monkeypatch):
    first = add_functionals(tones, "eGeMAPSv02", cache_folder=tmp_path, num_proc=1)
    files = list(tmp_path.glob("*.arrow"))
    assert len(files) == 1
    from train_scripts.baselines import functionals

    def refuse(*_):
        raise AssertionError("extracted again")

    monkeypatch.setattr(functionals, "read_audio", refuse)
    again = add_functionals(tones, "eGeMAPSv02", cache_folder=tmp_path, num_proc=1)
    assert first["functionals"] == again["functionals"]


def test_the_shortest_clips_have_functionals(tmp_path):
    found = add_functionals(
        rows(short=encode_flac(tone(200, 0.026))), "eGeMAPSv02", cache_folder=tmp_path, num_proc=1
    )
    assert np.isfinite(found["functionals"][0]).all()


def test_a_bad_clip_is_named_or_left_out(tones, tmp_path):
    bad = rows(low=tones[0]["audio"]["bytes"], broken=b"no sound")
    with pytest.raises(InputError, match="row 'broken'"):
        add_functionals(bad, "eGeMAPSv02", cache_folder=tmp_path, num_proc=1)
    kept = add_functionals(bad, "eGeMAPSv02", cache_folder=tmp_path, num_proc=1, skip_bad=True)
    assert kept["id"] == ["low"]


def test_a_missing_package_names_the_extra(tones, monkeypatch):
    load_smile.cache_clear()
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(InputError, match="extra `baselines`"):
        add_functionals(tones, "eGeMAPSv02")
