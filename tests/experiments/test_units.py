from pathlib import Path

import pytest
import yaml
from support.records import plant_record

from processing.errors import InputError
from train_scripts.experiments.units import (
    Unit,
    check_folder,
    flatten,
    plan_units,
    pretraining_settings,
    read_stored_settings,
)
from train_scripts.runs.settings import build_config, load_settings

SHARED = {"data": "corpus", "protocol": "speaker"}


def plan(presets, folds=("a",), seeds=1, overrides=("size=tiny",)):
    return plan_units(presets, folds, seeds, Path("runs"), overrides=overrides, **SHARED)


def test_every_preset_seed_and_fold_has_its_own_folder_and_seed():
    units = plan(["table3_m1", "table3_m2"], ["a/b", "2"], seeds=3)
    assert len({unit.folder for unit in units}) == len(units) == 12
    assert units[0].folder == Path("runs/table3_m1/seed-0/fold-a%2Fb")
    for unit in units:
        assert f"seed={unit.seed}" in unit.overrides
        assert unit.kind == "finetune" and unit.pretrained is None
    # a whole round of all presets before the next seed
    assert [unit.seed for unit in units] == [0] * 4 + [1] * 4 + [2] * 4


def test_every_unit_carries_what_its_verb_needs(tmp_path):
    presets = ["table3_m3", "baseline_majority"]
    options = {"overrides": ["size=tiny"], "skip_bad": True, "processes": 3, **SHARED}
    pretraining, run, baseline = plan_units(presets, ["a"], 1, tmp_path, **options)
    for unit in (pretraining, run, baseline):
        assert (unit.data, unit.protocol, unit.fold, unit.seed) == ("corpus", "speaker", "a", 0)
        assert unit.skip_bad and unit.processes == 3
        assert not unit.finished
        unit.folder.mkdir(parents=True)
        (unit.folder / "results.json").touch()
        assert unit.finished
    assert [unit.kind for unit in (pretraining, run, baseline)] == [
        "pretrain",
        "finetune",
        "baseline",
    ]
    assert run.overrides == baseline.overrides == ("size=tiny", "seed=0")
    assert (run.preset, run.row, run.preset_text) == ("table3_m3", "table3_m3", "")
    assert run.folder == tmp_path / "table3_m3" / "seed-0" / "fold-a"
    assert run.pretrained == pretraining.folder and baseline.pretrained is None
    assert str(run) == "table3_m3 seed 0 fold a"
    # all settings of a pre-training but its seed are in a preset of its own, named by a hash
    assert pretraining.overrides == ("seed=0",)
    name = Path(pretraining.preset).stem
    assert Path(pretraining.preset) == tmp_path / "pretrained" / f"{name}.yaml"
    assert pretraining.row == f"pretrained/{name}"
    assert pretraining.folder == tmp_path / "pretrained" / name / "seed-0" / "fold-a"
    content = yaml.safe_load(pretraining.preset_text)
    settings = load_settings("table3_m3", run.overrides)
    assert list(content) == list(pretraining_settings(settings))  # in the order of settings
    components, digest = name.rsplit("-", 1)
    assert components == "-".join(content["model"]["components"]) and len(digest) == 8
    assert content["pretraining"]["max_steps"] > 0 and "features" in content
    assert not content.keys() & {"seed", "preset", "finetuning", "vocabulary"}


def test_a_preset_may_not_be_called_as_the_folder_of_pretrainings():
    with pytest.raises(InputError, match="^preset 'pretrained': .*has this name. Rename.$"):
        plan(["elsewhere/pretrained.yaml"])


def test_presets_whose_pretraining_is_the_same_share_one():
    presets = ["table3_ours", "table3_m3", "encoders_alone", "table3_m4", "table2_pitch"]
    units = plan(presets, ["a", "b"])
    pretrainings = [unit for unit in units if unit.kind == "pretrain"]
    assert len(pretrainings) == 2 * 3
    of_row = {unit.row: unit.pretrained for unit in units if unit.fold == "a" and unit.pretrained}
    assert of_row["table3_ours"] == of_row["table3_m3"] == of_row["encoders_alone"]
    assert len({of_row[row] for row in ("table3_ours", "table3_m4", "table2_pitch")}) == 3
    # and it is done before who needs it
    for unit in units:
        if unit.pretrained is not None:
            needed = next(p for p in pretrainings if p.folder == unit.pretrained)
            assert units.index(needed) < units.index(unit)
            assert (needed.seed, needed.fold) == (unit.seed, unit.fold)


@pytest.mark.parametrize(
    "setting",
    [
        "pretraining.learning_rate=1e-5",
        "model.timbre_input=raw",
        "model.content_hidden_size=3",
        "model.speaker_weight=0.0",
        "features.f0_method=dio",
        "size=small",
    ],
)
def test_what_decides_pretraining_makes_another(setting):
    base, other = plan(["base"])[0], plan(["base"], overrides=("size=tiny", setting))[0]
    assert base.kind == other.kind == "pretrain"
    assert base.folder != other.folder


@pytest.mark.parametrize(
    "setting",
    [
        "model.head_dropout=0.9",
        "model.single_hidden_size=3",
        "finetuning.num_train_epochs=1",
        "model.ctc_weight=0.9",
    ],
)
def test_what_pretraining_does_not_read_changes_none(setting):
    assert plan(["base"])[0] == plan(["base"], overrides=("size=tiny", setting))[0]


@pytest.mark.parametrize("preset", ["table3_ours", "table3_m4", "table2_pitch", "encoders_alone"])
def test_the_preset_of_a_pretraining_builds_what_the_preset_would(preset, tmp_path):
    settings = load_settings(preset, ["size=tiny", "pretraining.max_steps=7"])
    path = tmp_path / "made.yaml"
    path.write_text(yaml.safe_dump(pretraining_settings(settings)))
    made = load_settings(str(path))
    assert (made.pretraining, made.features) == (settings.pretraining, settings.features)
    from modeling_decomp_ser import DecompSerForPreTraining

    wanted, found = (DecompSerForPreTraining(build_config(s)) for s in (settings, made))
    assert found.loss_weights == wanted.loss_weights
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (wanted, found)]
    assert shapes[0] == shapes[1]


def test_one_given_pretraining_starts_every_row_that_has_a_decomposition():
    given = Path("elsewhere")
    units = plan_units(
        ["table3_ours", "table3_m1", "baseline_majority"],
        ["a", "b"],
        2,
        Path("runs"),
        pretrained=given,
        overrides=["size=tiny"],
        **SHARED,
    )
    assert {unit.kind for unit in units} == {"finetune", "baseline"}
    starts = {(unit.row, unit.pretrained) for unit in units}
    assert starts == {
        ("table3_ours", given),
        ("table3_m1", None),
        ("baseline_majority", None),
    }


def test_no_pretraining_where_there_is_none():
    assert [u.kind for u in plan(["base"], overrides=("size=tiny", "pretraining.max_steps=0"))] == [
        "finetune"
    ]
    assert [u.kind for u in plan(["table3_m1", "baseline_majority"])] == ["finetune", "baseline"]


def test_other_systems_are_units_and_a_deterministic_one_has_one_seed():
    systems = ["table4_prognet", "baseline_majority", "rival_hub:some/model"]
    units = plan([*systems, "table3_m1"], seeds=2)
    assert [u.kind for u in units if u.row != "table3_m1"] == ["baseline"] * 5
    cells = [(u.row, u.seed) for u in units if u.row != "table3_m1"]
    assert ("baseline_majority", 1) not in cells and len(set(cells)) == 5
    hub = next(unit for unit in units if unit.preset == "rival_hub:some/model")
    assert hub.row == "rival_hub_model" and hub.folder == Path("runs/rival_hub_model/seed-0/fold-a")


@pytest.mark.parametrize(
    ("presets", "overrides", "message"),
    [
        (["base", "base"], [], "^preset 'base' is given 2 times. Give it once.$"),
        (["nothing"], [], "preset 'nothing'"),
        (["rival_hub"], [], "which model"),
        (["base"], ["seed=3"], "^seed: --seeds N runs the seeds 0 to N-1. Leave the setting out.$"),
        (["base"], ["finetuning.num_train_epoch=3"], "finetuning.num_train_epochs"),
    ],
)
def test_wrong_presets_and_settings_are_refused(presets, overrides, message):
    with pytest.raises(InputError, match=message):
        plan(presets, overrides=overrides)


@pytest.mark.parametrize("finished", [True, False])
def test_a_folder_of_other_settings_is_refused_by_name(finished, tmp_path):
    unit = plan_units(["table3_m1"], ["a"], 1, tmp_path, overrides=["size=tiny"], **SHARED)[0]
    settings = load_settings("table3_m1", unit.overrides).as_dict()
    (unit.folder / "checkpoints" / "checkpoint-1").mkdir(parents=True)

    def store(content):
        if finished:
            plant_record(unit.folder, settings=content)
        else:
            (unit.folder / "settings.yaml").write_text(yaml.safe_dump(content))

    store(settings)
    check_folder(unit)
    # of a version that lacked one of today's settings
    store({k: v for k, v in settings.items() if k != "vocabulary"})
    check_folder(unit)
    store({**settings, "finetuning": {**settings["finetuning"], "num_train_epochs": 3}})
    with pytest.raises(InputError, match="finetuning.num_train_epochs=3 there and 25.0 now"):
        check_folder(unit)


def test_of_many_settings_that_differ_five_are_named_and_of_other_kinds_none(tmp_path):
    unit = plan_units(["table3_m1"], ["a"], 1, tmp_path, overrides=["size=tiny"], **SHARED)[0]
    now = flatten(load_settings("table3_m1", unit.overrides).as_dict())
    number = {name: value for name, value in now.items() if type(value) is float}
    assert len(number) > 5
    stored = load_settings("table3_m1", unit.overrides).as_dict()
    for name in number:
        *groups, last = name.split(".")
        group = stored
        for part in groups:
            group = group[part]
        group[last] = 12345.0
    unit.folder.mkdir(parents=True)
    plant_record(unit.folder, settings=stored)
    names = sorted(number)
    with pytest.raises(InputError) as raised:
        check_folder(unit)
    assert str(raised.value) == (
        f"{unit.folder}: holds a run with other settings: {', '.join(names[:5])} differ, such as "
        f"{names[0]}=12345.0 there and {number[names[0]]!r} now. Choose another --output or delete "
        "the folder."
    )
    for kind in ("baseline", "pretrain"):
        check_folder(Unit(**{**vars(unit), "kind": kind}))


def test_settings_are_read_of_finished_and_interrupted_runs_alone(tmp_path):
    assert read_stored_settings(tmp_path) is None
    (tmp_path / "settings.yaml").write_text("seed: 3\nmodel: {pooling: mean}\n")
    assert read_stored_settings(tmp_path) is None  # it ended before its first checkpoint
    (tmp_path / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    assert read_stored_settings(tmp_path) == {"seed": 3, "model": {"pooling": "mean"}}
    plant_record(tmp_path, settings={"seed": 4})
    assert read_stored_settings(tmp_path) == {"seed": 4}


def test_settings_are_flattened_to_dotted_names_whatever_their_depth():
    tree = {"a": 1, "b": {"c": (1, 2), "d": {"e": None, "f": [3]}}, "g": {}}
    assert flatten(tree) == {"a": 1, "b.c": [1, 2], "b.d.e": None, "b.d.f": [3]}


def test_the_weight_of_the_speaker_is_told_from_none_and_not_from_another():
    def made(*overrides):
        found = pretraining_settings(load_settings("base", ["size=tiny", *overrides]))
        return found["model"]["speaker_weight"], found["model"]["ctc_weight"]

    assert made("model.speaker_weight=0.3", "model.ctc_weight=0.3") == (1.0, 0.0)
    assert made("model.speaker_weight=0.0") == (0.0, 0.0)
    for preset, overrides in (("table3_m1", []), ("base", ["pretraining.max_steps=0"])):
        assert pretraining_settings(load_settings(preset, ["size=tiny", *overrides])) is None
