import pytest
import yaml

from processing.errors import InputError
from train_scripts.runs.settings import (
    build_config,
    load_settings,
    parse_override,
    preset_names,
)


@pytest.mark.parametrize("preset", preset_names())
@pytest.mark.parametrize("size", ["tiny", "paper"])
def test_every_preset_loads_in_every_size_and_makes_a_configuration(preset, size):
    settings = load_settings(preset, [f"size={size}"])
    assert settings.preset == preset and settings.size == size
    config = build_config(settings)
    weights = [config.emotion_weight, config.ctc_weight, config.speaker_weight]
    assert sum(weights) + config.reconstruction_weight == pytest.approx(1)


BATCH = "per_device_train_batch_size"


def chosen(stage, *names):
    return tuple(stage.arguments[name] for name in names)


def test_paper_size_has_the_paper_s_rates():
    settings = load_settings("base")
    assert settings.speech_encoder == "facebook/wav2vec2-base"
    stage = settings.finetuning
    assert chosen(stage, "num_train_epochs", BATCH, "learning_rate") == (50, 1, 1e-5)
    assert chosen(stage, "weight_decay", "max_grad_norm", "lr_scheduler_type") == (0, 0, "constant")
    stage = settings.pretraining
    assert chosen(stage, "max_steps", BATCH, "learning_rate") == (1_000_000, 16, 1e-4)
    assert (stage.shortest_crop, stage.longest_crop) == (64, 128)
    config = build_config(settings)
    assert config.pretraining_speaker_weight == 0.1


@pytest.mark.parametrize("preset", preset_names())
def test_paper_size_resamples_in_both_stages_and_pretrains(preset):
    settings = load_settings(preset)
    assert build_config(settings).resampling_in_finetuning is True
    assert settings.pretraining.arguments["max_steps"] > 0


def test_a_backbone_from_scratch_is_explicit():
    assert load_settings("base", ["size=tiny"]).speech_encoder == "scratch"
    chosen = load_settings("base", ["size=tiny", "speech_encoder=some/model"])
    assert chosen.speech_encoder == "some/model"


def test_later_layers_win_and_groups_merge(tmp_path):
    child = tmp_path / "mine.yaml"
    child.write_text(
        yaml.safe_dump({"extends": "base", "size": "tiny", "model": {"downsampling": 4}})
    )
    settings = load_settings(
        str(child), ["model.timbre_input=raw", "finetuning.learning_rate=1e-4"]
    )
    assert settings.preset == "mine"
    assert settings.model["downsampling"] == 4
    assert settings.model["timbre_input"] == "raw"
    assert settings.model["conv_stride"] == 2  # of the size
    assert settings.finetuning.arguments["learning_rate"] == 1e-4


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["size=huge"], "size='huge', expected one of tiny, small, paper"),
        (["model.timbre_inpt=raw"], "Did you mean model.timbre_input"),
        (["epochs=2"], "Did you mean finetuning.num_train_epochs"),
        (["learning_rate=1"], "mean pretraining.learning_rate, finetuning.learning_rate"),
        (["timbre_input=raw"], "Did you mean model.timbre_input"),
        (["model.timbre_input=both"], "model settings: .*timbre_input"),
        (["model.conv_kernel_size=4"], "odd number"),
        (["model.downsampling=wide"], "model settings: .*downsampling"),
        (["features.f0_metod=rapt"], "Did you mean features.f0_method"),
        (["features.f0_method=yin"], "features settings: .*yin"),
        (
            ["finetuning.num_train_epochs=many"],
            "finetuning.num_train_epochs='many', expected a value of type float",
        ),
        (["finetuning.num_train_epochs=true"], "expected a value of type float"),
        (["finetuning.gradient_accumulation_steps=1.5"], "expected a value of type int"),
        (
            ["finetuning.epochs=3"],
            "'finetuning.epochs' is now called 'finetuning.num_train_epochs'",
        ),
        (["precision=bfloat16"], "Did you mean pretraining.bf16, finetuning.bf16"),
        (["epochs=3"], "'epochs' does not exist. Did you mean finetuning.num_train_epochs"),
        (["finetuning.output_dir=x"], "'finetuning.output_dir' is not free: --output decides it"),
        (["finetuning.lr_scheduler_type=constant"], "a constant schedule has none"),
        (["finetuning.num_train_epoch=3"], "Did you mean finetuning.num_train_epochs"),
        (["finetuning.select=test"], "expected one of last, validation"),
        (["finetuning=5"], "expected a group of settings"),
        (["learning_rate"], "expected key=value"),
        (["epochs=5"], "setting 'epochs' does not exist"),
    ],
)
def test_wrong_settings_are_named(overrides, message):
    with pytest.raises(InputError, match=message):
        load_settings("base", ["size=tiny", *overrides])


def test_an_unknown_preset_is_named_with_those_there_are():
    with pytest.raises(InputError, match=r"preset 'table9': expected one of base, .*table3_ours"):
        load_settings("table9")


def test_broken_yaml_is_named(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("model: [1, 2")
    with pytest.raises(InputError, match=r"broken.yaml: not valid YAML"):
        load_settings(str(path))


def test_numbers_that_yaml_takes_for_text_are_read():
    assert parse_override("finetuning.learning_rate=5e-5") == {
        "finetuning": {"learning_rate": "5e-5"}
    }
    settings = load_settings("base", ["finetuning.learning_rate=5e-5"])
    assert settings.finetuning.arguments["learning_rate"] == 5e-5


def test_a_baseline_is_told_to_be_run_by_its_own_verb():
    with pytest.raises(InputError, match="decomp-ser baselines baseline_compare`"):
        load_settings("baseline_compare")
