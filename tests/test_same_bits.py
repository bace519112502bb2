"""What is equal bit for bit and what to a tolerance: the table in docs/faults.md."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from support.tiny_networks import random_batch, row_of, tiny_classifier
from support.tiny_pipeline import voice

from processing import DecompSerFeatureExtractor

LENGTHS = [4000, 9000, 16001, 5300, 12000, 7000, 8000, 4100]
"""Samples of the turns of a batch."""

TOLERANCE = 1e-6
"""Of logits of about 1, in float32."""


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def logits_of(model, batch):
    with torch.no_grad():
        return model(**batch).logits


def test_the_same_seed_gives_the_same_weights_and_answers():
    first, second = (tiny_classifier().eval() for _ in range(2))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    batch = random_batch(LENGTHS, labelled=False)
    assert torch.equal(logits_of(first, batch), logits_of(second, batch))


def test_one_and_two_threads_extract_the_same_signals_and_answer_within_the_tolerance(threads):
    extractor, model = DecompSerFeatureExtractor(), tiny_classifier().eval()
    batch = random_batch(LENGTHS, labelled=False)
    found = []
    for number in (1, 2):
        torch.set_num_threads(number)
        features = extractor(voice(1.3), sampling_rate=16000, return_tensors="pt")
        found.append((features, logits_of(model, batch)))
    (one, logits), (two, other) = found
    for name in one:
        assert torch.equal(one[name], two[name]), name
    print(f"threads: {(logits - other).abs().max():.1e} of {logits.abs().max():.2f}")
    assert torch.allclose(logits, other, atol=TOLERANCE, rtol=0)


def test_batch_1_and_8_answer_within_the_tolerance():
    model, batch = tiny_classifier().eval(), random_batch(LENGTHS, labelled=False)
    together = logits_of(model, batch)
    apart = torch.cat([logits_of(model, row_of(batch, row)) for row in range(8)])
    print(f"batch 1 and 8: {(together - apart).abs().max():.1e} of {together.abs().max():.2f}")
    assert torch.allclose(together, apart, atol=TOLERANCE, rtol=0)


def test_signals_do_not_depend_on_their_batch():
    extractor = DecompSerFeatureExtractor()
    sounds = [voice(seconds, seed=i) for i, seconds in enumerate((0.4, 1.1, 0.7))]
    together = extractor.extract(sounds)
    for sound, signals in zip(sounds, together, strict=True):
        (alone,) = extractor.extract([sound])
        for name, value in alone.items():
            assert np.array_equal(value, signals[name]), name


HASHED = """
import hashlib, json
from processing import DecompSerFeatureExtractor
from train_scripts.runs.settings import build_config, load_settings
settings = load_settings("table3_ours", ["size=tiny"])
text = json.dumps(settings.as_dict()) + build_config(settings).to_json_string()
print(hashlib.sha256((text + DecompSerFeatureExtractor().settings_digest()).encode()).hexdigest())
"""


@pytest.mark.slow
def test_the_seed_of_python_s_hashes_decides_nothing():
    printed = set()
    for seed in ("0", "1", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", HASHED],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        assert done.returncode == 0, done.stderr
        printed.add(done.stdout)
    assert len(printed) == 1
