"""YAML that people write: settings, read with every key once, and never larger than it looks."""

from pathlib import Path
from typing import Any

import yaml

from processing.errors import InputError

MOST_BYTES = 1_000_000
MOST_LEVELS = 50
MOST_VALUES = 100_000
"""Of a file, with its aliases written out: nine lines of aliases of aliases stand for a billion."""


class PlainLoader(yaml.SafeLoader):
    """Reads plain YAML; a key that occurs twice, or is no text, is an error, as is a bomb."""

    level = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """As in PyYAML, down to MOST_LEVELS."""
        self.level += 1
        if self.level > MOST_LEVELS:
            raise yaml.YAMLError(f"nested more than {MOST_LEVELS} levels deep")
        node = super().compose_node(parent, index)
        self.level -= 1
        return node

    def construct_yaml_int(self, node: Any) -> int:
        """A whole number of 64 bits."""
        number = super().construct_yaml_int(node)
        if not -(2**63) <= number < 2**64:
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: the number is too large")
        return number

    def get_single_node(self) -> Any:
        """The composed document, once it is known to be of a size that can be built."""
        node = super().get_single_node()
        if node is not None and expanded_size(node, {}) > MOST_VALUES:
            raise yaml.YAMLError(
                f"with its aliases written out it has more than {MOST_VALUES} values"
            )
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """A mapping whose keys are text, each once."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                where = f"line {key.start_mark.line + 1}"
                raise yaml.YAMLError(f"{where}: the key {key.value!r} is no text, expected a name")
            if key.value in seen:
                raise yaml.YAMLError(
                    f"line {key.start_mark.line + 1}: the key {key.value!r} occurs twice"
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


PlainLoader.add_constructor("tag:yaml.org,2002:int", PlainLoader.construct_yaml_int)


def expanded_size(node: Any, known: dict[int, int]) -> int:
    """Values in a node with all aliases written out; one inside of itself has infinitely many."""
    if id(node) not in known:
        known[id(node)] = MOST_VALUES + 1  # while it is being counted
        children: list[Any] = []
        if isinstance(node, yaml.SequenceNode):
            children = node.value
        elif isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(expanded_size(child, known) for child in children)
    return known[id(node)]


def parse_yaml(text: str, name: str) -> Any:
    """The value that YAML stands for; an InputError names where it is from."""
    try:
        return yaml.load(text, PlainLoader)
    except (yaml.YAMLError, ValueError) as error:  # a day that no month has is a ValueError
        said = " ".join(str(error).split())
        raise InputError(f"{name[:200]}: not valid YAML ({said[:300]}).") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping, of UTF-8; an InputError names the file and what is wrong with it."""
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{path}: {path.stat().st_size} bytes, expected {MOST_BYTES} at most.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start}). Save it as UTF-8.") from error
    content = parse_yaml(text, str(path))
    if content is not None and not isinstance(content, dict):
        raise InputError(f"{path}: expected 'key: value' lines, found {type(content).__name__}.")
    return content or {}
