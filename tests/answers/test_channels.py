import numpy as np
import pytest
from support.tiny_pipeline import encode, voice

from processing.errors import InputError
from train_scripts.answers.channels import choose_channels, relate_channels

RATE = 8000


def audio(samples, rate=RATE, **options) -> dict:
    return {"path": "call.wav", "bytes": encode(samples, rate, **options)}


def in_turn(seconds=8.0, *, apart=1.0):
    """Two voices that speak in turn, each on its own channel, but for what leaks over."""
    one, other = voice(seconds, RATE), voice(seconds, RATE, seed=1, f0_hz=230)
    first = (np.arange(len(one)) // (2 * RATE)) % 2 == 0
    one, other = one * first, other * ~first
    return np.stack([one + (1 - apart) * other, other + (1 - apart) * one], axis=1)


def delayed(samples, by=40):
    """What a second microphone hears, somewhat later and with noise of its own."""
    noise = 0.005 * np.random.default_rng(0).standard_normal(len(samples))
    return 0.7 * np.roll(samples, by) + noise


SAME = {
    "one voice on both": lambda: np.stack([voice(8.0, RATE)] * 2, axis=1),
    "two microphones": lambda: np.stack([voice(8.0, RATE), delayed(voice(8.0, RATE))], axis=1),
    "one channel silent": lambda: np.stack([voice(8.0, RATE), np.zeros(8 * RATE)], axis=1),
    "opposite sign": lambda: np.stack([voice(8.0, RATE), -voice(8.0, RATE)], axis=1),
    "one channel": lambda: voice(8.0, RATE)[:, None],
    "shorter than a frame": lambda: voice(0.05, RATE)[:, None],
}


@pytest.mark.parametrize("apart", [1.0, 0.95, 0.8])
def test_two_sides_of_a_call_are_told_apart_and_it_is_said(apart):
    channels, note = choose_channels(audio(in_turn(apart=apart), subtype="ULAW"), "auto")
    assert channels == [1, 2]
    assert note is not None and "--channels mix" in note


@pytest.mark.parametrize("kind", SAME)
def test_one_recording_on_two_channels_is_mixed(kind):
    assert choose_channels(audio(SAME[kind]()), "auto") == ([None], None)


def test_what_is_asked_for_is_taken():
    both = audio(in_turn())
    assert choose_channels(both, "mix") == ([None], None)
    assert choose_channels(both, "split") == ([1, 2], None)
    assert choose_channels(audio(SAME["one voice on both"]()), "split") == ([1, 2], None)
    assert choose_channels(both, "2") == ([2], None)
    with pytest.raises(InputError, match=r"call\.wav: --channels 3, but it has 2"):
        choose_channels(both, "3")


def test_the_correlations_are_those_of_numpy():
    samples = in_turn(apart=0.9)
    relation = relate_channels(audio(samples, subtype="FLOAT"))
    size = RATE // 10
    levels = 10 * np.log10((samples.reshape(-1, size, 2) ** 2).mean(1) + 1e-8)
    a, b = samples.T
    expected = a @ b / np.sqrt((a @ a) * (b @ b))
    assert relation.correlation == pytest.approx(expected, abs=1e-5)
    assert relation.level_correlation == pytest.approx(np.corrcoef(levels.T)[0, 1], abs=1e-4)
    assert relation.seconds == pytest.approx(8.0)
