"""Settings of the other systems: plain dataclasses, changed by key=value, told in the record."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import yaml

from processing.errors import InputError
from train_scripts.runs.settings import check_fields


def make_settings(kind: type, options: Mapping[str, Any], overrides: Sequence[str]) -> Any:
    """Settings of a system.

    Args:
        kind: dataclass of its module.
        options: values that the system's name makes.
        overrides: "key=value", which count for more.

    Raises:
        InputError: if a name does not exist or a value is of another type.
    """
    changed = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"setting '{text}': expected key=value, such as num_epochs=50.")
        changed[key] = yaml.safe_load(value)
    return kind(**{**options, **check_fields(kind, changed, "")})


def describe_settings(settings: Any) -> dict[str, Any]:
    """The entries of a record: every setting, and under `reconstruction` the names of those that
    the source leaves open.
    """
    unstated = getattr(settings, "UNSTATED", ())
    known = {field.name for field in fields(settings)}
    if missing := set(unstated) - known:
        raise ValueError(f"UNSTATED names {', '.join(sorted(missing))}, which are no settings.")
    remarks = list(getattr(settings, "REMARKS", ()))
    entries: dict[str, Any] = asdict(settings)
    if unstated or remarks:
        entries |= {"reconstruction": list(unstated), "remarks": remarks}
    return entries
