"""Figures of other papers on folds that a protocol here has, quoted beside the rows."""

from collections.abc import Mapping
from typing import Any

import yaml

from train_scripts.runs.settings import PRESETS

PUBLISHED = PRESETS / "paper" / "published.yaml"


def published_figures() -> list[dict[str, Any]]:
    """Every table that is quoted; see the file."""
    return yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))


def quoted_beside(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tables that are of the corpus, protocol and number of labels of a row."""
    place = (row["corpus"], row["protocol"]["name"], len(row["labels"]))
    return [
        table
        for table in published_figures()
        if (table["corpus"], table["protocol"], table["num_labels"]) == place
    ]
