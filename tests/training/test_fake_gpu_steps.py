"""Steps of the Trainer on a GPU that has no values, from the batch to the weights."""

import pytest
import torch
from support.fake_device import (
    DEVICE,
    fake_batch,
    fake_gpu,
    fake_like,
    needs_quiet_layers,
    to_fake_gpu,
    walk_backward,
)
from support.tiny_networks import for_pretraining, random_batch, tiny_autoencoder, tiny_classifier
from torch._subclasses.fake_tensor import DataDependentOutputException
from transformers import TrainingArguments

from modeling_decomp_ser import decomposition, modeling_decomp_ser
from train_scripts.runs.settings import AugmentationSettings
from train_scripts.training.random_crops import RandomCrops
from train_scripts.training.trainer import PARTS, DecompSerPreTrainer, DecompSerTrainer

WITHOUT_CTC = "table3_m3"
"""torch has no CTC loss for fakes, see test_fake_gpu of the models."""
PERTURBED = AugmentationSettings(excerpt_frames=2, vocal_tract_warp=0.1, gain_decibels=6.0)


@pytest.fixture(autouse=True)
def short_crops(monkeypatch):
    """Crops of the reference are padded to some hundred frames."""
    for module in (decomposition, modeling_decomp_ser):
        monkeypatch.setattr(module, "REFERENCE_FRAMES", 8)


def believe_in(device: str, monkeypatch) -> None:
    """Let the Trainer believe that it trains on a device."""

    def believed(arguments):
        return arguments._setup_devices and torch.device(device)

    monkeypatch.setattr(TrainingArguments, "device", property(believed))


def trainer_of(model, folder, *, kind=DecompSerTrainer, **options):
    arguments = TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        report_to=[],
        optim="adamw_torch",
        max_grad_norm=1.0,
        label_smoothing_factor=0.1,
    )
    return kind(model=model, args=arguments, train_dataset=[], **options)


def step_on_fakes(trainer, batch, monkeypatch) -> torch.Tensor:
    """One step of the Trainer; returns its loss. torch's own engine would ask the driver, see
    `walk_backward`, also for the gradients of single tasks.
    """
    believe_in(DEVICE, monkeypatch)
    monkeypatch.setattr(torch.autograd, "grad", lambda x, leaves, **_: list(map(fake_like, leaves)))
    trainer.state.epoch, trainer.state.max_steps, trainer.state.logging_steps = 0, 1, 1
    monkeypatch.setattr(trainer.accelerator, "backward", walk_backward)
    with fake_gpu():
        model = to_fake_gpu(trainer.model)
        if trainer.class_weights is not None:
            trainer.class_weights = fake_like(trainer.class_weights)
        optimizer = trainer.create_optimizer()
        for group in optimizer.param_groups:
            # AdamW counts its steps on the host, where fakes cannot; on the device it does the same
            group["capturable"] = True
        names = ["reconstruction", *(k for k in trainer.loss_weights if k != "reconstruction")]
        counts = {name: fake_like(torch.tensor(2)) for name in names}
        loss = trainer.training_step(model, fake_batch(batch), counts)
        norm = trainer._clip_grad_norm(model)
        optimizer.step()
    assert {x.device.type for x in (loss, norm, *trainer.logged.values())} == {DEVICE}
    return loss


def batch_of(**more):
    return {**random_batch([700, 500]), "row_keys": torch.arange(2), **more}


@needs_quiet_layers
def test_a_step_of_fine_tuning_waits_for_nothing(tmp_path, monkeypatch):
    trainer = trainer_of(
        tiny_classifier(WITHOUT_CTC, dimensions_weight=0.1),
        tmp_path,
        class_weights=torch.tensor([0.5, 1.0, 1.5, 2.0]),
        augmentation=PERTURBED,
        rates=dict.fromkeys(PARTS, 2.0),
    )
    step_on_fakes(trainer, batch_of(dimension_labels=torch.rand(2, 3)), monkeypatch)
    # that of each task's gradient too, which is asked for its value with the log line
    assert {k: v.device.type for k, v in trainer.gradient_norms.items()} == dict.fromkeys(
        trainer.loss_weights.keys() - {"ctc"}, DEVICE
    )


def test_a_step_of_pretraining_waits_for_nothing(tmp_path, monkeypatch):
    model = tiny_autoencoder("table2_timbre")
    # crops are cut, and the frames of the resampled ones counted, on the host by the loader
    crops = RandomCrops(
        None, shortest=1, longest=2, seed=0, count_resampled_frames=model.count_resampled_frames
    )
    trainer = trainer_of(model, tmp_path, kind=DecompSerPreTrainer, data_collator=crops)
    batch = {**for_pretraining(batch_of()), "row_keys": torch.arange(2)}
    step_on_fakes(trainer, batch, monkeypatch)


def test_stretched_time_waits_once_for_the_longest_turn(tmp_path, monkeypatch):
    # a length of memory has to be known to the host; another one would change the rounding of runs
    stretched = AugmentationSettings(time_stretch=0.1)
    trainer = trainer_of(tiny_classifier("encoders_alone"), tmp_path, augmentation=stretched)
    with pytest.raises(DataDependentOutputException):
        step_on_fakes(trainer, batch_of(), monkeypatch)


def test_class_weights_are_on_the_device_before_the_first_step(tmp_path, monkeypatch):
    believe_in("meta", monkeypatch)
    trainer = trainer_of(tiny_classifier("table2_pitch"), tmp_path, class_weights=torch.ones(4))
    assert trainer.class_weights.device.type == "meta"
