import numpy as np
import pytest
import torch
from support.tiny_networks import random_batch, tiny_autoencoder, tiny_classifier

from modeling_decomp_ser.keyed_random import draw_keys
from train_scripts.explanations.code_readouts import SPECTROGRAM, encode_batch, readout


def batch(**options):
    return random_batch([20000, 33000], labelled=False, **options)


def keys(seed=0):
    return draw_keys(2, torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_codes_are_those_that_the_emotion_head_reads():
    model, inputs = tiny_classifier(pooling="mean").eval(), batch()
    found = encode_batch(model, inputs, None)
    assert list(found) == ["wav2vec2", "rhythm", "content", "pitch", "timbre", SPECTROGRAM]
    pooled = model(**inputs, output_pooled_features=True).pooled_features
    joined = [model.pool(c.values, c.lengths) for n, c in found.items() if n != SPECTROGRAM]
    torch.testing.assert_close(torch.cat(joined, 1), pooled)
    torch.testing.assert_close(found[SPECTROGRAM].values, inputs["mel"])


@torch.no_grad()
@pytest.mark.parametrize("make", [tiny_classifier, tiny_autoencoder])
def test_resampling_changes_content_pitch_and_timbre_and_leaves_rhythm(make):
    model, inputs = make().eval(), batch()
    plain, first, again, other = (
        encode_batch(model, inputs, k) for k in (None, keys(), keys(), keys(1))
    )
    assert torch.equal(plain["rhythm"].values, first["rhythm"].values)
    for name in ("content", "pitch", "timbre"):
        a, b, c = (x[name].values for x in (first, again, other))
        assert torch.equal(a, b) and not torch.equal(a, c)
        assert not torch.equal(a, plain[name].values)


@torch.no_grad()
def test_the_draw_is_that_of_fine_tuning():
    model, inputs = tiny_classifier(pooling="mean").train(), batch()
    pooled = model(**inputs, resampling_keys=keys(), output_pooled_features=True).pooled_features
    found = encode_batch(model.eval(), inputs, keys())
    widths = model.part_sizes
    for name, expected in zip(
        ("rhythm", "content", "pitch", "timbre"), pooled.split(widths, dim=1)[1:], strict=True
    ):
        codes = found[name]
        torch.testing.assert_close(model.pool(codes.values, codes.lengths), expected)


def test_a_readout_by_hand():
    codes = np.array([[0.0], [2.0], [4.0], [6.0]], np.float32)
    mean, deviation, change, *spans = readout(codes)
    assert (mean, change) == (3.0, 2.0) and deviation == pytest.approx(5**0.5)
    assert spans == [0, 0, 2, 2, 4, 4, 6, 6]
    assert readout(codes[:1]).tolist() == [0.0] * 11  # one code neither spreads nor changes
    assert (readout(codes[::-1].copy())[:3] == readout(codes)[:3]).all()
    assert readout(codes[::-1].copy())[3] != readout(codes)[3]  # the order counts
