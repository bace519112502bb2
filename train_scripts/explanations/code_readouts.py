"""The codes of every part of a model over the turns of a corpus, as vectors that probes can read.

A readout is linear in the codes but for its measures of spread: so what a linear probe finds in it
is there for a linear head to use.

Axes: B batch, K codes, D code width, N turns.
"""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from torch.nn import functional as F

from modeling_decomp_ser.decomposition import Codes, ResamplingPlans
from modeling_decomp_ser.keyed_random import fold_in
from processing.collation import DecompSerDataCollator
from train_scripts.runs.inference import batches_by_length

SPANS = 8
"""Equal spans of the turn whose mean codes are read, so that the order of things counts."""

SPECTROGRAM = "log-mel"
"""The input of the encoders, read like a code: what is not in it, no code can have from it."""


@torch.no_grad()
def read_turns(
    model,
    collator: DecompSerDataCollator,
    rows: Dataset,
    *,
    resampling_seed: int | None = None,
    batch_size: int = 16,
) -> dict[str, list[np.ndarray]]:
    """Code sequences of every part for every turn.

    Args:
        model: of fine-tuning or of pre-training, in evaluation mode.
        collator: makes its batches, with row keys; the speech encoder is left out where it makes
            no waveforms.
        rows: turns with signals.
        resampling_seed: resample the inputs of content, pitch and timbre at random, as in training,
            by draws that depend on this and the turn's id; None does not.
        batch_size: turns a batch; does not change the result.

    Returns:
        By part, N arrays of shape (K, D), float32, in the order of the rows.
    """
    found: dict[str, dict[int, np.ndarray]] = defaultdict(dict)
    batches = batches_by_length(rows, collator, batch_size=batch_size, title="Codes")
    for positions, batch in batches:
        batch = {name: value.to(model.device) for name, value in batch.items()}
        keys = None
        if resampling_seed is not None:
            keys = fold_in(batch["row_keys"], resampling_seed)
        for name, codes in encode_batch(model, batch, keys).items():
            values = codes.values.float().cpu().numpy()
            for i, padded, number in zip(positions, values, codes.lengths.tolist(), strict=True):
                found[name][i] = padded[:number].copy()
    return {name: [codes[i] for i in range(len(rows))] for name, codes in found.items()}


def encode_batch(model, batch: Mapping[str, Tensor], keys: Tensor | None) -> dict[str, Codes]:
    """Codes of every part by the name of the part, and the spectrogram as if it were one."""
    lengths = model.lengths_of(batch["mel"], batch.get("frame_mask"))
    found = {}
    if "input_values" in batch and getattr(model, "speech_encoder", None) is not None:
        speech = model.encode_speech(batch["input_values"], batch["attention_mask"], None)
        found["wav2vec2"] = Codes(*speech)
    if model.decomposition is not None:
        plans = draw_plans(model.decomposition, lengths, batch["mel"].shape[1], keys)
        found |= model.decomposition(
            batch["mel"], batch["log_f0"], batch["voiced"] > 0, lengths, plans
        )
    found[SPECTROGRAM] = Codes(batch["mel"], lengths)
    return found


def draw_plans(
    decomposition, lengths: Tensor, num_frames: int, keys: Tensor | None
) -> ResamplingPlans:
    """Random resampling of whole turns as in fine-tuning, none without keys."""
    if keys is None:
        return ResamplingPlans()
    limits, longest = (decomposition.whole_codes(x) for x in (lengths, num_frames))
    return decomposition.draw_plans(
        lengths, fold_in(keys, 2), limits=limits, num_frames=longest, padded=False
    )


def readout(codes: np.ndarray) -> np.ndarray:
    """One vector of the codes of a turn: mean, standard deviation, mean change from code to code,
    and the means of SPANS equal spans; (K, D) -> (11 D,).
    """
    change = np.abs(np.diff(codes, axis=0)).mean(0) if len(codes) > 1 else np.zeros_like(codes[0])
    spans = F.adaptive_avg_pool1d(torch.from_numpy(codes.T.copy()), SPANS).T.numpy()  # (8, D)
    return np.concatenate([codes.mean(0), codes.std(0), change, spans.reshape(-1)])


def readouts(sequences: Mapping[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
    """Readouts of every part, (N, 11 D) each."""
    return {name: np.stack([readout(c) for c in codes]) for name, codes in sequences.items()}
