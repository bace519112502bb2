import json

import pytest
import torch
from safetensors.torch import save_file

from train_scripts.training.checkpoints import last_whole_checkpoint

FILES = ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"]


def save_checkpoint(folder, step):
    """What the Trainer leaves."""
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    save_file({"weight": torch.ones(64)}, path / "model.safetensors")
    for name in FILES[1:4]:
        torch.save({"state": torch.ones(64)}, path / name)
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return path


def test_the_newest_is_found_by_its_number(tmp_path):
    assert last_whole_checkpoint(tmp_path / "none") is None
    for step in (90, 100, 9):
        save_checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-200").touch()
    assert last_whole_checkpoint(tmp_path) == str(tmp_path / "checkpoint-100")


@pytest.mark.parametrize("damage", ["cut off", "missing", "empty"])
@pytest.mark.parametrize("name", FILES)
def test_one_that_was_being_written_is_deleted_and_the_one_before_taken(
    tmp_path, name, damage, caplog
):
    whole, broken = save_checkpoint(tmp_path, 10), save_checkpoint(tmp_path, 20)
    content = (broken / name).read_bytes()
    if damage == "missing":
        (broken / name).unlink()
    else:
        (broken / name).write_bytes(content[: len(content) - 9] if damage == "cut off" else b"")
    assert last_whole_checkpoint(tmp_path) == str(whole)
    assert not broken.exists()
    assert "checkpoint-20 is not whole" in caplog.text


@pytest.mark.parametrize("shared", [False, True], ids=["in one piece", "in shares"])
@pytest.mark.parametrize("missing", ["nothing", "weights", "optimizer"])
def test_checkpoints_of_sharded_models_are_whole_where_all_parts_are(tmp_path, shared, missing):
    path = save_checkpoint(tmp_path, 10)
    (path / "optimizer.pt").rename(path / "optimizer.bin")
    (path / "rng_state.pth").rename(path / "rng_state_0.pth")
    parts = {"weights": path / "model.safetensors", "optimizer": path / "optimizer.bin"}
    if shared:
        for part, name in (("weights", "pytorch_model_fsdp_0"), ("optimizer", "optimizer_0")):
            parts[part].unlink()
            (path / name).mkdir()
            parts[part] = path / name / ".metadata"
            parts[part].touch()
    if missing != "nothing":
        parts[missing].unlink()
    found = last_whole_checkpoint(tmp_path)
    assert found == (str(path) if missing == "nothing" else None)
    assert path.exists() == (found is not None)
