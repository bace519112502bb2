import importlib
from dataclasses import fields

import pytest

from processing.errors import InputError
from train_scripts.baselines.baseline_series import parse_systems
from train_scripts.baselines.system_settings import describe_settings, make_settings
from train_scripts.baselines.systems import SYSTEMS, find_system, load_system, row_name


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_has_a_module_with_its_parts_and_its_source(name):
    module = importlib.import_module(f"train_scripts.baselines.{SYSTEMS[name].module}")
    settings = module.Settings(**dict(SYSTEMS[name].options))
    told = describe_settings(settings)
    assert callable(module.answer) and callable(module.add_features)
    assert len(fields(settings)) <= 12 and len(module.__doc__) > 50
    if SYSTEMS[name].is_reconstruction:
        assert "Reconstruction" in module.__doc__ and told["reconstruction"]
        assert set(told["reconstruction"]) <= set(told)
    else:
        assert not told.get("reconstruction")


def test_a_setting_that_is_told_as_open_has_to_exist():
    from train_scripts.baselines.prognet import Settings

    class Wrong(Settings):
        UNSTATED = ("no_such_setting",)

    with pytest.raises(ValueError, match="no_such_setting"):
        describe_settings(Wrong())


def test_settings_are_changed_by_name_and_checked():
    module, options = load_system("baseline_compare")
    assert make_settings(module.Settings, options, ()).feature_set == "ComParE_2016"
    module, options = load_system("table4_prognet")
    changed = make_settings(module.Settings, options, ["num_epochs=3", "learning_rate=5e-4"])
    assert (changed.num_epochs, changed.learning_rate) == (3, 5e-4)
    for wrong, message in (
        ("num_epoch=3", "num_epochs"),
        ("num_epochs=many", "expected a value of type int"),
        ("num_epochs", "expected key=value"),
    ):
        with pytest.raises(InputError, match=message):
            make_settings(module.Settings, options, [wrong])


def test_a_model_of_the_hub_follows_its_system():
    words = ["baseline_majority", "rival_hub", "facebook/wav2vec2-base", "num_epochs=2"]
    names, settings = parse_systems(words)
    assert names == ["baseline_majority", "rival_hub:facebook/wav2vec2-base"]
    assert settings == ["num_epochs=2"]
    assert load_system(names[1])[1] == {"model": "facebook/wav2vec2-base"}
    assert row_name("rival_hub:/some/folder/") == "rival_hub_folder"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["baseline_x"], "no baseline 'baseline_x'. Choose one of: baseline_majority"),
        (["rival_hub"], "which model"),
        (["rival_hub", "table4_prognet"], "which model"),
        (["table4_prognet", "a/b"], "no baseline 'a/b'"),
        (["table4_prognet:a/b"], "only rival_hub takes a model"),
        (["num_epochs=3"], "no system is given"),
        (["table4_prognet", "table4_prognet"], "given 2 times"),
        (["rival_hub", "a/b", "rival_hub", "c/b"], "'rival_hub_b' is given 2 times"),
    ],
)
def test_wrong_names_are_refused(words, message):
    with pytest.raises(InputError, match=message):
        parse_systems(words)


def test_a_system_without_a_model_is_named_in_full():
    system, model = find_system("rival_reslstm_sa")
    assert model == "" and not system.is_deterministic
    assert [n for n, s in SYSTEMS.items() if s.is_deterministic] == [
        "baseline_majority",
        "baseline_egemaps",
        "baseline_compare",
    ]
