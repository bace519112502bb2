import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeling_decomp_ser.keyed_random import draw_keys
from train_scripts.runs.settings import AugmentationSettings
from train_scripts.training.augmentation import augment, stretch_time, warp_bands

FULL = AugmentationSettings(
    excerpt_frames=20, time_stretch=0.2, vocal_tract_warp=0.1, gain_decibels=6.0
)


def make_batch(lengths, frames=50, bands=80):
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(frames) < torch.tensor(lengths)[:, None]
    mel = torch.rand(len(lengths), frames, bands, generator=generator) * mask[..., None]
    voiced = (torch.rand(len(lengths), frames, generator=generator) < 0.5) & mask
    log_f0 = torch.rand(len(lengths), frames, generator=generator) * voiced
    return {"mel": mel, "log_f0": log_f0, "voiced": voiced, "frame_mask": mask.long()}


def keys(count, seed=0):
    return draw_keys(count, torch.Generator().manual_seed(seed))


def test_a_row_is_perturbed_alone_as_in_a_batch():
    batch, row_keys = make_batch([50, 31, 12]), keys(3)
    together = augment(batch, row_keys, FULL)
    for i, length in enumerate((50, 31, 12)):
        alone = {name: value[i : i + 1, :length] for name, value in batch.items()}
        single = augment(alone, row_keys[i : i + 1], FULL)
        size = int(single["frame_mask"].sum())
        torch.testing.assert_close(
            together["mel"][i, :size], single["mel"][0, :size], rtol=0, atol=0
        )
        assert together["frame_mask"][i].sum() == size
        assert abs(size / min(20, length) - 1) <= 0.2 + 1 / min(20, length)


def test_other_keys_perturb_otherwise_and_equal_ones_alike():
    batch = make_batch([50, 31])
    first, second, again = (augment(batch, keys(2, s), FULL)["mel"] for s in (1, 2, 1))
    assert not torch.equal(first, second)
    assert torch.equal(first, again)


def test_an_excerpt_is_a_piece_of_the_turn_with_its_own_pitch():
    batch = make_batch([50])
    cut = augment(batch, keys(1), AugmentationSettings(excerpt_frames=20))
    starts = [s for s in range(31) if torch.equal(batch["mel"][0, s : s + 20], cut["mel"][0])]
    assert len(starts) == 1
    expected = batch["log_f0"][0, starts[0] : starts[0] + 20]
    assert torch.equal(cut["log_f0"][0], expected)


def test_padding_stays_zero_and_values_stay_in_range():
    batch = make_batch([50, 7])
    result = augment(batch, keys(2), FULL)
    assert result["mel"].min() >= 0 and result["mel"].max() <= 1
    assert result["mel"][1, 7:].abs().max() == 0


def test_gain_moves_every_bin_of_a_row_by_the_same_decibels():
    batch = make_batch([50, 50])
    batch["mel"] = batch["mel"] * 0.5 + 0.2  # far from the limits
    moved = augment(batch, keys(2), AugmentationSettings(gain_decibels=6.0))["mel"]
    change = (moved - batch["mel"]) * 100  # dB
    assert change.std(dim=(1, 2)).max() < 1e-4
    assert 0.1 < change.mean(dim=(1, 2)).abs().max() <= 6.0


def test_a_stretched_turn_has_its_spectrum_and_pitch_at_the_stretched_time():
    frames = torch.arange(40.0)
    batch = {
        "mel": (frames / 100)[None, :, None].expand(2, 40, 80) * torch.ones(2, 1, 1),
        "log_f0": (frames / 100).expand(2, 40),
        "voiced": torch.ones(2, 40, dtype=torch.bool),
        "frame_mask": torch.ones(2, 40, dtype=torch.int64),
    }
    result = stretch_time(batch, torch.tensor([0.5, 1.25]))
    assert result["frame_mask"].sum(1).tolist() == [20, 50]
    expected = torch.arange(50) / 1.25 / 100
    torch.testing.assert_close(result["mel"][1, :49, 7], expected[:49])
    assert (result["log_f0"][1, :49] - expected[:49]).abs().max() <= 0.005
    torch.testing.assert_close(result["mel"][0, :20, 0], torch.arange(20) * 2 / 100)
    assert not result["mel"][0, 20:].any() and not result["voiced"][0, 20:].any()
    assert result["voiced"].dtype == torch.bool


def test_warping_moves_a_spectral_peak_by_the_factor():
    mel = torch.zeros(1, 1, 80)
    mel[0, 0, 40] = 1.0
    # band m reads m * factor: with 0.8 the peak at 40 appears at 50
    assert warp_bands(mel, torch.tensor([0.8]))[0, 0].argmax() == 50
    assert torch.equal(warp_bands(mel, torch.ones(1)), mel)


@given(st.floats(0.5, 1.5))
def test_warping_never_leaves_the_range_of_the_spectrum(factor):
    mel = make_batch([10], frames=10)["mel"]
    warped = warp_bands(mel, torch.tensor([factor]))
    assert warped.min() >= mel.min() - 1e-6 and warped.max() <= mel.max() + 1e-6


def test_a_batch_without_spectrogram_is_left_alone():
    batch = {"input_values": torch.ones(2, 10)}
    assert augment(batch, keys(2), FULL) is batch


def test_nothing_is_perturbed_by_default():
    batch = make_batch([50, 31])
    result = augment(batch, keys(2), AugmentationSettings())
    for name, value in batch.items():
        assert torch.equal(result[name], value), name


@pytest.mark.parametrize(
    "setting", ["excerpt_frames", "time_stretch", "vocal_tract_warp", "gain_decibels"]
)
def test_each_setting_does_something(setting):
    batch = make_batch([50, 31])
    value = {"excerpt_frames": 20}.get(setting, 0.5)
    changed = augment(batch, keys(2), AugmentationSettings(**{setting: value}))
    assert changed["mel"].shape != batch["mel"].shape or not torch.equal(
        changed["mel"], batch["mel"]
    )
