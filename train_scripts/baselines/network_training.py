"""Train a network of another system: the project's order of turns, the epoch chosen on validation
speakers.

Axes: N turns, L labels.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from datasets.utils import tqdm
from torch import Tensor, nn

from modeling_decomp_ser.multitask_losses import IGNORED
from train_scripts.baselines.answers import Answers
from train_scripts.baselines.turn_tensors import Batch, TurnTensors, read_turns
from train_scripts.runs.fold_data import FoldData
from train_scripts.runs.metrics import confusion_matrix, unweighted_average_recall
from train_scripts.training.step_batches import StepBatches

SCORING_BATCH = 64
"""Turns that are answered at once; it does not change the answers."""


@dataclass(frozen=True)
class Schedule:
    """How long to train.

    Attributes:
        num_epochs: at most.
        batch_size: turns of a step.
        patience: epochs without a better one after which training stops; 0 never stops.
    """

    num_epochs: int
    batch_size: int
    patience: int = 0


@dataclass
class Fitted:
    """How long a network was trained, and the epoch whose weights it has; None for the last."""

    epochs: int
    best_epoch: int | None

    def describe(self, network: nn.Module) -> dict:
        """Fields of `RunRecord`."""
        return {
            "selected_by": "last" if self.best_epoch is None else "validation",
            "epochs_trained": float(self.epochs),
            "best_epoch": self.best_epoch,
            "precision": "float32",
            "n_parameters": sum(p.numel() for p in network.parameters()),
        }


def fit(
    network: nn.Module,
    step: Callable[[Batch], object],
    train: TurnTensors,
    schedule: Schedule,
    *,
    seed: int,
    score: Callable[[], float] | None = None,
    begin_epoch: Callable[[int], object] = lambda epoch: None,
) -> Fitted:
    """Train a network; it ends with the weights of its best epoch, the first of equals.

    Args:
        network: in training mode during the steps.
        step: learns from one batch.
        train: the training turns, in the order of `StepBatches`.
        schedule: how long.
        seed: of the order.
        score: of the network as it is, the higher the better; None keeps the last epoch.
        begin_epoch: called with the number of each epoch, from 0.
    """
    best, best_score, best_epoch, epoch = None, -np.inf, None, 0
    for epoch in tqdm(range(schedule.num_epochs), desc="Epochs", unit="epoch", leave=False):
        begin_epoch(epoch)
        network.train()
        for indices in epoch_batches(train, schedule.batch_size, seed, epoch):
            step(train.batch(indices))
        if score is None:
            continue
        found = score()
        if found > best_score:
            best, best_score, best_epoch = copy.deepcopy(network.state_dict()), found, epoch + 1
        if schedule.patience and best_epoch and epoch + 1 - best_epoch >= schedule.patience:
            break
    if best is not None:
        network.load_state_dict(best)
    network.eval()
    return Fitted(epoch + 1, best_epoch)


def epoch_batches(
    train: TurnTensors, batch_size: int, seed: int, epoch: int
) -> Iterator[list[int]]:
    """Numbers of the turns of each step of an epoch."""
    return iter(
        StepBatches(
            num_turns=len(train),
            batch_size=batch_size,
            accumulation=1,
            processes=1,
            rank=0,
            seed=seed,
            epoch=lambda: epoch,
            lengths=train.lengths,
        )
    )


@torch.no_grad()
def answer_turns(
    network: nn.Module, turns: TurnTensors, logits: Callable[[Batch], Tensor] | None = None
) -> np.ndarray:
    """Logits of every turn in evaluation mode, (N, L); the network keeps the mode that it had.

    Args:
        network: called with a batch, unless `logits` is given.
        turns: answered in batches of similar length.
        logits: of a batch; default those of the network.
    """
    was_training = network.training
    network.eval()
    order = np.argsort(turns.lengths, kind="stable") if turns.lengths else np.arange(len(turns))
    found = [
        (logits or network)(turns.batch(order[start : start + SCORING_BATCH].tolist()))
        for start in range(0, len(order), SCORING_BATCH)
    ]
    network.train(was_training)
    back = np.argsort(order, kind="stable")
    return torch.cat(found).double().numpy()[back]


def validation_score(
    network: nn.Module,
    turns: TurnTensors,
    *,
    task: str = "emotions",
    logits: Callable[[Batch], Tensor] | None = None,
) -> Callable[[], float] | None:
    """UAR over validation turns as `fit` wants it; None where there is none.

    Args:
        network: see `answer_turns`.
        turns: of validation speakers.
        task: field of `TurnTensors` with the labels.
        logits: see `answer_turns`.
    """
    labels = getattr(turns, task).numpy()
    known = labels != IGNORED
    if not known.any():
        return None

    def score() -> float:
        answers = answer_turns(network, turns, logits)[known]
        confusion = confusion_matrix(labels[known], answers.argmax(1), num_labels=answers.shape[1])
        return unweighted_average_recall(confusion)

    return score


def balanced_weights(labels: Tensor, num_labels: int) -> Tensor:
    """Weight of each class in inverse proportion to its turns, with a mean of 1 over these; 0 for a
    class that has none; (L,).

    Examples:
        >>> balanced_weights(torch.tensor([0, 0, 0, 1]), 2)
        tensor([0.6667, 2.0000])
    """
    counts = torch.bincount(labels[labels != IGNORED], minlength=num_labels)
    weights = counts.sum() / ((counts > 0).sum() * counts.clamp(min=1))
    return torch.where(counts > 0, weights, 0.0)


def answer_fold(
    data: FoldData,
    train: Callable[[TurnTensors, TurnTensors], tuple[nn.Module, dict]],
    *,
    seed: int,
    **columns: str,
) -> Answers:
    """Train a network in a fold and answer its turns; the test turns stay sealed until it is final.

    Args:
        data: the fold.
        train: makes of training and validation turns a trained network and fields of `RunRecord`.
        seed: of weights and dropout.
        **columns: see `read_turns`.
    """
    known, validation = (
        read_turns(data, data.folds[name], **columns) for name in ("train", "validation")
    )
    with seeded(seed):
        network, entries = train(known, validation)
    test = read_turns(data, data.folds.open_test(network), **columns)
    answers = Answers(
        test=answer_turns(network, test),
        validation=answer_turns(network, validation) if len(validation) else None,
        entries=entries,
    )
    data.folds.check_final(network, None)
    return answers


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw weights and dropout from a seed, and leave the state of everybody else's draws alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
