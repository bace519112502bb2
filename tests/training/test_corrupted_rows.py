import math

import numpy as np
import pytest
import torch

from modeling_decomp_ser.keyed_random import mix
from processing import DecompSerFeatureExtractor
from processing.errors import InputError
from train_scripts.corruptions.conditions import other_turns
from train_scripts.runs.settings import AugmentationSettings, load_settings
from train_scripts.training.corrupted_rows import CorruptedRows, change_turn

ALL = AugmentationSettings(speed=0.1, reverberation_seconds=0.2, noise=0.3)


def turn(number, size=4000):
    return 0.1 * torch.randn(size, generator=torch.Generator().manual_seed(number))


def changed(key, settings):
    return change_turn(turn(0), mix(torch.tensor(key)), settings, other_turns(turn, 0, 9))


def same(first, second):
    return first.shape == second.shape and torch.equal(first, second)


@pytest.fixture(scope="module")
def rows():
    """Six turns with the signals of a cheap pitch tracker."""
    extractor = DecompSerFeatureExtractor(f0_method="dio")
    found = []
    for k in range(6):
        time = np.arange(6000 + 500 * k) / 16000
        waveform = (0.2 * np.sin(2 * np.pi * (150 + 20 * k) * time)).astype(np.float32)
        row = {"id": f"turn {k}", "gender": None, "waveform": waveform}
        found.append({**row, **extractor.extract([waveform])[0]})
    return found


def heard(rows, settings, epoch=0, seed=0):
    extractor = DecompSerFeatureExtractor(f0_method="dio")
    return CorruptedRows(rows, settings, extractor, seed=seed, epoch=lambda: epoch)


def test_each_effect_reaches_about_half_of_the_turns():
    for settings in (
        AugmentationSettings(noise=0.5),
        AugmentationSettings(reverberation_seconds=0.2),
        AugmentationSettings(corruptions=["babble", "low_pass"]),
    ):
        reached = [not same(changed(key, settings), turn(0)) for key in range(1, 201)]
        assert 0.4 < np.mean(reached) < 0.6


def test_the_share_of_corrupted_turns_is_the_one_asked_for():
    everything = AugmentationSettings(corruptions=["white_noise"], corrupted_share=1.0)
    assert all(not same(changed(key, everything), turn(0)) for key in range(1, 30))
    assert all(same(changed(key, AugmentationSettings()), turn(0)) for key in range(1, 30))


def test_speeds_lie_within_the_setting_on_both_sides():
    sizes = [len(changed(key, AugmentationSettings(speed=0.1))) for key in range(1, 60)]
    assert {round(4000 / size, 2) for size in sizes} == {0.9, 0.95, 1.0, 1.05, 1.1}


def test_noise_is_no_louder_than_the_setting():
    for key in range(1, 60):
        noise = changed(key, AugmentationSettings(noise=0.3)) - turn(0)
        assert not noise.any() or 0.01 < noise.std() / turn(0).std() < 0.32
    assert -20 * math.log10(0.3) == pytest.approx(10, abs=0.5)  # as its comment says


def test_a_row_is_changed_by_id_seed_and_epoch_alone(rows):
    first = [row["waveform"] for row in map(heard(rows, ALL).__getitem__, range(6))]
    backwards = heard(rows[::-1], ALL)
    assert all(np.array_equal(backwards[5 - k]["waveform"], first[k]) for k in range(6))
    for other in (heard(rows, ALL, epoch=1), heard(rows, ALL, seed=1)):
        assert any(not np.array_equal(other[k]["waveform"], first[k]) for k in range(6))


def test_signals_are_those_of_the_changed_sound(rows):
    settings = AugmentationSettings(corruptions=["faster"], corrupted_share=1.0)
    for k, row in enumerate(rows):
        quick = heard(rows, settings)[k]
        assert len(quick["waveform"]) < len(row["waveform"])
        assert abs(len(quick["mel"]) - (len(quick["waveform"]) // 256 + 1)) <= 1
        voiced = quick["f0_hz"][quick["f0_hz"] > 0]
        assert np.median(voiced) > np.median(row["f0_hz"][row["f0_hz"] > 0])


def test_the_speech_encoder_alone_may_hear_the_change(rows):
    settings = AugmentationSettings(
        corruptions=["babble"], corrupted_share=1.0, heard_by="speech_encoder"
    )
    for k, row in enumerate(rows):
        noisy = heard(rows, settings)[k]
        assert not np.array_equal(noisy["waveform"], row["waveform"])
        assert noisy["mel"] is row["mel"] and noisy["f0_hz"] is row["f0_hz"]


def test_settings_name_what_is_wrong_with_a_list_of_corruptions():
    good = load_settings("base", ["augmentation.corruptions=[babble, gsm]"])
    assert good.augmentation.corruptions == ["babble", "gsm"]
    with pytest.raises(InputError, match=r"expected a list, such as .*=\[babble\]"):
        load_settings("base", ["augmentation.corruptions=babble"])
    with pytest.raises(InputError, match="augmentation.corruptions=hiss: expected one of"):
        load_settings("base", ["augmentation.corruptions=[hiss]"])
