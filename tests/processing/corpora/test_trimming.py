import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processing.corpora.preparation import trim_ends

RATE = 16000


def clip(lead, tail, floor=0.0, seconds=1.0):
    """A tone of full level between stretches of noise at `floor`."""
    rng = np.random.default_rng(0)
    total = sum(int(part * RATE) for part in (lead, seconds, tail))
    waveform = floor * rng.standard_normal(total)
    start = int(lead * RATE)
    waveform[start : start + int(seconds * RATE)] += 0.5 * np.sin(
        0.3 * np.arange(int(seconds * RATE))
    )
    return waveform.astype(np.float32)


def test_ends_are_cut_to_two_tenths_of_a_second():
    assert len(trim_ends(clip(lead=0.7, tail=0.9))) == 0.2 * RATE + RATE + 0.2 * RATE


@pytest.mark.parametrize(("floor_db", "is_cut"), [(-41, False), (-43, True)])
def test_what_is_42_db_below_the_95th_percentile_is_quiet(floor_db, is_cut):
    tone_level = 10 * np.log10(0.5**2 / 2)
    waveform = clip(0.7, 0.7, floor=10 ** ((tone_level + floor_db) / 20), seconds=2.0)
    assert (len(trim_ends(waveform)) < len(waveform)) == is_cut


@pytest.mark.parametrize("waveform", [np.zeros(RATE), np.zeros(0), np.ones(319), np.ones(320)])
def test_silence_and_very_short_clips_stay_whole(waveform):
    assert trim_ends(waveform) is waveform or np.array_equal(trim_ends(waveform), waveform)


@given(st.floats(0, 0.5), st.floats(0, 0.5))
def test_what_is_kept_is_an_unchanged_part_that_holds_the_sound(lead, tail):
    waveform = clip(lead, tail, seconds=0.5)
    kept = trim_ends(waveform)
    offset = (kept.__array_interface__["data"][0] - waveform.__array_interface__["data"][0]) // 4
    assert np.array_equal(kept, waveform[offset : offset + len(kept)])
    assert offset <= max(0, int(lead * RATE) - 0.18 * RATE)
    assert (waveform[:offset] == 0).all() and (waveform[offset + len(kept) :] == 0).all()
