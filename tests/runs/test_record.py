import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.records import make_record, plant_record

from processing.errors import InputError
from train_scripts.runs.record import (
    Calibration,
    ClassScores,
    GroupScores,
    Leaks,
    Metrics,
    RunRecord,
    has_digests,
    read_record,
)

FIRST_LAYOUT = Path(__file__).parents[1] / "assets" / "model_card" / "results.json"

FULL = make_record(
    metrics=Metrics(weighted_accuracy=0.5, num_turns=4),
    per_class={"sad": ClassScores(recall=None, precision=0.5, f1=None, num_turns=0)},
    per_speaker={
        "a": GroupScores(
            weighted_accuracy=0.5, unweighted_average_recall=0.25, num_turns=4, absent_labels=1
        )
    },
    leaks=Leaks(
        turns={"test": 4}, speakers={"test": 1}, shared_speakers=["a"], in_train={"speaker": None}
    ),
    calibration=Calibration(
        temperature=1.0,
        fitted_temperature=2.0,
        kept=False,
        abstain_below=0.0,
        num_turns=4,
        ece_before=0.1,
        ece_after=0.2,
        nll_before=1.0,
        nll_after=0.9,
        wanted_risk=None,
        risk_coverage=[{"confidence": 0.5, "coverage": 1.0, "risk": 0.5}],
    ),
    settings={"speech_encoder": "scratch", "model": {"components": ["pitch"]}, "overrides": []},
)


def test_what_is_written_is_read(tmp_path):
    written = plant_record(tmp_path, **vars(FULL))
    assert read_record(tmp_path) == read_record(tmp_path / "results.json") == written == FULL
    assert json.loads((tmp_path / "results.json").read_text())["record_version"] == 2


def test_a_record_gets_the_versions_and_commit_of_its_writing_once(tmp_path):
    written = plant_record(tmp_path, versions={}, commit=None)
    assert written.versions["decomp-ser"] and written.versions["torch"]
    again = plant_record(tmp_path, **{**vars(written), "commit": "of then"})
    assert again.commit == "of then"


def test_a_file_of_before_records_had_a_version_is_completed():
    content = json.loads(FIRST_LAYOUT.read_text())
    assert "record_version" not in content and "best_epoch" not in content
    record = RunRecord.from_dict({**content, "corpus": "ravdess"})
    stored = record.to_dict()
    later = {name: value for name, value in stored["metrics"].items() if value is not None}
    assert later == {k: v for k, v in content["metrics"].items() if v is not None}
    for name in ("per_speaker", "per_gender"):  # groups did not tell it then
        content[name] = {k: {**v, "overconfidence": None} for k, v in content[name].items()}
    assert all(stored[name] == content[name] for name in content if name != "metrics")
    assert record.trained_on == "ravdess" and record.best_epoch is None
    scored = RunRecord.from_dict({**content, "preset": None, "corpus": "ravdess"})
    assert scored.trained_on is None  # evaluate names the corpus that it scored


def test_every_temperature_of_the_first_layout_was_kept():
    content = FULL.to_dict()
    del content["record_version"]
    content["calibration"]["temperature"] = 1.75
    for name in ("kept", "fitted_temperature"):
        del content["calibration"][name]
    calibration = RunRecord.from_dict(content).calibration
    assert calibration is not None and calibration.kept
    assert calibration.fitted_temperature == calibration.temperature == 1.75


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"record_version": 3}, "record_version 3 is unknown to this software, .* up to 2"),
        ({"sede": 1}, "entry 'sede' is unknown"),
        ({"seed": "1"}, "entry 'seed' is '1', expected int"),
        ({"seed": True}, "entry 'seed' is 'True', expected int"),
        ({"labels": ["sad", 3]}, r"entry 'labels\[1\]' is '3', expected str"),
        ({"metrics": {"weighted_accuracy": "high"}}, "'metrics.weighted_accuracy' is 'high'"),
        ({"protocol": {"name": "speaker"}}, "entry 'protocol.version' is missing"),
        ({"protocol": None}, "entry 'protocol' is 'None', expected dict"),
        ({"calibration": {"ece_before_test": 0.1}}, "entry 'calibration.temperature' is missing"),
    ],
)
def test_what_is_no_record_is_refused_in_one_line(tmp_path, change, message):
    plant_record(tmp_path)
    path = tmp_path / "results.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=message) as caught:
        read_record(tmp_path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", "", "\x00"])
def test_damaged_and_foreign_files_are_refused_in_one_line(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(InputError, match=r"results\.json: cannot be read") as caught:
        read_record(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_whole_number_is_a_fraction_too():
    content = {**FULL.to_dict(), "seconds": 2}
    assert RunRecord.from_dict(content).seconds == 2.0


def test_what_only_this_machine_knows_is_not_published(tmp_path):
    settings = {"speech_encoder": str(tmp_path), "data": "/home/someone", "seed": 1}
    own = replace(
        FULL, backbone=str(tmp_path), pretrained="a", predictions="b", model="c", settings=settings
    )
    shown = own.publishable()
    assert (shown.pretrained, shown.predictions, shown.model) == (None, None, None)
    assert shown.backbone == tmp_path.name
    assert shown.settings == {"speech_encoder": tmp_path.name, "seed": 1}
    assert replace(FULL, backbone="scratch").publishable().backbone == "scratch"


@pytest.mark.parametrize("name", ["results.json", "predictions.parquet", "settings.yaml"])
def test_what_was_changed_after_the_run_is_named(tmp_path, name):
    (tmp_path / "predictions.parquet").write_bytes(b"predictions")
    (tmp_path / "settings.yaml").write_bytes(b"seed: 0")
    plant_record(tmp_path, predictions="predictions.parquet", seconds=2.0)
    read_record(tmp_path)
    path = tmp_path / name
    changed = path.read_bytes().replace(b"2.0", b"3.0")  # the seconds of the record
    path.write_bytes(changed + b"\n")
    with pytest.raises(InputError, match=rf"{name}: was changed after the run"):
        read_record(tmp_path)


def test_a_record_without_digests_is_one_of_before_and_is_read(tmp_path):
    record = plant_record(tmp_path)
    path = tmp_path / "results.json"
    content = json.loads(path.read_text())
    assert has_digests(path)
    del content["digests"]
    path.write_text(json.dumps(content))
    assert not has_digests(path)
    assert read_record(tmp_path) == record


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b'{"digests": 3}', b"\xff", b'{"a": ' * 100_000, b"{}", b"7"]
)
def test_a_damaged_record_is_named_in_a_line(tmp_path, content):
    (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(InputError, match=r"results\.json: cannot be read"):
        read_record(tmp_path)


def test_a_record_with_digests_of_another_kind_is_refused(tmp_path):
    plant_record(tmp_path)
    path = tmp_path / "results.json"
    for digests in (3, [], {}, {"results.json": "0"}):
        path.write_text(json.dumps({**json.loads(path.read_text()), "digests": digests}))
        with pytest.raises(InputError, match=r"results\.json: was changed after the run"):
            read_record(tmp_path)
