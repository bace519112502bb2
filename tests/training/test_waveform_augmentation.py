import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_decomp_ser.keyed_random import mix
from train_scripts.runs.settings import AugmentationSettings
from train_scripts.training.waveform_augmentation import (
    add_noise,
    augment_waveform,
    change_speed,
    reverberate,
)

RATE = 16000
ALL = AugmentationSettings(speed=0.1, reverberation_seconds=0.2, noise=0.3)


def make_batch(lengths, size=None):
    generator = torch.Generator().manual_seed(0)
    size = size or max(lengths)
    mask = (torch.arange(size) < torch.tensor(lengths)[:, None]).long()
    return {
        "input_values": torch.randn(len(lengths), size, generator=generator) * mask,
        "attention_mask": mask,
    }


def keys_of(count):
    return mix(torch.arange(1, count + 1))


def test_a_row_is_perturbed_alike_alone_and_in_a_batch():
    lengths = [8000, 3000, 5000, 8000, 1000, 2500]
    batch, keys = make_batch(lengths), keys_of(6)
    together = augment_waveform(batch, keys, ALL, RATE)
    for i in range(6):
        single = {k: v[i : i + 1, : lengths[i]] for k, v in batch.items()}
        alone = augment_waveform(single, keys[i : i + 1], ALL, RATE)
        size = alone["input_values"].shape[1]
        assert together["attention_mask"][i].sum() == size
        assert torch.equal(together["input_values"][i, :size], alone["input_values"][0])
        assert not together["input_values"][i, size:].any()


def test_another_key_is_another_perturbation():
    batch = make_batch([4000] * 16)
    first = augment_waveform(batch, keys_of(16), ALL, RATE)
    again = augment_waveform(batch, keys_of(16), ALL, RATE)
    other = augment_waveform(batch, keys_of(32)[16:], ALL, RATE)
    assert torch.equal(first["input_values"], again["input_values"])
    assert first["input_values"].shape != other["input_values"].shape or not torch.equal(
        first["input_values"], other["input_values"]
    )


def test_each_effect_reaches_about_half_of_the_rows():
    batch = make_batch([2000] * 400)
    plain = batch["input_values"]
    plain = (plain - plain.mean(1, keepdim=True)) / plain.std(1, keepdim=True, correction=0)
    noisy = augment_waveform(batch, keys_of(400), AugmentationSettings(noise=0.5), RATE)
    changed = (noisy["input_values"] - plain).abs().amax(1) > 1e-3
    assert 0.4 < changed.float().mean() < 0.6


@pytest.mark.parametrize(
    "setting", [{"speed": 0.1}, {"noise": 0.3}, {"reverberation_seconds": 0.2}]
)
def test_rows_keep_zero_mean_and_unit_variance(setting):
    out = augment_waveform(
        make_batch([4000] * 8), keys_of(8), AugmentationSettings(**setting), RATE
    )
    for row, mask in zip(out["input_values"], out["attention_mask"], strict=True):
        row = row[mask > 0]
        assert abs(row.mean()) < 1e-5
        assert abs(row.std(correction=0) - 1) < 1e-4


def test_speed_moves_a_tone_and_its_duration_alike():
    time = torch.arange(RATE) / RATE
    faster = change_speed(torch.sin(2 * math.pi * 500 * time), 0.1, RATE)
    assert len(faster) == pytest.approx(RATE / 1.1, abs=2)
    peak = torch.fft.rfft(faster).abs().argmax() * RATE / len(faster)
    assert peak == pytest.approx(550, abs=2)


def test_noise_has_the_level_asked_for():
    speech = torch.sin(torch.arange(RATE) * 0.3)
    noise = add_noise(speech, 0.3, torch.tensor(5)) - speech
    assert noise.std() / speech.std(correction=0) == pytest.approx(0.3, rel=0.03)


def test_reverberation_decays_by_60_decibels_in_its_time():
    impulse = torch.zeros(RATE)
    impulse[0] = 1.0
    tail = reverberate(impulse, 0.4, torch.tensor(5), RATE)
    assert tail[0] == pytest.approx(1.0, abs=1e-5)
    early, late = (tail[a : a + 400].square().mean().sqrt() for a in (100, 100 + 3200))
    assert 20 * torch.log10(late / early) == pytest.approx(-30, abs=2)
    assert tail[6400:].abs().max() < 1e-5


def test_nothing_asked_changes_nothing():
    batch = make_batch([4000])
    assert augment_waveform(batch, keys_of(1), AugmentationSettings(), RATE) is batch
    assert augment_waveform({"mel": batch["input_values"]}, keys_of(1), ALL, RATE).keys() == {"mel"}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(400, 4000), min_size=1, max_size=4))
def test_lengths_and_mask_agree(lengths):
    out = augment_waveform(make_batch(lengths), keys_of(len(lengths)), ALL, RATE)
    assert out["input_values"].shape == out["attention_mask"].shape
    for mask, length in zip(out["attention_mask"], lengths, strict=True):
        assert length / 1.1 - 2 <= mask.sum() <= length / 0.9 + 2
        assert mask[: mask.sum()].all()
