"""Fill the Jinja templates of pages and cards."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def fill_template(
    path: Path, functions: Mapping[str, Callable] | None = None, **content: Any
) -> str:
    """Fill a template, which may import others of its folder, with its variables by name. It may
    use the functions by their names, also as filters; what it does not know is an error.
    """
    environment = Environment(
        loader=FileSystemLoader(path.parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= functions or {}
    environment.globals |= functions or {}
    return environment.get_template(path.name).render(**content)
