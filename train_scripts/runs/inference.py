"""Run a trained model over the turns of a corpus."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from datasets.utils import tqdm


@dataclass
class TurnPredictions:
    """What a model says of N turns, in the order of the rows; a head that it lacks is None."""

    logits: np.ndarray | None = None  # emotion, (N, L) float32
    speakers: list[str] | None = None  # name of the recognised training speaker, N entries
    texts: list[str] | None = None  # recognised words, N entries
    speech_mse: np.ndarray | None = None  # reconstruction error over valid frames, (N,)
    speech_mse_padded: np.ndarray | None = None  # over at least 192 frames, padding included, (N,)
    dimensions: np.ndarray | None = None  # valence, activation and dominance, (N, 3)
    component_shares: np.ndarray | None = None  # of the logits, (N, 6, L) float32, where asked for

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, (N, L) float64."""
        logits = np.asarray(self.logits, np.float64)
        exponents = np.exp(logits - logits.max(1, keepdims=True))
        return exponents / exponents.sum(1, keepdims=True)


def batches_by_length(
    rows: Dataset, collator: Any, *, batch_size: int, title: str
) -> Iterator[tuple[list[int], Any]]:
    """Batches of turns of similar length, which waste little on padding, with a bar of this title;
    each with the positions of its turns among the rows.
    """
    order = np.argsort(np.asarray(rows["duration"]), kind="stable")
    starts = range(0, len(order), batch_size)
    for start in tqdm(starts, desc=title, unit="batch", leave=False):
        positions = order[start : start + batch_size].tolist()
        yield positions, collator([rows[i] for i in positions])


@torch.no_grad()
def predict_turns(
    model,
    collator: Any,
    rows: Dataset,
    *,
    batch_size: int = 8,
    with_component_shares: bool = False,
) -> TurnPredictions:
    """Predict every turn, in batches of similar length.

    Args:
        model: `DecompSerForAudioClassification` or `DecompSerForPreTraining`; left in the mode it
            had.
        collator: makes its batches: `DecompSerDataCollator`, or what wraps one.
        rows: rows with signals.
        batch_size: turns a batch. It does not change the answers.
        with_component_shares: ask a classifier for `component_shares`.
    """
    options = {"output_component_shares": True} if with_component_shares else {}
    was_training = model.training
    model.eval()
    found: dict[str, dict[int, Any]] = defaultdict(dict)
    batches = batches_by_length(rows, collator, batch_size=batch_size, title="Turns")
    for positions, batch in batches:
        batch.pop("row_keys", None)
        output = model(**{k: v.to(model.device) for k, v in batch.items()}, **options)
        for name, values in turn_outputs(output, collator).items():
            found[name].update(zip(positions, values, strict=True))
    model.train(was_training)
    columns: dict[str, Any] = {}
    for name, values in found.items():
        in_order = [values[i] for i in range(len(rows))]
        columns[name] = in_order if name in ("texts", "speakers") else np.stack(in_order)
    return TurnPredictions(**columns)


def turn_outputs(output, collator: Any) -> dict[str, list]:
    """The fields of TurnPredictions for one batch."""
    turns = {}
    for name, value in (
        ("logits", output.logits),
        ("dimensions", getattr(output, "dimensions", None)),
        ("speech_mse", output.speech_mse),
        ("speech_mse_padded", output.speech_mse_padded),
        ("component_shares", output.component_shares),
    ):
        if value is not None:
            turns[name] = list(value.float().cpu().numpy())
    if output.speaker_logits is not None:
        turns["speakers"] = [
            collator.speakers[i] for i in output.speaker_logits.argmax(-1).tolist()
        ]
    if output.ctc_logits is not None:
        ids = output.ctc_logits.argmax(-1).cpu().numpy()
        turns["texts"] = collator.processor.decode_ctc(ids, output.ctc_lengths.cpu().numpy())
    return turns
