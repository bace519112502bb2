"""Perturb training turns: excerpts, tempo, vocal tract length, level; keyed like all randomness.

Only the spectrogram and the pitch contour are changed, as tensors of a batch. The speech encoder
hears the whole turn, whose transcript its CTC task needs, and takes no notice of the level. What
changes the sound itself is in `corrupted_rows`.

Axes: B batch, T frames, M mel bands.
"""

import torch
from torch import Tensor

from modeling_decomp_ser.keyed_random import fold_in, uniform
from modeling_decomp_ser.masked_layers import length_mask, select_steps
from train_scripts.runs.settings import AugmentationSettings
from train_scripts.training.random_crops import crop_at_random

DECIBELS_OF_FULL_SCALE = 100.0
"""The mel spectrogram's range [0, 1] spans 100 dB (SpeechSplit)."""


def augment(
    batch: dict[str, Tensor], keys: Tensor, settings: AugmentationSettings
) -> dict[str, Tensor]:
    """Perturb a batch.

    Args:
        batch: what the collator returned; without a spectrogram it is returned as it is.
        keys: randomness of each row, (B,).
        settings: how much.

    Returns:
        The batch with `mel`, `log_f0`, `voiced` and `frame_mask` changed.
    """
    if "mel" not in batch:
        return batch
    if settings.excerpt_frames:
        longest = settings.excerpt_frames
        batch = crop_at_random(batch, keys, longest, longest)
    draws = uniform(fold_in(keys, 4), 3)  # (B, 3)
    if settings.time_stretch:
        batch = stretch_time(batch, 1 + settings.time_stretch * (2 * draws[:, 2] - 1))
    mel = batch["mel"]
    if settings.vocal_tract_warp:
        mel = warp_bands(mel, 1 + settings.vocal_tract_warp * (2 * draws[:, 0] - 1))
    if settings.gain_decibels:
        gain = settings.gain_decibels / DECIBELS_OF_FULL_SCALE * (2 * draws[:, 1] - 1)
        mel = (mel + gain[:, None, None]).clamp(0, 1)
    return {**batch, "mel": mel * batch["frame_mask"][..., None]}


def stretch_time(batch: dict[str, Tensor], factors: Tensor) -> dict[str, Tensor]:
    """Change the duration of each utterance.

    The spectrogram is interpolated. The pitch contour is read at the nearest frame, since between
    voiced and unvoiced there is nothing.

    Args:
        batch: with `mel` (B, T, M), `log_f0`, `voiced` and `frame_mask` (B, T).
        factors: new duration as a multiple of the old, (B,).

    Returns:
        The batch with these four changed, at least one frame each.
    """
    lengths = batch["frame_mask"].sum(1)
    new_lengths = (lengths * factors).to(torch.int64).clamp(min=1)
    size = int((batch["mel"].shape[1] * factors.max()).item())
    last = (lengths - 1)[:, None]
    position = torch.arange(size, device=factors.device) / factors[:, None]  # (B, T')
    position = torch.minimum(position, last.to(position))
    left = position.floor().to(torch.int64)
    right = torch.minimum(left + 1, last)
    valid = length_mask(new_lengths, size)
    nearest = position.round().to(torch.int64)
    changed = {name: batch[name].gather(1, nearest) * valid for name in ("log_f0", "voiced")}
    weight = (position - left)[..., None].to(batch["mel"])
    mel = torch.lerp(select_steps(batch["mel"], left), select_steps(batch["mel"], right), weight)
    changed["mel"] = mel * valid[..., None]
    return {**batch, **changed, "frame_mask": valid.to(batch["frame_mask"].dtype)}


def warp_bands(mel: Tensor, factors: Tensor) -> Tensor:
    """Read band m of each row at m times its factor: a longer or shorter vocal tract moves the
    formants on the mel scale (Jaitly and Hinton, "Vocal tract length perturbation", 2013).

    Args:
        mel: (B, T, M).
        factors: (B,), 1 changes nothing.

    Returns:
        (B, T, M); positions above the highest band read it.
    """
    bands = mel.shape[2]
    position = torch.arange(bands, device=mel.device) * factors[:, None]  # (B, M)
    position = position.clamp(max=bands - 1)
    lower = position.floor().to(torch.int64).clamp(max=bands - 2)
    weight = (position - lower)[:, None].to(mel.dtype)
    index = lower[:, None].expand(-1, mel.shape[1], -1)
    return torch.lerp(mel.gather(2, index), mel.gather(2, index + 1), weight)
