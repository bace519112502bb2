"""`decomp-ser finetune`: train on all tasks at once and score the test fold (section 3.3, equation
5).
"""

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import EarlyStoppingCallback, TrainerState, set_seed
from transformers.utils.hub import cached_file

from modeling_decomp_ser import DecompSerForAudioClassification
from processing import DecompSerDataCollator, DecompSerFeatureExtractor, DecompSerProcessor
from processing.corpora.mixture import Mixture
from processing.corpora.rows import RATINGS
from processing.errors import InputError
from processing.features import SIGNAL_SETTINGS
from processing.folder_locks import writes_alone
from train_scripts.runs.encoder_record import corpora_heard
from train_scripts.runs.fold_data import FoldData, task_weights
from train_scripts.runs.inference import predict_turns
from train_scripts.runs.record import Calibration, Metrics, RunRecord, Scores, read_record
from train_scripts.runs.results import (
    PREDICTIONS,
    VALIDATION_PREDICTIONS,
    score_rows,
    write_predictions,
)
from train_scripts.runs.rows_in_memory import keep_in_memory, loader_processes
from train_scripts.runs.run_folder import (
    RESULTS,
    find_overlap,
    load_model,
)
from train_scripts.runs.settings import FROM_SCRATCH, RunSettings, build_config
from train_scripts.runs.training_mean import store_training_mean
from train_scripts.training.calibration import calibrate_on, measure_on_test
from train_scripts.training.lora import add_adapters, merge_adapters
from train_scripts.training.stage import (
    StageRun,
    check_sharding,
    gather,
    model_fields,
    open_run,
    train,
    training_arguments,
)
from train_scripts.training.trainer import PARTS, DecompSerTrainer

logger = logging.getLogger(__name__)


@writes_alone
def finetune(
    preset: str,
    *,
    data: str | Mixture,
    protocol: str,
    fold: str,
    output: str | Path,
    pretrained: str | None = None,
    overrides: list[str] | None = None,
    skip_bad: bool = False,
    allow_overlap: bool = False,
) -> RunRecord:
    """Train on the training turns of a fold and score its test turns; an interrupted run is
    resumed.

    Args:
        preset: name or path.
        data: one corpus or a mixture, see `load_corpus`.
        protocol: see `load_folds`.
        fold: see `load_folds`.
        output: folder of the run; the saved model is in it.
        pretrained: folder of `pretrain`, whose decomposition is the starting point.
        overrides: "key=value" settings.
        skip_bad: leave out clips that cannot be used.
        allow_overlap: take a pre-trained model that knows test turns or speakers; the result is
            marked.

    Returns:
        The record of the run.
    """
    run = open_run(
        preset,
        data=data,
        protocol=protocol,
        fold=fold,
        output=output,
        overrides=overrides,
        skip_bad=skip_bad,
    )
    check_validation(run.settings, run.data)
    check_votes(run.settings, run.data)
    switch_off_dimensions(run.settings, run.data)
    encoder = encoder_begun_from(run.settings)
    overlap = check_pretrained(pretrained, encoder, run.data, allow_overlap)
    model = start_model(run, pretrained)
    trainer = build_trainer(model, run)
    check_sharding(trainer, run.settings.finetuning.lora_rank)
    seconds = train(trainer, run.folder)
    model = gather(trainer, model)
    if run.settings.finetuning.lora_rank:
        merge_adapters(model)
    model.config.emotion_head_trained = True
    store_training_mean(model, trainer.data_collator, run.data.folds["train"])
    validation, calibration = use_validation(model, trainer, run)
    test = score_test(model, trainer, run, calibration)
    record = RunRecord(
        **vars(test),
        **run.describe(model, trainer, seconds),
        backbone=run.settings.speech_encoder if model.config.use_speech_encoder else None,
        selected_by=run.settings.finetuning.select,
        epochs_trained=trainer.state.epoch,
        best_epoch=best_epoch(trainer.state),
        predictions=PREDICTIONS,
        task_weights=model.loss_weights,
        tasks_switched_off=run.data.missing,
        validation_metrics=validation,
        calibration=calibration,
    )
    if pretrained is not None:
        # a path of this machine would tell others nothing
        record.pretrained = Path(pretrained).name
        record.trained_on = add_corpora_of(pretrained, record.trained_on)
    if encoder is not None:
        record.trained_on = join_corpora(record.trained_on, corpora_heard(encoder))
    if overlap:
        record.protocol.leaks = True
        record.pretraining_overlap = overlap
    if trainer.is_world_process_zero():
        record = run.save(model, record, title="Fine-tuning", base=pretrained, encoder=encoder)
    return record


def encoder_begun_from(settings: RunSettings) -> str | None:
    """The pre-trained speech encoder that a run begins from, if it says what it has heard: one of
    `pretrain-encoder`. None for others, such as facebook/wav2vec2-base.
    """
    name = settings.speech_encoder
    if name == FROM_SCRATCH or not build_config(settings).use_speech_encoder:
        return None
    return name if corpora_heard(name) is not None else None


def start_model(run: StageRun, pretrained: str | None) -> DecompSerForAudioClassification:
    """The model as training finds it: drawn by the seed, with the pre-trained decomposition."""
    set_seed(run.settings.seed)
    model = build_model(run.settings, run.data, run.processor)
    if pretrained is not None:
        take_decomposition(model, run.processor.feature_extractor, pretrained)
    model.freeze_speech_encoder()
    if run.settings.finetuning.lora_rank:
        add_adapters(model, run.settings.finetuning.lora_rank)
    return model


def check_validation(settings: RunSettings, data: FoldData) -> None:
    """Raise InputError where validation speakers shall choose the epoch and there are none."""
    if settings.finetuning.select == "validation" and not len(data.folds["validation"]):
        raise InputError(
            f"finetuning.select=validation: protocol '{data.protocol['name']}' has no validation "
            "speakers. Use select=last."
        )


def check_votes(settings: RunSettings, data: FoldData) -> None:
    """Raise InputError where votes shall be learnt and no training turn has any."""
    train = data.folds["train"]
    known = list(train["votes"]) if "votes" in train.column_names else []
    if settings.finetuning.targets == "votes" and not any(known):
        raise InputError(
            "finetuning.targets=votes: no training turn has votes. Fill the column `votes`, such "
            "as angry:3;neutral:6, or leave the setting out."
        )


def switch_off_dimensions(settings: RunSettings, data: FoldData) -> None:
    """Name the dimensions among the missing tasks where they are wanted and no training turn has
    all ratings.
    """
    train = data.folds["train"]
    if not build_config(settings).dimensions_weight:
        return
    columns = [list(train[name]) for name in RATINGS if name in train.column_names]
    ratings = np.array(columns, dtype=np.float64)  # (3, N), NaN for null
    if len(ratings) < len(RATINGS) or not np.isfinite(ratings).all(0).any():
        data.missing["dimensions"] = f"no training row has {', '.join(RATINGS)}"


def use_validation(
    model, trainer: DecompSerTrainer, run: StageRun
) -> tuple[Metrics | None, Calibration | None]:
    """Score the validation turns and calibrate the model by them, where there are any; the
    predictions go to the folder, as what a fusion is weighted by.
    """
    rows = run.data.folds["validation"]
    if not len(rows):
        return None, None
    turns = predict_turns(model, trainer.data_collator, rows)
    if trainer.is_world_process_zero():
        write_predictions(run.folder, rows, turns, run.data.labels, name=VALIDATION_PREDICTIONS)
    wanted_risk = run.settings.finetuning.wanted_risk or None
    calibration = calibrate_on(model, turns, rows, wanted_risk=wanted_risk)
    return score_rows(rows, turns, run.data.labels).metrics, calibration


def score_test(
    model, trainer: DecompSerTrainer, run: StageRun, calibration: Calibration | None
) -> Scores:
    """Declare the model final, and score the test turns; their predictions go to the folder."""
    heldout_rows = run.data.folds["heldout_turns"]
    heldout = predict_turns(model, trainer.data_collator, heldout_rows)
    rows = run.data.folds.open_test(model, run.processor)
    turns = predict_turns(model, trainer.data_collator, rows)
    if calibration is not None:
        measure_on_test(calibration, model, turns, rows)
    if trainer.is_world_process_zero():
        write_predictions(run.folder, rows, turns, run.data.labels)
    return score_rows(rows, turns, run.data.labels, heldout=(heldout_rows, heldout))


def best_epoch(state: TrainerState) -> int | None:
    """The epoch whose weights validation chose; None where the last epoch's were taken."""
    epochs = [
        line["epoch"]
        for line in state.log_history
        if line["step"] == state.best_global_step and "eval_unweighted_average_recall" in line
    ]
    return round(epochs[-1]) if state.best_model_checkpoint and epochs else None


def add_corpora_of(pretrained: str, names: str | None) -> str | None:
    """Corpora of a run with those of the pre-training it starts from, joined by "+"; None where one
    of them does not say.
    """
    path = cached_file(pretrained, RESULTS, _raise_exceptions_for_missing_entries=False)
    if path is None or names is None:
        return None
    return join_corpora(names, read_record(path).trained_on)


def join_corpora(names: str | None, others: str | None) -> str | None:
    """Names of corpora and others, joined by "+"; None where either is not known.

    Examples:
        >>> join_corpora("ravdess", "nemo+ravdess")
        'nemo+ravdess'
    """
    if names is None or others is None:
        return None
    return "+".join(sorted({*names.split("+"), *others.split("+")}))


def check_pretrained(
    pretrained: str | None, encoder: str | None, data: FoldData, allow_overlap: bool
) -> str | None:
    """Refuse a pre-trained decomposition or speech encoder that knows the test fold, unless told;
    returns what overlaps.
    """
    tested = (data.folds.test_ids, data.folds.test_speakers)
    corpora = data.folds.corpus_of_test
    found = {
        title: name and find_overlap(name, *tested, corpora=corpora)
        for title, name in (
            (f"--pretrained {pretrained}", pretrained),
            (f"speech_encoder={encoder}", encoder),
        )
    }
    overlaps = {name: overlap for name, overlap in found.items() if overlap}
    for name, overlap in overlaps.items():
        if not allow_overlap:
            raise InputError(
                f"{name}: {overlap}. Pre-train on the same protocol and fold, or "
                "pass --allow-overlap to have the "
                "result marked as leaking."
            )
    return "; ".join(dict.fromkeys(overlaps.values())) or None


def build_model(
    settings: RunSettings, data: FoldData, processor: DecompSerProcessor
) -> DecompSerForAudioClassification:
    """Untrained model of a run, on its speech encoder; tasks without labels are switched off.

    Raises:
        InputError: if the speech encoder cannot be loaded.
    """
    fields = model_fields(data, processor)
    weights = {f"{k}_weight": w for k, w in wanted_weights(settings, data).items()}
    config = build_config(settings, **{**fields, **weights})
    if not config.use_speech_encoder or settings.speech_encoder == FROM_SCRATCH:
        return DecompSerForAudioClassification(config)
    try:
        return DecompSerForAudioClassification.from_speech_encoder(settings.speech_encoder, config)
    except (OSError, ValueError) as error:
        raise InputError(
            f"speech_encoder={settings.speech_encoder}: {' '.join(str(error).split())} Give a "
            "folder or a repository id that can "
            "be reached, or speech_encoder=scratch to train without pretrained weights."
        ) from error


def wanted_weights(settings: RunSettings, data: FoldData) -> dict[str, float]:
    """Task weights of the preset, without the tasks that the data do not allow."""
    config = build_config(settings)
    weights = {
        name: getattr(config, f"{name}_weight")
        for name in ("emotion", "ctc", "speaker", "reconstruction")
    }
    weights = choose_weights(weights, settings.finetuning.task_weights)
    weights = task_weights(weights, data.missing)
    if config.dimensions_weight and "dimensions" in data.missing:
        # beside the others, whose sum it does not change
        logger.warning("Task 'dimensions' is switched off: %s.", data.missing["dimensions"])
        weights["dimensions"] = 0.0
    return weights


def choose_weights(weights: dict[str, float], wanted: dict[str, float]) -> dict[str, float]:
    """Other weights for the tasks of a preset.

    Args:
        weights: of the preset; a task of weight 0 stays off.
        wanted: by task; empty for the preset's own.

    Returns:
        Weights with a sum of 1.

    Raises:
        InputError: if a task is unknown, or one of the preset's has no weight.

    Examples:
        >>> choose_weights({"emotion": 0.9, "ctc": 0.1, "speaker": 0}, {"emotion": 3, "ctc": 1})
        {'emotion': 0.75, 'ctc': 0.25, 'speaker': 0.0}
    """
    if not wanted:
        return weights
    chosen = {task: wanted.get(task, 0.0) if weights[task] else 0.0 for task in weights}
    lacking = [task for task in weights if weights[task] and not chosen[task] > 0]
    unknown = sorted(set(wanted) - set(weights))
    if lacking or unknown:
        raise InputError(
            f"finetuning.task_weights={wanted}: expected a positive weight of each of "
            f"{', '.join(task for task in weights if weights[task])}."
        )
    total = sum(chosen.values())
    return {task: weight / total for task, weight in chosen.items()}


def take_decomposition(
    model: DecompSerForAudioClassification,
    feature_extractor: DecompSerFeatureExtractor,
    pretrained: str,
) -> None:
    """Start from a pre-trained decomposition.

    Raises:
        InputError: if the model has none, or it has other signals, components or sizes.
    """
    if model.decomposition is None:
        raise InputError(
            f"--pretrained {pretrained}: this preset has no decomposition. Leave the option out."
        )
    autoencoder, before = load_model(pretrained, pretraining=True)
    for name in (*SIGNAL_SETTINGS, "f0_stats"):
        theirs = getattr(before.feature_extractor, name)
        own = getattr(feature_extractor, name)
        if theirs != own:
            raise InputError(
                f"--pretrained {pretrained}: it has features.{name}={theirs}, this run has {own}. "
                "Pre-train with the same preset and settings."
            )
    try:
        model.load_decomposition(autoencoder)
    except ValueError as error:
        raise InputError(f"--pretrained {pretrained}: {error}") from error


def build_trainer(model, run: StageRun) -> DecompSerTrainer:
    """Trainer of a run."""
    settings, data, processor = run.settings, run.data, run.processor
    stage = settings.finetuning
    collator = DecompSerDataCollator(
        processor,
        labels=data.labels,
        speakers=data.speakers if model.speaker_head is not None else (),
        with_waveform=model.speech_encoder is not None,
        with_text=model.ctc_head is not None,
        with_row_keys=True,
        with_votes=stage.targets == "votes",
        with_dimensions=model.dimensions_head is not None,
    )
    rows = keep_in_memory(
        data.folds["train"],
        sampling_rate=processor.feature_extractor.sampling_rate,
        with_waveform=collator.with_waveform or settings.augmentation.changes_sound,
    )
    selecting = stage.select == "validation"
    arguments = training_arguments(
        run.folder,
        settings,
        {"dataloader_num_workers": loader_processes(rows), **stage.arguments},
        model,
        eval_strategy="epoch" if selecting else "no",
        load_best_model_at_end=selecting,
        metric_for_best_model="unweighted_average_recall" if selecting else None,
    )
    return DecompSerTrainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        eval_dataset=data.folds["validation"] if selecting else None,
        data_collator=collator,
        score_turns=lambda rows, turns: vars(score_rows(rows, turns, data.labels).metrics),
        augmentation=settings.augmentation,
        class_weights=class_weights(settings, data),
        corpus_shares=data.mixture.shares if data.mixture else None,
        rates={part: getattr(stage, f"{part}_rate") for part in PARTS},
        callbacks=[EarlyStoppingCallback(stage.patience)] if stage.patience else [],
    )


def class_weights(settings: RunSettings, data: FoldData) -> Tensor | None:
    """Weight of each emotion, (L,), in inverse proportion to its training turns; None for equal
    weights.

    Their mean over the training turns is 1, so that the balance with the other tasks stays.
    """
    if settings.finetuning.class_weights == "none":
        return None
    emotions = data.folds["train"]["emotion"]
    counts = [emotions.count(label) for label in data.labels]
    return torch.tensor([len(emotions) / (len(data.labels) * count) for count in counts])
