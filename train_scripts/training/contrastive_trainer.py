"""wav2vec2's own objective: which masked frame is it? Crops, masks and negatives are keyed by row.

Axes: B batch, S samples, T encoder frames, K negatives.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import Trainer, Wav2Vec2Config, Wav2Vec2ForPreTraining

from modeling_decomp_ser.keyed_random import fold_in, uniform
from modeling_decomp_ser.speech_encoder import encoder_lengths, span_mask
from processing.audio_files import read_audio
from processing.collation import row_key
from processing.feature_extraction_decomp_ser import normalize_waveform
from train_scripts.training.trainer import DecompSerTrainer

CROPS, MASKS, NEGATIVES = range(3)
"""Streams of random numbers of a row's key."""


@dataclass
class SpeechCrops:
    """Collate rows to waveforms as the model reads them, longer ones cropped at random.

    Args:
        sampling_rate: in Hz.
        crop_samples: samples of the longest crop.
        seed: of the run.
        epoch: that the batch is for; with the seed and a row's id it makes the row's key.
    """

    sampling_rate: int
    crop_samples: int
    seed: int
    epoch: Callable[[], int] = lambda: 0

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Rows with `audio`, or its decoded `waveform`, to `input_values` (B, S) and
        `attention_mask` (B, S), zero in the padding, and `row_keys` (B,).
        """
        keys = torch.tensor([row_key(row["id"]) for row in rows])
        keys = fold_in(fold_in(keys, self.seed), self.epoch())
        places = uniform(fold_in(keys, CROPS), 1)[:, 0].tolist()
        crops = [self.crop(row, place) for row, place in zip(rows, places, strict=True)]
        lengths = torch.tensor([len(crop) for crop in crops])
        padded = torch.nn.utils.rnn.pad_sequence(crops, batch_first=True)  # (B, S)
        mask = torch.arange(padded.shape[1]) < lengths[:, None]
        return {"input_values": padded, "attention_mask": mask.long(), "row_keys": keys}

    def crop(self, row: Mapping[str, Any], place: float) -> Tensor:
        """A crop of a turn that was normalised as a whole, (S,); `place` in [0, 1)."""
        waveform = row.get("waveform")
        if waveform is None:
            waveform = read_audio(row["audio"], sampling_rate=self.sampling_rate)
        free = max(0, len(waveform) - self.crop_samples)
        start = int(place * (free + 1))
        whole = torch.from_numpy(normalize_waveform(waveform))
        return whole[start : start + self.crop_samples]


def draw_masks(config: Wav2Vec2Config, attention_mask: Tensor, keys: Tensor) -> Tensor:
    """Frames to predict, bool (B, T): spans drawn for each row alone by its key (B,).

    A row with one masked frame, which has no negatives, is left whole.
    """
    size = encoder_lengths(config, torch.tensor([attention_mask.shape[1]])).item()
    mask = span_mask(
        fold_in(keys, MASKS),
        encoder_lengths(config, attention_mask.sum(1)),
        int(size),
        probability=config.mask_time_prob,
        span=config.mask_time_length,
        min_spans=config.mask_time_min_masks,
    )
    return mask & (mask.sum(1, keepdim=True) > 1)


def draw_negatives(masks: Tensor, keys: Tensor, num_negatives: int) -> Tensor:
    """For each masked frame K others that are masked in the same row, drawn uniformly by its key.

    Args:
        masks: bool (B, T), in each row none or at least two.
        keys: of the rows, (B,).
        num_negatives: K.

    Returns:
        Frames of the row, (B, T, K) int64; for frames that are not masked any.
    """
    batch, frames = masks.shape
    draws = uniform(fold_in(keys, NEGATIVES), frames * num_negatives)
    draws = draws.view(batch, frames, num_negatives)
    number = masks.sum(1)[:, None, None]  # masked frames of a row
    rank = (masks.cumsum(1) - 1).clamp(min=0)[..., None]  # of a masked frame among them
    chosen = (draws * (number - 1).clamp(min=1)).long()
    chosen = chosen + (chosen >= rank)  # passes over the frame itself
    masked_first = masks.logical_not().long().argsort(dim=1, stable=True)  # (B, T)
    return masked_first.gather(1, chosen.clamp(max=frames - 1).flatten(1)).view_as(draws).long()


@dataclass
class MaskedPrediction:
    """Sums over the masked frames of a batch.

    Attributes:
        masked: number of masked frames.
        contrastive: loss of telling a frame's code from its negatives, equation (3) of wav2vec 2.0.
        diversity: share of the codes that are not in use, equation (4) as transformers has it,
            times the number of masked frames.
        found: number of frames whose code is nearer than every negative. One that ties with k
            negatives of the same code counts 1 / (1 + k), so that a collapsed codebook scores what
            guessing does, 1 / (1 + K).
        perplexity: of the codes, times the number of masked frames.
    """

    masked: Tensor
    contrastive: Tensor
    diversity: Tensor
    found: Tensor
    perplexity: Tensor


def predict_masked(model, config: Wav2Vec2Config, inputs: Mapping[str, Tensor]) -> MaskedPrediction:
    """Losses of a batch of `SpeechCrops`, as `Wav2Vec2ForPreTraining` computes them, which for
    every frame, masked or not, copies all its negatives: here at the masked frames alone, from the
    cosines of all pairs of a row, in half the time.
    """
    keys, attention_mask = inputs["row_keys"], inputs["attention_mask"]
    masks = draw_masks(config, attention_mask, keys)
    negatives = draw_negatives(masks, keys, config.num_negatives)
    outputs = model(inputs["input_values"], attention_mask=attention_mask, mask_time_indices=masks)
    codes = outputs.projected_quantized_states.float()  # (B, T, D)
    states = F.normalize(outputs.projected_states.float(), dim=-1)
    cosines = states @ F.normalize(codes, dim=-1).transpose(1, 2)  # (B, T, T)
    kinds = number_codes(codes.detach())  # (B, T)
    frames = torch.arange(masks.shape[1], device=masks.device)[:, None]
    choices = torch.cat([frames.expand(len(masks), -1, -1), negatives], dim=2)  # (B, T, 1 + K)
    logits = cosines.gather(2, choices)[masks] / config.contrastive_logits_temperature  # (N, 1 + K)
    ties = (kinds.gather(1, negatives.flatten(1)).view_as(negatives) == kinds[..., None])[masks]
    logits[:, 1:] = logits[:, 1:].masked_fill(ties, -torch.inf)
    first = logits.detach().argmax(1) == 0
    masked, perplexity = masks.sum(), outputs.codevector_perplexity
    num_codes = config.num_codevector_groups * config.num_codevectors_per_group
    return MaskedPrediction(
        masked=masked,
        contrastive=F.cross_entropy(logits, torch.zeros_like(logits[:, 0]).long(), reduction="sum"),
        diversity=(num_codes - perplexity) / num_codes * masked,
        found=(first / (1 + ties.sum(1))).sum(),
        perplexity=perplexity.detach() * masked,
    )


def number_codes(codes: Tensor) -> Tensor:
    """Numbers (B, T) of codes (B, T, D), the same where two codes are the same."""
    _, numbers = codes.flatten(0, 1).unique(dim=0, return_inverse=True)
    return numbers.view(codes.shape[:2])


class EncoderPreTrainer(DecompSerTrainer):
    """Trainer of `Wav2Vec2ForPreTraining` by its contrastive and its diversity loss.

    Both are means over the masked frames of the whole optimiser step, over all accumulated batches
    and all processes. Order, crops, masks and negatives are keyed, so that neither batch nor
    restart changes them. Dropout and the Gumbel noise come from torch's global generator, which the
    Trainer seeds, stores in its checkpoints and restores.

    Log lines have both losses, the share of masked frames whose code was told from the negatives
    (`contrastive_accuracy`), and the perplexity of the codes, summed over the groups, of at most
    all codes (`codevector_perplexity`).

    Args:
        gumbel: temperature of the choice of a code at the first and the last step.
        **kwargs: as in `DecompSerTrainer`; the collator is a `SpeechCrops`.
    """

    def __init__(self, *args, gumbel: tuple[float, float], **kwargs):
        diversity: Any = kwargs["model"].config.diversity_loss_weight
        weights = {"contrastive": 1.0, "diversity": float(diversity)}
        super().__init__(*args, loss_weights=weights, **kwargs)
        self.gumbel = gumbel
        self.measured: dict[str, Tensor] = {}
        self.data_collator.epoch = self.current_epoch

    def gumbel_temperature(self) -> float:
        """Temperature of this step: it falls by the same factor at every step."""
        first, last = self.gumbel
        steps = max(1, self.state.max_steps - 1)
        return first * (last / first) ** (min(self.state.global_step, steps) / steps)

    def get_batch_samples(self, epoch_iterator, num_batches: int, device) -> tuple[list, Any]:
        """Collect the batches of a step and count its masked frames, over all processes."""
        batches, _ = Trainer.get_batch_samples(self, epoch_iterator, num_batches, device)
        if not batches:
            return batches, None
        counts = [
            draw_masks(self.model_config, batch["attention_mask"], batch["row_keys"]).sum()
            for batch in batches
        ]
        masked: Any = self.accelerator.reduce(torch.stack(counts).sum().to(device), "sum")
        return batches, {"masked": masked.clamp(min=1)}

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch: Any = None):
        """Weighted sum of both losses; see the class."""
        wrapped = self.accelerator.unwrap_model(model)
        wrapped.set_gumbel_temperature(self.gumbel_temperature())
        sums = predict_masked(model, wrapped.config, inputs)
        counts: Any = num_items_in_batch or {"masked": sums.masked.clamp(min=1)}
        # Gradients are averaged over processes, and each has divided by the frames of all.
        scale = self.accelerator.num_processes if num_items_in_batch else 1
        losses = {"contrastive": sums.contrastive, "diversity": sums.diversity}
        terms = {k: scale * loss / counts["masked"] for k, loss in losses.items()}
        self.note_step(terms, sums)
        loss = sum(self.loss_weights[k] * term for k, term in terms.items())
        return (loss, sums) if return_outputs else loss

    def note_step(self, terms: dict[str, Tensor], sums: MaskedPrediction) -> None:
        """Add up what the next log line reports."""
        self.logged_steps.add(self.state.global_step)
        for name, term in terms.items():
            self.logged[f"loss_{name}"] = self.logged.get(f"loss_{name}", 0.0) + term.detach()
        for name in ("masked", "found", "perplexity"):
            self.measured[name] = self.measured.get(name, 0.0) + getattr(sums, name).float()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the losses, the accuracy, the perplexity and the temperature of the last step."""
        if "loss" in logs and self.measured:
            sums = {k: self.accelerator.reduce(v, "sum") for k, v in self.measured.items()}
            logs.update(shares(sums), gumbel_temperature=self.gumbel_temperature())
            self.measured = {}
        super().log(logs, start_time)


def shares(sums: Mapping[str, Tensor]) -> dict[str, float]:
    """Accuracy and perplexity a masked frame, of their sums."""
    masked = max(1.0, float(sums["masked"]))
    return {
        "contrastive_accuracy": float(sums["found"]) / masked,
        "codevector_perplexity": float(sums["perplexity"]) / masked,
    }


@torch.no_grad()
def measure(
    model: Wav2Vec2ForPreTraining, collator: SpeechCrops, rows: Any, *, batch_size: int
) -> dict[str, float]:
    """Losses, accuracy and perplexity of rows without dropout and noise, a masked frame; crops,
    masks and negatives are those of the collator's epoch. The perplexity is a mean over batches.
    """
    device = next(model.parameters()).device
    model.eval()
    sums: dict[str, Tensor] = {}
    batches: Any = DataLoader(rows, batch_size=batch_size, collate_fn=collator)
    for batch in batches:
        batch = {k: v.to(device) for k, v in batch.items()}
        for name, value in vars(predict_masked(model, model.config, batch)).items():
            sums[name] = sums.get(name, 0.0) + value.double()
    losses = {f"loss_{k}": float(sums[k] / sums["masked"]) for k in ("contrastive", "diversity")}
    return {**losses, **shares(sums)}
