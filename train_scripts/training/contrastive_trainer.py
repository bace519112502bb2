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
        Places in the flat (B * T) frames, (B, T, K) int64; for frames that are not masked any.
    """
    batch, frames = masks.shape
    draws = uniform(fold_in(keys, NEGATIVES), frames * num_negatives)
    draws = draws.view(batch, frames, num_negatives)
    number = masks.sum(1)[:, None, None]  # masked frames of a row
    rank = (masks.cumsum(1) - 1).clamp(min=0)[..., None]  # of a masked frame among them
    chosen = (draws * (number - 1).clamp(min=1)).long()
    chosen = chosen + (chosen >= rank)  # passes over the frame itself
    masked_first = masks.logical_not().long().argsort(dim=1, stable=True)  # (B, T)
    chosen = chosen.clamp(max=frames - 1).flatten(1)
    places = masked_first.gather(1, chosen).view_as(draws)
    return places + frames * torch.arange(batch, device=masks.device)[:, None, None]


@torch.no_grad()
def count_found(outputs: Any, masks: Tensor, negatives: Tensor) -> Tensor:
    """Number of masked frames whose true code is nearer than every negative.

    Negatives of the same code cannot be told from it: a frame that ties with k of them counts
    1 / (1 + k), so that a collapsed codebook scores what guessing does, 1 / (1 + K).

    Args:
        outputs: of `Wav2Vec2ForPreTraining`.
        masks: (B, T).
        negatives: places in the flat frames, (B, T, K).
    """
    codes = outputs.projected_quantized_states.float().flatten(0, 1)  # (B * T, D)
    true, others = codes[masks.flatten()], codes[negatives[masks]]  # (N, D), (N, K, D)
    same = (others == true[:, None]).all(-1)  # (N, K)
    predicted = F.normalize(outputs.projected_states[masks].float(), dim=-1)
    codes_scored = F.normalize(torch.cat([true[:, None], others], dim=1), dim=-1)
    scores = (codes_scored * predicted[:, None]).sum(-1)  # (N, 1 + K)
    nearest = scores[:, 1:].masked_fill(same, -torch.inf).amax(1)
    return ((scores[:, 0] > nearest) / (1 + same.sum(1))).sum()


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
        self.data_collator.epoch = lambda: int(self.state.epoch or 0)

    def gumbel_temperature(self) -> float:
        """Temperature of this step: it falls by the same factor at every step."""
        first, last = self.gumbel
        return first * (last / first) ** (self.state.global_step / max(1, self.state.max_steps - 1))

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
        outputs, masks, negatives = predict_masked(model, wrapped.config, inputs)
        counts: Any = num_items_in_batch or {"masked": masks.sum().clamp(min=1)}
        # Gradients are averaged over processes, and each has divided by the frames of all.
        scale = self.accelerator.num_processes if num_items_in_batch else 1
        losses = {"contrastive": outputs.contrastive_loss, "diversity": outputs.diversity_loss}
        terms = {k: scale * loss / counts["masked"] for k, loss in losses.items()}
        self.note_step(terms, outputs, masks, negatives)
        loss = sum(self.loss_weights[k] * term for k, term in terms.items())
        return (loss, outputs) if return_outputs else loss

    def note_step(self, terms: dict[str, Tensor], outputs, masks: Tensor, negatives: Tensor):
        """Add up what the next log line reports."""
        self.logged_steps.add(self.state.global_step)
        for name, term in terms.items():
            self.logged[f"loss_{name}"] = self.logged.get(f"loss_{name}", 0.0) + term.detach()
        masked = masks.sum()
        measured = {
            "masked": masked,
            "found": count_found(outputs, masks, negatives),
            "perplexity": masked * outputs.codevector_perplexity.detach(),
        }
        for name, value in measured.items():
            self.measured[name] = self.measured.get(name, 0.0) + value.float()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the losses, the accuracy, the perplexity and the temperature of the last step."""
        if "loss" in logs and self.measured:
            sums = {k: self.accelerator.reduce(v, "sum") for k, v in self.measured.items()}
            logs.update(shares(sums), gumbel_temperature=self.gumbel_temperature())
            self.measured = {}
        super().log(logs, start_time)


def predict_masked(model, config: Wav2Vec2Config, inputs: Mapping[str, Tensor]):
    """Answer of the model to a batch of `SpeechCrops`, the masks (B, T) and negatives (B, T, K)."""
    keys, attention_mask = inputs["row_keys"], inputs["attention_mask"]
    masks = draw_masks(config, attention_mask, keys)
    negatives = draw_negatives(masks, keys, config.num_negatives)
    outputs = model(
        inputs["input_values"],
        attention_mask=attention_mask,
        mask_time_indices=masks,
        sampled_negative_indices=negatives,
    )
    return outputs, masks, negatives


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
) -> dict[str, float] | None:
    """Losses, accuracy and perplexity of rows without dropout and noise, a masked frame; crops,
    masks and negatives are those of the collator's epoch. None of no rows.
    """
    if not len(rows):
        return None
    device = next(model.parameters()).device
    model.eval()
    sums: dict[str, Tensor] = {}
    batches: Any = DataLoader(rows, batch_size=batch_size, collate_fn=collator)
    for batch in batches:
        batch = {k: v.to(device) for k, v in batch.items()}
        outputs, masks, negatives = predict_masked(model, model.config, batch)
        masked = masks.sum()
        values = {
            "masked": masked,
            "contrastive": outputs.contrastive_loss,
            "diversity": outputs.diversity_loss,
            "found": count_found(outputs, masks, negatives),
            "perplexity": masked * outputs.codevector_perplexity,
        }
        sums = {k: sums.get(k, 0.0) + v.double() for k, v in values.items()}
    losses = {f"loss_{k}": float(sums[k] / sums["masked"]) for k in ("contrastive", "diversity")}
    return {**losses, **shares(sums)}
