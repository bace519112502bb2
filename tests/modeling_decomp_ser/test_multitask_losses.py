"""The four losses against values worked out by hand or by brute force."""

import itertools
import math

import pytest
import torch
from torch.testing import assert_close

from modeling_decomp_ser.multitask_losses import (
    IGNORED,
    TaskLoss,
    classification_loss,
    concordance,
    ctc_loss,
    dimensions_loss,
    frames_needed,
    reconstruction_loss,
)


def test_cross_entropy_by_hand():
    logits = torch.tensor([[0.0, math.log(3.0)], [2.0, 2.0], [5.0, 1.0]])
    loss = classification_loss(logits, torch.tensor([0, 1, IGNORED]))
    assert_close(loss.per_row[:2], torch.tensor([math.log(4.0), math.log(2.0)]))
    assert loss.counted.tolist() == [True, True, False]
    assert loss.mean().item() == pytest.approx((math.log(4) + math.log(2)) / 2, rel=1e-6)


def test_cross_entropy_against_a_distribution_by_hand():
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, math.log(3.0)], [5.0, 1.0]])
    shares = torch.tensor([[0.25, 0.75], [1.0, 0.0], [0.0, 0.0]])
    loss = classification_loss(logits, torch.tensor([1, 0, IGNORED]), shares)
    # the probabilities are a quarter and three quarters
    own = 0.25 * math.log(4) + 0.75 * math.log(4 / 3)
    assert_close(loss.per_row[:2], torch.tensor([own, math.log(4)]))
    assert loss.counted.tolist() == [True, True, False]
    assert loss.mean().item() == pytest.approx((own + math.log(4)) / 2, rel=1e-6)


@pytest.mark.parametrize("soft", [False, True])
def test_losses_of_half_precision_are_computed_in_full(soft):
    logits = torch.tensor([[0.0, 8.0]], dtype=torch.bfloat16)
    shares = torch.tensor([[0.0, 1.0]], dtype=torch.bfloat16) if soft else None
    loss = classification_loss(logits, torch.tensor([1]), shares)
    assert_close(loss.per_row, torch.tensor([math.log1p(math.exp(-8.0))]), rtol=1e-4, atol=0)
    half = torch.full((1, 1, 1), 1.0, dtype=torch.bfloat16)
    error = reconstruction_loss(half, 0.001 + half.float(), torch.tensor([1]))
    assert_close(error.per_row, torch.tensor([1e-6]), rtol=1e-3, atol=0)
    spoken = torch.tensor([[[0.0, 8.0]]], dtype=torch.bfloat16)
    likely, _ = ctc_loss(spoken, torch.tensor([1]), torch.tensor([[1]]), blank=0, reduction="sum")
    assert_close(likely.per_row, loss.per_row)


def test_concordance_by_hand():
    # covariance 4/3, variances 2/3 and 8/3, means 2 and 4: 2 (4/3) / (10/3 + 4)
    answers = torch.tensor([[1.0, 1.0, 3.0], [2.0, 2.0, 3.0], [3.0, 3.0, 3.0]])
    ratings = torch.tensor([[2.0, 3.0, 1.0], [4.0, 2.0, 2.0], [6.0, 1.0, 6.0]])
    assert_close(concordance(answers, ratings), torch.tensor([4 / 11, -1.0, 0.0]))
    assert_close(concordance(ratings, ratings), torch.ones(3))
    constant = torch.full((4, 1), 2.0)
    assert concordance(constant, constant).tolist() == [0.0]


def test_the_loss_of_dimensions_is_one_less_the_mean_concordance_of_rows_with_ratings():
    nan = math.nan
    answers = torch.tensor(
        [[1.0, 1.0, 3.0], [9.0, 9.0, 9.0], [2.0, 2.0, 3.0], [3.0, 3.0, 3.0]], requires_grad=True
    )
    ratings = torch.tensor([[2.0, 3.0, 1.0], [1.0, nan, 1.0], [4.0, 2.0, 2.0], [6.0, 1.0, 6.0]])
    loss = dimensions_loss(answers, ratings)
    expected = 1 - (4 / 11 - 1 + 0) / 3
    assert loss.counted.tolist() == [True, False, True, True]
    assert_close(loss.per_row, torch.full((4,), expected))
    assert loss.mean().item() == pytest.approx(expected, rel=1e-6)
    loss.mean().backward()
    assert (answers.grad[[0, 2, 3]] != 0).any() and (answers.grad[1] == 0).all()


@pytest.mark.parametrize("known", [0, 1])
def test_fewer_than_two_ratings_have_no_concordance(known):
    answers = torch.rand(3, 3, requires_grad=True)
    ratings = torch.full((3, 3), math.nan)
    ratings[:known] = 0.5
    loss = dimensions_loss(answers, ratings)
    assert loss.per_row.tolist() == [0, 0, 0] and not loss.counted.any()
    loss.mean().backward()
    assert (answers.grad == 0).all()


def test_two_ratings_have_a_concordance():
    ratings = torch.tensor([[0.0] * 3, [1.0] * 3])
    loss = dimensions_loss(1 - ratings, ratings)
    assert loss.counted.all() and loss.per_row.tolist() == [2, 2]


def test_reconstruction_by_hand_over_valid_frames():
    mel = torch.zeros(2, 3, 2)
    reconstruction = torch.tensor(
        [[[1.0, 0.0], [0.0, 2.0], [9.0, 9.0]], [[1.0, 1.0], [9.0, 9.0], [9.0, 9.0]]]
    )
    loss = reconstruction_loss(reconstruction, mel, torch.tensor([2, 1]))
    # (1 + 4) / (2 frames x 2 bands) and (1 + 1) / (1 x 2)
    assert_close(loss.per_row, torch.tensor([1.25, 1.0]))
    assert loss.mean() == 1.125


def test_reconstruction_has_a_finite_gradient_whatever_the_padding_holds():
    mel = torch.full((1, 3, 2), float("nan"))
    mel[:, :2] = 0.5
    reconstruction = torch.zeros(1, 3, 2, requires_grad=True)
    reconstruction_loss(reconstruction, mel, torch.tensor([2])).mean().backward()
    assert_close(reconstruction.grad[0], torch.tensor([[-0.25, -0.25], [-0.25, -0.25], [0, 0]]))


def brute_force_ctc(probabilities, labels, blank=0):
    """Sum of the probabilities of every path that collapses to the labels."""
    total = 0.0
    frames, symbols = probabilities.shape
    for path in itertools.product(range(symbols), repeat=frames):
        collapsed = [s for s, _ in itertools.groupby(path) if s != blank]
        if collapsed == list(labels):
            total += math.prod(float(probabilities[t, s]) for t, s in enumerate(path))
    return -math.log(total)


@pytest.mark.parametrize("labels", [(1, 2, 3), (1, 1, 2), (2, 2, 2), (3,)])
def test_ctc_is_the_sum_over_all_paths(labels):
    logits = torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(0))
    expected = brute_force_ctc(logits[0].softmax(-1).double(), labels)
    lengths, targets = torch.tensor([5]), torch.tensor([labels])
    loss, impossible = ctc_loss(logits, lengths, targets, blank=0, reduction="sum")
    assert loss.per_row.item() == pytest.approx(expected, rel=1e-5)
    assert not impossible.any() and loss.counted.all()
    mean, _ = ctc_loss(logits, lengths, targets, blank=0, reduction="mean")
    assert mean.per_row.item() == pytest.approx(expected / len(labels), rel=1e-5)


def test_the_blank_of_ctc_is_the_one_that_is_given():
    logits = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(1))
    expected = brute_force_ctc(logits[0].softmax(-1).double(), (0, 1), blank=3)
    labels = torch.tensor([[0, 1, IGNORED]])
    loss, _ = ctc_loss(logits, torch.tensor([4]), labels, blank=3, reduction="sum")
    assert loss.per_row.item() == pytest.approx(expected, rel=1e-5)


def test_ctc_counts_valid_frames_and_labels_only():
    torch.manual_seed(0)
    logits = torch.randn(1, 9, 4)
    targets = torch.tensor([[1, 2, IGNORED, IGNORED]])
    loss, _ = ctc_loss(logits, torch.tensor([5]), targets, blank=0, reduction="sum")
    expected = brute_force_ctc(logits[0, :5].softmax(-1).double(), (1, 2))
    assert loss.per_row.item() == pytest.approx(expected, rel=1e-5)


def test_frames_needed_counts_a_blank_between_equal_neighbours():
    labels = torch.tensor([[1, 2, 3, IGNORED], [1, 1, 2, 2], [IGNORED] * 4])
    assert frames_needed(labels).tolist() == [3, 6, 0]


def test_transcripts_that_cannot_fit_are_reported_and_leave_no_trace():
    torch.manual_seed(0)
    logits = torch.randn(3, 4, 5, requires_grad=True)
    labels = torch.tensor([[1, 1, 2, 2], [IGNORED] * 4, [1, 2, IGNORED, IGNORED]])
    loss, impossible = ctc_loss(logits, torch.tensor([4, 4, 4]), labels, blank=0, reduction="mean")
    assert impossible.tolist() == [True, False, False]
    assert loss.counted.tolist() == [False, False, True]
    alone, _ = ctc_loss(logits[2:], torch.tensor([4]), labels[2:], blank=0, reduction="mean")
    assert_close(loss.mean(), alone.mean())
    loss.mean().backward()
    assert (logits.grad[:2] == 0).all() and (logits.grad[2] != 0).any()


def test_a_transcript_that_just_fits_counts():
    labels = torch.tensor([[1, 1]])
    for frames, fits in ((2, False), (3, True)):
        loss, impossible = ctc_loss(
            torch.zeros(1, 3, 4), torch.tensor([frames]), labels, blank=0, reduction="mean"
        )
        assert loss.counted.item() is fits and impossible.item() is not fits


def test_a_batch_without_any_label_gives_zero_with_a_gradient():
    logits = torch.randn(2, 3, requires_grad=True)
    loss = classification_loss(logits, torch.tensor([IGNORED, IGNORED])).mean()
    loss.backward()
    assert loss == 0 and (logits.grad == 0).all()


def test_an_infinite_row_that_does_not_count_does_not_spoil_the_mean():
    per_row = torch.tensor([1.0, math.inf, math.nan], requires_grad=True)
    loss = TaskLoss(per_row, torch.tensor([True, False, False])).mean()
    loss.backward()
    assert loss == 1 and per_row.grad.tolist() == [1, 0, 0]


def test_small_batches_add_up_to_a_large_one():
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 4), torch.tensor([0, IGNORED, 2, 3, IGNORED, 1])
    whole = classification_loss(logits, labels).mean()
    parts = [
        classification_loss(logits[a:b], labels[a:b]).mean(divisor=4)
        for a, b in ((0, 1), (1, 2), (2, 6))
    ]
    assert_close(sum(parts), whole)
