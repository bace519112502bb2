import dataclasses
import hashlib
import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from support.tiny_networks import tiny_config
from transformers import AutoConfig, HubertConfig, Wav2Vec2Config

from modeling_decomp_ser import DecompSerConfig
from modeling_decomp_ser.configuration_decomp_ser import WEIGHTS


def test_the_defaults_are_the_papers_full_system():
    config = DecompSerConfig()
    assert config.components == ("rhythm", "content", "pitch", "timbre")
    assert isinstance(config.speech_config, Wav2Vec2Config)
    assert config.speech_config.hidden_size == 768
    weights = (config.emotion_weight, config.reconstruction_weight)
    assert weights + (config.ctc_weight, config.speaker_weight) == (0.45, 0.45, 0.05, 0.05)
    assert config.pretraining_speaker_weight == 0.1
    assert [config.code_size(c) for c in (*config.components, "single")] == [2, 16, 64, 16, 98]
    assert config.f0_classes == 257


def test_every_field_is_documented():
    for field in DecompSerConfig.__annotations__:
        stem = field.split("_", 1)
        # the sizes of the other encoders are described with those of rhythm
        of_encoder = stem[0] in ("content", "pitch", "timbre", "single") and stem[1] in (
            "conv_layers",
            "conv_channels",
            "lstm_layers",
            "hidden_size",
        )
        assert field in DecompSerConfig.__doc__ or of_encoder, field


@pytest.mark.parametrize(
    ("given", "id2label"),
    [
        ({}, {0: "angry", 1: "happy", 2: "sad", 3: "neutral"}),
        ({"label2id": {"calm": 1, "tense": 0}}, {0: "tense", 1: "calm"}),
        ({"id2label": {0: "tense", 1: "calm"}}, {0: "tense", 1: "calm"}),
        ({"num_labels": 3}, {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}),
    ],
)
def test_labels_given_in_any_form_agree(given, id2label):
    config = DecompSerConfig(**given)
    assert config.id2label == id2label and config.num_labels == len(id2label)
    assert config.label2id == {name: i for i, name in id2label.items()}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"components": ["single"], "speaker_weight": 0, "speakers": ["Ses01F", "Ses01M"]},
        {"use_speech_encoder": False, "ctc_weight": 0.0},
        {"speech_config": {"model_type": "hubert", "hidden_size": 24}},
        {"speech_config": HubertConfig(hidden_size=24)},
        {"num_labels": 2},
        {"id2label": {0: "b", 1: "a"}},
    ],
)
def test_a_saved_configuration_comes_back_equal(tmp_path, fields):
    config = DecompSerConfig(**fields)
    config.save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())["id2label"]
    assert stored == {str(i): name for i, name in config.id2label.items()}
    for loader in (DecompSerConfig, AutoConfig):
        loaded = loader.from_pretrained(tmp_path)
        assert type(loaded) is DecompSerConfig
        assert type(loaded.speech_config) is type(config.speech_config)
        for field in dataclasses.fields(DecompSerConfig):
            if field.name not in ("speech_config", "transformers_version", "architectures"):
                assert getattr(loaded, field.name) == getattr(config, field.name), field.name
        if config.speech_config is not None:
            assert loaded.speech_config.hidden_size == config.speech_config.hidden_size


def test_without_a_speech_encoder_there_is_no_configuration_of_one():
    config = tiny_config("encoders_alone")
    assert config.speech_config is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"components": ["rhythm", "melody"]}, "expected a subset of"),
        ({"components": ["content", "rhythm"]}, "in this order"),
        ({"components": ["rhythm", "rhythm"]}, "in this order"),
        ({"components": ["single", "timbre"]}, "one undivided encoder"),
        ({"components": [], "use_speech_encoder": False}, "leave no encoder"),
        ({"use_speech_encoder": False}, "ctc_weight=0.05 with use_speech_encoder=False"),
        ({"components": ["rhythm"]}, "without the component 'timbre'"),
        ({"components": [], "speaker_weight": 0.0}, "the decoder reads the codes"),
        ({"downsampling": 8, "conv_stride": 3}, "is no multiple of conv_stride=3"),
        ({"conv_kernel_size": 4}, "expected an odd number"),
        ({"resampling_min_length": 40}, "in this order"),
        ({"resampling_min_scale": 0.0}, "expected positive numbers"),
        ({"temperature": 0}, "temperature=0: expected a positive number"),
        ({"temperature": -1.5}, "temperature=-1.5: expected a positive"),
        ({"temperature": float("nan")}, "temperature=nan: expected a positive"),
        ({"abstain_below": 1.1}, "abstain_below=1.1: expected a probability"),
        ({"abstain_below": -0.1}, "abstain_below=-0.1: expected a probability"),
        ({"abstain_below": float("nan")}, "abstain_below=nan: expected a probability"),
        ({"speech_config": {"model_type": "bert"}}, "model_type 'bert', expected one of"),
        ({"speech_config": {"add_adapter": True}}, "add_adapter=True"),
        ({"pad_token_id": None}, "pad_token_id=None: CTC needs it as its blank"),
        ({"temperature": float("inf")}, "temperature=inf: expected a positive number"),
        ({"resampling_min_length": 1}, "resampling_min_length=1 and .*: expected 2 frames or more"),
        ({"resampling_min_scale": 1.6}, "min_scale=1.6 and resampling_max_scale=1.5: expected pos"),
        *(
            ({name: value}, f"{name}={value}: expected {expected}")
            for names, values, expected in (
                (("part_dropout", "head_dropout"), (-0.1, 1.0, 1), "0 or more, below 1.$"),
                (WEIGHTS, (-0.1, float("inf"), float("nan")), "a number of 0 or more.$"),
                (("pretraining_speaker_weight",), (-0.1, 1.1), "0 to 1.$"),
            )
            for name in names
            for value in values
        ),
        ({"id2label": {0: "a", 2: "b"}}, "expected the numbers from 0 on, each with a name of its"),
        ({"id2label": {0: "a", 1: "a"}}, "each with a name of its own"),
        ({"id2label": {0: "a", 1: ""}}, "each with a name of its own"),
        ({"id2label": {0: "a", 1: 7}}, "each with a name of its own"),
        (
            {"id2label": {0: "a", 1: "b"}, "label2id": {"a": 1, "b": 0}},
            "label2id={'a': 1, 'b': 0} does not fit id2label={0: 'a', 1: 'b'}",
        ),
    ],
)
def test_contradictions_are_named(fields, message):
    with pytest.raises(StrictDataclassError, match=message):
        DecompSerConfig(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"part_dropout": 0, "head_dropout": 0.99},
        {"pretraining_speaker_weight": 0},
        {"pretraining_speaker_weight": 1},
        {"abstain_below": 0},
        {"abstain_below": 1},
        {"conv_kernel_size": 1},
        {"resampling_min_length": 2, "resampling_max_length": 2},
        {"resampling_min_scale": 1e-3, "resampling_max_scale": 1e-3},
        {"pad_token_id": None, "ctc_weight": 0},
        {"components": ["single"]},
        {"components": [], "speaker_weight": 0, "reconstruction_weight": 0},
        {"components": ["pitch"], "speaker_weight": 0},
        dict.fromkeys(WEIGHTS, 0),
    ],
)
def test_the_ends_of_ranges_are_accepted(fields):
    config = DecompSerConfig(**fields)
    expected = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    assert {name: getattr(config, name) for name in fields} == expected


def test_the_speaker_head_reads_timbre_or_the_undivided_codes():
    for components, expected in ((["single"], "single"), (["pitch"], None), (None, "timbre")):
        given = {} if components is None else {"components": components}
        assert DecompSerConfig(speaker_weight=0, **given).speaker_component == expected


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        *((f"{part}_layers", 1, 1000) for part in ("rhythm_conv", "single_lstm", "decoder")),
        *((f"{part}_hidden_size", 1, 1_000_000) for part in ("timbre", "decoder")),
        ("content_conv_channels", 1, 1_000_000),
        *((name, 1, 1_000_000) for name in ("num_mel_bins", "num_f0_bins", "vocab_size")),
        ("conv_channels_per_group", 1, 1_000_000),
        ("speech_config.num_hidden_layers", 1, 1000),
        ("speech_config.intermediate_size", 1, 1_000_000),
        ("speech_config.num_conv_pos_embeddings", 1, 1_000_000),
    ],
)
def test_sizes_that_no_network_has_are_refused(name, least, most):
    def build(value):
        group, _, field = name.rpartition(".")
        fields = {field: value}
        return DecompSerConfig(**({group: fields} if group else fields))

    for value in (least, most):
        build(value)
    for value in (least - 1, most + 1):
        with pytest.raises(StrictDataclassError, match=f"{name}={value}: expected a whole number"):
            build(value)


CONVOLUTIONS = ("conv_dim", "conv_kernel", "conv_stride")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_attention_heads": 5}, "hidden_size=768 is no multiple of num_attention_heads=5."),
        ({name: [1] * 1001 for name in CONVOLUTIONS}, "number of convolutions=1001: expected a wh"),
        ({name: [] for name in CONVOLUTIONS}, "expected a whole number, 1 to"),
        *(({name: [8, 8]}, "Configuration for convolutional layers") for name in CONVOLUTIONS),
        *(({name: 8}, f"'{name}' expected a list") for name in CONVOLUTIONS),
        ({"conv_kernel": [10, 3, 3, 3, 3, 2, 0]}, r"conv_kernel=0: expected a whole number, 1 to"),
    ],
)
def test_a_speech_encoder_that_cannot_be_built_is_refused(fields, message):
    with pytest.raises((StrictDataclassError, ValueError), match=message):
        DecompSerConfig(speech_config=fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id2label": ["a", "b"]}, "id2label=.*: expected an emotion by its number"),
        ({"label2id": ["a", "b"]}, "label2id=.*: expected a number by its emotion"),
        ({"dtype": "int8"}, "dtype='int8': expected one of float32, float16, bfloat16, float64"),
        ({"torch_dtype": "float8"}, "dtype='float8': expected one of"),
        ({"dtype": "torch.float32"}, "dtype='torch.float32': expected one of float32, float16"),
    ],
)
def test_labels_and_types_of_another_form_are_refused(fields, message):
    with pytest.raises((StrictDataclassError, ValueError), match=message):
        DecompSerConfig(**fields)


def test_types_are_known_by_name():
    for dtype in ("float32", "float16", "bfloat16", "float64", torch.float16):
        DecompSerConfig(dtype=dtype)


def test_a_stored_configuration_is_sealed_and_names_no_path(tmp_path):
    for place, kept in (("/home/x/wav2vec2", ""), ("./model", ""), ("~/model", ""), ("a/b", "a/b")):
        config = DecompSerConfig(speech_config=Wav2Vec2Config(_name_or_path=place))
        config.speech_config._name_or_path = place
        stored = json.loads(config.to_json_string())
        assert stored["speech_config"].get("_name_or_path", "") == kept
    assert "settings_digest" not in json.loads(config.to_json_string(use_diff=False))
    # the digest is of all that changes an answer, and what a library writes is left out
    free = ("settings_digest", "transformers_version", "auto_map", "architectures")
    text = json.dumps({k: v for k, v in stored.items() if k not in free}, sort_keys=True)
    assert stored["settings_digest"] == hashlib.sha256(text.encode()).hexdigest()
    assert DecompSerConfig.from_dict({**stored, "transformers_version": "0"}).pooling == "mean"
    without = {k: v for k, v in stored.items() if k != "settings_digest"}
    assert DecompSerConfig.from_dict({**without, "pooling": "statistics"}).pooling == "statistics"
    with pytest.raises(ValueError, match="^config.json was changed after saving"):
        DecompSerConfig.from_dict({**stored, "pooling": "statistics"})


@pytest.mark.parametrize(
    "fields",
    [
        {"conv_stride": "1"},
        {"conv_stride": 1.0},
        {"components": "rhythm"},
        {"speakers": "anna"},
        {"ctc_weight": "0.1"},
        {"resampling_input": 1},
        {"timbre_input": "stretched"},
        {"pooling": "max"},
    ],
)
def test_a_value_of_another_type_is_refused(fields):
    with pytest.raises(StrictDataclassError, match=next(iter(fields))):
        DecompSerConfig(**fields)


def test_lists_and_tuples_are_equal_and_whole_numbers_are_weights():
    listed = DecompSerConfig(components=["pitch"], speakers=["a"], speaker_weight=0)
    tupled = DecompSerConfig(components=("pitch",), speakers=("a",), speaker_weight=0.0)
    assert listed.components == tupled.components and listed.speakers == tupled.speakers
