import json
from pathlib import Path

from train_scripts.reports.pages import render

MEASURED = Path(__file__).parents[2] / "model_cards" / "measurements" / "installation.json"


def test_the_size_on_the_disk_is_stated_for_each_route_that_was_tried():
    result = json.loads(MEASURED.read_text(encoding="utf-8"))
    cpu = result["routes"]["cpu"]
    text = render("installation", result={**result, "routes": {"cpu": cpu}})
    assert f"{cpu['megabytes'] / 1000:.2g} GB with a torch without CUDA ({cpu['torch']})" in text
    assert ("less its compiled parts" in text) == cpu["without_extension"]
    plain = {"megabytes": 7040, "torch": "2.14.1+cu130", "torchaudio": "2.11.1"}
    both = render("installation", result={**result, "routes": {"cpu": cpu, "plain": plain}})
    assert "took 7 GB with the torch that pip chooses on Linux (2.14.1+cu130) and " in both
