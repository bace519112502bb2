"""Random crops of utterances, keyed by row and epoch, so that their lengths are known beforehand.

Axes: B batch, T frames, M mel bands.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from modeling_decomp_ser.keyed_random import fold_in, uniform
from modeling_decomp_ser.masked_layers import length_mask
from processing.collation import row_key

CROPS = 3
"""Stream of random numbers of a row's key: the length and the place of its crop."""


def draw_crop_lengths(lengths: Tensor, keys: Tensor, shortest: int, longest: int) -> Tensor:
    """Frames of the crops that `crop_at_random` cuts from utterances of `lengths` frames, (B,)."""
    draws = uniform(fold_in(keys, CROPS), 1)[:, 0]
    crops = shortest + (draws * (longest - shortest + 1)).to(torch.int64)
    return torch.minimum(crops, lengths)


def crop_at_random(
    batch: dict[str, Tensor], keys: Tensor, shortest: int, longest: int
) -> dict[str, Tensor]:
    """Cut a random piece out of each utterance; one shorter than its crop is taken whole.

    Args:
        batch: with `mel` (B, T, M), `log_f0`, `voiced` and `frame_mask` (B, T).
        keys: randomness of each row, (B,).
        shortest: frames, inclusive.
        longest: frames, inclusive.

    Returns:
        The batch with these four cut to at most `longest` frames.
    """
    lengths = batch["frame_mask"].sum(1)
    crops = draw_crop_lengths(lengths, keys, shortest, longest)
    places = uniform(fold_in(keys, CROPS), 2)[:, 1]
    starts = (places * (lengths - crops + 1)).to(torch.int64)
    size = min(longest, batch["mel"].shape[1])
    index = starts[:, None] + torch.arange(size, device=keys.device)  # (B, T')
    index = index.clamp(max=batch["mel"].shape[1] - 1)
    valid = length_mask(crops, size)
    cut = {name: batch[name].gather(1, index) * valid for name in ("log_f0", "voiced")}
    cut["mel"] = batch["mel"].gather(1, index[..., None].expand(-1, -1, batch["mel"].shape[2]))
    cut["mel"] = cut["mel"] * valid[..., None]
    return {**batch, **cut, "frame_mask": valid.to(batch["frame_mask"].dtype)}


@dataclass
class RandomCrops:
    """Collate rows to crops of `shortest` to `longest` frames, padded to the longest of the batch.

    Args:
        collator: of whole utterances, which gives `row_keys`.
        shortest: frames, inclusive.
        longest: frames, inclusive.
        seed: of the run.
        count_resampled_frames: see `DecompSerForPreTraining.count_resampled_frames`.
        epoch: that the batch is for; with the seed and a row's id it makes the row's key.
    """

    collator: Any
    shortest: int
    longest: int
    seed: int
    count_resampled_frames: Callable[[Tensor, Tensor], int]
    epoch: Callable[[], int] = lambda: 0

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What the collator gives with `mel`, `log_f0`, `voiced` and `frame_mask` cut, and the
        number `resampled_frames`.
        """
        batch = self.collator(rows)
        keys = self.keys(batch["row_keys"])
        batch = crop_at_random(batch, keys, self.shortest, self.longest)
        lengths = batch["frame_mask"].sum(1)
        cut: dict[str, Any] = {
            k: batch[k][:, : int(lengths.max())] for k in ("mel", "log_f0", "voiced", "frame_mask")
        }
        cut["resampled_frames"] = self.count_resampled_frames(lengths, keys)
        return {**batch, **cut}

    def keys(self, row_keys: Tensor) -> Tensor:
        """Randomness of rows in this epoch, (B,)."""
        return fold_in(fold_in(row_keys, self.seed), self.epoch())

    def lengths(self, ids: Sequence[str], frames: Tensor) -> Tensor:
        """Frames of the crops of rows in this epoch, by their ids and whole lengths, (B,)."""
        keys = self.keys(torch.tensor([row_key(name) for name in ids]))
        return draw_crop_lengths(frames, keys, self.shortest, self.longest)
