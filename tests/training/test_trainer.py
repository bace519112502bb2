import copy

import pytest
import torch
from transformers import Trainer, TrainingArguments, set_seed

from modeling_decomp_ser import DecompSerForAudioClassification, DecompSerForPreTraining
from modeling_decomp_ser.keyed_random import draw_keys
from processing import DecompSerDataCollator, DecompSerFeatureExtractor, DecompSerProcessor
from processing.features import add_signals
from processing.text import make_vocabulary
from train_scripts.runs.fold_data import with_arrays
from train_scripts.runs.rows_in_memory import RowsInMemory
from train_scripts.runs.settings import AugmentationSettings, build_config, load_settings
from train_scripts.training.augmentation import crop_at_random
from train_scripts.training.trainer import (
    PARTS,
    DecompSerPreTrainer,
    DecompSerTrainer,
    count_turns,
)

LABELS = ["angry", "happy", "sad", "neutral"]
CALM = [  # what draws from torch's own generator is off, so that steps can be compared
    "size=tiny",
    "model.head_dropout=0.0",
    "model.speech_config.hidden_dropout=0.0",
    "model.speech_config.attention_dropout=0.0",
]


@pytest.fixture(scope="module")
def rows(corpus):
    """8 turns; some lack their transcript or their speaker."""
    extractor = DecompSerFeatureExtractor(f0_method="dio")
    rows = list(with_arrays(add_signals(corpus.select(range(8)), extractor, num_proc=1)))
    for i in (0, 1, 2, 5):
        rows[i] = {**rows[i], "text": None}
    rows[3] = {**rows[3], "speaker": "unknown to the model"}
    return rows


@pytest.fixture(scope="module")
def collator(corpus, tmp_path_factory):
    vocabulary = make_vocabulary(corpus["text"])
    extractor = DecompSerFeatureExtractor(f0_method="dio")
    processor = DecompSerProcessor.from_vocabulary(
        extractor, vocabulary, tmp_path_factory.mktemp("vocabulary")
    )
    return DecompSerDataCollator(
        processor, labels=LABELS, speakers=sorted(set(corpus["speaker"])), with_row_keys=True
    )


@pytest.fixture(scope="module")
def model(collator):
    set_seed(0)
    config = build_config(
        load_settings("base", CALM),
        speakers=collator.speakers,
        vocab_size=len(collator.processor.tokenizer),
    )
    return DecompSerForAudioClassification(config)


def arguments(folder, **fields):
    return TrainingArguments(
        output_dir=str(folder),
        remove_unused_columns=False,
        report_to=[],
        use_cpu=True,
        logging_steps=1,
        max_grad_norm=0.0,
        optim="sgd",
        learning_rate=0.1,
        lr_scheduler_type="constant",
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **fields,
    )


def train(model, rows, collator, folder, kind=DecompSerTrainer, **fields):
    trainer = kind(
        model=copy.deepcopy(model),
        args=arguments(folder, train_sampling_strategy="sequential", **fields),
        train_dataset=rows,
        data_collator=collator,
    )
    trainer.train()
    return trainer


def assert_same_weights(a, b, tolerance=2e-6):
    for (name, x), (_, y) in zip(a.named_parameters(), b.named_parameters(), strict=True):
        torch.testing.assert_close(
            x, y, rtol=1e-4, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_accumulation_equals_one_large_batch_also_where_labels_are_missing(
    model, rows, collator, tmp_path
):
    whole = train(
        model, rows, collator, tmp_path / "a", num_train_epochs=1, per_device_train_batch_size=8
    )
    parts = train(
        model,
        rows,
        collator,
        tmp_path / "b",
        num_train_epochs=1,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
    )
    assert_same_weights(whole.model, parts.model)
    one, four = whole.state.log_history[0], parts.state.log_history[0]
    for name in ("loss", "loss_emotion", "loss_ctc", "loss_speaker", "loss_reconstruction"):
        assert four[name] == pytest.approx(one[name], rel=1e-4), name


def test_the_step_did_change_the_weights(model, rows, collator, tmp_path):
    trained = train(model, rows, collator, tmp_path, max_steps=1).model
    with pytest.raises(AssertionError):
        assert_same_weights(model, trained)


def test_the_logged_loss_is_the_weighted_sum_of_the_logged_terms(model, rows, collator, tmp_path):
    line = train(model, rows, collator, tmp_path, max_steps=1).state.log_history[0]
    weights = model.loss_weights
    total = sum(weights[k] * line[f"loss_{k}"] for k in weights)
    assert line["loss"] == pytest.approx(total, rel=1e-4)


def test_a_plain_trainer_minimises_the_same_sum(model, rows, collator, tmp_path):
    plain = copy.copy(collator)
    plain.with_row_keys = False
    quiet = copy.deepcopy(model)
    quiet.config.resampling_in_finetuning = False  # keyed in one Trainer, free in the other
    options = {"num_train_epochs": 1, "per_device_train_batch_size": 8}
    ours = train(quiet, rows, collator, tmp_path / "a", **options)
    stock = train(quiet, rows, plain, tmp_path / "b", kind=Trainer, **options)
    assert stock.state.log_history[0]["loss"] == pytest.approx(
        ours.state.log_history[0]["loss"], rel=1e-5
    )
    assert_same_weights(ours.model, stock.model)


def test_weights_can_be_overridden(model, rows, collator, tmp_path):
    weights = {"emotion": 1.0, "ctc": 0.0, "speaker": 0.0, "reconstruction": 0.0}
    trainer = DecompSerTrainer(
        model=copy.deepcopy(model),
        args=arguments(tmp_path, max_steps=1),
        train_dataset=rows,
        data_collator=collator,
        loss_weights=weights,
    )
    trainer.train()
    line = trainer.state.log_history[0]
    assert line["loss"] == pytest.approx(line["loss_emotion"], rel=1e-5)


def test_draws_are_keyed_by_turn_not_by_place(model, rows, collator, tmp_path):
    trainer = DecompSerTrainer(
        model=copy.deepcopy(model).train(),
        args=arguments(tmp_path),
        train_dataset=rows,
        data_collator=collator,
    )

    def losses(order, epoch=0):
        trainer.state.epoch = epoch
        with torch.no_grad():
            _, output = trainer.compute_loss(
                trainer.model, collator([rows[i] for i in order]), return_outputs=True
            )
        per_row = output.task_losses["reconstruction"].per_row
        return {i: per_row[k].item() for k, i in enumerate(order)}

    forward, backward = losses([4, 5, 6, 7]), losses([7, 4])
    assert backward == pytest.approx({i: forward[i] for i in (7, 4)}, abs=1e-6)
    # other draws move the error far more than the tolerance above, so keying by place would show
    other = losses([4, 5], epoch=1.5)
    assert min(abs(other[i] - forward[i]) for i in (4, 5)) > 2e-5


def test_counted_turns_are_those_the_model_counts(model, rows, collator):
    batch = collator(rows)
    counts = count_turns(batch, model.config)
    del batch["row_keys"]
    tasks = model(**batch).task_losses
    assert {k: int(v) for k, v in counts.items()} == {
        k: int(task.counted.sum()) for k, task in tasks.items()
    }
    assert {k: int(v) for k, v in counts.items()} == {
        "emotion": 8,
        "speaker": 7,
        "ctc": 4,
        "reconstruction": 8,
    }


def test_transcripts_longer_than_their_frames_are_counted_in_the_log(
    model, rows, collator, tmp_path
):
    long = [{**row, "text": "SHE " * 100} for row in rows[:2]]
    line = train(model, long, collator, tmp_path, max_steps=1).state.log_history[0]
    assert line["transcripts_longer_than_frames"] == 2
    assert line["loss_ctc"] == 0


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


def test_pretraining_minimises_equation_7_on_crops(rows, collator, tmp_path):
    set_seed(0)
    omega = 0.1  # of the paper; the tiny size has its own
    overrides = [*CALM, f"model.pretraining_speaker_weight={omega}"]
    config = build_config(load_settings("base", overrides), speakers=collator.speakers)
    quiet = copy.copy(collator)
    quiet.with_waveform = quiet.with_text = False
    widths = []

    def collate(batch):
        inputs = quiet(batch)
        del inputs["labels"]
        return inputs

    class Watched(DecompSerPreTrainer):
        def perturb(self, inputs, keys):
            cut = super().perturb(inputs, keys)
            widths.append(cut["mel"].shape[1])
            return cut

    trainer = Watched(
        model=DecompSerForPreTraining(config),
        args=arguments(tmp_path, max_steps=2),
        train_dataset=rows,
        data_collator=collate,
        crop_frames=(40, 60),
    )
    trainer.train()
    line = trainer.state.log_history[0]
    assert line["loss"] == pytest.approx(
        omega * line["loss_speaker"] + (1 - omega) * line["loss_reconstruction"], rel=1e-4
    )
    assert widths == [60, 60]


def one_step(model, rows, collator, folder, **options):
    trainer = DecompSerTrainer(
        model=copy.deepcopy(model),
        args=arguments(folder, max_steps=1, train_sampling_strategy="sequential"),
        train_dataset=rows,
        data_collator=collator,
        **options,
    )
    trainer.train()
    return trainer


def test_weighted_losses_and_the_norm_of_each_task_s_gradient_are_logged(
    model, rows, collator, tmp_path
):
    line = one_step(model, rows, collator, tmp_path).state.log_history[0]
    tasks = model.loss_weights
    for task, weight in tasks.items():
        assert line[f"weighted_loss_{task}"] == pytest.approx(weight * line[f"loss_{task}"])
    norms = [line[f"gradient_norm_{task}"] for task in tasks]
    assert all(norm > 0 for norm in norms)
    # the triangle inequality, which norms of other gradients would hardly keep to
    assert max(norms) * 0.2 < line["grad_norm"] <= sum(norms) * 1.0001


def test_a_gradient_norm_is_that_of_the_weighted_loss_alone(model, rows, collator, tmp_path):
    alone = {k: w if k == "ctc" else 0.0 for k, w in model.loss_weights.items()}
    line = one_step(model, rows, collator, tmp_path, loss_weights=alone).state.log_history[0]
    assert line["gradient_norm_ctc"] == pytest.approx(line["grad_norm"], rel=1e-4)
    assert line["gradient_norm_emotion"] == 0


def test_each_part_has_its_own_learning_rate(model, rows, collator, tmp_path):
    rates = dict(zip(PARTS, (0.0, 1.0, 2.0, 0.5, 3.0), strict=True))
    trained = one_step(model, rows, collator, tmp_path / "a", rates=rates).model
    equal = one_step(model, rows, collator, tmp_path / "b").model
    before, same = dict(model.named_parameters()), dict(equal.named_parameters())
    for name, parameter in trained.named_parameters():
        moved, expected = parameter - before[name], same[name] - before[name]
        factor = rates[name.split(".")[0]]
        torch.testing.assert_close(moved, factor * expected, rtol=1e-2, atol=1e-6)
    for head in ("emotion_head", "ctc_head", "speaker_head"):
        assert (getattr(trained, head).weight != getattr(model, head).weight).any()


def test_turns_are_changed_anew_each_epoch_in_training_and_never_in_evaluation(
    model, rows, collator, tmp_path
):
    settings = AugmentationSettings(corruptions=["white_noise", "faster"], corrupted_share=1.0)
    trainer = DecompSerTrainer(
        model=copy.deepcopy(model),
        args=arguments(tmp_path, num_train_epochs=2, per_device_train_batch_size=8),
        train_dataset=rows,
        eval_dataset=rows,
        data_collator=collator,
        augmentation=settings,
    )
    assert trainer.eval_dataset is rows
    heard = []
    trainer.model.register_forward_pre_hook(
        lambda module, args, kwargs: heard.append(kwargs["mel"].sum()), with_kwargs=True
    )
    trainer.train()
    plain = collator(rows)["mel"].sum()
    assert len(heard) == 2  # a batch an epoch, in whatever order
    assert len({round(float(total)) for total in (*heard, plain)}) == 3


def test_class_weights_and_label_smoothing_are_those_of_torch(model, rows, collator, tmp_path):
    weights = torch.tensor([0.5, 1.0, 1.5, 2.0])
    trainer = DecompSerTrainer(
        model=copy.deepcopy(model).train(),
        args=arguments(tmp_path, label_smoothing_factor=0.2),
        train_dataset=rows,
        data_collator=collator,
        class_weights=weights,
    )
    batch = collator(rows)
    trainer.state.epoch = 0
    _, output = trainer.compute_loss(trainer.model, batch, return_outputs=True)
    log_p, labels = output.logits.log_softmax(-1), batch["labels"]
    target = torch.full_like(log_p, 0.2 / 4)
    target[torch.arange(8), labels] += 0.8
    expected = -(target * log_p).sum(1) * weights[labels]
    torch.testing.assert_close(output.task_losses["emotion"].per_row, expected)
    # evaluation knows neither
    trainer.model.eval()
    _, output = trainer.compute_loss(trainer.model, batch, return_outputs=True)
    plain = torch.nn.functional.cross_entropy(output.logits, labels, reduction="none")
    torch.testing.assert_close(output.task_losses["emotion"].per_row, plain)


def test_batches_of_rows_in_memory_are_grouped_by_length(model, rows, collator, tmp_path):
    kept = RowsInMemory(rows, 16000)
    trainer = DecompSerTrainer(
        model=copy.deepcopy(model),
        args=arguments(
            tmp_path, train_sampling_strategy="group_by_length", length_column_name="duration"
        ),
        train_dataset=kept,
        data_collator=collator,
    )
    order = [i for batch in trainer.get_train_dataloader().batch_sampler for i in batch]
    assert sorted(order) == list(range(8))
