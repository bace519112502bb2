import dataclasses
import json

import pytest
from huggingface_hub.errors import StrictDataclassError
from support.tiny_networks import tiny_config
from transformers import AutoConfig, HubertConfig, Wav2Vec2Config

from modeling_decomp_ser import DecompSerConfig


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
    ],
)
def test_contradictions_are_named(fields, message):
    with pytest.raises(StrictDataclassError, match=message):
        DecompSerConfig(**fields)


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
