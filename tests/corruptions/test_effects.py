import math

import pytest
import torch

from train_scripts.corruptions.effects import (
    PACKET,
    babble,
    change_speed,
    clip,
    gain,
    high_pass,
    lose_packets,
    low_pass,
    other_microphone,
    resampled,
    reverberate,
    silence_around,
    telephone,
    white_noise,
)

RATE = 16000
KEY = torch.tensor(5)


def tone(hertz, seconds=1.0):
    return 0.3 * torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * RATE)) / RATE)


def decibels(changed, original):
    inner = slice(2000, -2000)
    return 20 * math.log10(changed[inner].std() / original[inner].std())


def test_speed_moves_a_tone_and_its_duration_alike():
    faster = change_speed(tone(500), 10)
    assert len(faster) == pytest.approx(RATE / 1.1, abs=2)
    peak = torch.fft.rfft(faster).abs().argmax() * RATE / len(faster)
    assert peak == pytest.approx(550, abs=2)
    assert len(change_speed(tone(500), -1)) == pytest.approx(RATE / 0.99, abs=2)


@pytest.mark.parametrize("snr", [20.0, 0.0])
def test_noise_and_babble_have_the_level_asked_for(snr):
    speech = tone(440)
    voices = [tone(hertz, 0.3) for hertz in (200, 310, 650)]
    for heard in (white_noise(speech, snr, KEY), babble(speech, snr, KEY, voices)):
        assert decibels(heard - speech, speech) == pytest.approx(-snr, abs=0.5)


def test_babble_holds_every_voice_as_loud_as_the_others():
    frequencies = (200, 310, 650)
    voices = [k * tone(hertz, 0.5) for k, hertz in enumerate(frequencies, 1)]
    crowd = babble(tone(3000), 0.0, KEY, voices) - tone(3000)
    powers = torch.fft.rfft(crowd).abs()
    peaks = [powers[hertz - 5 : hertz + 6].max() for hertz in frequencies]
    assert max(peaks) < 1.3 * min(peaks)


def test_noise_of_two_strengths_is_the_same_noise():
    speech = tone(440)
    mild, strong = (white_noise(speech, snr, KEY) - speech for snr in (20.0, 0.0))
    assert torch.allclose(10 * mild, strong, atol=1e-4)


def test_silence_gets_no_noise_and_no_nan():
    silence = torch.zeros(4000)
    assert torch.equal(white_noise(silence, 0.0, KEY), silence)
    assert torch.equal(babble(silence, 0.0, KEY, [tone(300)]), silence)
    assert torch.equal(clip(silence, 20.0), silence)


def test_reverberation_decays_by_60_decibels_in_its_time():
    impulse = torch.zeros(RATE)
    impulse[0] = 1.0
    tail = reverberate(impulse, 0.4, KEY)
    assert tail[0] == pytest.approx(1.0, abs=1e-5)
    early, late = (tail[a : a + 400].square().mean().sqrt() for a in (100, 100 + 3200))
    assert 20 * torch.log10(late / early) == pytest.approx(-30, abs=2)
    assert tail[6400:].abs().max() < 1e-5


@pytest.mark.parametrize(
    ("effect", "kept", "lost"),
    [
        (lambda x: low_pass(x, 2000), 1000, 4000),
        (lambda x: high_pass(x, 400), 800, 200),
        (telephone, 1000, 5000),
        (telephone, 1000, 150),
        (lambda x: resampled(x, 8000), 2000, 6000),
    ],
)
def test_filters_keep_one_tone_and_lose_another(effect, kept, lost):
    assert decibels(effect(tone(kept)), tone(kept)) == pytest.approx(0, abs=0.5)
    assert decibels(effect(tone(lost)), tone(lost)) < -40


def test_gain_clips_at_full_scale_and_clipping_keeps_the_peak():
    assert gain(tone(440), 20).abs().max() == 1.0
    assert decibels(gain(tone(440), -30), tone(440)) == pytest.approx(-30, abs=0.01)
    overdriven = clip(tone(440), 12)
    assert overdriven.abs().max() == pytest.approx(0.3, abs=1e-3)
    assert (overdriven.abs() > 0.299).float().mean() > 0.8


def test_silence_lies_on_both_sides():
    longer = silence_around(tone(440), 0.5)
    assert len(longer) == 2 * RATE
    assert not longer[: RATE // 2].any() and not longer[-RATE // 2 :].any()


def test_lost_packets_are_of_20_ms_and_as_many_as_asked_for():
    heard = lose_packets(torch.ones(1000 * PACKET + 7), 10.0, KEY)
    packets = heard[: 1000 * PACKET].reshape(1000, PACKET)
    assert ((packets == 0).all(1) | (packets == 1).all(1)).all()
    assert 0.07 < (packets[:, 0] == 0).float().mean() < 0.13


def test_a_microphone_changes_bands_by_about_what_was_asked_for():
    noise = torch.randn(RATE, generator=torch.Generator().manual_seed(0))
    for key in (torch.tensor(k) for k in range(5)):
        heard = other_microphone(noise, 6.0, key)
        ratio = torch.fft.rfft(heard).abs() / torch.fft.rfft(noise).abs()
        bands = 20 * torch.log10(ratio[100:7000].reshape(-1, 50).median(dim=1).values)
        assert 0.5 < bands.abs().max() < 9  # neighbouring bands add up
