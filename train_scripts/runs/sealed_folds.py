"""The splits of a fold; the test turns stay sealed until the model that answers them is final."""

import hashlib
import json
from collections.abc import Iterator

import torch
from datasets import Dataset, DatasetDict

TEST = "test"


class SealedFolds:
    """Splits by name. The test turns are not handed out before `open_test`, so that nothing that
    trains, selects, normalises or calibrates can read them, by mistake or by a later change.

    Who is tested is no secret: `test_ids` and `test_speakers` are there from the start, for checks
    of overlap.

    Args:
        splits: train, validation, heldout_turns and test.
    """

    def __init__(self, splits: DatasetDict):
        self._splits = splits
        self._opened = False
        self._fingerprint: str | None = None

    def __getitem__(self, name: str) -> Dataset:
        if name == TEST and not self._opened:
            raise RuntimeError(
                "the test turns were asked for before the model is final: call open_test when "
                "nothing of it is trained, selected or fitted any more."
            )
        return self._splits[name]

    def __iter__(self) -> Iterator[str]:
        return map(str, self._splits)

    @property
    def test_ids(self) -> list[str]:
        """Ids of the test turns."""
        return list(self._splits[TEST]["id"])

    @property
    def test_speakers(self) -> list[str | None]:
        """Speaker of each test turn."""
        return list(self._splits[TEST]["speaker"])

    @property
    def corpus_of_test(self) -> list[str | None]:
        """Corpus of each test turn."""
        return list(self._splits[TEST]["corpus"])

    @property
    def test_corpora(self) -> set[str]:
        """Names of the corpora of the test turns, where known."""
        return {name for name in self.corpus_of_test if name is not None}

    def with_format(self, *arguments, **options) -> "SealedFolds":
        """The same splits in another format, sealed."""
        return SealedFolds(self._splits.with_format(*arguments, **options))

    def all_turns(self) -> DatasetDict:
        """Every split, test turns included: for a declared leak, and for checks of their labels."""
        return self._splits

    def open_test(self, model=None, processor=None) -> Dataset:
        """Declare a model final, and hand out the test turns.

        Args:
            model: the one that will answer them; its weights and configuration are remembered.
            processor: whose feature extractor gives it its signals; remembered too.

        Returns:
            The test turns.
        """
        if not self._opened:
            self._fingerprint = fingerprint(model, processor)
            self._opened = True
        return self._splits[TEST]

    def check_final(self, model, processor) -> None:
        """Raise RuntimeError if model or processor changed after the test turns were opened."""
        if self._opened and fingerprint(model, processor) != self._fingerprint:
            raise RuntimeError(
                "model or processor changed after the test turns were opened: its scores would not "
                "be those of the model that is saved."
            )


def fingerprint(model, processor) -> str | None:
    """Hash of weights, buffers, configuration and signal settings; None without a model."""
    if model is None:
        return None
    config = getattr(model, "config", None)  # a network of another system has none
    content = json.loads(config.to_json_string(use_diff=False)) if config else {}
    for name in ("weights_digest", "signals_digest"):  # set by saving
        content.pop(name, None)
    digest = hashlib.sha256(json.dumps(content).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    settings = processor.feature_extractor.to_dict() if processor is not None else {}
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    return digest.hexdigest()
