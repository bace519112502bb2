"""Two-stream autoencoder: one code for what tells emotion, another for the rest of the spectrogram,
which both together restore (reference [18] of the paper; a relative by the same authors: IEEE
Access 9, 51231). Reconstruction from the description.

Stated: two autoencoder streams, one for emotion, one for the rest. By the relative: instance
normalisation in the emotion stream, its code joined with openSMILE functionals. Open: everything
else, see `Settings.UNSTATED`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn import functional as F

from modeling_decomp_ser.masked_layers import MaskedGroupNorm, length_mask, masked_statistics
from processing import DecompSerFeatureExtractor
from processing.features import add_signals
from train_scripts.baselines.answers import Answers
from train_scripts.baselines.functionals import add_functionals
from train_scripts.baselines.network_training import (
    Schedule,
    answer_fold,
    fit,
    validation_score,
)
from train_scripts.baselines.sequence_layers import clear_padding, halved
from train_scripts.baselines.turn_tensors import Batch, Standardization, TurnTensors
from train_scripts.runs.fold_data import FoldData

KERNEL = 5


@dataclass
class Settings:
    """Sizes and optimiser.

    Attributes:
        channels: of the convolutions over time.
        code_size: of each of the two codes, a frame in four.
        hidden_size: of the classifier.
        dropout: of the classifier.
        reconstruction_weight: of the squared error of the spectrogram; emotion has 1.
        learning_rate: of Adam.
        batch_size: turns of a step.
        num_epochs: at most.
        patience: epochs without a better one after which training stops.
    """

    channels: int = 96
    code_size: int = 48
    hidden_size: int = 128
    dropout: float = 0.5
    reconstruction_weight: float = 1.0
    learning_rate: float = 1e-3
    batch_size: int = 32
    num_epochs: int = 40
    patience: int = 10

    UNSTATED: ClassVar = (
        "channels",
        "code_size",
        "hidden_size",
        "dropout",
        "reconstruction_weight",
        "learning_rate",
        "batch_size",
        "num_epochs",
        "patience",
    )
    REMARKS: ClassVar = ("88 eGeMAPS functionals join the emotion code",)


class Stream(nn.Module):
    """Encoder of two convolutions over time with a stride of two.

    Args:
        num_bands: mel bands.
        settings: sizes.
        normalise: each channel of a turn to zero mean and unit variance, which takes away the
            speaker's own level.
    """

    def __init__(self, num_bands: int, settings: Settings, *, normalise: bool):
        super().__init__()
        sizes = (num_bands, settings.channels, settings.code_size)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(a, b, KERNEL, stride=2, padding=KERNEL // 2)
            for a, b in zip(sizes, sizes[1:], strict=False)
        )
        self.norms = nn.ModuleList(
            MaskedGroupNorm(size, size) for size in (sizes[1:] if normalise else ())
        )

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, F) with zeros in padding -> (B, T / 4, D), lengths."""
        for k, convolution in enumerate(self.convolutions):
            x, lengths = convolution(x.mT), halved(lengths)
            if self.norms:
                x = self.norms[k](x, length_mask(lengths, x.shape[2]))
            x = clear_padding(x.mT.relu(), lengths)
        return x, lengths


class TwoStreamAE(nn.Module):
    """Two encoders, one decoder, and a classifier on the code of one of them."""

    def __init__(
        self,
        standardize: tuple[Standardization, Standardization],
        num_labels: int,
        settings: Settings,
    ):
        super().__init__()
        self.standardize_frames, self.standardize_vectors = standardize
        num_bands = len(self.standardize_frames.mean)
        num_functionals = len(self.standardize_vectors.mean)
        self.emotion_stream = Stream(num_bands, settings, normalise=True)
        self.other_stream = Stream(num_bands, settings, normalise=False)
        self.widen = nn.Conv1d(2 * settings.code_size, settings.channels, 3, padding=1)
        self.restore = nn.Conv1d(settings.channels, num_bands, 3, padding=1)
        self.classifier = nn.Sequential(
            nn.Dropout(settings.dropout),
            nn.Linear(3 * settings.code_size + num_functionals, settings.hidden_size),
            nn.ReLU(),
            nn.Dropout(settings.dropout),
            nn.Linear(settings.hidden_size, num_labels),
        )

    def read(self, batch: Batch) -> Tensor:
        """Standardised spectrogram with zeros in padding, (B, T, F)."""
        return clear_padding(self.standardize_frames(batch.frames), batch.lengths)

    def forward(self, batch: Batch) -> Tensor:
        """Logits of emotions, (B, L)."""
        return self.classify(batch, *self.emotion_stream(self.read(batch), batch.lengths))

    def classify(self, batch: Batch, code: Tensor, lengths: Tensor) -> Tensor:
        """Emotion code (B, T / 4, D) and functionals -> logits (B, L)."""
        functionals = self.standardize_vectors(batch.vectors)
        return self.classifier(torch.cat([masked_statistics(code, lengths), functionals], dim=-1))

    def decode(self, codes: Tensor, size: int) -> Tensor:
        """Both codes (B, T / 4, 2 D) -> spectrogram (B, T, F)."""
        x = self.widen(F.interpolate(codes.mT, scale_factor=2)).relu()
        return self.restore(F.interpolate(x, scale_factor=2)).mT[:, :size]

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy of emotions, and mean squared error over valid frames."""
        x = self.read(batch)
        code, lengths = self.emotion_stream(x, batch.lengths)
        other, _ = self.other_stream(x, batch.lengths)
        restored = self.decode(torch.cat([code, other], dim=-1), x.shape[1])
        mask = length_mask(batch.lengths, x.shape[1])
        return (
            F.cross_entropy(self.classify(batch, code, lengths), batch.emotions),
            F.mse_loss(restored[mask], x[mask]),
        )


def add_features(corpus: Dataset, settings: Settings, **options: Any) -> Dataset:
    """The corpus with the columns `mel`, which the presets store too, and `functionals`."""
    corpus = add_signals(corpus, DecompSerFeatureExtractor(), **options)
    return add_functionals(corpus, "eGeMAPSv02", **options)


def answer(data: FoldData, settings: Settings, *, seed: int) -> Answers:
    """Train the network and answer the turns of the fold."""

    def train(known: TurnTensors, validation: TurnTensors):
        return train_network(known, validation, len(data.labels), settings, seed)

    return answer_fold(data, train, seed=seed, vectors="functionals", sequences="mel")


def train_network(
    train: TurnTensors, validation: TurnTensors, num_labels: int, settings: Settings, seed: int
) -> tuple[TwoStreamAE, dict[str, Any]]:
    """The trained network, and fields of `RunRecord`."""
    standardize = (Standardization.of_frames(train), Standardization.of_vectors(train))
    network = TwoStreamAE(standardize, num_labels, settings)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)

    def step(batch: Batch) -> None:
        emotion, reconstruction = network.losses(batch)
        optimizer.zero_grad()
        (emotion + settings.reconstruction_weight * reconstruction).backward()
        optimizer.step()

    fitted = fit(
        network,
        step,
        train,
        Schedule(settings.num_epochs, settings.batch_size, settings.patience),
        seed=seed,
        score=validation_score(network, validation),
    )
    return network, fitted.describe(network)
