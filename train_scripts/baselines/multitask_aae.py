"""Multi-task adversarial autoencoder: the code of an autoencoder, held to a mixture of Gaussians by
a discriminator, tells emotion, gender and speaker (Latif et al., IEEE Transactions on Affective
Computing 13(2), 2022, arXiv 1907.06078). Reconstruction from the description, and where that is
silent from a relative that is described in more detail (Sahu et al., "Adversarial auto-encoders for
speech based emotion recognition", Interspeech 2017).

Stated by [17]: the code of an adversarial autoencoder feeds the three heads; speech without labels
trains the autoencoder. By the relative: 1,582 openSMILE functionals, two ReLU layers in encoder,
decoder and discriminator, dropout 0.5, one Gaussian of the prior for each emotion, a sigmoid output
of the discriminator with squared error, Adam at 1e-3, the discriminator at a fifth, two steps of
the encoder against it. Open: the rest, see `Settings.UNSTATED`. There is no other speech here than
the training turns of the fold.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn import functional as F

from train_scripts.baselines.answers import Answers, require_labels
from train_scripts.baselines.functionals import add_functionals
from train_scripts.baselines.multitask_cnn import AUXILIARY, sum_of_tasks, task_classes
from train_scripts.baselines.network_training import (
    Schedule,
    answer_fold,
    fit,
    validation_score,
)
from train_scripts.baselines.turn_tensors import Batch, Standardization, TurnTensors
from train_scripts.runs.fold_data import FoldData

DISCRIMINATOR_SHARE = 0.2
"""Learning rate of the discriminator, of that of the rest."""
ENCODER_STEPS = 2
"""Steps of the encoder against the discriminator for one of its own."""


@dataclass
class Settings:
    """Sizes and optimiser.

    Attributes:
        feature_set: of openSMILE.
        hidden_size: units of a layer; the relative has 1,000.
        code_size: of the code; the relative has 2, which could not tell speakers.
        prior_radius: distance of the means of the prior from the origin.
        dropout: of the hidden layers.
        task_weight: of gender and of speaker; emotion has 1.
        reconstruction_weight: of the squared error of the functionals.
        learning_rate: of Adam.
        batch_size: turns of a step.
        num_epochs: at most.
        patience: epochs without a better one after which training stops.
    """

    feature_set: str = "IS10"
    hidden_size: int = 400
    code_size: int = 64
    prior_radius: float = 4.0
    dropout: float = 0.5
    task_weight: float = 0.3
    reconstruction_weight: float = 1.0
    learning_rate: float = 1e-3
    batch_size: int = 64
    num_epochs: int = 60
    patience: int = 15

    UNSTATED: ClassVar = (
        "hidden_size",
        "code_size",
        "prior_radius",
        "task_weight",
        "reconstruction_weight",
        "batch_size",
        "num_epochs",
        "patience",
    )
    REMARKS: ClassVar = ("no external speech", "features and layers of Sahu et al. 2017")


def layers(num_inputs: int, num_outputs: int, settings: Settings) -> nn.Sequential:
    """Two hidden ReLU layers with dropout, and a linear one."""
    hidden, dropout = settings.hidden_size, settings.dropout
    return nn.Sequential(
        *(nn.Linear(num_inputs, hidden), nn.ReLU(), nn.Dropout(dropout)),
        *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout)),
        nn.Linear(hidden, num_outputs),
    )


class MultiTaskAAE(nn.Module):
    """Encoder, decoder, discriminator and a linear head a task."""

    prior_means: Tensor

    def __init__(self, standardize: Standardization, classes: dict[str, int], settings: Settings):
        super().__init__()
        self.standardize = standardize
        num_inputs, num_labels = len(standardize.mean), classes["emotions"]
        self.encoder = layers(num_inputs, settings.code_size, settings)
        self.decoder = layers(settings.code_size, num_inputs, settings)
        self.discriminator = layers(settings.code_size + num_labels, 1, settings)
        self.heads = nn.ModuleDict(
            {task: nn.Linear(settings.code_size, n) for task, n in classes.items()}
        )
        means = settings.prior_radius * torch.eye(num_labels, settings.code_size)
        self.register_buffer("prior_means", means)

    def forward(self, batch: Batch) -> Tensor:
        """Logits of emotions, (B, L)."""
        return self.heads["emotions"](self.encoder(self.standardize(batch.vectors)))

    def draw_prior(self, emotions: Tensor) -> Tensor:
        """Codes as the prior has them, of these emotions: (B,) -> (B, D)."""
        means = self.prior_means[emotions]
        return means + torch.randn_like(means)

    def judge(self, codes: Tensor, emotions: Tensor) -> Tensor:
        """How likely codes are of the prior and not of the encoder, in (0, 1), (B,)."""
        told = F.one_hot(emotions, len(self.prior_means)).to(codes)
        return torch.sigmoid(self.discriminator(torch.cat([codes, told], dim=-1)))[:, 0]


class AdversarialSteps:
    """What each batch is used for: to reconstruct and to recognise, then to tell prior from code,
    then to fool that.
    """

    def __init__(self, network: MultiTaskAAE, settings: Settings):
        self.network, self.settings = network, settings
        own = [*network.encoder.parameters(), *network.decoder.parameters()]
        own += list(network.heads.parameters())
        rate = settings.learning_rate
        self.learner = torch.optim.Adam(own, lr=rate)
        self.critic = torch.optim.Adam(
            network.discriminator.parameters(), lr=DISCRIMINATOR_SHARE * rate
        )
        self.generator = torch.optim.Adam(network.encoder.parameters(), lr=rate)
        self.weights = {
            "emotions": 1.0,
            "genders": settings.task_weight,
            "speakers": settings.task_weight,
        }

    def __call__(self, batch: Batch) -> None:
        """Learn from a batch."""
        x = self.network.standardize(batch.vectors)
        descend(self.learner, self.recognition_loss(x, batch))
        descend(self.critic, self.critic_loss(x, batch))
        for _ in range(ENCODER_STEPS):
            descend(self.generator, self.generator_loss(x, batch))

    def recognition_loss(self, x: Tensor, batch: Batch) -> Tensor:
        """Reconstruction and the three tasks."""
        code = self.network.encoder(x)
        error = F.mse_loss(self.network.decoder(code), x)
        tasks = sum_of_tasks(self.network.heads, code, batch, self.weights)
        return self.settings.reconstruction_weight * error + tasks

    def critic_loss(self, x: Tensor, batch: Batch) -> Tensor:
        """Squared error of the discriminator: 1 for the prior, 0 for codes."""
        with torch.no_grad():
            code = self.network.encoder(x)
        prior = self.network.draw_prior(batch.emotions)
        real, fake = (self.network.judge(c, batch.emotions) for c in (prior, code))
        return (1 - real).square().mean() + fake.square().mean()

    def generator_loss(self, x: Tensor, batch: Batch) -> Tensor:
        """Squared error of codes that shall pass for the prior."""
        return (1 - self.network.judge(self.network.encoder(x), batch.emotions)).square().mean()


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down a loss, of the parameters of the optimiser alone."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def add_features(corpus: Dataset, settings: Settings, **options: Any) -> Dataset:
    """The corpus with the column `functionals`."""
    return add_functionals(corpus, settings.feature_set, **options)


def answer(data: FoldData, settings: Settings, *, seed: int) -> Answers:
    """Train the network and answer the turns of the fold."""
    for task in AUXILIARY:
        require_labels(data, task, "table4_multitask_aae")

    def train(known: TurnTensors, validation: TurnTensors):
        return train_network(known, validation, task_classes(data), settings, seed)

    return answer_fold(data, train, seed=seed, vectors="functionals")


def train_network(
    train: TurnTensors,
    validation: TurnTensors,
    classes: dict[str, int],
    settings: Settings,
    seed: int,
) -> tuple[MultiTaskAAE, dict[str, Any]]:
    """The trained network, and fields of `RunRecord`."""
    network = MultiTaskAAE(Standardization.of_vectors(train), classes, settings)
    steps = AdversarialSteps(network, settings)
    fitted = fit(
        network,
        steps,
        train,
        Schedule(settings.num_epochs, settings.batch_size, settings.patience),
        seed=seed,
        score=validation_score(network, validation),
    )
    return network, {**fitted.describe(network), "task_weights": steps.weights}
