"""A speech encoder by wav2vec2's own objective: its draws, its trainer, and what it has heard."""

import json
import os
import signal

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from support.warm_python import draw_own_bars
from transformers import Wav2Vec2ForPreTraining
from typer.testing import CliRunner

from modeling_decomp_ser.speech_encoder import load_speech_encoder
from processing.corpora.unlabelled import load_speech
from processing.errors import InputError
from processing.folds import load_folds
from train_scripts.pretrain_encoder import app
from train_scripts.runs.settings import load_settings
from train_scripts.training.contrastive_trainer import (
    EncoderPreTrainer,
    SpeechCrops,
    draw_masks,
    draw_negatives,
    predict_masked,
)
from train_scripts.training.encoder_pretraining import (
    EncoderRun,
    build_trainer,
    encoder_config,
    in_memory,
    pretrain_encoder,
)
from train_scripts.training.finetuning import finetune
from train_scripts.training.left_out_turns import leave_out_fold, leave_out_speakers
from train_scripts.training.stage import read_log

TINY = [
    "size=tiny",
    "encoder_pretraining.max_steps=6",
    "encoder_pretraining.save_steps=2",
    "encoder_pretraining.logging_steps=1",
    "encoder_pretraining.per_device_train_batch_size=8",
    "encoder_pretraining.crop_seconds=0.8",
]
KEYS = torch.tensor([11, 2**40 + 3, 5])


@pytest.fixture(scope="module")
def config():
    return encoder_config(load_settings("base", TINY))


@pytest.fixture(scope="module")
def encoder(corpus_folder, fold, tmp_path_factory):
    """A pre-trained encoder of a fold, and its record."""
    folder = tmp_path_factory.mktemp("encoder") / "of_fold"
    record = pretrain_encoder(
        "base",
        data=[str(corpus_folder)],
        output=folder,
        protocol="speaker",
        fold=fold,
        overrides=TINY,
    )
    return folder, record


def samples_mask(*lengths):
    return (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()


def test_masks_and_negatives_depend_on_the_row_and_not_on_its_batch(config):
    together = samples_mask(16000, 9000, 30000)
    masks = draw_masks(config, together, KEYS)
    negatives = draw_negatives(masks, KEYS, 20)
    for row, length in enumerate((16000, 9000, 30000)):
        key = KEYS[row : row + 1]
        alone = draw_masks(config, samples_mask(length), key)
        size = alone.shape[1]
        assert torch.equal(masks[row, :size], alone[0])
        assert not masks[row, size:].any()
        own = draw_negatives(alone, key, 20)
        assert torch.equal(negatives[row, :size][alone[0]], own[0][alone[0]])
    others = draw_masks(config, together, KEYS + 1)
    assert not torch.equal(masks, others)
    assert 0.3 < masks.sum() / (sum((16000, 9000, 30000)) / 320) < 0.65


@pytest.mark.parametrize("length", [2204, 2600, 4000, 48000])
def test_negatives_are_other_masked_frames_of_the_same_row(config, length):
    keys = torch.arange(64)
    masks = draw_masks(config, samples_mask(*[length] * 64), keys)
    negatives = draw_negatives(masks, keys, 50)
    rows, frames = masks.nonzero(as_tuple=True)
    assert len(rows)
    drawn = negatives[rows, frames]
    assert masks[rows[:, None], drawn].all()
    assert (drawn != frames[:, None]).all()


def test_negatives_are_drawn_uniformly():
    masks = torch.zeros(1, 12, dtype=torch.bool)
    masks[0, [1, 2, 5, 9, 10]] = True
    counts = torch.bincount(draw_negatives(masks, KEYS[:1], 8000)[0, 5], minlength=12)
    assert counts[[0, 3, 4, 5, 6, 7, 8, 11]].sum() == 0
    assert (counts[[1, 2, 9, 10]] - 2000).abs().max() < 150  # nearly four standard deviations


def test_a_row_with_nothing_to_tell_a_frame_from_is_left_whole(config):
    assert not draw_masks(config, samples_mask(600, 1000), KEYS[:2]).any()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    mask = samples_mask(16000, 9000, 12000)
    values = torch.randn(mask.shape, generator=generator) * mask
    return {"input_values": values, "attention_mask": mask, "row_keys": KEYS}


def test_losses_are_those_of_transformers(config, batch):
    torch.manual_seed(1)
    model = Wav2Vec2ForPreTraining(config).eval()
    masks = draw_masks(config, batch["attention_mask"], KEYS)
    negatives = draw_negatives(masks, KEYS, config.num_negatives)
    rows = torch.arange(3)[:, None, None]
    with torch.no_grad():
        theirs = model(
            batch["input_values"],
            attention_mask=batch["attention_mask"],
            mask_time_indices=masks,
            sampled_negative_indices=negatives + masks.shape[1] * rows,
        )
        ours = predict_masked(model, config, batch)
    assert ours.masked == masks.sum()
    assert ours.contrastive.item() == pytest.approx(theirs.contrastive_loss.item(), rel=1e-5)
    assert ours.diversity.item() == pytest.approx(theirs.diversity_loss.item(), rel=1e-5)
    assert 0 <= ours.found <= ours.masked


def test_a_collapsed_codebook_scores_what_guessing_does(config, batch):
    torch.manual_seed(1)
    model = Wav2Vec2ForPreTraining(config).eval()
    with torch.no_grad():
        model.quantizer.codevectors.fill_(0.3)
        sums = predict_masked(model, config, batch)
    share = sums.found / sums.masked
    assert share.item() == pytest.approx(1 / (1 + config.num_negatives), rel=1e-5)


def test_crops_are_keyed_by_row_and_epoch_and_normalised_as_a_whole():
    random = np.random.default_rng(0)
    rows = [
        {"id": name, "waveform": (0.2 * random.standard_normal(n) + 0.1).astype(np.float32)}
        for name, n in (("a", 20000), ("b", 5000))
    ]
    epoch = 0
    collate = SpeechCrops(16000, 8000, seed=3, epoch=lambda: epoch)
    both, alone = collate(rows), collate(rows[:1])
    assert both["input_values"].shape == (2, 8000)
    assert both["attention_mask"].sum(1).tolist() == [8000, 5000]
    assert torch.equal(both["input_values"][0], alone["input_values"][0])
    assert both["input_values"][1, :5000].mean().abs() < 1e-5
    assert both["input_values"][1, :5000].std().item() == pytest.approx(1, abs=1e-3)
    epoch = 1
    assert not torch.equal(collate(rows)["input_values"][0], alone["input_values"][0])


def test_a_saved_encoder_loads_with_every_tensor(encoder):
    folder, _ = encoder
    saved = load_file(folder / "model.safetensors")
    own = {k.removeprefix("wav2vec2."): v for k, v in saved.items() if k.startswith("wav2vec2.")}
    loaded = load_speech_encoder(str(folder)).state_dict()
    assert loaded.keys() == own.keys()
    for name, value in loaded.items():
        assert torch.equal(value, own[name]), name
    assert any(name.startswith("quantizer.") for name in saved)


def test_a_saved_encoder_masks_and_drops_as_its_size_does_in_fine_tuning(encoder):
    folder, _ = encoder
    config = load_speech_encoder(str(folder)).config
    own = load_settings("base", TINY).model["speech_config"]
    for name, value in own.items():
        assert getattr(config, name) == value, name


def test_the_record_says_what_was_heard(encoder, corpus_folder, fold):
    folder, record = encoder
    assert record == json.loads((folder / "encoder.json").read_text())
    assert record["trained_on"] == corpus_folder.name
    assert record["heldout"]["contrastive_accuracy"] > 0
    assert (folder / "losses.png").is_file()
    heard = json.loads((folder / "training_rows.json").read_text())
    folds = load_folds(str(corpus_folder), "speaker", fold)
    allowed = {*folds["train"]["id"], *folds["heldout_turns"]["id"]}
    assert set(heard["ids"]) < allowed
    assert len(heard["ids"]) + record["num_heldout_turns"] == len(allowed)
    assert not {*heard["speakers"]} & {*folds["test"]["speaker"], *folds["validation"]["speaker"]}


def kill_in_step(monkeypatch, step):
    compute_loss = EncoderPreTrainer.compute_loss

    def planted(self, *args, **kwargs):
        if self.state.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return compute_loss(self, *args, **kwargs)

    monkeypatch.setattr(EncoderPreTrainer, "compute_loss", planted)


def test_killed_and_restarted_it_ends_the_same(encoder, corpus_folder, fold, tmp_path, monkeypatch):
    whole, record = encoder

    def run():
        return pretrain_encoder(
            "base",
            data=[str(corpus_folder)],
            output=tmp_path / "encoder",
            protocol="speaker",
            fold=fold,
            overrides=TINY,
        )

    for step in (3, 5):  # in the middle of the first epoch, which has four steps, and of the next
        child = os.fork()
        if child == 0:
            draw_own_bars()
            kill_in_step(monkeypatch, step)
            run()
            os._exit(1)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    again = run()
    weights, expected = (load_file(f / "model.safetensors") for f in (tmp_path / "encoder", whole))
    for name, value in expected.items():
        assert torch.equal(weights[name], value), name
    names = ("step", "loss_contrastive", "loss_diversity", "contrastive_accuracy")
    logs = [
        [[line[n] for n in names] for line in read_log(f) if "loss" in line]
        for f in (tmp_path / "encoder", whole)
    ]
    assert len(logs[0]) == 6
    assert logs[0] == logs[1]
    assert again["heldout"] == record["heldout"]
    with pytest.raises(InputError, match="holds a finished run"):
        run()


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_loss_of_a_step_is_a_mean_over_its_masked_frames(
    corpus_folder, config, accumulation, tmp_path
):
    """However the step is divided into batches; without the noise of the codes."""
    settings = load_settings(
        "base",
        [
            *TINY,
            "encoder_pretraining.max_steps=1",
            f"encoder_pretraining.gradient_accumulation_steps={accumulation}",
            f"encoder_pretraining.per_device_train_batch_size={8 // accumulation}",
            "encoder_pretraining.speech_config.diversity_loss_weight=0.0",
        ],
    )
    rows = load_speech(str(corpus_folder)).select(range(8))
    run = EncoderRun(settings, tmp_path, 16000, {}, rows, rows.select([]))
    torch.manual_seed(0)
    model = Wav2Vec2ForPreTraining(encoder_config(settings))
    trainer = build_trainer(model, run)
    collate = SpeechCrops(16000, 12800, seed=0)
    batch = collate([in_memory(rows, 16000)[i] for i in range(8)])
    model.forward = model.eval().forward  # the codes of most weight
    expected = predict_masked(model, model.config, batch)
    model.train = lambda mode=True: model
    trainer.train()
    logged = next(line for line in trainer.state.log_history if "loss" in line)
    wanted = (expected.contrastive / expected.masked).item()
    assert logged["loss_contrastive"] == pytest.approx(wanted, rel=1e-4)
    assert logged["loss"] == pytest.approx(wanted, rel=1e-4)
    assert logged["contrastive_accuracy"] == pytest.approx(
        (expected.found / expected.masked).item(), rel=1e-4
    )


def test_an_encoder_that_has_heard_the_test_fold_is_refused_unless_told(
    encoder, corpus_folder, fold, quick_settings, tmp_path
):
    folder, _ = encoder
    heard = json.loads((folder / "training_rows.json").read_text())
    options = {
        "data": str(corpus_folder),
        "protocol": "speaker",
        "overrides": [
            *quick_settings,
            f"speech_encoder={folder}",
            "finetuning.num_train_epochs=1",
        ],
    }
    known = heard["speakers"][0]
    with pytest.raises(InputError, match=r"speech_encoder=.*1 of the test speakers.*allow-overlap"):
        finetune("base", fold=known, output=tmp_path / "refused", **options)
    marked = finetune("base", fold=known, output=tmp_path / "marked", allow_overlap=True, **options)
    assert marked.protocol.leaks
    assert "test speakers are in its training set" in str(marked.pretraining_overlap)
    honest = finetune("base", fold=fold, output=tmp_path / "honest", **options)
    assert not honest.protocol.leaks
    assert honest.pretraining_overlap is None
    rows = json.loads((tmp_path / "honest" / "training_rows.json").read_text())
    assert set(heard["ids"]) <= set(rows["ids"])


def test_the_record_of_a_fine_tuning_names_what_its_encoder_heard():
    from train_scripts.training.finetuning import join_corpora

    assert join_corpora("ravdess", "nemo+esd") == "esd+nemo+ravdess"
    assert join_corpora(None, "nemo") is None


@pytest.fixture
def audio_folder(tmp_path):
    """Six files of four formats in two folders, and what is no speech."""
    folder = tmp_path / "speech"
    (folder / "deeper").mkdir(parents=True)
    random = np.random.default_rng(0)
    names = ["a.wav", "b.flac", "deeper/c.ogg", "deeper/d.mp3", "e.WAV", "deeper/a.wav"]
    for name in names:
        noise = 0.1 * random.standard_normal(16000)
        soundfile.write(folder / name, noise, 16000, format=name.rsplit(".")[-1].upper())
    (folder / "notes.txt").write_text("no speech")
    (folder / "._a.wav").write_bytes(b"macOS")
    return folder


def test_a_plain_folder_of_files_is_speech(audio_folder, tmp_path):
    corpus = load_speech(audio_folder)
    assert corpus["id"] == [
        "a.wav",
        "b.flac",
        "deeper/a.wav",
        "deeper/c.ogg",
        "deeper/d.mp3",
        "e.WAV",
    ]
    assert set(corpus["corpus"]) == {"speech"}
    assert set(corpus["speaker"]) == {None}
    done = CliRunner().invoke(
        app,
        ["base", *TINY, "--data", str(audio_folder), "--output", str(tmp_path / "encoder")],
        catch_exceptions=False,
    )
    assert done.exit_code == 0
    assert "guessing" in done.stdout
    heard = json.loads((tmp_path / "encoder" / "training_rows.json").read_text())
    assert heard["speakers"] == []


def test_a_bad_file_is_named_and_left_out_where_asked(audio_folder, caplog):
    damaged = audio_folder / "b.flac"
    damaged.write_bytes(damaged.read_bytes()[:4000])
    (audio_folder / "deeper" / "c.ogg").write_bytes(b"")
    with pytest.raises(InputError, match=r"c\.ogg: 0 bytes.*--skip-bad"):
        load_speech(audio_folder)
    corpus = load_speech(audio_folder, skip_bad=True)
    assert len(corpus) == 4
    assert "c.ogg" in caplog.text and "b.flac" in caplog.text


def test_a_folder_without_audio_says_what_is_read(tmp_path):
    with pytest.raises(InputError, match=r"nor audio files.*\.wav, \.flac, \.ogg, \.mp3"):
        load_speech(tmp_path)


def test_a_table_needs_no_emotions(corpus_folder, tmp_path):
    lines = (corpus_folder / "metadata.csv").read_text().splitlines()
    (tmp_path / "audio").symlink_to(corpus_folder / "audio")
    without = [",".join([first, *rest]) for first, _, *rest in (x.split(",") for x in lines)]
    (tmp_path / "metadata.csv").write_text("\n".join(without))
    corpus = load_speech(tmp_path)
    assert len(corpus) == len(lines) - 1
    assert "emotion" not in corpus.column_names


def test_what_one_corpus_leaves_out_is_left_out_of_all(corpus_folder, fold):
    corpus = load_speech(str(corpus_folder))
    speakers = sorted(set(corpus["speaker"]))
    plain = corpus.remove_columns("speaker").add_column("speaker", [None] * len(corpus))
    folds = load_folds(str(corpus_folder), "speaker", fold)
    left = len(folds["train"]) + len(folds["heldout_turns"])
    kept = leave_out_fold({"a": corpus, "b": plain}, "speaker", fold)
    assert {name: len(rows) for name, rows in kept.items()} == {"a": left, "b": left}
    with pytest.raises(InputError, match="fold 'nobody' is in none of a"):
        leave_out_fold({"a": corpus}, "speaker", "nobody")
    kept = leave_out_speakers({"a": corpus}, speakers[:2])
    assert set(kept["a"]["speaker"]) == set(speakers[2:])
    with pytest.raises(InputError, match="speaker 'nobody' is in none of a"):
        leave_out_speakers({"a": corpus}, ["nobody"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["encoder_pretraining.speech_config.num_negative=3"], "num_negative' does not exist"),
        (["encoder_pretraining.speech_config.mask_time_prob=0.0"], "expected a share above 0"),
        (["speech_encoder=facebook/wav2vec2-base"], "trains from random weights"),
        (["model.use_speech_encoder=false", "model.ctc_weight=0.0"], "encoder is none, expected"),
        (["encoder_pretraining.crop=3"], "Did you mean encoder_pretraining.crop_seconds"),
    ],
)
def test_a_wrong_setting_is_named_with_the_way_out(settings, message):
    with pytest.raises(InputError, match=message):
        encoder_config(load_settings("base", [*TINY, *settings]))
