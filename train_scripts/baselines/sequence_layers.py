"""Layers over frames that never read padding, so that a turn's answer does not depend on the turns
beside it.

Axes: B batch, T frames, C channels, D features.
"""

import torch
from torch import Tensor, nn

from modeling_decomp_ser.masked_layers import length_mask


def clear_padding(x: Tensor, lengths: Tensor) -> Tensor:
    """Zeros in the frames that are none: (B, T, ...) -> (B, T, ...)."""
    mask = length_mask(lengths, x.shape[1])
    return x.masked_fill(~mask.view(*mask.shape, *[1] * (x.ndim - 2)), 0.0)


class MaskedBatchNorm(nn.Module):
    """Batch normalisation over the valid frames of a batch alone.

    Args:
        num_channels: C.
    """

    def __init__(self, num_channels: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(num_channels)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, C) or (B, T, C, D) -> the same, zeros in padding."""
        mask = length_mask(lengths, x.shape[1])
        out = torch.zeros_like(x)
        out[mask] = self.norm(x[mask])
        return out


class AttentionPooling(nn.Module):
    """One weighted mean over the valid frames; the weights are a softmax of one score a frame.

    Args:
        size: D.
    """

    def __init__(self, size: int):
        super().__init__()
        self.score = nn.Linear(size, 1, bias=False)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, D) -> (B, D)."""
        scores = self.score(x)[..., 0]  # (B, T)
        mask = length_mask(lengths, x.shape[1])
        weights = scores.masked_fill(~mask, float("-inf")).softmax(-1)
        return torch.einsum("bt,btd->bd", weights, x)


def halved(lengths: Tensor) -> Tensor:
    """Frames that are left of each turn after a stride of two."""
    return (lengths + 1) // 2
