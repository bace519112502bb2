"""ResLSTM-SA: two LSTM layers with a residual connection and soft attention on MFCC and chroma
(Krasnoproshin and Vashkevich, DSPA 2026, arXiv 2606.03359; their code: Mak-Sim/ResLSTM-SER).
Reconstruction from the description.

Stated: 34 MFCC and 12 chroma a frame; LSTM 46 -> 46, its input added, batch normalisation, LSTM
46 -> 64, soft attention over time, batch normalisation, dropout, linear: 46,772 parameters with
eight emotions. Adam, 100 epochs, cosine restarts, the epoch chosen by UAR of validation speakers,
settings searched with Optuna on the test folds. Open: the settings found, see `Settings.UNSTATED`.

They normalise by all turns, those of test speakers included; this does by training turns only.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn import functional as F

from train_scripts.baselines.answers import Answers
from train_scripts.baselines.frame_features import NUM_FRAME_FEATURES, add_frame_features
from train_scripts.baselines.network_training import (
    Schedule,
    answer_fold,
    fit,
    validation_score,
)
from train_scripts.baselines.sequence_layers import AttentionPooling, MaskedBatchNorm
from train_scripts.baselines.turn_tensors import Batch, Standardization, TurnTensors
from train_scripts.runs.fold_data import FoldData


@dataclass
class Settings:
    """Sizes and optimiser.

    Attributes:
        hidden_size: of the second LSTM.
        dropout: of the pooled vector.
        learning_rate: at each restart.
        weight_decay: of Adam, added to the gradient.
        restart_epochs: the rate falls along a cosine to a hundredth in so many epochs, again and
            again.
        batch_size: turns of a step.
        num_epochs: at most.
        patience: epochs without a better one after which training stops; 0 never stops.
    """

    hidden_size: int = 64
    dropout: float = 0.3
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    restart_epochs: int = 10
    batch_size: int = 64
    num_epochs: int = 100
    patience: int = 25

    UNSTATED: ClassVar = (
        "dropout",
        "learning_rate",
        "weight_decay",
        "restart_epochs",
        "batch_size",
        "patience",
    )
    REMARKS: ClassVar = ("85.3 ms windows of 16 kHz audio, not 48 kHz",)


class ResLSTM(nn.Module):
    """The network of the paper."""

    def __init__(self, standardize: Standardization, num_labels: int, settings: Settings):
        super().__init__()
        self.standardize = standardize
        self.first = nn.LSTM(NUM_FRAME_FEATURES, NUM_FRAME_FEATURES, batch_first=True)
        self.norm = MaskedBatchNorm(NUM_FRAME_FEATURES)
        self.second = nn.LSTM(NUM_FRAME_FEATURES, settings.hidden_size, batch_first=True)
        self.attention = AttentionPooling(settings.hidden_size)
        self.pooled_norm = nn.BatchNorm1d(settings.hidden_size)
        self.dropout = nn.Dropout(settings.dropout)
        self.emotion_head = nn.Linear(settings.hidden_size, num_labels)
        for lstm in (self.first, self.second):
            initialize_lstm(lstm)

    def forward(self, batch: Batch) -> Tensor:
        """Logits of emotions, (B, L)."""
        x = self.standardize(batch.frames)  # (B, T, 46)
        x = self.norm(x + self.first(x)[0], batch.lengths)
        x = self.second(x)[0]  # (B, T, H); states run forward, so none has read padding
        pooled = self.pooled_norm(self.attention(x, batch.lengths))
        return self.emotion_head(self.dropout(pooled))


def initialize_lstm(lstm: nn.LSTM) -> None:
    """Xavier and orthogonal weights, forget gates open."""
    weights: Any = (lstm.weight_ih_l0, lstm.weight_hh_l0)
    nn.init.xavier_normal_(weights[0])
    nn.init.orthogonal_(weights[1])
    gates: Any = (lstm.bias_ih_l0, lstm.bias_hh_l0)
    for bias in gates:
        nn.init.zeros_(bias)
        with torch.no_grad():
            bias[lstm.hidden_size : 2 * lstm.hidden_size] = 1.0


def add_features(corpus: Dataset, settings: Settings, **options: Any) -> Dataset:
    """The corpus with the column `frames`."""
    return add_frame_features(corpus, **options)


def answer(data: FoldData, settings: Settings, *, seed: int) -> Answers:
    """Train the network and answer the turns of the fold."""

    def train(known: TurnTensors, validation: TurnTensors):
        return train_network(known, validation, len(data.labels), settings, seed)

    return answer_fold(data, train, seed=seed, sequences="frames")


def train_network(
    train: TurnTensors, validation: TurnTensors, num_labels: int, settings: Settings, seed: int
) -> tuple[ResLSTM, dict[str, Any]]:
    """The trained network, and fields of `RunRecord`."""
    network = ResLSTM(Standardization.of_frames(train), num_labels, settings)
    optimizer = torch.optim.Adam(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    rates = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, settings.restart_epochs, eta_min=settings.learning_rate / 100
    )

    def step(batch: Batch) -> None:
        loss = F.cross_entropy(network(batch), batch.emotions)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    fitted = fit(
        network,
        step,
        train,
        Schedule(settings.num_epochs, settings.batch_size, settings.patience),
        seed=seed,
        score=validation_score(network, validation),
        begin_epoch=lambda epoch: rates.step() if epoch else None,
    )
    return network, fitted.describe(network)
