"""Multi-task CNN: emotion with gender and speaker as auxiliary tasks on the spectrogram (Latif et
al., "Multi-task semi-supervised adversarial autoencoding for speech emotion recognition", IEEE
Transactions on Affective Computing 13(2), 2022, arXiv 1907.06078). Reconstruction from the
description.

Stated: a convolutional network on the spectrogram with three heads, whose auxiliary tasks use large
corpora without emotions too. Open: the rest, see `Settings.UNSTATED`. There is no other speech here
than the training turns of the fold.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn import functional as F

from modeling_decomp_ser.masked_layers import masked_statistics
from modeling_decomp_ser.multitask_losses import IGNORED
from processing import DecompSerFeatureExtractor
from processing.features import add_signals
from train_scripts.baselines.answers import Answers, require_labels
from train_scripts.baselines.network_training import (
    Schedule,
    answer_fold,
    fit,
    validation_score,
)
from train_scripts.baselines.sequence_layers import MaskedBatchNorm, clear_padding, halved
from train_scripts.baselines.turn_tensors import Batch, Standardization, TurnTensors
from train_scripts.runs.fold_data import FoldData

AUXILIARY = {"gender": "genders", "speaker": "speakers"}


@dataclass
class Settings:
    """Sizes and optimiser.

    Attributes:
        channels: of the first of three convolutions; the others have twice and four times as many.
        dropout: of the pooled vector.
        gender_weight: of the loss of gender; emotion has 1.
        speaker_weight: of the loss of speaker.
        learning_rate: of Adam.
        batch_size: turns of a step.
        num_epochs: at most.
        patience: epochs without a better one after which training stops.
    """

    channels: int = 12
    dropout: float = 0.3
    gender_weight: float = 0.3
    speaker_weight: float = 0.3
    learning_rate: float = 1e-3
    batch_size: int = 32
    num_epochs: int = 30
    patience: int = 8

    UNSTATED: ClassVar = (
        "channels",
        "dropout",
        "gender_weight",
        "speaker_weight",
        "learning_rate",
        "batch_size",
        "num_epochs",
        "patience",
    )
    REMARKS: ClassVar = ("no external speech",)


class Convolution(nn.Module):
    """3 x 3 convolution over frames and mel bands with a stride of two in both, batch normalisation
    over valid frames, ReLU.
    """

    def __init__(self, num_inputs: int, num_outputs: int):
        super().__init__()
        self.conv = nn.Conv2d(num_inputs, num_outputs, 3, stride=2, padding=1)
        self.norm = MaskedBatchNorm(num_outputs)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, C, F) with zeros in padding -> (B, T / 2, C', F / 2), lengths."""
        x = self.conv(x.permute(0, 2, 1, 3)).permute(0, 2, 1, 3)
        lengths = halved(lengths)
        return self.norm(x, lengths).relu(), lengths


class MultiTaskCNN(nn.Module):
    """Three convolutions, statistics over time, one linear head a task."""

    def __init__(self, standardize: Standardization, classes: dict[str, int], settings: Settings):
        super().__init__()
        self.standardize = standardize
        sizes = [1, *(settings.channels * k for k in (1, 2, 4))]
        self.convolutions = nn.ModuleList(
            Convolution(a, b) for a, b in zip(sizes, sizes[1:], strict=False)
        )
        bands = len(standardize.mean)
        for _ in self.convolutions:
            bands = (bands + 1) // 2
        self.dropout = nn.Dropout(settings.dropout)
        self.heads = nn.ModuleDict(
            {task: nn.Linear(3 * bands * sizes[-1], n) for task, n in classes.items()}
        )

    def pool(self, batch: Batch) -> Tensor:
        """What all heads read, (B, P)."""
        lengths = batch.lengths
        x = clear_padding(self.standardize(batch.frames), lengths)[:, :, None]  # (B, T, 1, F)
        for convolution in self.convolutions:
            x, lengths = convolution(x, lengths)
        return self.dropout(masked_statistics(x.flatten(2), lengths))

    def forward(self, batch: Batch) -> Tensor:
        """Logits of emotions, (B, L)."""
        return self.heads["emotions"](self.pool(batch))

    def loss(self, batch: Batch, weights: dict[str, float]) -> Tensor:
        """Weighted sum of the cross-entropies of the tasks."""
        pooled = self.pool(batch)
        return sum_of_tasks(self.heads, pooled, batch, weights)


def sum_of_tasks(
    heads: nn.ModuleDict, code: Tensor, batch: Batch, weights: dict[str, float]
) -> Tensor:
    """Cross-entropy of each head's task times its weight, added up; a task counts nothing in a
    batch that has no label of it.
    """
    total = code.new_zeros(())
    for task, head in heads.items():
        labels = getattr(batch, task)
        if (labels != IGNORED).any():
            total = total + weights[task] * F.cross_entropy(
                head(code), labels, ignore_index=IGNORED
            )
    return total


def task_classes(data: FoldData) -> dict[str, int]:
    """Number of classes of each of the three tasks in a fold."""
    genders = set(data.folds["train"]["gender"]) - {None}
    return {
        "emotions": len(data.labels),
        "genders": len(genders),
        "speakers": len(data.speakers),
    }


def add_features(corpus: Dataset, settings: Settings, **options: Any) -> Dataset:
    """The corpus with the column `mel`, which the presets store too."""
    return add_signals(corpus, DecompSerFeatureExtractor(), **options)


def answer(data: FoldData, settings: Settings, *, seed: int) -> Answers:
    """Train the network and answer the turns of the fold."""
    for task in AUXILIARY:
        require_labels(data, task, "table4_multitask_cnn")

    def train(known: TurnTensors, validation: TurnTensors):
        return train_network(known, validation, task_classes(data), settings, seed)

    return answer_fold(data, train, seed=seed, sequences="mel")


def train_network(
    train: TurnTensors,
    validation: TurnTensors,
    classes: dict[str, int],
    settings: Settings,
    seed: int,
) -> tuple[MultiTaskCNN, dict[str, Any]]:
    """The trained network, and fields of `RunRecord`."""
    network = MultiTaskCNN(Standardization.of_frames(train), classes, settings)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    weights = {
        "emotions": 1.0,
        "genders": settings.gender_weight,
        "speakers": settings.speaker_weight,
    }

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        network.loss(batch, weights).backward()
        optimizer.step()

    fitted = fit(
        network,
        step,
        train,
        Schedule(settings.num_epochs, settings.batch_size, settings.patience),
        seed=seed,
        score=validation_score(network, validation),
    )
    return network, {**fitted.describe(network), "task_weights": weights}
