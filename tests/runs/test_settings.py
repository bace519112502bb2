import pytest
import yaml

from processing.errors import InputError
from train_scripts.runs.settings import (
    SIZES,
    build_config,
    load_settings,
    parse_override,
    preset_names,
)


@pytest.mark.parametrize("preset", preset_names())
@pytest.mark.parametrize("size", SIZES)
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
def test_the_fast_size_has_the_paper_s_network_and_at_most_a_fifth_of_its_steps(preset):
    paper, fast = (load_settings(preset, [f"size={size}"]) for size in ("paper", "paper-fast"))
    assert build_config(paper).to_dict() == build_config(fast).to_dict()
    assert (paper.speech_encoder, paper.features) == (fast.speech_encoder, fast.features)
    turns = 4480
    for size, most in ((paper, 1), (fast, 0.2)):
        stage = size.finetuning.arguments
        assert turns / stage[BATCH] * stage["num_train_epochs"] <= most * turns * 50
        assert size.pretraining.arguments["max_steps"] <= most * 1_000_000
        assert size.augmentation == paper.augmentation


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


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=-1", "seed=-1, expected a number, 0 to 4294967295"),
        (f"seed={'9' * 100}", "the number is too large"),
        ("seed=nan", "seed='nan', expected a value of type int"),
        ("finetuning.per_device_train_batch_size=0", "train_batch_size=0, expected a number, 1 to"),
        ("finetuning.learning_rate=nan", "finetuning.learning_rate=nan, expected a number, 0 or"),
        ("finetuning.learning_rate=-1", "learning_rate=-1.0, expected a number, 0 or more"),
        ("pretraining.max_steps=-5", "pretraining.max_steps=-5, expected a number, -1 or more"),
        ("finetuning.lr_scheduler_type=foo", "lr_scheduler_type='foo', expected one of linear"),
        ("finetuning.task_weights=3", "finetuning.task_weights: expected a group"),
        ("finetuning.task_weights={emotions: 1}", "Did you mean finetuning.task_weights.emotion"),
        ("finetuning.task_weights={emotion: .nan}", "task_weights.emotion=nan, expected a number"),
        ("augmentation.noise=-1", "augmentation.noise=-1.0, expected"),
        ("pretraining.shortest_crop=999", "shortest_crop=999 is longer than longest_crop=128"),
        ("model.label2id=[a]", "model settings: .*label2id"),
        ("model.dtype=foo", "model settings: .*dtype='foo'"),
        ("features.hop_length=0", "features settings: hop_length=0, expected a whole number, 16"),
        ("features.f0_global_stats=3", "f0_global_stats=3, expected mean and standard deviation"),
        ("features.mel_f_max=1e9", "expected an ascending range in Hz"),
        ("encoder_pretraining.speech_config=3", "expected a group of settings, found 3"),
        ('speech_encoder="{', "not valid YAML"),
        ("speech_encoder=!!python/object/apply:os.system [a]", "could not determine a constructor"),
    ],
)
def test_values_that_no_training_can_use_are_named(override, message):
    with pytest.raises(InputError, match=message) as error:
        load_settings("base", ["size=tiny", override])
    assert "\n" not in str(error.value)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB, "with its aliases written out it has more than 100000 values"),
        ("a: &a {b: *a}", "more than 100000 values"),
        ("size: tiny\nmodel: {pooling: mean, pooling: mean}", "the key 'pooling' occurs twice"),
        ("model: {1: 2}", "the key '1' is no text"),
        ("yes: 1", "the key 'yes' is no text"),
        ("- size", "expected 'key: value' lines, found list"),
        ("size: !!python/name:os.system", "not valid YAML"),
        ("a: 1\n---\nb: 2", "not valid YAML"),
        ("a: " + "[" * 5000, "nested more than 50 levels"),
        ("seed: 2020-99-99", "not valid YAML"),
        ("a: " + "x" * 2_000_000, "2000003 bytes, expected 1000000 at most"),
        ("extends: [base]", r"extends=\['base'\], expected the name of one preset"),
        ("extends: {own}", "extends itself"),
        ("size: tiny".encode("utf-16"), r"not UTF-8 \(byte 0\)"),
        ("# café".encode("latin-1"), "not UTF-8"),
        (b"size: ti\0ny", "not valid YAML"),
    ],
)
def test_a_preset_that_is_no_plain_mapping_is_refused_with_its_name(tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    if isinstance(content, str):
        content = content.replace("{own}", str(path)).encode()
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"mine.yaml: .*{message}"):
        load_settings(str(path))


def test_presets_that_extend_each_other_in_a_ring_are_refused(tmp_path):
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.yaml").write_text(f"extends: {tmp_path}/{other}.yaml\n")
    with pytest.raises(InputError, match="a.yaml: extends itself"):
        load_settings(str(tmp_path / "a.yaml"))


def test_aliases_of_a_size_that_a_person_writes_are_read(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("size: tiny\npretraining: {seed: &n 1}\n".replace("seed", "max_steps"))
    assert load_settings(str(path)).pretraining.arguments["max_steps"] == 1
