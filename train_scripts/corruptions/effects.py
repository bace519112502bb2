"""Effects on the sound: noise, speed, reverberation, bands, level, timing; keyed as all draws are.

The filters are torchaudio's; drawn here is only what they are given. Every effect takes a waveform
(S,) at `SAMPLING_RATE`, a strength in the unit that it names, and where it draws anything a key
(int64 scalar, see `keyed_random`), so that a turn is changed alike alone and in a batch.

Axes: S samples, V voices.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchaudio import functional as audio

from modeling_decomp_ser.keyed_random import fold_in, uniform
from processing.corpora.schema import SAMPLING_RATE

SPEED_STEP = 0.01
"""Speeds are multiples of this, since resampling by odd ratios takes long."""

PACKET = round(0.02 * SAMPLING_RATE)
"""Samples that are lost together: 20 ms, as calls over the Internet send them."""

TELEPHONE_BAND = (300.0, 3400.0)
"""Hz, of the telephone network (ITU-T G.712)."""

EQUALISER_CENTRES = (120.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 6500.0)
"""Hz, of the bands in which one microphone differs from another."""

SECTIONS = 4
"""Second-order sections of a steep filter: 48 dB an octave."""


def normal(key: Tensor, count: int) -> Tensor:
    """Standard normal draws, (count,), from one key: the Box-Muller transform of uniform ones."""
    draws = uniform(key[None], 2 * count)[0]
    radius = (-2 * torch.log1p(-draws[:count])).sqrt()
    return radius * torch.cos(2 * torch.pi * draws[count:])


def add_at(waveform: Tensor, noise: Tensor, snr_db: float) -> Tensor:
    """Add noise (S,) so far below the level of the waveform, in dB; nothing to silence."""
    if not waveform.any() or not noise.any():
        return waveform
    return audio.add_noise(waveform, noise, torch.tensor(snr_db, device=waveform.device))


def white_noise(waveform: Tensor, snr_db: float, key: Tensor) -> Tensor:
    """Add white noise, its level so many dB below the waveform's."""
    return add_at(waveform, normal(fold_in(key, 8), len(waveform)), snr_db)


def babble(waveform: Tensor, snr_db: float, key: Tensor, voices: Sequence[Tensor]) -> Tensor:
    """Add several people at once, V waveforms of other turns, each as loud as the others, repeated
    from a drawn place on; their sum is so many dB below the waveform's level.
    """
    starts = uniform(fold_in(key, 9)[None], len(voices))[0].tolist()
    crowd = torch.zeros_like(waveform)
    for voice, start in zip(voices, starts, strict=True):
        place = int(start * len(voice)) + torch.arange(len(waveform), device=voice.device)
        crowd += voice[place % len(voice)] / voice.square().mean().sqrt().clamp(min=1e-7)
    return add_at(waveform, crowd, snr_db)


def change_speed(waveform: Tensor, percent: float) -> Tensor:
    """Play so many per cent faster, or slower below 0, pitch included; rounded to SPEED_STEP."""
    factor = 1 + SPEED_STEP * round(percent / 100 / SPEED_STEP)
    return audio.speed(waveform, SAMPLING_RATE, factor)[0] if factor != 1 else waveform


def reverberate(waveform: Tensor, seconds: float, key: Tensor) -> Tensor:
    """Add the tail of a room whose sound falls by 60 dB in `seconds`: noise that decays
    exponentially (Polack's model), as loud altogether as the direct sound.
    """
    size = max(2, int(seconds * SAMPLING_RATE))
    time = torch.arange(size, device=waveform.device) / (seconds * SAMPLING_RATE)
    tail = normal(fold_in(key, 7), size) * 10 ** (-3 * time)
    tail[0] = 0.0
    tail = tail / torch.linalg.vector_norm(tail)
    tail[0] = 1.0
    return audio.fftconvolve(waveform, tail)[: len(waveform)]


def low_pass(waveform: Tensor, hertz: float) -> Tensor:
    """Take away what lies above a frequency, by 48 dB an octave."""
    for quality in butterworth_qualities():
        waveform = audio.lowpass_biquad(waveform, SAMPLING_RATE, hertz, quality)
    return waveform


def high_pass(waveform: Tensor, hertz: float) -> Tensor:
    """Take away what lies below a frequency, by 48 dB an octave."""
    for quality in butterworth_qualities():
        waveform = audio.highpass_biquad(waveform, SAMPLING_RATE, hertz, quality)
    return waveform


def butterworth_qualities() -> list[float]:
    """Q of the sections that make a Butterworth filter of order 2 * SECTIONS."""
    angles = (math.pi * (2 * k + 1) / (4 * SECTIONS) for k in range(SECTIONS))
    return [1 / (2 * math.cos(angle)) for angle in angles]


def telephone(waveform: Tensor) -> Tensor:
    """The band of a telephone, sampled at 8 kHz as it is sent, and back."""
    low, high = TELEPHONE_BAND
    return resampled(low_pass(high_pass(waveform, low), high), 8000)


def resampled(waveform: Tensor, rate: float) -> Tensor:
    """As if recorded at a lower rate, in Hz, and brought back to this one."""
    narrow = audio.resample(waveform, SAMPLING_RATE, int(rate))
    wide = audio.resample(narrow, int(rate), SAMPLING_RATE)
    return torch.nn.functional.pad(wide, (0, max(0, len(waveform) - len(wide))))[: len(waveform)]


def gain(waveform: Tensor, decibels: float) -> Tensor:
    """Louder or, below 0, quieter; what exceeds full scale is clipped, as a recorder does."""
    return audio.gain(waveform, decibels).clamp(-1, 1)


def clip(waveform: Tensor, decibels: float) -> Tensor:
    """Overdrive so many dB beyond what an input can take, and bring the peak back to where it was:
    a level of recording that was set too high.
    """
    peak = waveform.abs().max()
    limit = peak * 10 ** (-decibels / 20)
    return waveform.clamp(-limit, limit) * (peak / limit.clamp(min=1e-12))


def silence_around(waveform: Tensor, seconds: float) -> Tensor:
    """Put digital silence of this length before and after."""
    size = round(seconds * SAMPLING_RATE)
    return torch.nn.functional.pad(waveform, (size, size))


def lose_packets(waveform: Tensor, percent: float, key: Tensor) -> Tensor:
    """Lose this share of the packets, each by itself; silence takes their place."""
    count = -(-len(waveform) // PACKET)
    kept = uniform(fold_in(key, 10)[None], count)[0] >= percent / 100
    return waveform * kept.repeat_interleave(PACKET)[: len(waveform)]


def other_microphone(waveform: Tensor, decibels: float, key: Tensor) -> Tensor:
    """Change the response as another microphone would: each of a few bands is raised or lowered by
    a drawn amount, by so many dB at most, beside what its neighbours add.
    """
    draws = uniform(fold_in(key, 11)[None], len(EQUALISER_CENTRES))[0].tolist()
    for centre, draw in zip(EQUALISER_CENTRES, draws, strict=True):
        amount = decibels * (2 * draw - 1)
        waveform = audio.equalizer_biquad(waveform, SAMPLING_RATE, centre, amount, Q=1.41)
    return waveform
