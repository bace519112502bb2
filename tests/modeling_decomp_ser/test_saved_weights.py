"""A saved model that is damaged, changed or swapped is refused; one that was saved anew is not."""

import json
import pickle
import shutil

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from support.tiny_networks import tiny_classifier, unsealed
from support.tiny_pipeline import save_tiny_model
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    pipeline,
)

from modeling_decomp_ser import (
    DecompSerConfig,
    DecompSerForAudioClassification,
    modeling_decomp_ser,
    saved_weights,
)
from processing import DecompSerProcessor
from processing.errors import InputError
from train_scripts.runs.run_folder import load_model, save_model

WEIGHTS, CONFIG, PROCESSOR = "model.safetensors", "config.json", "processor_config.json"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_tiny_model(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def edit_json(path, **fields):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **fields}))


def test_a_saved_model_loads_and_a_changed_bit_of_its_weights_is_refused(folder):
    load_model(str(folder))
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-100] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors changed after saving"):
        AutoModelForAudioClassification.from_pretrained(folder)
    with pytest.raises(InputError, match=r"model\.safetensors changed after saving"):
        load_model(str(folder))
    unsealed(folder)
    AutoModelForAudioClassification.from_pretrained(folder)  # as folders of before


@pytest.mark.parametrize("commit", [None, "abc"])
def test_the_digest_is_read_where_the_weights_were(folder, monkeypatch, commit):
    checked = []
    monkeypatch.setattr(
        modeling_decomp_ser, "check_weights", lambda *a, **k: checked.append((a, k))
    )
    config = DecompSerConfig.from_pretrained(folder)
    config._commit_hash = commit
    place = {"revision": "main", "local_files_only": True}
    DecompSerForAudioClassification.from_pretrained(folder, config=config, **place)
    DecompSerForAudioClassification.from_pretrained(pretrained_model_name_or_path=folder)
    assert checked[0] == ((str(folder),), {**place, "_commit_hash": commit})
    assert checked[1] == ((str(folder),), {"_commit_hash": None})


def test_weights_of_another_model_are_refused(folder, tmp_path):
    other = tiny_classifier(emotion_head_trained=True)
    torch.nn.init.normal_(other.emotion_head.weight)
    other.save_pretrained(tmp_path / "other")
    shutil.copy(tmp_path / "other" / WEIGHTS, folder / WEIGHTS)
    with pytest.raises(ValueError, match="of another model"):
        AutoModelForAudioClassification.from_pretrained(folder)


def test_who_changes_weights_and_saves_gets_a_new_digest(folder, tmp_path):
    model = AutoModelForAudioClassification.from_pretrained(folder)
    before = model.config.weights_digest
    with torch.no_grad():
        model.emotion_head.bias.add_(1)
    model.save_pretrained(folder)  # over the old ones
    assert model.config.weights_digest not in (None, before)
    loaded = AutoModelForAudioClassification.from_pretrained(folder)
    assert torch.equal(loaded.emotion_head.bias, model.emotion_head.bias)
    config = AutoConfig.from_pretrained(saved_elsewhere(tmp_path))
    # a configuration of other weights is no reason to refuse
    AutoModelForAudioClassification.from_pretrained(folder, config=config)


def saved_elsewhere(tmp_path):
    tiny_classifier(emotion_head_trained=True).save_pretrained(tmp_path / "elsewhere")
    return tmp_path / "elsewhere"


def test_shards_dtypes_and_devices_of_transformers_still_work(folder):
    model = AutoModelForAudioClassification.from_pretrained(folder)
    (folder / WEIGHTS).unlink()
    model.save_pretrained(folder, max_shard_size="20kB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    expected = model.state_dict()
    for options in ({}, {"device_map": "cpu"}, {"dtype": torch.bfloat16}, {"dtype": "auto"}):
        loaded = AutoModelForAudioClassification.from_pretrained(folder, **options)
        kind = options.get("dtype") if options.get("dtype") != "auto" else None
        for name, value in loaded.state_dict().items():
            assert torch.equal(value, expected[name].to(kind or value.dtype))
    content = bytearray(shards[1].read_bytes())
    content[-1] ^= 1
    shards[1].write_bytes(content)
    with pytest.raises(ValueError, match=rf"{shards[1].name}.* changed after saving"):
        AutoModelForAudioClassification.from_pretrained(folder)


def test_a_save_that_was_interrupted_is_refused(folder, monkeypatch):
    model = AutoModelForAudioClassification.from_pretrained(folder)

    def killed(paths):
        raise KeyboardInterrupt

    monkeypatch.setattr("modeling_decomp_ser.modeling_decomp_ser.digest_of", killed)
    with pytest.raises(KeyboardInterrupt):
        model.save_pretrained(folder)
    with pytest.raises(ValueError, match="was not written to its end"):
        AutoModelForAudioClassification.from_pretrained(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(folder, value):
    weights = load_file(folder / WEIGHTS)
    weights["emotion_head.weight"][0, 0] = value
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    unsealed(folder)
    with pytest.raises(ValueError, match=r"emotion_head\.weight holds NaN or infinity"):
        AutoModelForAudioClassification.from_pretrained(folder)


def test_a_pickle_is_never_opened(folder, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "opened"), "w"))

    for name in ("pytorch_model.bin", "model.pt", "training_args.bin"):
        (folder / name).write_bytes(pickle.dumps(Trap()))
    load_model(str(folder))
    (folder / WEIGHTS).unlink()
    with pytest.raises(InputError, match="safetensors"):
        load_model(str(folder))
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize(
    ("file", "fields"),
    [
        (CONFIG, {"dtype": "float16"}),
        (CONFIG, {"temperature": 100.0}),
        (PROCESSOR, {}),
    ],
)
def test_settings_that_were_changed_after_saving_are_refused_with_the_way_out(folder, file, fields):
    path = folder / file
    content = json.loads(path.read_text())
    if file == PROCESSOR:
        content["feature_extractor"]["hop_length"] = 128
    path.write_text(json.dumps({**content, **fields}))
    with pytest.raises(InputError, match=rf"{file} was changed .* remove settings_digest"):
        load_model(str(folder))
    load = AutoFeatureExtractor if file == PROCESSOR else AutoConfig
    with pytest.raises(ValueError, match="changed after saving"):
        load.from_pretrained(folder)
    del (content["feature_extractor"] if file == PROCESSOR else content)["settings_digest"]
    path.write_text(json.dumps({**content, **fields}))
    load_model(str(folder))


def test_settings_that_are_changed_in_python_and_saved_are_new_ones(folder):
    model, processor = load_model(str(folder))
    model.config.temperature = 2.5
    processor.feature_extractor.f0_range = "gender"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    model, processor = load_model(str(folder))
    assert model.config.temperature == 2.5
    assert processor.feature_extractor.f0_range == "gender"
    overridden = AutoFeatureExtractor.from_pretrained(folder, f0_method="rapt")
    assert overridden.f0_method == "rapt"
    assert AutoConfig.from_pretrained(folder, temperature=3.0).temperature == 3.0
    assert DecompSerProcessor.from_pretrained(folder).feature_extractor.f0_range == "gender"


def warnings_of(load, caplog):
    """What loading warned of."""
    caplog.clear()
    load()
    return [record.getMessage() for record in caplog.records]


def test_a_swapped_processor_is_told_unless_it_is_meant(folder, tmp_path, caplog):
    model, processor = load_model(str(folder))
    rows = Dataset.from_dict({"id": ["a"], "speaker": ["b"]})
    save_model(tmp_path / "own", model, processor, rows)
    processor.feature_extractor.f0_range = "gender"
    processor.save_pretrained(tmp_path / "other")
    own = str(tmp_path / "own")

    def through_pipeline():
        pipeline("audio-classification", model=own, trust_remote_code=True)

    for load in (through_pipeline, lambda: load_model(own)):
        assert not warnings_of(load, caplog)
    shutil.copy(tmp_path / "other" / PROCESSOR, tmp_path / "own" / PROCESSOR)
    for load in (through_pipeline, lambda: load_model(own)):
        (message,) = warnings_of(load, caplog)
        assert "signals_digest = None" in message
    model.config.signals_digest = None
    model.save_pretrained(own)
    assert not warnings_of(lambda: load_model(own), caplog)


def test_more_weights_than_memory_are_refused_before_there_are_any(folder, monkeypatch):
    monkeypatch.setattr(saved_weights.os, "sysconf", lambda name: 1)
    with pytest.raises(ValueError, match="GiB of weights; this machine has"):
        DecompSerForAudioClassification.from_pretrained(folder)


WRONG_FIELDS = [
    ({"num_mel_bins": 10**9}, "num_mel_bins=1000000000: expected a whole number, 1 to"),
    ({"num_mel_bins": 900_000, "content_conv_channels": 900_000}, "GiB of weights"),
    ({"downsampling": 0}, "downsampling=0: expected"),
    ({"conv_stride": 0}, "conv_stride=0: expected"),
    ({"conv_stride": "2"}, "conv_stride"),
    ({"content_lstm_layers": 10**6}, "content_lstm_layers=1000000: expected"),
    ({"content_hidden_size": -3}, "content_hidden_size=-3: expected"),
    ({"conv_channels_per_group": 0}, "conv_channels_per_group=0: expected"),
    ({"id2label": {str(i): "same" for i in range(4)}, "label2id": None}, "name of its own"),
    ({"id2label": {}, "label2id": {}}, "has no weights for .*emotion_head"),
    ({"id2label": ["a", "b"]}, "id2label"),
    ({"head_dropout": 1.5}, "head_dropout=1.5: expected"),
    ({"emotion_weight": float("nan")}, "emotion_weight=nan: expected"),
    ({"emotion_weight": "a lot"}, "emotion_weight"),
    ({"temperature": 0}, "temperature=0: expected"),
    ({"speech_config": []}, "speech_config"),
    ({"speech_config": {"model_type": "bert"}}, "speech_config"),
    ({"model_type": "bert"}, "model_type"),
    ({"components": "pitch"}, "components"),
    ({"components": {"a": 1}}, "components"),
]
WRONG_SPEECH_FIELDS = [
    ({"num_hidden_layers": 10**6}, "num_hidden_layers=1000000: expected"),
    ({"hidden_size": 10**9}, "hidden_size=1000000000: expected"),
    ({"hidden_size": "16"}, "hidden_size"),
    ({"num_attention_heads": 0}, "num_attention_heads=0: expected"),
    ({"num_attention_heads": 7}, "no multiple of num_attention_heads"),
    ({"conv_stride": [0, 0, 0, 0, 0, 0, 0]}, "conv_stride"),
    ({"conv_kernel": "abc"}, "conv_kernel"),
    ({"conv_dim": []}, "conv_dim"),
]


@pytest.mark.parametrize(
    ("fields", "message"),
    [*WRONG_FIELDS, *(({"speech_config": f}, m) for f, m in WRONG_SPEECH_FIELDS)],
)
def test_wrong_fields_of_a_configuration_are_named_in_a_line(folder, fields, message):
    unsealed(folder)
    path = folder / CONFIG
    stored = json.loads(path.read_text())
    if isinstance(fields.get("speech_config"), dict):
        fields = {"speech_config": {**stored["speech_config"], **fields["speech_config"]}}
    path.write_text(json.dumps({**stored, **fields}))
    with pytest.raises(InputError, match=message) as error:
        load_model(str(folder))
    assert len(str(error.value)) < 900 and "\n" not in str(error.value)


@pytest.mark.parametrize("file", [CONFIG, PROCESSOR, "tokenizer_config.json", "vocab.json"])
@pytest.mark.parametrize("content", [b"", b"[1, 2]", b"null", b'{"a": ', b"\xff\xfe\x00{", b"3"])
def test_a_file_that_is_no_json_object_is_refused_with_its_name(folder, file, content):
    (folder / file).write_bytes(content)
    with pytest.raises(InputError, match=f"model '{folder}'"):
        load_model(str(folder))


@pytest.mark.parametrize("kept", [0, 4, 200, 5000])
def test_weights_that_were_cut_are_refused(folder, kept):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:kept])
    with pytest.raises(InputError, match=f"model '{folder}'"):
        load_model(str(folder))


def test_defaults_pass_their_own_checks():
    DecompSerConfig().validate_architecture()
