"""The four-task Trainer: weighted losses, each logged, exact under accumulation, with keyed
randomness.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import Trainer

from modeling_decomp_ser.keyed_random import fold_in
from modeling_decomp_ser.multitask_losses import IGNORED, TaskLoss, frames_needed
from modeling_decomp_ser.speech_encoder import encoder_lengths
from processing.errors import InputError
from train_scripts.runs.inference import predict_turns
from train_scripts.runs.settings import AugmentationSettings
from train_scripts.training.augmentation import augment
from train_scripts.training.corrupted_rows import CorruptedRows
from train_scripts.training.step_batches import StepBatches

PARTS = ("speech_encoder", "decomposition", "emotion_head", "ctc_head", "speaker_head")
"""Modules of the model, each with a learning rate of its own."""

GRADIENT_NORM_LINES = 5
"""How many log lines of a run carry the norm of each task's gradient, which costs a backward pass
a task."""


class DecompSerTrainer(Trainer):
    """Trainer of `DecompSerForAudioClassification` (equation 5).

    A task's loss is a mean over the turns that carry its label in the whole optimiser step, over
    all accumulated batches and all processes, so that neither changes what is learned. Random draws
    of a turn are keyed by the run's seed, the epoch and the turn's id, so that neither order,
    batch, process nor restart changes them.

    Log lines have each task's loss without and with its weight and, some of them, the norm of the
    gradient that the weighted loss gives all trained parameters (of the first batch of the step, on
    one process).

    Args:
        loss_weights: weight of each task; default the model's configuration.
        score_turns: turns predictions into the metrics of an evaluation; see `evaluate`.
        augmentation: perturbation of training turns; default none.
        class_weights: weight of each emotion's loss in training, (L,); default equal.
        corpus_shares: share of the draws of each corpus, see `StepBatches`; default every turn once
            an epoch.
        rates: multiples of the learning rate by part, see PARTS.
        **kwargs: as in `transformers.Trainer`. The collator must give `row_keys`.
    """

    # transformers declares them as all that any Trainer may have
    model: Any
    data_collator: Any
    eval_dataset: Any
    accelerator: Any
    # compute_loss divides by the turns of the whole step
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *args,
        loss_weights: dict[str, float] | None = None,
        score_turns=None,
        augmentation: AugmentationSettings | None = None,
        class_weights: Tensor | None = None,
        corpus_shares: dict[str, float] | None = None,
        rates: dict[str, float] | None = None,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.loss_weights = loss_weights or self.model.loss_weights
        self.score_turns: Any = score_turns
        self.augmentation = augmentation
        if class_weights is not None:
            class_weights = class_weights.to(self.args.device)
        self.class_weights = class_weights
        self.corpus_shares = corpus_shares
        self.rates = rates or {}
        self.logged: dict[str, Tensor] = {}
        self.gradient_norms: dict[str, Tensor] = {}
        self.logged_steps: set[int] = set()
        if augmentation is not None and augmentation.changes_sound:
            self.train_dataset: Any = CorruptedRows(
                self.train_dataset,
                augmentation,
                self.data_collator.processor.feature_extractor,
                seed=self.args.seed,
                epoch=self.current_epoch,
            )

    def create_optimizer(self, model=None):
        """As in transformers, with a learning rate for each part of the model."""
        if self.optimizer is not None or not self.rates:
            return super().create_optimizer(model)
        model = self.model if model is None else model
        decayed = set(self.get_decay_parameter_names(model))
        groups: dict[tuple[str, bool], list] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                key = (part_of(name), name in decayed)
                groups.setdefault(key, []).append(parameter)
        kind, options = self.get_optimizer_cls_and_kwargs(self.args, model)
        self.optimizer = kind(
            [
                {
                    "params": parameters,
                    "weight_decay": self.args.weight_decay if decays else 0.0,
                    "lr": self.args.learning_rate * self.rates.get(part, 1.0),
                }
                for (part, decays), parameters in groups.items()
            ],
            **options,
        )
        return self.optimizer

    def get_train_dataloader(self) -> DataLoader:
        """Batches whose order neither processes nor interruptions change, see `StepBatches`; other
        sampling strategies are the library's.
        """
        if self.args.train_sampling_strategy not in ("random", "group_by_length"):
            self.refuse_shares()
            return super().get_train_dataloader()
        rows: Any = self.train_dataset
        grouped = self.args.train_sampling_strategy == "group_by_length"
        batches = StepBatches(
            num_turns=len(rows),
            batch_size=self.args.train_batch_size,
            accumulation=self.args.gradient_accumulation_steps,
            processes=self.args.world_size,
            rank=self.args.process_index,
            seed=self.args.seed,
            epoch=self.current_epoch,
            lengths=self.step_lengths(rows) if grouped else None,
            groups=rows["corpus"][:] if self.corpus_shares else None,
            shares=self.corpus_shares,
        )
        return DataLoader(
            rows,
            batch_sampler=batches,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def step_lengths(self, rows) -> Sequence[float] | Callable[[], Sequence[float]]:
        """Lengths by which turns are grouped."""
        return rows[self.args.length_column_name][:]  # a whole column: one by one takes minutes

    def current_epoch(self) -> int:
        """Number of the epoch that is trained, from 0."""
        return int(self.state.epoch or 0)

    def refuse_shares(self) -> None:
        """Raise InputError where corpora are to be drawn by share and the library draws turns."""
        if self.corpus_shares:
            raise InputError(
                f"train_sampling_strategy={self.args.train_sampling_strategy}: draws no corpora by "
                "share. Use random or group_by_length, or --sampling proportional."
            )

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, Any]:
        """Collect the batches of a step and count the turns of each task in it, over all
        processes.
        """
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not batches:
            return batches, None
        per_batch = [count_turns(batch, self.model_config) for batch in batches]
        counts: dict[str, Any] = {k: sum(c[k] for c in per_batch) for k in per_batch[0]}
        # in one piece, so that device and other processes are asked once a step
        on_device = torch.stack(list(counts.values())).to(device, non_blocking=True)
        total: Any = self.accelerator.reduce(on_device, "sum")
        return batches, dict(zip(counts, total.clamp(min=1), strict=True))

    @property
    def model_config(self):
        """Configuration of the model, whatever wraps it."""
        return self.accelerator.unwrap_model(self.model).config

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch: Any = None):
        """Weighted sum of the task losses; see the class."""
        inputs = dict(inputs)
        row_keys = inputs.pop("row_keys")
        if model.training:
            keys = fold_in(fold_in(row_keys, self.args.seed), self.current_epoch())
            inputs = self.perturb(inputs, keys)
        outputs = model(**inputs)
        if model.training:
            self.harden_or_soften(outputs, inputs.get("labels"), inputs.get("label_distribution"))
        counts = num_items_in_batch or {}
        # Gradients are averaged over processes, and each has divided by the turns of all.
        scale = self.accelerator.num_processes if num_items_in_batch else 1
        terms = {k: scale * task.mean(counts.get(k)) for k, task in outputs.task_losses.items()}
        weighted = {k: self.loss_weights[k] * term for k, term in terms.items()}
        loss = sum(weighted.values())
        if model.training:
            self.note(terms, outputs)
            if self.wants_gradient_norms():
                self.gradient_norms = gradient_norms(weighted, model)
        return (loss, outputs) if return_outputs else loss

    def harden_or_soften(
        self, outputs, labels: Tensor | None, distribution: Tensor | None = None
    ) -> None:
        """Replace the emotion loss by that with class weights and label smoothing; a distribution
        over the labels weighs as its labels do, in their shares.
        """
        smoothing = self.args.label_smoothing_factor
        if labels is None or not (smoothing or self.class_weights is not None):
            return
        logits = outputs.logits.float()
        per_row = F.cross_entropy(
            logits,
            labels if distribution is None else distribution,
            reduction="none",
            label_smoothing=smoothing,
        )
        if self.class_weights is not None:
            weights = self.class_weights.to(per_row)
            of_row = (
                weights[labels.clamp(min=0)] if distribution is None else distribution @ weights
            )
            per_row = per_row * of_row
        outputs.task_losses["emotion"] = TaskLoss(per_row, labels != IGNORED)

    def wants_gradient_norms(self) -> bool:
        """Whether the step that is about to end a log line is one of those that carry them; none
        with FSDP, whose gradients of single layers are out of reach of a second backward pass.
        """
        if self.is_fsdp_enabled:
            return False
        step, every = self.state.global_step + 1, max(1, int(self.state.logging_steps or 1))
        lines = max(1, self.state.max_steps // every // GRADIENT_NORM_LINES)
        return step % (every * lines) == 0 and not self.gradient_norms

    def perturb(self, inputs: dict[str, Tensor], keys: Tensor) -> dict[str, Tensor]:
        """Add the randomness of a training step to a batch."""
        if self.augmentation is not None:
            inputs = augment(inputs, keys, self.augmentation)
        return {**inputs, "resampling_keys": keys}

    def note(self, terms: dict[str, Tensor], outputs) -> None:
        """Add up what the next log line reports."""
        notes = {f"loss_{k}": v for k, v in terms.items()}
        if outputs.ctc_impossible is not None:
            notes["transcripts_longer_than_frames"] = outputs.ctc_impossible.sum()
        self.logged_steps.add(self.state.global_step)
        for name, value in notes.items():
            self.logged[name] = self.logged.get(name, 0.0) + value.detach().float()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add each unweighted task loss, as a mean over the steps since the last line."""
        if "loss" in logs and self.logged:
            steps = len(self.logged_steps)
            for name in sorted(self.logged):
                counted = not name.startswith("loss_")
                value = self.accelerator.reduce(self.logged[name], "sum" if counted else "mean")
                if not counted:
                    logs[name] = value.item() / steps
                    task = name.removeprefix("loss_")
                    logs[f"weighted_{name}"] = self.loss_weights[task] * logs[name]
                elif value.item():
                    logs[name] = int(value.item())
            logs.update({f"gradient_norm_{k}": v.item() for k, v in self.gradient_norms.items()})
            self.logged, self.logged_steps, self.gradient_norms = {}, set(), {}
        super().log(logs, start_time)

    def _save_rng_state(self, output_dir: str) -> None:
        """As in transformers, and wait for the states of the other processes: the file that is
        written next tells that a checkpoint is whole.
        """
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()

    def evaluate(
        self, eval_dataset=None, ignore_keys=None, metric_key_prefix: str = "eval"
    ) -> dict:
        """Score a data set turn by turn; every process sees all of it, so nothing is gathered or
        padded.

        Args:
            eval_dataset: rows with signals; default the evaluation data set.
            ignore_keys: unused.
            metric_key_prefix: put before the name of each metric.

        Returns:
            Metrics by name.
        """
        dataset: Any = eval_dataset if eval_dataset is not None else self.eval_dataset
        turns = predict_turns(
            self.accelerator.unwrap_model(self.model),
            self.data_collator,
            dataset,
            batch_size=self.args.per_device_eval_batch_size,
        )
        scores = self.score_turns(dataset, turns)
        metrics = {f"{metric_key_prefix}_{k}": v for k, v in scores.items() if v is not None}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics


class DecompSerPreTrainer(DecompSerTrainer):
    """Trainer of `DecompSerForPreTraining` (equation 7) on random crops; the collator is a
    `RandomCrops`, and crops are grouped by their own length.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.data_collator.epoch = self.current_epoch

    def step_lengths(self, rows) -> Callable[[], Sequence[float]]:
        """Lengths of this epoch's crops."""
        extractor = self.data_collator.collator.processor.feature_extractor
        seconds = torch.tensor(rows[self.args.length_column_name][:])
        frames = (seconds * extractor.sampling_rate / extractor.hop_length).to(torch.int64)
        ids = rows["id"][:]
        return lambda: self.data_collator.lengths(ids, frames).tolist()


def part_of(name: str) -> str:
    """Part of the model that a parameter belongs to.

    Examples:
        >>> part_of("speech_encoder.masked_spec_embed"), part_of("module.ctc_head.bias")
        ('speech_encoder', 'ctc_head')
    """
    return name.removeprefix("module.").split(".")[0]


def gradient_norms(losses: dict[str, Tensor], model) -> dict[str, Tensor]:
    """Norm of each loss's gradient over all trained parameters, scalars; the graph is kept."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    norms = {}
    for name, loss in losses.items():
        if loss.requires_grad:
            found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            norms[name] = torch.stack([g.norm() for g in found if g is not None]).norm()
    return norms


def count_turns(batch: dict[str, Tensor], config) -> dict[str, Tensor]:
    """Turns of a batch that count in the loss of each task, as the model will count them.

    Args:
        batch: what the collator returned.
        config: configuration of the model.

    Returns:
        Scalars by task.
    """
    counts = {"reconstruction": torch.tensor(len(batch["row_keys"]))}
    for task, column in (("emotion", "labels"), ("speaker", "speaker_labels")):
        if column in batch:
            counts[task] = (batch[column] != IGNORED).sum()
    if "dimension_labels" in batch:
        known = batch["dimension_labels"].isfinite().all(1).sum()
        counts["dimensions"] = known * (known > 1)
    if "ctc_labels" in batch and "attention_mask" in batch:
        labels = batch["ctc_labels"]
        frames = encoder_lengths(config.speech_config, batch["attention_mask"].sum(1))
        spoken = (labels != IGNORED).any(1)
        counts["ctc"] = (spoken & (frames_needed(labels) <= frames)).sum()
    return counts
