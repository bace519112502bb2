"""Feature extractor and tokenizer in one: audio and text in, model inputs and CTC labels out."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import BatchFeature, PreTrainedConfig, ProcessorMixin, Wav2Vec2CTCTokenizer

from .feature_extraction_decomp_ser import DecompSerFeatureExtractor
from .text import normalize_transcript


class DecompSerProcessor(ProcessorMixin):
    """Prepare audio and transcripts, and read recognised characters back as words.

    Args:
        feature_extractor: a `DecompSerFeatureExtractor`.
        tokenizer: a `Wav2Vec2CTCTokenizer`, whose padding token is the CTC blank.
    """

    def __init__(self, feature_extractor=None, tokenizer=None):
        super().__init__(feature_extractor, tokenizer)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        """Load a saved processor, as in transformers, from a folder or a repository on the Hub.

        Raises:
            OSError: if it cannot be found or reached.
        """
        # The library would read the model's configuration, by code of the model, only to learn the
        # class of the tokenizer, which stands in the tokenizer's own.
        kwargs.setdefault("config", PreTrainedConfig())
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)

    @classmethod
    def from_vocabulary(
        cls,
        feature_extractor: DecompSerFeatureExtractor,
        vocabulary: dict[str, int],
        folder: str | Path,
    ) -> "DecompSerProcessor":
        """Build a processor on a vocabulary, token to id in the layout of `processing.text`, whose
        file the tokenizer reads: it is written into the folder.
        """
        path = Path(folder) / "vocab.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(vocabulary, ensure_ascii=False, indent=1), encoding="utf-8")
        return cls(feature_extractor, Wav2Vec2CTCTokenizer(str(path)))

    def __call__(self, audio=None, text: str | list[str] | None = None, **kwargs) -> BatchFeature:
        """Prepare audio, transcripts or both.

        Args:
            audio: one waveform (S,), a batch (B, S) or a list of waveforms, at full scale 1.0.
            text: one transcript or one an utterance; normalised here.
            **kwargs: for the feature extractor, such as `sampling_rate` in Hz and
                `return_tensors`.

        Returns:
            The features of the audio, and `ctc_labels` (B, N) int64 padded with -100 for the text.

        Raises:
            ValueError: if neither is given, or their numbers differ.
        """
        if audio is None and text is None:
            raise ValueError("neither audio nor text given, expected at least one of them.")
        tensor_type = kwargs.get("return_tensors")
        batch = self.feature_extractor(audio, **kwargs) if audio is not None else BatchFeature()
        if text is not None:
            labels = self.ctc_labels([text] if isinstance(text, str) else text)
            if audio is not None and len(labels) != len(batch["mel"]):
                raise ValueError(
                    f"{len(labels)} transcripts for {len(batch['mel'])} utterances, expected one "
                    "each."
                )
            batch.update(BatchFeature({"ctc_labels": labels}, tensor_type=tensor_type))
        return batch

    def ctc_labels(self, texts: Sequence[str | None]) -> np.ndarray:
        """Transcripts as (B, N) int64, padded with -100; -100 alone where there are no words."""
        ids = [self.tokenizer(normalize_transcript(t or "")).input_ids for t in texts]
        labels = np.full((len(ids), max(1, *map(len, ids))), -100, np.int64)
        for row, characters in enumerate(ids):
            labels[row, : len(characters)] = characters
        return labels

    def decode_ctc(self, token_ids: np.ndarray, lengths: np.ndarray) -> list[str]:
        """Greedy CTC decoding to the words of each utterance: merge repeats and drop blanks of the
        most probable token of each frame, (B, U), of which `lengths` (B,) are valid.
        """
        rows = [row[:length] for row, length in zip(token_ids, lengths, strict=True)]
        return [text.strip() for text in self.tokenizer.batch_decode(rows)]


DecompSerProcessor.register_for_auto_class()
