import pytest

from processing.errors import InputError
from train_scripts.experiments.machine import default_jobs, share_devices


def test_gpus_are_shared_in_groups(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 5)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert share_devices(1) == ["0", "1", "2", "3", "4"]
    assert share_devices(2) == ["0,1", "2,3"]
    assert default_jobs(2) == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    assert share_devices(1) == ["GPU-a", "GPU-b"]
    with pytest.raises(InputError, match="this machine has 2 GPUs"):
        share_devices(3)


def test_without_gpus_units_share_the_processors(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("train_scripts.experiments.machine.count_processors", lambda: 8)
    assert share_devices(2) == []
    assert [default_jobs(n) for n in (1, 2, 3, 16)] == [8, 4, 2, 1]
