"""What is refused before a run begins, and what a refused call leaves behind."""

import importlib.util
import json

import pytest
import yaml

from processing.errors import InputError
from train_scripts.runs.run_folder import find_overlap, load_model, open_run_folder
from train_scripts.runs.settings import load_settings
from train_scripts.training.finetuning import finetune
from train_scripts.training.pretraining import pretrain


@pytest.mark.parametrize("run", [pretrain, finetune])
def test_a_call_with_a_wrong_fold_does_not_block_the_corrected_one(
    run, corpus_folder, fold, quick_settings, tmp_path
):
    """The corrected call may change the settings too: nothing was trained with the first ones."""
    given = {"data": str(corpus_folder), "protocol": "speaker", "output": tmp_path / "run"}
    with pytest.raises(InputError, match="no fold 'nobody'"):
        run("base", fold="nobody", overrides=quick_settings, **given)
    (tmp_path / "run" / "log.jsonl").write_text('{"step": 1, "loss": 99.0}\n')
    results = run("base", fold=fold, overrides=[*quick_settings, "seed=1"], **given)
    assert results.seed == 1
    assert json.loads((tmp_path / "run" / "results.json").read_text())["seed"] == 1
    assert '"loss": 99.0' not in (tmp_path / "run" / "log.jsonl").read_text()


FOLD = {"data": "nobody/corpus", "protocol": "speaker", "fold": "1"}


@pytest.fixture
def interrupted(tmp_path):
    """A folder that holds a checkpoint."""
    open_run_folder(tmp_path, load_settings("base", ["size=tiny"]), **FOLD)
    (tmp_path / "checkpoints" / "checkpoint-10").mkdir(parents=True)
    return tmp_path


def test_a_checkpoint_is_not_resumed_with_other_settings(interrupted):
    open_run_folder(interrupted, load_settings("base", ["size=tiny"]), **FOLD)
    with pytest.raises(InputError, match="interrupted run with other settings: seed"):
        open_run_folder(interrupted, load_settings("base", ["size=tiny", "seed=1"]), **FOLD)


@pytest.mark.parametrize(
    ("name", "other"), [("data", "nobody/other"), ("protocol", "session"), ("fold", "2")]
)
def test_a_checkpoint_is_not_resumed_on_another_fold(interrupted, name, other):
    settings = load_settings("base", ["size=tiny"])
    before = (interrupted / "settings.yaml").read_text()
    with pytest.raises(InputError, match=rf"with other settings: {name} \(see") as raised:
        open_run_folder(interrupted, settings, **{**FOLD, name: other})
    assert "\n" not in str(raised.value)
    assert (interrupted / "settings.yaml").read_text() == before


def test_a_checkpoint_of_an_earlier_version_is_resumed(interrupted):
    """Its settings.yaml does not say on what it was trained."""
    settings = load_settings("base", ["size=tiny"])
    (interrupted / "settings.yaml").write_text(yaml.safe_dump(settings.as_dict()))
    open_run_folder(interrupted, settings, **FOLD)
    with pytest.raises(InputError, match="with other settings: fold"):
        open_run_folder(interrupted, settings, **{**FOLD, "fold": "2"})


def test_a_path_of_the_data_may_be_written_another_way(tmp_path, monkeypatch):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "run" / "checkpoints" / "checkpoint-10").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for data in ("corpus", str(tmp_path / "corpus"), "./run/../corpus"):
        open_run_folder("run", load_settings("base"), **{**FOLD, "data": data})


@pytest.mark.parametrize(
    ("setting", "package", "extra"),
    [
        ("tracking=tensorboard", "tensorboard", "tracking"),
        ("tracking=trackio", "trackio", "tracking"),
        ("finetuning.lora_rank=4", "peft", "lora"),
    ],
)
def test_a_package_that_a_setting_needs_is_missed_at_once(
    setting, package, extra, tmp_path, monkeypatch
):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == package else found(name, *a)
    )
    settings = load_settings("base", ["size=tiny", setting])
    message = rf"{setting}: {package} is not installed: .* 'decomp-ser\[{extra}\]'"
    with pytest.raises(InputError, match=message):
        open_run_folder(tmp_path / "run", settings, **FOLD)
    assert not (tmp_path / "run").exists()


def test_a_pretrained_folder_is_no_model_that_answers(trained_run, capfd):
    with pytest.raises(InputError, match="it is pre-trained only") as raised:
        load_model(str(trained_run[0]))
    assert len(str(raised.value)) < 400
    assert capfd.readouterr().err == ""


def test_a_pretrained_model_that_does_not_exist_is_not_called_an_overlap(tmp_path):
    for name in ("nowhere", "nobody/nowhere"):
        with pytest.raises(InputError, match=f"model '{name}': it does not exist"):
            find_overlap(name, ["a"], ["b"])
    with pytest.raises(InputError, match="there is no config.json in it"):
        find_overlap(str(tmp_path), ["a"], ["b"])
