"""Records of runs for tests: built from the type, never typed as JSON."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from train_scripts.runs.record import (
    RESULTS,
    Metrics,
    Protocol,
    RunRecord,
    read_record,
    write_record,
)


def make_record(**entries: Any) -> RunRecord:
    """A record with as little in it as a run may leave behind, and what the test asks for."""
    defaults = {
        "preset": "base",
        "fold": "1",
        "seed": 0,
        "labels": ["angry", "happy", "sad", "neutral"],
        "protocol": Protocol(name="speaker-5", version=1, hash="abc", leaks=False),
        "metrics": Metrics(),
        "seconds": 1.5,
        "versions": {"decomp-ser": "0.1.0"},
        "commit": "c" * 40,
    }
    return RunRecord(**{**defaults, **entries})


def plant_record(folder: Path, **entries: Any) -> RunRecord:
    """Write the results.json of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_record(folder, make_record(**entries))


def edit_record(folder: Path, **entries: Any) -> RunRecord:
    """Change entries of a written record; a dictionary changes fields of a nested one."""
    record = read_record(folder)
    for name, value in entries.items():
        nested = isinstance(value, dict) and hasattr(getattr(record, name), "__dataclass_fields__")
        setattr(record, name, replace(getattr(record, name), **value) if nested else value)
    return write_record(folder, record)


def seal_again(folder: Path) -> RunRecord:
    """Take the predictions in a run folder for those of the run, which a test has changed."""
    content = json.loads((folder / RESULTS).read_text())
    del content["digests"]
    return write_record(folder, RunRecord.from_dict(content))
