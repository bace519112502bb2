"""Which part of speech moved the answer: exact shares of the linear emotion head, and Shapley
values over its five parts.

Axes: B batch, D pooled features, L emotions, P parts (5: COMPONENTS without the bias), G subsets of
the parts (2 to the power of P).
"""

from dataclasses import dataclass
from math import factorial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .configuration_decomp_ser import COMPONENTS, SINGLE, DecompSerConfig

PARTS = COMPONENTS[:-1]
"""The players of the Shapley values, in order."""


def part_names(config: DecompSerConfig) -> list[str]:
    """Parts of a model in the order of their features; M4's single code is called "content"."""
    codes = ["content" if name == SINGLE else name for name in config.components]
    return (["wav2vec2"] if config.use_speech_encoder else []) + codes


def component_shares(
    pooled: Tensor, mean: Tensor, head: nn.Linear, part_sizes: list[int], config: DecompSerConfig
) -> Tensor:
    """Split each logit into what each part adds to the answer for the average training utterance.

    The head is linear, so logit = W x + b = sum over parts of W_p (x_p - m_p) + (W m + b): a share
    is a deviation from the training mean m, and the bias is the logit of the mean. The shares sum
    to the logit.

    `pooled` are features before dropout, (B, D), of parts `part_sizes` wide; `mean` their mean over
    the training set, (D,), or another replacement of each row, (B, D). Returns (B, 6, L) in the
    order of COMPONENTS; a part that the model does not have is 0.
    """
    absent = pooled.new_zeros(pooled.shape[0], head.out_features)
    shares: dict[str, Tensor] = dict.fromkeys(COMPONENTS, absent)
    deviations = (pooled - mean).split(part_sizes, dim=-1)
    for name, deviation, weight in zip(
        part_names(config), deviations, head.weight.split(part_sizes, dim=1), strict=True
    ):
        shares[name] = deviation @ weight.T
    # `mean` may be one for all rows
    shares["bias"] = F.linear(mean, head.weight, head.bias).expand_as(absent)
    return torch.stack(list(shares.values()), dim=1)


@dataclass
class ShapleyValues:
    """How much each part raised the answer for the predicted emotion, and what it started from.

    The base is the answer with every part replaced. Base and parts sum to the answer. Log-odds are
    ln(p / (1 - p)).
    """

    predicted: Tensor  # the emotion they speak of, (B,) int64
    probability: Tensor  # shares of its probability, (B, P), in the order of PARTS
    base_probability: Tensor  # (B,)
    log_odds: Tensor  # shares of its log-odds, (B, P)
    base_log_odds: Tensor  # (B,)
    subset_probability: Tensor  # with only the parts of each subset, (B, G)


def explain_prediction(shares: Tensor, temperature: float = 1.0) -> ShapleyValues:
    """Shapley values of the five parts for the predicted emotion, by all 32 subsets.

    Replacing a part sets its share of every logit to 0, so the 32 answers need the shares alone, of
    `component_shares`, (B, 6, L), L >= 2: the encoders are not run again. `temperature` is what the
    logits are divided by before the softmax, the configuration's.
    """
    logits = subset_logits(shares) / temperature  # (B, G, L)
    predicted = logits[:, -1].argmax(-1)
    probability = chosen(logits.softmax(-1), predicted)
    log_odds = chosen(class_log_odds(logits), predicted)
    return ShapleyValues(
        predicted=predicted,
        probability=shapley_values(probability),
        base_probability=probability[:, 0],
        log_odds=shapley_values(log_odds),
        base_log_odds=log_odds[:, 0],
        subset_probability=probability,
    )


def chosen(values: Tensor, labels: Tensor) -> Tensor:
    """Of values (B, G, L), those of one emotion a row, (B,) -> (B, G)."""
    return values.gather(-1, labels[:, None, None].expand(-1, values.shape[1], 1))[..., 0]


def class_log_odds(logits: Tensor) -> Tensor:
    """ln(p / (1 - p)) of each of L >= 2 classes, (..., L), exact also where p rounds to 1."""
    own = torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device)
    others = logits[..., None, :].masked_fill(own, -torch.inf)  # (..., L, L)
    return logits - others.logsumexp(-1)


def subset_logits(shares: Tensor) -> Tensor:
    """Logits with only the parts of each subset, the others replaced: shares (B, 6, L), the bias
    last -> (B, G, L), subsets in the order of `subset_members`.
    """
    members = subset_members(shares.shape[1] - 1).to(shares)  # (G, P)
    return members @ shares[:, :-1] + shares[:, -1:]


def subset_members(num_parts: int) -> Tensor:
    """Which parts each subset holds, bool (2 ** num_parts, num_parts): subset g holds part p where
    bit p of g is set, so the first is empty and the last is whole.

    Examples:
        >>> subset_members(2).int().tolist()
        [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    subsets = torch.arange(2**num_parts)[:, None]
    return (subsets >> torch.arange(num_parts) & 1).bool()


def shapley_weights(num_parts: int) -> Tensor:
    """Weight of each subset's value in each part's Shapley value (Shapley, 1953), float64
    (num_parts, 2 ** num_parts).

    A part's value is the mean gain of its joining over all orders of joining: a subset of s of n
    parts counts (s - 1)! (n - s)! / n! for its members and - s! (n - s - 1)! / n! for the rest.
    """
    members = subset_members(num_parts)
    n = num_parts
    joined = torch.tensor([factorial(s - 1) * factorial(n - s) if s else 0 for s in range(n + 1)])
    absent = torch.tensor(
        [factorial(s) * factorial(n - s - 1) if s < n else 0 for s in range(n + 1)]
    )
    sizes = members.sum(1)
    weights = torch.where(members, joined[sizes][:, None], -absent[sizes][:, None])
    return weights.T.double() / factorial(n)


def shapley_values(subset_values: Tensor) -> Tensor:
    """Shapley values of any quantity that is known for every subset of the parts, in the order of
    `subset_members`: (B, G) or (B, G, L) -> (B, P) or (B, P, L).

    They sum to the value of all parts less the value of none (efficiency); a part that changes
    nothing has 0 (dummy); parts that can be exchanged have the same (symmetry).

    Examples:
        >>> shapley_values(torch.tensor([[0.0, 1.0, 2.0, 5.0]])).tolist()
        [[2.0, 3.0]]
    """
    weights = shapley_weights(subset_values.shape[1].bit_length() - 1)
    return torch.einsum("pg,bg...->bp...", weights.to(subset_values), subset_values)


def deletion_curve(subset_values: Tensor, importance: Tensor) -> Tensor:
    """What remains of an answer (B, G) while its parts are replaced, those of the highest
    importance (B, P) first: (B, P + 1), with all parts, without the first, ... with none.

    The test of faithfulness (Petsiuk, Das and Saenko, "RISE", BMVC 2018): the better the order, the
    sooner the curve falls.
    """
    order = importance.sort(dim=-1, descending=True, stable=True).indices  # (B, P)
    gone = torch.cumsum(2**order, dim=-1)
    subsets = subset_values.shape[1] - 1 - torch.cat([torch.zeros_like(gone[:, :1]), gone], dim=-1)
    return subset_values.gather(1, subsets)


def chance_deletion_curve(subset_values: Tensor) -> Tensor:
    """Mean deletion curve of all orders, (B, G) -> (B, P + 1), which a faithful one beats."""
    num_parts = subset_values.shape[1].bit_length() - 1
    sizes = subset_members(num_parts).sum(1)
    left = torch.arange(num_parts, -1, -1)[:, None]  # parts that are left at each point
    weights = (sizes == left).to(subset_values)  # (P + 1, G)
    # In a random order every subset of one size is as likely to be what is left.
    return subset_values @ (weights / weights.sum(1, keepdim=True)).T
