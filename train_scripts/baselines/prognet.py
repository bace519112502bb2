"""ProgNet: progressive networks, what a source task learns helps emotion (Gideon, Khorram, Aldeneh,
Dimitriadis and Mower Provost, "Progressive neural networks for transfer learning in emotion
recognition", Interspeech 2017, arXiv 1706.03256). Reconstruction from the description.

Stated: 88 eGeMAPS functionals, z-scored; a column of four layers of 256 sigmoid units, Xavier
weights, dropout 0.5 on the second to the fourth; the first column learns the source task and is
frozen; layer k of the second is sigmoid(dropout(W h_(k-1)) + dropout(U h'_(k-1))) with h' the first
column's, its output likewise without dropout; Adam at 1e-3 and later 5e-5, batches of 64, 200
epochs a column, balanced classes. Open: see `Settings.UNSTATED`.

The public code of a third party keeps dropout on when it scores, takes the logarithm of a softmax
twice and keeps the last epoch as the best; this does none of it.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn import functional as F

from modeling_decomp_ser.multitask_losses import IGNORED
from train_scripts.baselines.answers import Answers, require_labels
from train_scripts.baselines.functionals import add_functionals
from train_scripts.baselines.network_training import (
    Schedule,
    answer_fold,
    balanced_weights,
    fit,
    validation_score,
)
from train_scripts.baselines.turn_tensors import Batch, Standardization, TurnTensors
from train_scripts.runs.fold_data import FoldData

LAYERS = 4
FIELDS = {"gender": "genders", "speaker": "speakers"}
"""Source task to the field of a batch that has its labels."""


@dataclass
class Settings:
    """Sizes and optimiser.

    Attributes:
        source_task: of the first column: "gender" or "speaker".
        hidden_size: units of a layer.
        dropout: probability.
        learning_rate: at first.
        late_learning_rate: later.
        late_from: share of the epochs of a column after which it is later.
        batch_size: turns of a step.
        num_epochs: of each column.
    """

    source_task: str = "gender"
    hidden_size: int = 256
    dropout: float = 0.5
    learning_rate: float = 1e-3
    late_learning_rate: float = 5e-5
    late_from: float = 0.5
    batch_size: int = 64
    num_epochs: int = 200

    UNSTATED: ClassVar = ("source_task", "late_from")
    REMARKS: ClassVar = ("epoch of each column chosen on validation speakers",)


class Column(nn.Module):
    """A stack of sigmoid layers, beside another column or alone.

    Args:
        num_inputs: features.
        num_outputs: classes.
        settings: sizes.
        beside: the other column has this many units a layer; 0 for none.
    """

    def __init__(self, num_inputs: int, num_outputs: int, settings: Settings, *, beside: int = 0):
        super().__init__()
        sizes = [num_inputs, *[settings.hidden_size] * LAYERS, num_outputs]
        pairs = list(zip(sizes, sizes[1:], strict=False))
        self.own = nn.ModuleList(nn.Linear(a, b) for a, b in pairs)
        # the first layer reads the input, which is the same for both
        self.lateral = nn.ModuleList(
            nn.Linear(beside, b, bias=False) for _, b in (pairs[1:] if beside else ())
        )
        self.dropout = nn.Dropout(settings.dropout)
        layers: Any = (*self.own, *self.lateral)
        for layer in layers:
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, others: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """(B, D) and the hidden layers of the other column -> logits (B, L), own hidden layers."""
        hidden = [torch.sigmoid(self.own[0](x))]
        for k in range(1, LAYERS):
            total = self.dropout(self.own[k](hidden[-1]))
            if others is not None:
                total = total + self.dropout(self.lateral[k - 1](others[k - 1]))
            hidden.append(torch.sigmoid(total))
        logits = self.own[LAYERS](hidden[-1])
        if others is not None:
            logits = logits + self.lateral[LAYERS - 1](others[-1])
        return logits, hidden


class ProgNet(nn.Module):
    """Two columns; the first is frozen while the second learns."""

    def __init__(
        self, standardize: Standardization, num_sources: int, num_labels: int, settings: Settings
    ):
        super().__init__()
        num_inputs = len(standardize.mean)
        self.standardize = standardize
        self.source = Column(num_inputs, num_sources, settings)
        self.target = Column(num_inputs, num_labels, settings, beside=settings.hidden_size)

    def source_logits(self, batch: Batch) -> Tensor:
        """Of the source task, (B, classes)."""
        return self.source(self.standardize(batch.vectors))[0]

    def forward(self, batch: Batch) -> Tensor:
        """Logits of emotions, (B, L)."""
        x = self.standardize(batch.vectors)
        return self.target(x, self.source(x)[1])[0]

    def freeze_source(self) -> None:
        """Keep the first column as it is: no gradient, and no dropout in it either."""
        self.source.requires_grad_(False)

    def train(self, mode: bool = True) -> "ProgNet":
        """As in torch; a frozen column stays in evaluation mode."""
        super().train(mode)
        if not next(self.source.parameters()).requires_grad:
            self.source.eval()
        return self


def add_features(corpus: Dataset, settings: Settings, **options: Any) -> Dataset:
    """The corpus with the column `functionals`."""
    return add_functionals(corpus, "eGeMAPSv02", **options)


def answer(data: FoldData, settings: Settings, *, seed: int) -> Answers:
    """Train both columns and answer the turns of the fold."""
    require_labels(data, settings.source_task, "table4_prognet")

    def train(known: TurnTensors, validation: TurnTensors):
        return train_columns(known, validation, len(data.labels), settings, seed)

    return answer_fold(data, train, seed=seed, vectors="functionals")


def train_columns(
    train: TurnTensors, validation: TurnTensors, num_labels: int, settings: Settings, seed: int
) -> tuple[ProgNet, dict[str, Any]]:
    """The trained network, and fields of `RunRecord`."""
    field = FIELDS[settings.source_task]
    num_sources = int(getattr(train, field).max()) + 1
    network = ProgNet(Standardization.of_vectors(train), num_sources, num_labels, settings)
    train_column(
        network,
        network.source_logits,
        (train, validation),
        field=field,
        num_classes=num_sources,
        settings=settings,
        seed=seed,
    )
    network.freeze_source()
    fitted = train_column(
        network,
        network,
        (train, validation),
        field="emotions",
        num_classes=num_labels,
        settings=settings,
        seed=seed,
    )
    return network, fitted.describe(network)


def train_column(
    network: ProgNet,
    logits: Any,
    turns: tuple[TurnTensors, TurnTensors],
    *,
    field: str,
    num_classes: int,
    settings: Settings,
    seed: int,
):
    """Train the parameters that are not frozen on one task."""
    train, validation = turns
    weights = balanced_weights(getattr(train, field), num_classes)
    learning = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=settings.learning_rate)

    def set_rate(epoch: int) -> None:
        late = epoch >= settings.late_from * settings.num_epochs
        for group in optimizer.param_groups:
            group["lr"] = settings.late_learning_rate if late else settings.learning_rate

    def step(batch: Batch) -> None:
        loss = F.cross_entropy(
            logits(batch), getattr(batch, field), weight=weights, ignore_index=IGNORED
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return fit(
        network,
        step,
        train,
        Schedule(settings.num_epochs, settings.batch_size),
        seed=seed,
        score=validation_score(network, validation, task=field, logits=logits),
        begin_epoch=set_rate,
    )
