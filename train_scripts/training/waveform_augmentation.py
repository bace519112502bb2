"""Perturb what the speech encoder hears: speed, reverberation, noise; keyed like all randomness.

The effects are torchaudio's; drawn here is only how much of each. A change of level would have no
effect, since the speech encoder reads waveforms of unit variance.

Axes: B batch, S samples.
"""

import math

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchaudio import functional as audio

from modeling_decomp_ser.keyed_random import fold_in, uniform
from modeling_decomp_ser.masked_layers import length_mask
from train_scripts.runs.settings import AugmentationSettings

SPEED_STEP = 0.05
"""Speeds are multiples of this, since resampling by odd ratios costs more than a training step."""

NUM_EFFECTS = 3
LEAST = 0.05
"""Of the largest reverberation or noise; none at all comes of the rows that have no effect."""


def augment_waveform(
    batch: dict[str, Tensor], keys: Tensor, settings: AugmentationSettings, sampling_rate: int
) -> dict[str, Tensor]:
    """Perturb the waveforms of a batch; each effect in half of the rows.

    Args:
        batch: what the collator returned; without a waveform it is returned as it is.
        keys: randomness of each row, (B,).
        settings: how much: `speed`, `reverberation_seconds`, `noise`.
        sampling_rate: of the waveforms, in Hz.

    Returns:
        The batch with `input_values` (B, S'), of zero mean and unit variance again, and
        `attention_mask` changed.
    """
    if "input_values" not in batch or not settings.perturbs_waveform:
        return batch
    amounts = uniform(fold_in(keys, 6), 2 * NUM_EFFECTS).tolist()
    lengths = batch["attention_mask"].sum(1).tolist()
    rows = []
    for waveform, length, key, draws in zip(
        batch["input_values"], lengths, keys, amounts, strict=True
    ):
        wanted = [draw < 0.5 for draw in draws[NUM_EFFECTS:]]
        x = waveform[:length]
        if settings.speed and wanted[0]:
            x = change_speed(x, settings.speed * (2 * draws[0] - 1), sampling_rate)
        if settings.reverberation_seconds and wanted[1]:
            seconds = settings.reverberation_seconds * max(draws[1], LEAST)
            x = reverberate(x, seconds, key, sampling_rate)
        if settings.noise and wanted[2]:
            x = add_noise(x, settings.noise * max(draws[2], LEAST), key)
        rows.append((x - x.mean()) / (x.std(correction=0) + 1e-7))
    new_lengths = torch.tensor([len(x) for x in rows], device=keys.device)
    waveforms = pad_sequence(rows, batch_first=True)
    mask = length_mask(new_lengths, waveforms.shape[1]).to(batch["attention_mask"].dtype)
    return {**batch, "input_values": waveforms, "attention_mask": mask}


def change_speed(waveform: Tensor, change: float, sampling_rate: int) -> Tensor:
    """Play (S,) faster by a share `change` of its speed, rounded to SPEED_STEP, pitch included."""
    factor = 1 + SPEED_STEP * round(change / SPEED_STEP)
    return audio.speed(waveform, sampling_rate, factor)[0] if factor != 1 else waveform


def reverberate(waveform: Tensor, seconds: float, key: Tensor, sampling_rate: int) -> Tensor:
    """Add to (S,) the tail of a room whose sound falls by 60 dB in `seconds`: noise that decays
    exponentially (Polack's model), as loud altogether as the direct sound.
    """
    size = max(2, int(seconds * sampling_rate))
    time = torch.arange(size, device=waveform.device) / (seconds * sampling_rate)
    tail = normal(fold_in(key, 7), size) * 10 ** (-3 * time)
    tail[0] = 0.0
    tail = tail / torch.linalg.vector_norm(tail)
    tail[0] = 1.0
    return audio.fftconvolve(waveform, tail)[: len(waveform)]


def add_noise(waveform: Tensor, ratio: float, key: Tensor) -> Tensor:
    """Add white noise to (S,), its level as a multiple of the waveform's."""
    noise = normal(fold_in(key, 8), len(waveform))
    snr = torch.tensor(-20 * math.log10(ratio), device=waveform.device)
    return audio.add_noise(waveform, noise, snr)


def normal(key: Tensor, count: int) -> Tensor:
    """Standard normal draws, (count,), from one key: the Box-Muller transform of uniform ones."""
    draws = uniform(key[None], 2 * count)[0]
    radius = (-2 * torch.log1p(-draws[:count])).sqrt()
    return radius * torch.cos(2 * torch.pi * draws[count:])
