import numpy as np
import pytest
import torch

from modeling_decomp_ser.keyed_random import draw_keys
from processing.collation import row_key
from train_scripts.training.random_crops import RandomCrops, crop_at_random, draw_crop_lengths


def test_crops_lie_within_the_utterance_and_keep_signals_together():
    frames = torch.arange(300.0).expand(3, 300)
    lengths = torch.tensor([300, 90, 20])
    mask = (torch.arange(300) < lengths[:, None]).long()
    batch = {
        "mel": frames[..., None].expand(-1, -1, 2),
        "log_f0": frames,
        "voiced": torch.ones(3, 300, dtype=torch.bool),
        "frame_mask": mask,
        "other": torch.tensor([1, 2, 3]),
    }
    sizes = set()
    for seed in range(40):
        keys = draw_keys(3, torch.Generator().manual_seed(seed))
        cut = crop_at_random(batch, keys, 64, 128)
        crops = cut["frame_mask"].sum(1)
        sizes.add(int(crops[0]))
        assert 64 <= crops[0] <= 128 and 64 <= crops[1] <= 90 and crops[2] == 20
        for row in range(3):
            inside = cut["log_f0"][row, : crops[row]]
            start = inside[0]
            torch.testing.assert_close(inside, start + torch.arange(float(crops[row])))
            assert start + crops[row] <= lengths[row]
            torch.testing.assert_close(cut["mel"][row, : crops[row], 1], inside)
            assert not cut["mel"][row, crops[row] :].any()
        assert cut["other"] is batch["other"]
    assert len(sizes) > 15


def whole(rows):
    """What a collator gives of rows with an id and a number of frames."""
    lengths = torch.tensor([row["frames"] for row in rows])
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
    return {
        "mel": mask[..., None] * torch.rand(*mask.shape, 2),
        "log_f0": mask * 1.0,
        "voiced": mask.bool(),
        "frame_mask": mask,
        "row_keys": torch.tensor([row["key"] for row in rows]),
    }


def sum_of_both(lengths, keys):
    """Stands for the model's count of frames."""
    return int(lengths.sum() + keys.shape[0])


def crops_of(shortest=64, **options):
    return RandomCrops(
        whole, shortest=shortest, longest=128, count_resampled_frames=sum_of_both, **options
    )


@pytest.fixture
def rows():
    return [{"id": f"turn {i}", "frames": 200 + i, "key": row_key(f"turn {i}")} for i in range(40)]


def test_lengths_are_known_before_turns_are_read(rows):
    crops = crops_of(seed=3, epoch=lambda: 5)
    expected = crops.lengths([r["id"] for r in rows], torch.tensor([r["frames"] for r in rows]))
    batch = crops(rows)
    assert batch["frame_mask"].sum(1).tolist() == expected.tolist()
    assert len(set(expected.tolist())) > 15
    # alone, another epoch, another seed
    assert crops(rows[7:8])["frame_mask"].sum().item() == expected[7]
    for other in ({"seed": 3, "epoch": lambda: 6}, {"seed": 4, "epoch": lambda: 5}):
        again = crops_of(**other)(rows)
        assert again["frame_mask"].sum(1).tolist() != expected.tolist()


def test_a_batch_is_as_long_as_its_longest_crop(rows):
    crops = crops_of(shortest=20, seed=0)
    for row in rows:
        cut = crops([row])
        size = int(cut["frame_mask"].sum())
        assert size <= 128
        shapes = {k: cut[k].shape[1] for k in ("mel", "log_f0", "voiced", "frame_mask")}
        assert set(shapes.values()) == {size}
        assert cut["resampled_frames"] == size + 1  # of this crop and its key


def test_all_lengths_are_equally_likely_and_short_turns_are_whole():
    keys = draw_keys(20_000, torch.Generator().manual_seed(0))
    found = draw_crop_lengths(torch.full((20_000,), 500), keys, 64, 128).numpy()
    counts = np.bincount(found, minlength=129)[64:]
    assert found.min() == 64 and found.max() == 128
    assert counts.min() > 220 and counts.max() < 400  # 308 each; 5 deviations are 88
    assert draw_crop_lengths(torch.tensor([20]), keys[:1], 64, 128).tolist() == [20]
