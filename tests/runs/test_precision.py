import pytest
import torch
import torch.nn.functional as F
from torch import nn

from train_scripts.runs import precision


def conv(channels, groups, kernel=4):
    return nn.Sequential(nn.Linear(2, 2), nn.Conv1d(channels, channels, kernel, groups=groups))


@pytest.mark.parametrize("wrong", [False, True])
def test_a_convolution_that_is_wrong_in_bfloat16_is_found(monkeypatch, wrong, caplog):
    right = F.conv1d

    def conv1d(x, weight, **options):
        found = right(x.float(), weight.float(), **options).to(x.dtype)
        return found.flip(1) if wrong and x.dtype == torch.bfloat16 else found

    monkeypatch.setattr(precision.F, "conv1d", conv1d)
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    assert precision.convolves_right(conv(8, 2)) == (not wrong)
    assert precision.convolves_right(conv(8, 1))  # without groups there is no such fault
    assert precision.can_use_bfloat16(conv(8, 2), "--fast") == (not wrong)
    assert ("--fast: torch" in caplog.text) == wrong


def test_a_machine_without_bfloat16_is_told_by_what_asked_for_it(monkeypatch, caplog):
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    assert not precision.can_use_bfloat16(conv(8, 2), "bf16=true")
    assert "bf16=true: this machine has no bfloat16, float32 is used." in caplog.text


def test_the_positional_convolution_of_wav2vec2_base_is_right_here():
    assert precision.convolves_right(conv(768, 16, 128))
