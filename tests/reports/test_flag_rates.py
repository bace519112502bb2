import json
from pathlib import Path

from train_scripts.reports.pages import render

MEASURED = Path(__file__).parents[2] / "model_cards" / "measurements" / "flag_rates.json"


def test_the_measured_rates_are_stated_for_speech_and_for_what_is_none():
    result = json.loads(MEASURED.read_text(encoding="utf-8"))
    lines = render("flag_rates", result=result).splitlines()
    kinds = [*result["speech"], *result["no_speech"]]
    assert len(lines) == 2 + len(kinds)
    for line, kind in zip(lines[2:], kinds, strict=True):
        assert kind in line
    noise = result["no_speech"]["white noise"]
    rate = 100 * noise["not_speech_like"] / noise["sounds"]
    [line] = [line for line in lines if line.startswith("| white noise |")]
    assert line.split(" | ")[2] == f"{rate:.3g} %"
