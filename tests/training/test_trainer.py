import copy
from types import SimpleNamespace

import pytest
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed

from modeling_decomp_ser import DecompSerForAudioClassification, DecompSerForPreTraining
from processing import DecompSerDataCollator, DecompSerFeatureExtractor, DecompSerProcessor
from processing.errors import InputError
from processing.features import add_signals
from processing.text import make_vocabulary
from train_scripts.runs.fold_data import with_arrays
from train_scripts.runs.rows_in_memory import RowsInMemory
from train_scripts.runs.settings import AugmentationSettings, build_config, load_settings
from train_scripts.training.pretraining import PreTrainingCollator
from train_scripts.training.random_crops import RandomCrops
from train_scripts.training.trainer import (
    PARTS,
    DecompSerPreTrainer,
    DecompSerTrainer,
    count_turns,
    gradient_norms,
    part_of,
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


def crops_of(collator, model):
    """Collator of crops of 40 to 60 frames."""
    quiet = copy.copy(collator)
    quiet.with_waveform = quiet.with_text = False
    return RandomCrops(
        PreTrainingCollator(quiet),
        shortest=40,
        longest=60,
        seed=1,
        count_resampled_frames=model.count_resampled_frames,
    )


def test_pretraining_minimises_equation_7_on_crops(rows, collator, tmp_path):
    set_seed(0)
    omega = 0.1  # of the paper; the tiny size has its own
    overrides = [*CALM, f"model.pretraining_speaker_weight={omega}"]
    config = build_config(load_settings("base", overrides), speakers=collator.speakers)
    model = DecompSerForPreTraining(config)
    crops = crops_of(collator, model)
    frames = []

    class Watched(DecompSerPreTrainer):
        def perturb(self, inputs, keys):
            frames.append(inputs["frame_mask"].sum(1))
            assert inputs["mel"].shape[1] == frames[-1].max(), "no padding beyond the longest"
            return super().perturb(inputs, keys)

    trainer = Watched(
        model=model,
        args=arguments(tmp_path, max_steps=2),
        train_dataset=rows,
        data_collator=crops,
    )
    trainer.train()
    line = trainer.state.log_history[0]
    assert line["loss"] == pytest.approx(
        omega * line["loss_speaker"] + (1 - omega) * line["loss_reconstruction"], rel=1e-4
    )
    assert all(((x >= 40) & (x <= 60)).all() for x in frames)


@pytest.mark.parametrize("stage", ["finetuning", "pretraining"])
def test_processes_that_read_ahead_change_nothing(model, rows, collator, tmp_path, stage):
    # Crops, and what is done to the sound, are those of the epoch in every process.
    def train_with(processes):
        set_seed(0)
        kind, options = DecompSerTrainer, {"augmentation": AugmentationSettings(speed=0.2)}
        own, collate = copy.deepcopy(model), collator
        if stage == "pretraining":
            config = build_config(load_settings("base", CALM), speakers=collator.speakers)
            own, kind, options = DecompSerForPreTraining(config), DecompSerPreTrainer, {}
            collate = crops_of(collator, own)
        steps = {"num_train_epochs": 2, "per_device_train_batch_size": 4}
        trainer = kind(
            model=own,
            args=arguments(tmp_path, dataloader_num_workers=processes, **steps),
            train_dataset=rows,
            data_collator=collate,
            **options,
        )
        trainer.train()
        return own

    assert_same_weights(train_with(0), train_with(2), tolerance=0)


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


def trainer_of(model, rows, collator, folder, *, kind=DecompSerTrainer, options=None, **fields):
    """A Trainer that has not begun, on a copy of the model in training mode."""
    trainer = kind(
        model=copy.deepcopy(model).train(),
        args=arguments(folder, **fields),
        train_dataset=rows,
        data_collator=collator,
        **(options or {}),
    )
    trainer.state.epoch = 0
    return trainer


def test_random_states_of_all_processes_are_there_before_a_checkpoint_counts_as_whole(
    model, rows, collator, tmp_path, monkeypatch
):
    trainer = trainer_of(model, rows, collator, tmp_path)
    trainer.create_optimizer_and_scheduler(1)
    waited = []
    monkeypatch.setattr(
        trainer.accelerator,
        "wait_for_everyone",
        lambda: waited.append(sorted(path.name for path in tmp_path.glob("*/*"))),
    )
    trainer._save_checkpoint(trainer.model, None)
    # the Trainer's state, which is written last, is what tells
    assert waited and "rng_state.pth" in waited[-1] and "trainer_state.json" not in waited[-1]


def keys_heard(trainer, batch, epoch=0):
    """Keys of the random draws that the model is given for a batch."""
    heard = []
    hook = trainer.model.register_forward_pre_hook(
        lambda module, args, kwargs: heard.append(kwargs["resampling_keys"].tolist()),
        with_kwargs=True,
    )
    trainer.state.epoch = epoch
    with torch.no_grad():
        trainer.compute_loss(trainer.model, batch)
    hook.remove()
    return heard[0]


def test_seed_epoch_and_turn_each_give_other_draws(model, rows, collator, tmp_path):
    batch = collator(rows)
    first, second = (trainer_of(model, rows, collator, tmp_path, seed=seed) for seed in (1, 2))
    keys = [keys_heard(first, batch), keys_heard(first, batch, 1.0), keys_heard(second, batch)]
    assert len({key for of_batch in keys for key in of_batch}) == 3 * len(rows)
    # the same throughout an epoch
    assert keys_heard(first, batch, 1.9) == keys[1]


def test_a_batch_is_augmented_whole_and_keyed(model, rows, collator, tmp_path):
    settings = AugmentationSettings(gain_decibels=20.0)
    options = {"augmentation": settings}
    trainer = trainer_of(model, rows, collator, tmp_path, options=options)
    batch = collator(rows)
    keys = batch.pop("row_keys")
    perturbed = trainer.perturb(dict(batch), keys)
    assert torch.equal(perturbed["resampling_keys"], keys)
    assert set(perturbed) == {*batch, "resampling_keys"}
    assert not torch.equal(perturbed["mel"], batch["mel"])
    plain = trainer_of(model, rows, collator, tmp_path).perturb(dict(batch), keys)
    assert all(plain[name] is batch[name] for name in batch)


def test_what_processes_have_divided_by_the_turns_of_all_is_scaled_back(
    model, rows, collator, tmp_path
):
    trainer, batch = trainer_of(model, rows, collator, tmp_path), collator(rows)
    # 16 turns in the step of two processes, 8 of them here
    counts = {k: 2 * v for k, v in count_turns(batch, model.config).items()}

    def loss(processes, counts):
        trainer.accelerator = SimpleNamespace(num_processes=processes)
        with torch.no_grad():
            return trainer.compute_loss(trainer.model, batch, num_items_in_batch=counts).item()

    alone = loss(1, None)
    assert loss(2, counts) == pytest.approx(alone, rel=1e-5)
    assert loss(1, counts) == pytest.approx(alone / 2, rel=1e-5)
    # without counts, a mean over the turns of this process
    assert loss(2, None) == pytest.approx(alone, rel=1e-5)


def test_turns_of_a_step_are_counted_over_its_batches_and_processes(
    model, rows, collator, tmp_path
):
    trainer = trainer_of(model, rows, collator, tmp_path)
    trainer.accelerator = SimpleNamespace(
        reduce=lambda value, how: {"sum": 3 * value}[how], unwrap_model=lambda model: model
    )
    batches = iter([collator(rows[:4]), collator(rows[4:])])
    taken, counts = trainer.get_batch_samples(batches, 2, torch.device("cpu"))
    assert len(taken) == 2
    expected = {"emotion": 8, "speaker": 7, "ctc": 4, "reconstruction": 8}
    assert {k: int(v) for k, v in counts.items()} == {k: 3 * n for k, n in expected.items()}
    silent = [{**row, "text": None} for row in rows[:1]]
    _, counts = trainer.get_batch_samples(iter([collator(silent)]), 1, torch.device("cpu"))
    assert int(counts["ctc"]) == 1  # nothing is divided by zero
    assert trainer.get_batch_samples(iter([]), 1, torch.device("cpu")) == ([], None)


def test_weights_decay_and_neither_biases_nor_norms_do(model, rows, collator, tmp_path):
    rates = {"decomposition": 2.0, "ctc_head": 0.5}
    trainer = trainer_of(
        model, rows, collator, tmp_path, options={"rates": rates}, weight_decay=0.3
    )
    frozen = trainer.model.emotion_head.bias
    frozen.requires_grad_(False)
    names = {id(p): name for name, p in trainer.model.named_parameters()}
    norms = {
        id(p)
        for module in trainer.model.modules()
        if isinstance(module, torch.nn.LayerNorm | torch.nn.GroupNorm)
        for p in module.parameters()
    }
    groups = trainer.create_optimizer().param_groups
    found = [id(p) for group in groups for p in group["params"]]
    assert len(found) == len(set(found)) and set(found) == names.keys() - {id(frozen)}
    decays = set()
    for group in groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            assert group["lr"] == pytest.approx(0.1 * rates.get(name.split(".")[0], 1.0))
            if name.endswith("bias") or id(parameter) in norms:
                assert group["weight_decay"] == 0, name
            decays.add(group["weight_decay"])
    of_weights = [g["weight_decay"] for g in groups for p in g["params"] if p.dim() > 1]
    assert decays == {0.0, 0.3} and of_weights.count(0.3) > 0.8 * len(of_weights)


@pytest.mark.parametrize(
    ("max_steps", "logging_steps", "expected"),
    [
        (100, 10, [20, 40, 60, 80, 100]),
        (3, 1, [1, 2, 3]),
        (12, 1, [2, 4, 6, 8, 10, 12]),
        (4, 50, []),
    ],
)
def test_gradient_norms_are_of_about_five_log_lines(
    max_steps, logging_steps, expected, model, rows, collator, tmp_path
):
    trainer = trainer_of(model, rows, collator, tmp_path)
    trainer.state.max_steps, trainer.state.logging_steps = max_steps, logging_steps
    wanted = []
    for done in range(max_steps):
        trainer.state.global_step = done
        if trainer.wants_gradient_norms():
            wanted.append(done + 1)
    assert wanted == expected
    trainer.gradient_norms = {"emotion": 1.0}  # of an earlier batch of the step
    assert not trainer.wants_gradient_norms()


def test_a_log_line_is_the_mean_of_its_steps_and_the_sum_of_what_is_counted(
    model, rows, collator, tmp_path
):
    long = [{**row, "text": "SHE " * 100} for row in rows[:4]]
    options = {"per_device_train_batch_size": 2, "max_steps": 2, "learning_rate": 0.0}
    logs = []
    for name, every in (("each", 1), ("both", 2)):
        fields = {"train_sampling_strategy": "sequential", **options}
        given = arguments(tmp_path / name, **{k: v for k, v in fields.items() if k[0] != "l"})
        given.learning_rate, given.logging_steps = 0.0, every
        trainer = DecompSerTrainer(
            model=copy.deepcopy(model), args=given, train_dataset=long, data_collator=collator
        )
        trainer.train()
        logs.append([line for line in trainer.state.log_history if "loss_emotion" in line])
    (first, second), (both,) = logs
    for name in ("loss_emotion", "loss_speaker", "loss_reconstruction", "weighted_loss_emotion"):
        assert both[name] == pytest.approx((first[name] + second[name]) / 2, rel=1e-4)
    assert both["transcripts_longer_than_frames"] == 4
    assert first["transcripts_longer_than_frames"] == second["transcripts_longer_than_frames"] == 2


def test_turns_without_a_label_count_in_no_class_weight(model, rows, collator, tmp_path):
    weights = torch.tensor([0.5, 1.0, 1.5, 2.0])
    options = {"class_weights": weights}
    trainer = trainer_of(model, rows, collator, tmp_path, options=options)
    batch = collator(rows)
    batch["labels"][2] = -100
    with torch.no_grad():
        _, output = trainer.compute_loss(trainer.model, batch, return_outputs=True)
    loss = output.task_losses["emotion"]
    assert loss.counted.tolist() == [k != 2 for k in range(8)] and loss.per_row[2] == 0
    del batch["labels"]
    with torch.no_grad():
        _, output = trainer.compute_loss(trainer.model, batch, return_outputs=True)
    assert not output.task_losses["emotion"].counted.any()


def test_the_order_of_turns_is_by_seed_epoch_and_length(model, rows, collator, tmp_path):
    kept = RowsInMemory(rows, 16000)

    def order(epoch=0, **fields):
        fields = {"train_sampling_strategy": "random", "per_device_train_batch_size": 2} | fields
        trainer = trainer_of(model, kept, collator, tmp_path, **fields)
        trainer.state.epoch = epoch
        return list(trainer.get_train_dataloader().batch_sampler)

    first = order(seed=1)
    assert [len(batch) for batch in first] == [2, 2, 2, 2] and order(seed=1) == first
    assert order(seed=2) != first and order(1.0, seed=1) != first
    grouped = order(train_sampling_strategy="group_by_length", length_column_name="duration")
    durations = kept["duration"]
    assert all(durations[a] >= durations[b] for a, b in grouped)
    stock = order(train_sampling_strategy="sequential")
    assert [i for batch in stock for i in batch] == list(range(8))


def test_an_evaluation_scores_what_it_is_given_and_names_what_is_known(
    model, rows, collator, tmp_path
):
    seen = []

    def score(dataset, turns):
        seen.append((len(dataset), len(turns.logits)))
        return {"uar": 0.25, "unknown": None}

    three, five = (RowsInMemory(rows[:n], 16000) for n in (3, 5))
    options = {"score_turns": score, "eval_dataset": three}
    trainer = trainer_of(model, rows, collator, tmp_path, options=options)
    scores = trainer.evaluate(), trainer.evaluate(five, metric_key_prefix="test")
    for found, name in zip(scores, ("eval_uar", "test_uar"), strict=True):
        assert {k: v for k, v in found.items() if k != "epoch"} == {name: 0.25}
    assert seen == [(3, 3), (5, 5)]
    assert trainer.state.log_history[-1]["test_uar"] == 0.25
    assert trainer.logged == {}


def test_a_part_is_named_whatever_wraps_the_model():
    names = ("speech_encoder.masked_spec_embed", "module.ctc_head.bias", "emotion_head.weight")
    assert [part_of(name) for name in names] == ["speech_encoder", "ctc_head", "emotion_head"]


def test_the_optimiser_is_of_the_model_that_is_given(model, rows, collator, tmp_path, monkeypatch):
    trainer = trainer_of(model, rows, collator, tmp_path, options={"rates": {"ctc_head": 0.5}})
    other, asked = torch.nn.ModuleDict({"ctc_head": torch.nn.Linear(2, 3)}), []
    kind = trainer.get_optimizer_cls_and_kwargs
    monkeypatch.setattr(
        trainer,
        "get_optimizer_cls_and_kwargs",
        lambda args, model: asked.append(model) or kind(args, model),
    )
    optimizer = trainer.create_optimizer(other)
    assert asked == [other]
    given = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert given == {id(p) for p in other.parameters()}
    assert {group["lr"] for group in optimizer.param_groups} == {0.05}
    # it is made once
    assert trainer.create_optimizer() is trainer.optimizer is optimizer


def test_gradient_norms_by_hand():
    model = torch.nn.ParameterDict({"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([5.0])})
    model["frozen"] = torch.nn.Parameter(torch.tensor([7.0]), requires_grad=False)
    losses = {
        "half the square": model["a"].square().sum() / 2,
        "both": model["a"].sum() + 2 * model["b"].sum() + model["frozen"].sum(),
        "without a gradient": model["frozen"].sum(),
    }
    expected = {"half the square": 5.0, "both": 6**0.5}
    for _ in range(2):  # the graph is kept
        assert gradient_norms(losses, model) == pytest.approx(expected)
    assert model["a"].grad is None


def test_ratings_count_where_two_turns_have_them_all(model):
    keys, nan = torch.arange(4), float("nan")
    rated = torch.tensor([[1.0, 2, 3], [1.0, nan, 3], [4.0, 5, 6], [nan] * 3])
    for labels, expected in ((rated, 2), (rated[[0, 1, 1, 3]], 0)):
        counts = count_turns({"row_keys": keys, "dimension_labels": labels}, model.config)
        assert {k: int(v) for k, v in counts.items()} == {
            "reconstruction": 4,
            "dimensions": expected,
        }


def test_over_processes_losses_are_averaged_and_counts_added(model, rows, collator, tmp_path):
    trainer = trainer_of(model, rows, collator, tmp_path)
    trainer.accelerator = SimpleNamespace(
        reduce=lambda value, how: {"sum": 2.0, "mean": 1.5}[how] * value
    )
    trainer.logged = {
        "loss_emotion": torch.tensor(8.0),
        "transcripts_longer_than_frames": torch.tensor(3.0),
    }
    trainer.logged_steps = {4, 5}
    line = {"loss": 1.0}
    trainer.log(line)
    weight = trainer.loss_weights["emotion"]
    assert line["loss_emotion"] == 6 and line["weighted_loss_emotion"] == weight * 6
    assert line["transcripts_longer_than_frames"] == 6
    assert trainer.logged == {} and trainer.logged_steps == set()
    trainer.logged, trainer.logged_steps = {"transcripts_longer_than_frames": torch.zeros(1)}, {1}
    line = {"loss": 1.0}
    trainer.log(line)
    assert "transcripts_longer_than_frames" not in line


def test_callbacks_hear_of_an_evaluation_made_in_batches(model, rows, collator, tmp_path):
    heard, sizes = [], []

    class Listener(TrainerCallback):
        def on_evaluate(self, args, state, control, metrics=None, **kwargs):
            heard.append((args, state, metrics))
            control.should_training_stop = True
            return control

    options = {
        "score_turns": lambda dataset, turns: {"uar": 0.25},
        "eval_dataset": RowsInMemory(rows[:5], 16000),
        "callbacks": [Listener()],
    }
    fields = {"per_device_eval_batch_size": 2}
    trainer = trainer_of(model, rows, collator, tmp_path, options=options, **fields)
    trainer.model.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(len(kwargs["mel"])), with_kwargs=True
    )
    metrics = trainer.evaluate()
    assert sorted(sizes) == [1, 2, 2]
    ((args, state, seen),) = heard
    assert args is trainer.args and state is trainer.state and seen == metrics
    assert trainer.control.should_training_stop


def test_the_loader_has_the_workers_and_memory_that_are_asked_for(model, rows, collator, tmp_path):
    trainer = trainer_of(model, RowsInMemory(rows, 16000), collator, tmp_path)
    assert trainer.get_train_dataloader().pin_memory is False
    trainer.args.dataloader_pin_memory, trainer.args.dataloader_num_workers = True, 2
    loader = trainer.get_train_dataloader()
    assert loader.pin_memory is True and loader.num_workers == 2
    assert loader.collate_fn is collator and loader.dataset is trainer.train_dataset


def test_corpora_are_drawn_by_their_shares_or_not_at_all(model, rows, collator, tmp_path):
    mixed = [{**row, "corpus": "ab"[k > 1]} for k, row in enumerate(rows)]
    kept = RowsInMemory(mixed, 16000)
    options = {"corpus_shares": {"a": 0.5, "b": 0.5}}
    trainer = trainer_of(model, kept, collator, tmp_path, options=options)
    drawn = [i for batch in trainer.get_train_dataloader().batch_sampler for i in batch]
    # two of the eight turns are of the first corpus
    assert sum(i < 2 for i in drawn) == len(drawn) / 2 == 4
    stock = {"train_sampling_strategy": "sequential"}
    trainer = trainer_of(model, kept, collator, tmp_path, options=options, **stock)
    with pytest.raises(InputError, match="^train_sampling_strategy=.*sequential: draws no corpora"):
        trainer.get_train_dataloader()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_shares_of_votes_weigh_as_their_labels_do(smoothing, model, rows, collator, tmp_path):
    weights = torch.tensor([0.5, 1.0, 1.5, 2.0])
    options, fields = {"class_weights": weights}, {"label_smoothing_factor": smoothing}
    trainer = trainer_of(model, rows, collator, tmp_path, options=options, **fields)
    batch, votes = collator(rows), torch.tensor([0.5, 0.25, 0.25, 0.0]).expand(8, -1)
    with torch.no_grad():
        inputs = {**batch, "label_distribution": votes}
        _, output = trainer.compute_loss(trainer.model, inputs, return_outputs=True)
    target = (1 - smoothing) * votes + smoothing / 4
    expected = -(target * output.logits.log_softmax(-1)).sum(1) * (0.25 + 0.25 + 0.375)
    torch.testing.assert_close(output.task_losses["emotion"].per_row, expected)
