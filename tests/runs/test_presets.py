"""The rows of Tables 2 and 3 are presets over one base."""

import pytest
from support.tiny_networks import VARIANTS

from train_scripts.runs.settings import (
    PRESETS,
    SIZES,
    build_config,
    load_settings,
    preset_names,
    read_preset,
)

WEIGHTS = ("emotion_weight", "ctc_weight", "speaker_weight", "reconstruction_weight")
# table2_all and table3_m3 are one model (SPEC section 6, item 6)
ROWS = {**VARIANTS, "table2_all": VARIANTS["table3_m3"]}


@pytest.mark.parametrize("preset", ROWS)
def test_a_row_has_the_parts_and_the_task_weights_of_the_specification(preset):
    config = build_config(load_settings(preset))
    expected = ROWS[preset]
    assert list(config.components) == expected["components"]
    assert config.use_speech_encoder == expected.get("use_speech_encoder", True)
    for name in WEIGHTS:
        assert getattr(config, name) == pytest.approx(expected[name], abs=1e-9), name
    assert sum(getattr(config, name) for name in WEIGHTS) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("preset", sorted(ROWS))
@pytest.mark.parametrize("size", SIZES)
def test_rows_differ_from_the_base_in_parts_and_weights_only(preset, size):
    base, row = (load_settings(name, [f"size={size}"]).as_dict() for name in ("base", preset))
    allowed = {"components", "single_reads_pitch", "use_speech_encoder", *WEIGHTS}
    for settings in (base, row):
        del settings["preset"]
        settings["model"] = {k: v for k, v in settings["model"].items() if k not in allowed}
    assert row == base


def test_every_row_of_the_tables_has_a_preset_of_at_most_twenty_lines():
    assert set(ROWS) <= set(preset_names())
    for preset in ROWS:
        assert len((PRESETS / f"{preset}.yaml").read_text().splitlines()) <= 20


def test_m3_adds_nothing_to_all():
    assert read_preset("table3_m3") == read_preset("table2_all")
    assert "model:" not in (PRESETS / "table3_m3.yaml").read_text()


@pytest.mark.parametrize("preset", sorted(ROWS))
def test_weights_can_be_overridden(preset):
    settings = load_settings(preset, ["model.emotion_weight=0.7"])
    assert build_config(settings).emotion_weight == 0.7
