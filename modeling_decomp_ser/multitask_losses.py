"""The four task losses, one function an equation. Weights are the configuration's.

Each is computed as a mean within an utterance and given a row at a time, (B,), with a mask of the
rows that carry its label. The mean over those rows is taken in one place, so that several small
batches add up to one large batch, and a missing transcript or speaker changes only the divisor.

Axes: B batch, T frames, U encoder frames, L labels, V vocabulary, M mel bands.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .masked_layers import full_precision, length_mask

IGNORED = -100
"""Label of a row or position that has none (the convention of torch and transformers)."""


class TaskLoss(NamedTuple):
    """Loss of one task a row, and which rows count."""

    per_row: Tensor  # (B,)
    counted: Tensor  # (B,) bool

    def mean(self, divisor: Tensor | float | None = None) -> Tensor:
        """Mean over the rows that count, or their sum over `divisor`, where a step is spread over
        several batches; 0 with a gradient of 0 where no row counts.
        """
        # where, not a product: a row that does not count may be infinite
        total = torch.where(self.counted, self.per_row, 0.0 * self.per_row.nan_to_num()).sum()
        return total / (self.counted.sum().clamp(min=1) if divisor is None else divisor)


def classification_loss(
    logits: Tensor, labels: Tensor, distribution: Tensor | None = None
) -> TaskLoss:
    """Cross entropy of emotion (eq. 2) or speaker (eq. 4): (B, L), labels (B,) or IGNORED; against
    a distribution over the labels, (B, L), where one is given.
    """
    if distribution is not None:
        per_row = F.cross_entropy(logits.float(), distribution.float(), reduction="none")
    else:
        per_row = F.cross_entropy(logits.float(), labels, ignore_index=IGNORED, reduction="none")
    return TaskLoss(per_row, labels != IGNORED)


def concordance(answers: Tensor, ratings: Tensor, counted: Tensor | None = None) -> Tensor:
    """Concordance correlation coefficient of N answers with N ratings, (N, D) each -> (D,): twice
    the covariance over both variances and the squared difference of the means (Lin, Biometrics
    45(1), 1989). It is 0 for a constant answer.

    `counted` (N,) bool leaves rows out, which have to be finite; default none.
    """
    if counted is None:
        counted = torch.ones_like(answers[:, 0], dtype=torch.bool)
    # by weights: to pick the rows, the host would have to wait for their number
    shares = (counted / counted.sum().clamp(min=1))[:, None].to(full_precision(answers))
    means, wanted = (answers * shares).sum(0), (ratings * shares).sum(0)
    answers, ratings = answers - means, ratings - wanted
    covariance = (answers * ratings * shares).sum(0)
    spread = ((answers.square() + ratings.square()) * shares).sum(0)
    return 2 * covariance / (spread + (means - wanted).square()).clamp(min=1e-8)


def dimensions_loss(answers: Tensor, ratings: Tensor) -> TaskLoss:
    """One minus the concordance of answers and ratings, (B, 3), mean over the dimensions; a row
    with a NaN has no rating.

    The coefficient is of a batch, not of a row: every row that counts carries that of its batch, so
    that of several batches in a step each weighs as many rows as it has.
    """
    counted = ratings.isfinite().all(1)
    enough = counted.sum() > 1
    known = ratings.masked_fill(~counted[:, None], 0.0)
    loss = torch.where(enough, 1 - concordance(answers, known, counted).mean(), 0.0)
    # the answers of all rows keep their gradient, of 0, where nothing is known
    return TaskLoss(loss + 0.0 * answers.float().sum(1), counted & enough)


def reconstruction_loss(reconstruction: Tensor, mel: Tensor, lengths: Tensor) -> TaskLoss:
    """Mean square error of the spectrogram (equation 3), (B, T, M), over its `lengths` (B,) valid
    frames and the mel bands. The target lies in [0, 1].

    Equation (3) has no mean over elements; the values of Table 2 are possible only with one.
    """
    padding = ~length_mask(lengths, mel.shape[1])[..., None]
    # masked before the square, whose gradient would hold whatever the padding holds
    error = (reconstruction.float() - mel.float()).masked_fill(padding, 0.0)
    per_row = error.square().mean(-1).sum(1) / lengths
    return TaskLoss(per_row, torch.ones_like(lengths, dtype=torch.bool))


def frames_needed(labels: Tensor) -> Tensor:
    """Fewest frames (B,) of CTC for labels (B, N): one each, a blank between equal neighbours."""
    real = labels != IGNORED
    repeats = (labels[:, 1:] == labels[:, :-1]) & real[:, 1:]
    return real.sum(1) + repeats.sum(1)


def ctc_loss(
    logits: Tensor, lengths: Tensor, labels: Tensor, *, blank: int, reduction: str
) -> tuple[TaskLoss, Tensor]:
    """Connectionist temporal classification (equation 1, read as the usual negative
    log-likelihood).

    Logits (B, U, V) of `lengths` (B,) valid frames; labels (B, N), IGNORED in the padding.
    `reduction` "mean" divides by the target length, "sum" does not. A row without labels (no
    transcript, or one without words) does not count. Neither does a transcript that needs more
    frames than there are, whose likelihood is 0: a mask (B,) of such rows is returned with the
    loss.
    """
    log_probabilities = F.log_softmax(logits.float(), dim=-1).transpose(0, 1)  # (U, B, V)
    real = labels != IGNORED
    target_lengths = real.sum(1)
    per_row = F.ctc_loss(
        log_probabilities,
        labels.masked_fill(~real, blank),
        lengths,
        target_lengths,
        blank=blank,
        reduction="none",
        zero_infinity=True,
    )
    if reduction == "mean":
        per_row = per_row / target_lengths.clamp(min=1)
    impossible = frames_needed(labels) > lengths
    return TaskLoss(per_row, (target_lengths > 0) & ~impossible), impossible
