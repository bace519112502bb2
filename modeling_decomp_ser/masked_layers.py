"""Layers that give an utterance the same answer alone and in a padded batch. Nothing here is about
speech.

Axes: B batch, T time steps, C channels, D features, H hidden size. `lengths` (B,) counts the valid
steps of each row.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """Mark the valid steps of rows with lengths (B,): bool (B, size), True where a step is real.

    Examples:
        >>> length_mask(torch.tensor([1, 3]), 3)
        tensor([[ True, False, False],
                [ True,  True,  True]])
    """
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def full_precision(x: Tensor) -> torch.dtype:
    """Type for sums over time: float32, or the type of `x` where that is wider."""
    return torch.promote_types(x.dtype, torch.float32)


def select_steps(x: Tensor, index: Tensor) -> Tensor:
    """Read steps of each row, `out[b, k] = x[b, index[b, k]]`: (B, T, D) by (B, K) -> (B, K, D)."""
    batch, steps, features = x.shape
    first = torch.arange(batch, device=x.device)[:, None] * steps
    # Whole rows of a flat table are read, and in backward added up, many times faster than by
    # gather.
    rows = x.reshape(batch * steps, features).index_select(0, (first + index).flatten())
    return rows.reshape(batch, -1, features)


class MaskedGroupNorm(nn.GroupNorm):
    """`nn.GroupNorm` whose mean and variance count valid steps only."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Normalise (B, C, T) over (channels of a group) x (valid steps); padding comes out
        undefined. `x` has to be finite in the padding too; `mask` (B, T) has at least one step of
        each row.
        """
        batch, channels, _ = x.shape
        groups = (batch, self.num_groups, channels // self.num_groups)
        # Sums over thousands of steps need full precision, whatever the layers compute in.
        with torch.autocast(x.device.type, enabled=False):
            full = x.to(full_precision(x))
            count = mask.sum(1)[:, None, None] * groups[2]  # (B, 1, 1)
            sums = torch.bmm(full, mask[..., None].to(full)).reshape(groups)  # no masked copy of x
            mean = (sums.sum(2, keepdim=True) / count).expand(groups).reshape(batch, channels, 1)
            centred = (full - mean).masked_fill_(~mask[:, None], 0.0)
            squares = torch.linalg.vector_norm(centred, dim=2).square().reshape(groups)
            deviation = (squares.sum(2, keepdim=True) / count + self.eps).sqrt()
            deviation = deviation.expand(groups).reshape(batch, channels, 1)
            scale = self.weight.to(full)[:, None] / deviation
            return torch.addcmul(self.bias.to(full)[:, None], centred, scale).to(x.dtype)


def reverse_by_length(x: Tensor, lengths: Tensor) -> Tensor:
    """Turn the valid steps of each row of (B, T, D) round and leave its padding in place."""
    t = torch.arange(x.shape[1], device=x.device)
    last = lengths[:, None] - 1
    return select_steps(x, torch.where(t <= last, last - t, t))


class BiLSTM(nn.Module):
    """Bidirectional LSTM that never reads padding.

    Each direction is an LSTM of its own; the backward one reads the sequence turned round by its
    own length, so that it starts at the last valid step. (Packed sequences give the same answer,
    but leave the fast CPU kernel.)
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int):
        super().__init__()
        sizes = [input_size] + [2 * hidden_size] * (num_layers - 1)
        self.forward_layers = nn.ModuleList(
            nn.LSTM(s, hidden_size, batch_first=True) for s in sizes
        )
        self.backward_layers = nn.ModuleList(
            nn.LSTM(s, hidden_size, batch_first=True) for s in sizes
        )

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, 2 H), forward states, then backward ones; padding is undefined."""
        for ahead, back in zip(self.forward_layers, self.backward_layers, strict=True):
            backward_states = reverse_by_length(back(reverse_by_length(x, lengths))[0], lengths)
            x = torch.cat([ahead(x)[0], backward_states], dim=-1)
        return x


def masked_mean(x: Tensor, lengths: Tensor) -> Tensor:
    """Mean over the valid steps, at least one, summed in full precision: (B, T, D) -> (B, D)."""
    mask = length_mask(lengths, x.shape[1])[..., None]
    total = x.masked_fill(~mask, 0.0).sum(1, dtype=full_precision(x))
    return (total / lengths[:, None]).to(x.dtype)


def masked_statistics(x: Tensor, lengths: Tensor) -> Tensor:
    """Mean, standard deviation, maximum of the valid steps, at least one: (B, T, D) -> (B, 3 D)."""
    mask = length_mask(lengths, x.shape[1])[..., None]
    full = x.to(full_precision(x))
    mean = masked_mean(full, lengths)
    variance = masked_mean((full - mean[:, None]).square(), lengths)
    # The root has no gradient at 0, which a row of one step would ask for.
    deviation = (variance + 1e-8).sqrt()
    largest = full.masked_fill(~mask, -torch.inf).amax(1)
    return torch.cat([mean, deviation, largest], dim=-1).to(x.dtype)


def pad_steps(x: Tensor, size: int) -> Tensor:
    """Cut or zero-pad (B, T) or (B, T, D) along T to `size`."""
    missing = size - x.shape[1]
    return F.pad(x, (0, missing) if x.ndim == 2 else (0, 0, 0, missing))
