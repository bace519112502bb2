import pytest
import torch

from train_scripts.corruptions.codecs import a_law, gsm, mp3, opus

RATE = 16000


def voice():
    time = torch.arange(RATE) / RATE
    return 0.1 * sum(torch.sin(2 * torch.pi * 150 * k * time) / k for k in range(1, 20))


def alike(heard, original):
    """Largest correlation of the two over all shifts of up to 0.1 s."""
    size = RATE // 2
    pieces = heard[2000 : 2000 + size + 1600].unfold(0, size, 1)
    reference = original[2000 : 2000 + size]
    return ((pieces @ reference) / (pieces.norm(dim=1) * reference.norm())).max().item()


@pytest.mark.parametrize("codec", [lambda x: mp3(x, 64), lambda x: opus(x, 24), gsm, a_law])
def test_what_is_heard_is_still_the_voice(codec):
    heard = codec(voice())
    assert heard.dtype == torch.float32
    assert RATE <= len(heard) < RATE * 1.1
    assert not torch.equal(heard[:RATE], voice())
    assert alike(heard, voice()) > 0.9


@pytest.mark.parametrize("codec", [mp3, opus])
def test_fewer_bits_are_further_from_the_original(codec):
    noise = torch.randn(RATE, generator=torch.Generator().manual_seed(0)) * 0.1
    high, low = (alike(codec(noise, kilobits), noise) for kilobits in (64.0, 8.0))
    assert high > low + 0.05


@pytest.mark.parametrize("codec", [lambda x: mp3(x, 8), lambda x: opus(x, 6), gsm])
def test_a_very_short_sound_survives(codec):
    assert torch.isfinite(codec(voice()[:50])).all()
