import numpy as np
import pytest
import torch
from torch.testing import assert_close

from processing import DecompSerDataCollator
from processing.features import add_signals
from train_scripts.runs.fold_data import with_arrays
from train_scripts.runs.run_folder import load_model
from train_scripts.runs.training_mean import mean_pooled_features, store_training_mean


@pytest.fixture(scope="module")
def ready(trained_run, corpus):
    """Model, collator and the nine first turns, of several lengths."""
    model, processor = load_model(str(trained_run[1]))
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    rows = add_signals(corpus.select(range(9)), processor.feature_extractor, num_proc=1)
    return model, DecompSerDataCollator(processor, labels=labels), with_arrays(rows)


def pooled_alone(model, collator, row) -> np.ndarray:
    """What the head reads of one turn, seen from outside by a hook."""
    seen = []
    hook = model.emotion_head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    batch = collator([row])
    with torch.no_grad():
        model(**{k: v for k, v in batch.items() if not k.endswith("labels")})
    hook.remove()
    return seen[0][0].numpy()


def test_the_mean_is_that_of_the_turns_one_by_one(ready):
    model, collator, rows = ready
    expected = np.mean([pooled_alone(model, collator, row) for row in rows], axis=0)
    for batch_size in (1, 4):
        found = mean_pooled_features(model, collator, rows, batch_size=batch_size)
        assert_close(found, torch.from_numpy(expected), atol=1e-5, rtol=1e-4)


def test_resampling_and_dropout_are_off_and_the_mode_comes_back(ready):
    model, collator, rows = ready
    expected = mean_pooled_features(model, collator, rows)
    model.train()
    try:
        assert_close(mean_pooled_features(model, collator, rows), expected, atol=0, rtol=0)
        assert model.training
    finally:
        model.eval()


def test_shares_of_the_training_turns_cancel_once_the_mean_is_stored(ready):
    model, collator, rows = ready
    before = model.pooled_mean.clone()
    model.pooled_mean.zero_()
    try:
        store_training_mean(model, collator, rows)
        shares = []
        for row in rows:
            batch = collator([row])
            inputs = {k: v for k, v in batch.items() if not k.endswith("labels")}
            with torch.no_grad():
                shares.append(model(**inputs, output_component_shares=True).component_shares)
        shares = torch.cat(shares)
        assert_close(shares[:, :5].mean(0), torch.zeros(5, 4), atol=1e-5, rtol=0)
        assert shares[:, :5].abs().amax() > 1e-3
    finally:
        model.pooled_mean.copy_(before)


def test_no_turns_are_refused(ready):
    model, collator, rows = ready
    with pytest.raises(ValueError, match="No turns"):
        mean_pooled_features(model, collator, rows.select([]))
