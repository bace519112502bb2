"""The average training utterance, which a component share is a deviation from."""

import torch
from datasets import Dataset
from torch import Tensor

from modeling_decomp_ser import DecompSerForAudioClassification
from processing.collation import DecompSerDataCollator
from train_scripts.runs.inference import batches_by_length

INPUTS = ("input_values", "attention_mask", "mel", "log_f0", "voiced", "frame_mask")


def store_training_mean(
    model: DecompSerForAudioClassification,
    collator: DecompSerDataCollator,
    rows: Dataset,
    *,
    batch_size: int = 8,
) -> None:
    """Fill the model's `pooled_mean` from the turns that it was trained on; arguments and errors as
    of `mean_pooled_features`. Its shares are zero-based until this is done. To be called after
    training, since every step moves the codes.
    """
    model.pooled_mean.copy_(mean_pooled_features(model, collator, rows, batch_size=batch_size))


@torch.no_grad()
def mean_pooled_features(
    model: DecompSerForAudioClassification,
    collator: DecompSerDataCollator,
    rows: Dataset,
    *,
    batch_size: int = 8,
) -> Tensor:
    """Mean over turns of what the emotion head reads, in evaluation mode: without dropout and
    random resampling, as the model answers.

    Args:
        model: left in the mode it had.
        collator: makes its batches.
        rows: turns with signals; each counts alike, whatever its length.
        batch_size: turns a batch; does not change the result.

    Returns:
        (D,) of the type and on the device of `pooled_mean`.

    Raises:
        ValueError: if there are no rows.
    """
    if not len(rows):
        raise ValueError("No turns, expected at least one: the mean of none is undefined.")
    was_training = model.training
    model.eval()
    total = torch.zeros(len(model.pooled_mean), dtype=torch.float64)
    batches = batches_by_length(rows, collator, batch_size=batch_size, title="Training mean")
    for _, batch in batches:
        inputs = {name: batch[name].to(model.device) for name in INPUTS if name in batch}
        pooled = model(**inputs, output_pooled_features=True).pooled_features  # (B, D)
        total += pooled.double().sum(0).cpu()
    model.train(was_training)
    return (total / len(rows)).to(model.pooled_mean)
