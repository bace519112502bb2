"""Rows with signals to a padded batch with labels: nothing is extracted, nothing is random."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from processing.audio_files import read_audio
from processing.corpora.rows import RATINGS
from processing.corpora.votes import vote_shares
from processing.processing_decomp_ser import DecompSerProcessor

IGNORED = -100


@dataclass
class DecompSerDataCollator:
    """Build a batch for the models or a plain Trainer.

    Args:
        processor: feature extractor and tokenizer.
        labels: emotion words in the order of the model's labels.
        speakers: training speakers in the order of the speaker head; others get no label.
        with_waveform: read the audio, for models with a speech encoder.
        with_text: make CTC labels.
        with_votes: make `label_distribution` of the column `votes`.
        with_dimensions: make `dimension_labels` of the columns valence, activation and dominance.
        with_row_keys: add `row_keys`, a number made from each row's id, from which DecompSerTrainer
            keys its random draws; a plain Trainer has no use for it.
    """

    processor: DecompSerProcessor
    labels: Sequence[str]
    speakers: Sequence[str] = ()
    with_waveform: bool = True
    with_text: bool = True
    with_row_keys: bool = False
    with_votes: bool = False
    with_dimensions: bool = False
    _ids: dict[str, dict[str, int]] = field(init=False, repr=False)

    def __post_init__(self):
        classes = {"emotion": self.labels, "speaker": self.speakers}
        self._ids = {k: {name: i for i, name in enumerate(v)} for k, v in classes.items()}

    def __call__(self, rows: Sequence[Mapping]) -> dict[str, torch.Tensor]:
        """Collate rows of a corpus with the columns of `features.add_signals`; the audio of a row
        that has its decoded `waveform` is not read.

        Returns:
            The inputs of `DecompSerForAudioClassification.forward`, with `labels` (B,),
            `speaker_labels` (B,) and `ctc_labels` (B, N), -100 where unknown, and where asked for
            `label_distribution` (B, L) and `dimension_labels` (B, 3), NaN where unknown.
        """
        extractor = self.processor.feature_extractor
        silence = torch.zeros(1).numpy()
        utterances = [
            extractor.assemble(
                self.read_waveform(row) if self.with_waveform else silence,
                row["mel"],
                row["f0_hz"],
                speaker=row["speaker"],
            )
            for row in rows
        ]
        batch = dict(extractor.pad_utterances(utterances, "pt"))
        if not self.with_waveform:
            del batch["input_values"], batch["attention_mask"]
        batch["labels"] = self.label_ids("emotion", rows)
        if self.with_votes:
            batch["label_distribution"] = self.label_distribution(rows)
        if self.with_dimensions:
            batch["dimension_labels"] = torch.from_numpy(rated_dimensions(rows))
        if self.speakers:
            batch["speaker_labels"] = self.label_ids("speaker", rows)
        if self.with_text:
            texts = [row["text"] for row in rows]
            batch["ctc_labels"] = torch.from_numpy(self.processor.ctc_labels(texts))
        if self.with_row_keys:
            batch["row_keys"] = torch.tensor([row_key(row["id"]) for row in rows])
        return batch

    def read_waveform(self, row: Mapping):
        """Samples of a row at the model's rate, (S,) float32."""
        if "waveform" in row:
            return row["waveform"]
        rate = self.processor.feature_extractor.sampling_rate
        return read_audio(row["audio"], sampling_rate=rate)

    def label_distribution(self, rows: Sequence[Mapping]) -> torch.Tensor:
        """Shares of the votes for each label, (B, L) float32; of a row without any, all on its
        label.
        """
        shares = torch.zeros(len(rows), len(self.labels))
        for own, row in zip(shares, rows, strict=True):
            found = vote_shares(row.get("votes"), self.labels)
            if found is not None:
                own += torch.from_numpy(found).float()
            elif row["emotion"] in self._ids["emotion"]:
                own[self._ids["emotion"][row["emotion"]]] = 1.0
        return shares

    def label_ids(self, column: str, rows: Sequence[Mapping]) -> torch.Tensor:
        """Label ids of a column, (B,) int64, IGNORED where the word is none of the classes."""
        return torch.tensor([self._ids[column].get(row[column], IGNORED) for row in rows])


def rated_dimensions(rows: Iterable[Mapping]) -> np.ndarray:
    """Ratings of valence, activation and dominance, (B, 3) float32, NaN where unknown."""
    values = [[row.get(name) for name in RATINGS] for row in rows]
    return np.array(values, dtype=np.float32).reshape(-1, len(RATINGS))


def row_key(row_id: str) -> int:
    """A 62-bit number made from a row's id alone."""
    return int.from_bytes(hashlib.blake2b(row_id.encode(), digest_size=8).digest(), "big") >> 2
