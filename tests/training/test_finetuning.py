"""Whole runs: pretrain, finetune, evaluate, also the second and the interrupted one."""

import json
import math
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from support.records import plant_record
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining
from typer.testing import CliRunner

from modeling_decomp_ser import DecompSerForAudioClassification
from processing import DecompSerDataCollator, DecompSerFeatureExtractor
from processing.errors import InputError
from processing.pitch import f0_statistics
from train_scripts.answers.evaluation import evaluate
from train_scripts.cli import load_app
from train_scripts.runs.fold_data import fit_f0_statistics, load_fold_data, task_weights
from train_scripts.runs.inference import predict_turns
from train_scripts.runs.record import read_record
from train_scripts.runs.results import VALIDATION_PREDICTIONS, score_rows, summarize
from train_scripts.runs.run_folder import load_model
from train_scripts.runs.settings import build_config, build_feature_extractor, load_settings
from train_scripts.runs.training_mean import mean_pooled_features
from train_scripts.training.finetuning import (
    add_corpora_of,
    choose_weights,
    class_weights,
    finetune,
)
from train_scripts.training.pretraining import PreTrainingCollator, pretrain, sweep_omega
from train_scripts.training.stage import read_log

CONTRACT = [
    "preset size backbone protocol fold seed selected_by n_parameters metrics per_class",
    "per_speaker confusion labels predictions settings versions commit seconds",
]
METRICS = [
    "weighted_accuracy unweighted_average_recall macro_f1 word_error_rate speaker_accuracy",
    "speech_mse speech_mse_padded ece",
]


def options(corpus_folder, fold, quick_settings, **more):
    return {
        "data": str(corpus_folder),
        "protocol": "speaker",
        "fold": fold,
        "overrides": quick_settings,
        **more,
    }


def test_results_have_the_contract_s_entries_and_plausible_values(trained_run):
    pretrained, model, results = trained_run
    stored = json.loads((model / "results.json").read_text())
    assert set(stored.pop("digests")) == {
        *("results.json", "settings.yaml"),
        *("predictions.parquet", "validation_predictions.parquet"),
    }
    assert stored == json.loads(json.dumps(results.to_dict()))
    assert set(" ".join(CONTRACT).split()) <= set(stored)
    assert set(" ".join(METRICS).split()) <= set(stored["metrics"])
    assert set(stored["protocol"]) == {"name", "version", "hash", "leaks"}
    assert stored["protocol"]["leaks"] is False
    assert stored["backbone"] == "scratch"
    assert stored["labels"] == ["angry", "happy", "sad", "neutral"]
    assert sum(map(sum, stored["confusion"])) == 12
    assert all(math.isfinite(stored["metrics"][name]) for name in " ".join(METRICS).split())
    assert stored["n_parameters"] == sum(
        v.numel() for k, v in load_file(model / "model.safetensors").items() if k != "pooled_mean"
    )


def test_predictions_repeat_the_scores(trained_run):
    _, model, results = trained_run
    table = Dataset.from_parquet(str(model / results.predictions))
    assert len(table) == 12
    right = [p == label for p, label in zip(table["prediction"], table["label"], strict=True)]
    assert sum(right) / 12 == pytest.approx(results.metrics.weighted_accuracy)
    for row in table:
        probabilities = {label: row[f"probability_{label}"] for label in results.labels}
        assert sum(probabilities.values()) == pytest.approx(1)
        assert max(probabilities, key=probabilities.get) == row["prediction"]
        assert isinstance(row["recognized_text"], str)


def test_losses_are_logged_and_drawn(trained_run):
    for folder in trained_run[:2]:
        log = read_log(folder)
        assert any("loss_reconstruction" in line for line in log)
        assert (folder / "losses.png").read_bytes().startswith(b"\x89PNG")


def test_test_speakers_are_not_among_the_trained_ones(trained_run, fold):
    for folder in trained_run[:2]:
        trained = json.loads((folder / "training_rows.json").read_text())
        assert fold not in trained["speakers"]
        assert not any(fold in row_id for row_id in trained["ids"])


def test_the_pretrained_decomposition_is_where_finetuning_starts(
    trained_run, corpus_folder, fold, quick_settings, tmp_path
):
    still = [*quick_settings, "finetuning.learning_rate=0.0"]
    finetune(
        "base",
        output=tmp_path / "model",
        pretrained=str(trained_run[0]),
        **options(corpus_folder, fold, still),
    )
    before = load_file(trained_run[0] / "model.safetensors")
    after = load_file(tmp_path / "model" / "model.safetensors")
    names = [k for k in before if k.startswith(("decomposition.", "speaker_head."))]
    assert len(names) > 50
    for name in names:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=0)


def test_the_leak_report_is_printed_before_training(corpus, fold, capsys):
    extractor = build_feature_extractor(load_settings("base", ["size=tiny"]))
    load_fold_data(corpus, "speaker", fold, extractor, num_proc=1)
    printed = capsys.readouterr().err
    assert "What of the test turns is in training" in printed
    # every speaker says the same three sentences
    assert re.search(rf"{fold} +12 .*12 \(100", printed), printed


def test_the_second_run_into_a_folder_is_refused(trained_run, corpus_folder, fold, quick_settings):
    with pytest.raises(InputError, match="holds a finished run"):
        finetune("base", output=trained_run[1], **options(corpus_folder, fold, quick_settings))


def test_other_settings_do_not_go_on_with_an_interrupted_run(
    corpus_folder, fold, quick_settings, tmp_path
):
    (tmp_path / "settings.yaml").write_text("preset: another\n")
    (tmp_path / "checkpoints" / "checkpoint-3").mkdir(parents=True)
    with pytest.raises(InputError, match="interrupted run with other settings"):
        finetune("base", output=tmp_path, **options(corpus_folder, fold, quick_settings))


def test_a_run_that_was_interrupted_ends_as_if_it_had_not_been(
    trained_run, corpus_folder, fold, quick_settings, tmp_path, monkeypatch
):
    from train_scripts.training.trainer import DecompSerTrainer

    perturb = DecompSerTrainer.perturb
    steps = []

    def stop_in_the_second_epoch(self, inputs, keys):
        steps.append(1)
        if self.state.epoch >= 1.3 and len(steps) < 100:
            steps.extend([1] * 100)
            raise KeyboardInterrupt
        return perturb(self, inputs, keys)

    monkeypatch.setattr(DecompSerTrainer, "perturb", stop_in_the_second_epoch)
    run = options(
        corpus_folder,
        fold,
        quick_settings,
        output=tmp_path / "model",
        pretrained=str(trained_run[0]),
    )
    with pytest.raises(KeyboardInterrupt):
        finetune("base", **run)
    results = finetune("base", **run)
    whole = trained_run[2]
    assert len(steps) > 100
    assert vars(results.metrics) == pytest.approx(vars(whole.metrics), abs=1e-6)
    assert results.confusion == whole.confusion


def test_evaluate_repeats_the_score_of_the_run(trained_run, corpus_folder, fold, tmp_path):
    _, model, results = trained_run
    again = evaluate(
        str(model),
        data=str(corpus_folder),
        protocol="speaker",
        fold=fold,
        output=tmp_path,
        batch_size=3,
    )
    assert again.confusion == results.confusion
    for name in ("word_error_rate", "speech_mse", "speech_mse_padded", "ece"):
        own = getattr(results.metrics, name)
        assert getattr(again.metrics, name) == pytest.approx(own, abs=1e-6)
    assert again.metrics.speaker_accuracy is None
    assert again.protocol == results.protocol
    assert (tmp_path / "predictions.parquet").is_file()


def test_answers_to_validation_turns_are_kept_for_fusions(trained_run):
    _, model, results = trained_run
    stored = pyarrow.parquet.read_table(model / VALIDATION_PREDICTIONS).to_pydict()
    right = [a == b for a, b in zip(stored["prediction"], stored["label"], strict=True)]
    assert len(right) == results.validation_metrics.num_turns
    assert sum(right) / len(right) == results.validation_metrics.weighted_accuracy


@pytest.mark.parametrize("stage", [pretrain, finetune])
def test_a_run_in_bfloat16_is_scored_as_its_saved_model_answers(
    stage, corpus_folder, fold, quick_settings, tmp_path, monkeypatch
):
    # in software where the hardware has none
    for name, found in (("has_bfloat16", lambda: True), ("convolves_right", lambda model: True)):
        monkeypatch.setattr(f"train_scripts.runs.precision.{name}", found)
    short = ["pretraining.max_steps=1", "finetuning.num_train_epochs=1"]
    run = options(corpus_folder, fold, [*quick_settings, "finetuning.bf16=true", *short])
    results = stage("base", output=tmp_path / "run", **run)
    model, processor = load_model(str(tmp_path / "run"), pretraining=stage is pretrain)
    data = load_fold_data(run["data"], run["protocol"], fold, processor.feature_extractor)
    collator = DecompSerDataCollator(
        processor,
        labels=data.labels,
        speakers=data.speakers,
        with_waveform=stage is finetune,
        with_text=stage is finetune,
    )
    collate = PreTrainingCollator(collator) if stage is pretrain else collator
    mse = predict_turns(model, collate, data.folds.open_test()).speech_mse.mean()
    assert results.metrics.speech_mse == pytest.approx(float(mse), rel=1e-6)


def test_a_device_without_bfloat16_is_recorded_as_float32(
    corpus_folder, fold, quick_settings, tmp_path, monkeypatch
):
    monkeypatch.setattr("train_scripts.runs.precision.has_bfloat16", lambda: False)
    run = options(corpus_folder, fold, [*quick_settings, "finetuning.bf16=true"])
    results = finetune("table3_m1", output=tmp_path, **run)
    assert results.settings["finetuning"]["bf16"] and results.precision == "float32"
    assert read_record(tmp_path).precision == "float32" and results.best_epoch is None


def test_evaluate_refuses_what_the_model_was_trained_on_unless_told(
    trained_run, corpus_folder, fold
):
    _, model, _ = trained_run
    with pytest.raises(InputError, match=r"of the test turns and \d of the test speakers"):
        evaluate(str(model), data=str(corpus_folder))
    marked = evaluate(str(model), data=str(corpus_folder), allow_overlap=True)
    assert marked.protocol.leaks is True
    assert "LEAKS" in summarize(marked)


def test_a_pretrained_model_that_knows_the_test_speaker_is_refused_unless_told(
    trained_run, corpus_folder, corpus, quick_settings, tmp_path
):
    other = sorted(set(corpus["speaker"]))[-1]
    run = options(
        corpus_folder,
        other,
        quick_settings,
        output=tmp_path / "model",
        pretrained=str(trained_run[0]),
    )
    with pytest.raises(InputError, match="--pretrained .*test speakers are in its training set"):
        finetune("base", **run)
    results = finetune("base", allow_overlap=True, **run)
    assert results.protocol.leaks is True
    assert "test speakers" in results.pretraining_overlap


def test_a_pretrained_model_that_hears_other_signals_is_refused(
    trained_run, corpus_folder, fold, quick_settings, tmp_path
):
    run = options(corpus_folder, fold, [*quick_settings, "features.f0_stats=global"])
    with pytest.raises(InputError, match="features.f0_stats=utterance, this run has global"):
        finetune("table3_ours", output=tmp_path / "m", pretrained=str(trained_run[0]), **run)


def test_selection_uses_validation_speakers_only(corpus_folder, fold, quick_settings, tmp_path):
    chosen = [*quick_settings, "finetuning.select=validation"]
    results = finetune("base", output=tmp_path / "a", **options(corpus_folder, fold, chosen))
    assert results.selected_by == "validation"
    scores = [line for line in read_log(tmp_path / "a") if "eval_unweighted_average_recall" in line]
    assert len(scores) == 2
    assert all(line["eval_num_turns"] == 12 for line in scores)
    recalls = [line["eval_unweighted_average_recall"] for line in scores]
    assert results.best_epoch == 1 + recalls.index(max(recalls))
    validation = results.validation_metrics.unweighted_average_recall
    assert validation == pytest.approx(max(recalls))
    assert read_record(tmp_path / "a").calibration.ece_test_before is not None
    run = {**options(corpus_folder, fold, chosen), "protocol": "speaker-paper"}
    with pytest.raises(InputError, match="has no validation speakers"):
        finetune("base", output=tmp_path / "b", **run)


@pytest.mark.filterwarnings("error::FutureWarning:pyarrow")
def test_validation_speakers_can_be_trained_on(corpus_folder, fold, quick_settings, tmp_path):
    settings = [*quick_settings, "train_on_validation=true"]
    run = options(corpus_folder, fold, quick_settings)
    extractor = build_feature_extractor(load_settings("base", quick_settings))
    apart = load_fold_data(run["data"], "speaker", fold, extractor)
    results = finetune("table3_m1", output=tmp_path, **{**run, "overrides": settings})
    assert vars(results.protocol) == apart.protocol  # the same test of the same protocol
    assert results.leaks.turns["validation"] == 0
    assert results.calibration is None and results.validation_metrics is None
    trained = json.loads((tmp_path / "training_rows.json").read_text())
    ids = {name: set(rows["id"]) for name, rows in apart.folds.all_turns().items()}
    assert ids["validation"] and set(trained["ids"]) == ids["train"] | ids["validation"]
    assert set(apart.folds["validation"]["speaker"]) < set(trained["speakers"])


def test_what_is_fitted_reads_training_turns_and_speakers_are_scored_on_heldout_ones(
    corpus_folder, fold, quick_settings, tmp_path, monkeypatch
):
    settings = [*quick_settings, "features.f0_stats=global"]
    heldout_ids = []

    def record(rows, turns, labels, *, heldout=None):
        if heldout is not None:
            heldout_ids.extend(heldout[0]["id"])
            assert len(heldout[1].speakers) == len(heldout[0])
        return score_rows(rows, turns, labels, heldout=heldout)

    monkeypatch.setattr("train_scripts.training.finetuning.score_rows", record)
    finetune("table2_all", output=tmp_path, **options(corpus_folder, fold, settings))
    model, processor = load_model(str(tmp_path))
    extractor = build_feature_extractor(load_settings("table2_all", settings))
    data = load_fold_data(str(corpus_folder), "speaker", fold, extractor)
    train, test = data.folds["train"], data.folds.open_test()
    assert heldout_ids == data.folds["heldout_turns"]["id"]
    trained = json.loads((tmp_path / "training_rows.json").read_text())["ids"]
    assert trained == sorted(train["id"]) and not set(trained) & set(heldout_ids)
    assert processor.feature_extractor.f0_global_stats == pytest.approx(
        f0_statistics(train["f0_hz"])
    )
    assert processor.feature_extractor.f0_global_stats != pytest.approx(
        f0_statistics(test["f0_hz"])
    )
    collator = DecompSerDataCollator(processor, labels=data.labels, speakers=data.speakers)
    means = [mean_pooled_features(model, collator, rows) for rows in (train, test)]
    torch.testing.assert_close(model.pooled_mean, means[0], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(model.pooled_mean, means[1], rtol=1e-2)


@pytest.mark.parametrize("asks", ["select=validation", "wanted_risk=0.1"])
def test_nothing_is_left_to_select_by_where_validation_is_trained_on(asks):
    with pytest.raises(InputError, match="leaves no validation turns"):
        load_settings("base", ["train_on_validation=true", f"finetuning.{asks}"])


def test_statistics_of_pitch_are_those_of_the_training_turns():
    low, high = np.array([100.0, 0.0, 100.0]), np.array([200.0, 200.0, 400.0, 400.0])
    train = {"speaker": ["a", "b"], "f0_hz": [low, high]}
    extractor = DecompSerFeatureExtractor(f0_stats="utterance-mean")
    fit_f0_statistics(extractor, train)
    # two frames without and four with a distance of half an octave from their mean
    assert extractor.f0_deviation == pytest.approx(math.log(2) / 2 * math.sqrt(4 / 6))
    extractor = DecompSerFeatureExtractor(f0_stats="speaker")
    fit_f0_statistics(extractor, train)
    assert extractor.f0_speaker_stats["a"] == pytest.approx((math.log(100), 0.0))
    extractor = DecompSerFeatureExtractor(f0_stats="global")
    fit_f0_statistics(extractor, train)
    assert extractor.f0_global_stats[0] == pytest.approx(math.log(200))
    for kind in ("global", "utterance-mean"):
        with pytest.raises(InputError, match="no training turn has a voiced frame"):
            fit_f0_statistics(
                DecompSerFeatureExtractor(f0_stats=kind), {"speaker": ["a"], "f0_hz": [low * 0]}
            )


def test_tasks_without_labels_switch_off_and_say_so(
    corpus_folder, fold, quick_settings, tmp_path, caplog
):
    silent = tmp_path / "corpus"
    shutil.copytree(corpus_folder, silent)
    lines = (silent / "metadata.csv").read_text().splitlines()
    (silent / "metadata.csv").write_text("\n".join(line.rsplit(",", 1)[0] for line in lines))
    results = finetune("base", output=tmp_path / "run", **options(silent, fold, quick_settings))
    assert results.tasks_switched_off == {"ctc": "no training row has a transcript"}
    assert "Task 'ctc' is switched off" in caplog.text
    assert results.metrics.word_error_rate is None
    assert results.task_weights["ctc"] == 0
    assert sum(results.task_weights.values()) == pytest.approx(1)
    model = DecompSerForAudioClassification.from_pretrained(tmp_path / "run")
    assert model.ctc_head is None


def test_weights_of_a_size_replace_those_of_the_tasks_that_a_preset_has():
    of_size = load_settings("table3_ours", ["size=small"]).finetuning.task_weights
    config = build_config(load_settings("table3_m4", ["size=small"]))
    preset = {task: getattr(config, f"{task}_weight") for task in of_size}
    chosen = choose_weights(preset, of_size)
    assert chosen["speaker"] == 0
    assert sum(chosen.values()) == pytest.approx(1)
    assert chosen["ctc"] / chosen["emotion"] == pytest.approx(of_size["ctc"] / of_size["emotion"])
    assert choose_weights(preset, {}) == preset


@pytest.mark.parametrize("wanted", [{"emotion": 1.0}, {"emotion": 1.0, "ctc": 0.0}, {"words": 1.0}])
def test_a_task_of_the_preset_is_not_starved_by_leaving_its_weight_out(wanted):
    with pytest.raises(InputError, match="expected a positive weight of each of emotion, ctc"):
        choose_weights({"emotion": 0.9, "ctc": 0.1, "speaker": 0.0}, wanted)


def test_switched_off_weight_goes_to_the_other_tasks_in_proportion():
    weights = {"emotion": 0.45, "ctc": 0.05, "speaker": 0.05, "reconstruction": 0.45}
    kept = task_weights(weights, {"ctc": "", "speaker": ""})
    assert kept == pytest.approx({"emotion": 0.5, "ctc": 0, "speaker": 0, "reconstruction": 0.5})


def test_variants_without_a_decomposition_train_but_are_not_pretrained(
    corpus_folder, fold, quick_settings, tmp_path
):
    run = options(corpus_folder, fold, quick_settings)
    results = finetune("table3_m1", output=tmp_path / "m1", **run)
    assert results.metrics.speech_mse is None
    assert results.metrics.speaker_accuracy is None
    with pytest.raises(InputError, match="nothing to pre-train"):
        pretrain("table3_m1", output=tmp_path / "pre", **run)


def test_pretrained_speech_encoders_are_loaded_by_name(
    corpus_folder, fold, quick_settings, tmp_path
):
    sizes = load_settings("base", quick_settings).model["speech_config"]
    encoder = Wav2Vec2ForPreTraining(
        Wav2Vec2Config(**sizes, codevector_dim=32, proj_codevector_dim=32)
    )
    encoder.save_pretrained(tmp_path / "encoder")
    chosen = [
        *quick_settings,
        f"speech_encoder={tmp_path / 'encoder'}",
        "finetuning.learning_rate=0.0",
    ]
    results = finetune("table3_m1", output=tmp_path / "m", **options(corpus_folder, fold, chosen))
    assert results.backbone == str(tmp_path / "encoder")
    trained = load_file(tmp_path / "m" / "model.safetensors")
    name = "encoder.layers.0.attention.k_proj.weight"
    torch.testing.assert_close(
        trained[f"speech_encoder.{name}"], encoder.state_dict()[f"wav2vec2.{name}"], rtol=0, atol=0
    )


def test_a_speech_encoder_that_cannot_be_loaded_is_an_error(
    corpus_folder, fold, quick_settings, tmp_path
):
    chosen = [*quick_settings, "speech_encoder=nobody/nothing"]
    with pytest.raises(InputError, match="speech_encoder=nobody/nothing: .*speech_encoder=scratch"):
        finetune("base", output=tmp_path, **options(corpus_folder, fold, chosen))


def test_the_saved_folder_answers_where_the_repository_is_not(trained_run, corpus_folder, tmp_path):
    """AutoModel, AutoProcessor and the pipeline in a process that cannot import this package."""
    code = tmp_path / "elsewhere.py"
    code.write_text(
        "import json, sys\n"
        "ours = ['modeling_decomp_ser', 'processing', 'train_scripts']\n"
        "sys.modules.update(dict.fromkeys(ours))\n"
        "from transformers import AutoModelForAudioClassification, AutoProcessor, pipeline\n"
        "folder, clip = sys.argv[1:]\n"
        "model = AutoModelForAudioClassification.from_pretrained(folder, trust_remote_code=True)\n"
        "processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)\n"
        "recognise = pipeline('audio-classification', model=folder, trust_remote_code=True)\n"
        "print(json.dumps([type(model).__module__, type(processor).__name__, recognise(clip)]))\n"
    )
    clip = sorted((corpus_folder / "audio").iterdir())[0]
    answer = subprocess.run(
        [sys.executable, "-P", str(code), str(trained_run[1]), str(clip)],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    module, processor, found = json.loads(answer.stdout.splitlines()[-1])
    assert module.startswith("transformers_modules.")
    assert processor == "DecompSerProcessor"
    # both of the whole clip, whether or not a detector of speech is installed
    whole = ["--segments", "windows"]
    told = CliRunner().invoke(load_app("predict"), [str(trained_run[1]), str(clip), *whole])
    expected = json.loads(told.stdout)[0]
    assert {f["label"]: f["score"] for f in found} == pytest.approx(
        expected["probabilities"], abs=1e-6
    )


def test_the_temperature_of_validation_speakers_is_stored_with_the_model(trained_run):
    _, model, results = trained_run
    calibration = results.calibration
    assert calibration.num_turns == 12
    assert calibration.nll_after <= calibration.nll_before
    config = json.loads((model / "config.json").read_text())
    assert config["temperature"] == pytest.approx(calibration.temperature)
    assert config["temperature"] != 1.0


def test_training_stops_early_when_validation_does_not_improve(
    corpus_folder, fold, quick_settings, tmp_path
):
    overrides = [
        *quick_settings,
        "finetuning.num_train_epochs=4",
        "finetuning.select=validation",
        "finetuning.patience=1",
        "finetuning.learning_rate=0.0",
        "finetuning.class_weights=balanced",
    ]
    results = finetune("table3_m1", output=tmp_path, **options(corpus_folder, fold, overrides))
    # the first epoch is the best so far, the second is not better
    assert results.epochs_trained == 2 and results.best_epoch == 1
    assert results.selected_by == "validation"


def test_balanced_weights_have_a_mean_of_1_over_the_turns(corpus_folder, fold):
    settings = load_settings("base", ["size=tiny", "finetuning.class_weights=balanced"])
    emotions = ["sad"] * 6 + ["happy"] * 3 + ["angry"]
    data = SimpleNamespace(folds={"train": {"emotion": emotions}}, labels=["angry", "happy", "sad"])
    weights = class_weights(settings, data)
    assert weights.tolist() == pytest.approx([10 / 3, 10 / 9, 10 / 18])
    assert sum(weights[data.labels.index(e)] for e in emotions) == pytest.approx(10)


def test_pretraining_on_all_turns_is_a_declared_leak(corpus_folder, fold, quick_settings, tmp_path):
    everything = [*quick_settings, "pretraining.scope=all"]
    run = options(corpus_folder, fold, everything)
    results = pretrain("encoders_alone", output=tmp_path / "all", **run)
    assert results.protocol.leaks is True
    trained = json.loads((tmp_path / "all" / "training_rows.json").read_text())
    assert len(trained["ids"]) == 48 and fold in trained["speakers"]
    with pytest.raises(InputError, match="12 of the test turns and 1 of the test speakers"):
        finetune("encoders_alone", output=tmp_path / "m", pretrained=str(tmp_path / "all"), **run)


def test_the_sweep_of_omega_goes_on_where_it_stopped(corpus_folder, fold, quick_settings, tmp_path):
    run = options(corpus_folder, fold, [*quick_settings, "pretraining.max_steps=1"])
    rows = sweep_omega([0.0], "encoders_alone", output=tmp_path, **run)
    first = (tmp_path / "omega-0" / "results.json").stat().st_mtime_ns
    rows = sweep_omega([0.0, 0.5], "encoders_alone", output=tmp_path, **run)
    assert [row["omega"] for row in rows] == [0.0, 0.5]
    stored = json.loads((tmp_path / "omega-0" / "results.json").read_text())
    assert rows[0] == {
        "omega": 0.0,
        **stored["validation_metrics"],
    }  # the test turns choose nothing
    assert rows[0]["speech_mse"] != stored["metrics"]["speech_mse"]
    assert (tmp_path / "omega-0" / "results.json").stat().st_mtime_ns == first
    assert json.loads((tmp_path / "omega.json").read_text()) == {"runs": rows}
    assert (tmp_path / "omega.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="expected weights from 0 to 1"):
        sweep_omega([1.5], "encoders_alone", output=tmp_path, **run)


def test_the_corpora_of_the_pretraining_are_named_too(tmp_path):
    def names(trained_on, own="ravdess"):
        plant_record(tmp_path, trained_on=trained_on)
        return add_corpora_of(str(tmp_path), own)

    assert names("iemocap+nemo") == "iemocap+nemo+ravdess"
    assert names("ravdess") == "ravdess"
    assert names(None) is None
    assert names("iemocap", own=None) is None
    (tmp_path / "results.json").unlink()
    assert add_corpora_of(str(tmp_path), "ravdess") is None
