from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from modeling_decomp_ser.multitask_losses import IGNORED
from train_scripts.baselines.turn_tensors import Standardization, TurnTensors, read_turns


def rows(speakers=("a", "a", "b"), genders=("female", "female", "male")):
    return Dataset.from_dict(
        {
            "emotion": ["sad", "angry", "sad"],
            "speaker": list(speakers),
            "gender": list(genders),
            "functionals": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
            "frames": [np.full((k, 2), k, np.float32).tolist() for k in (1, 3, 2)],
        }
    )


def fold(train) -> Any:
    return SimpleNamespace(folds={"train": train}, labels=["angry", "sad"], speakers=["a", "b"])


def test_a_batch_has_the_turns_asked_for_padded_with_zeros():
    turns = read_turns(fold(rows()), rows(), vectors="functionals", sequences="frames")
    batch = turns.batch([1, 0])
    assert batch.emotions.tolist() == [0, 1] and batch.speakers.tolist() == [0, 0]
    assert batch.vectors.tolist() == [[3, 4], [1, 2]]
    assert batch.lengths.tolist() == [3, 1] and turns.lengths == [1, 3, 2]
    assert batch.frames[:, :, 0].tolist() == [[3, 3, 3], [1, 0, 0]]


def test_speakers_and_genders_that_training_has_not_are_ignored():
    others = rows(speakers=("z", None, "b"), genders=("other", None, "male"))
    turns = read_turns(fold(rows()), others)
    assert turns.speakers.tolist() == [IGNORED, IGNORED, 1]
    assert turns.genders.tolist() == [IGNORED, IGNORED, 1]
    assert turns.vectors is None and turns.batch([0]).frames is None


def test_standardization_is_that_of_the_turns_it_was_made_from():
    labels = torch.zeros(4, dtype=torch.long)
    vectors = torch.tensor([[1.0, 7.0], [3.0, 7.0], [5.0, 7.0], [7.0, 7.0]])
    turns = TurnTensors(labels, labels, labels, vectors=vectors)
    standardize = Standardization.of_vectors(turns)
    found = standardize(vectors)
    assert torch.allclose(found[:, 0].mean(), torch.tensor(0.0))
    assert torch.allclose(found[:, 0].square().mean(), torch.tensor(1.0))
    assert found[:, 1].abs().max() == 0  # a feature that never changes is no NaN
    # other turns are measured by the same scale, not by their own
    assert torch.allclose(standardize(vectors + 4)[:, 0], found[:, 0] + 4 / 5**0.5)
    sequences = [torch.full((1, 1), 0.0), torch.full((3, 1), 4.0)]
    framewise = Standardization.of_frames(
        TurnTensors(labels[:2], labels[:2], labels[:2], sequences=sequences)
    )
    assert framewise.mean.item() == 3.0  # each frame counts once
