"""Which room may import which: only what lies below it, one contract a line."""

import ast
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "train_scripts"
BELOW = {
    "corruptions": set(),
    "runs": {"corruptions"},
    "training": {"runs", "corruptions"},
    "answers": {"runs", "training"},
    "baselines": {"runs", "training"},
    "robustness": {"corruptions", "runs", "answers"},
    "experiments": {"runs", "training", "baselines"},
    "explanations": {"runs"},
    "exporting": {"runs", "answers"},
    "serving": {"runs", "answers"},
    "publishing": {"runs", "explanations", "robustness"},
    "reports": {"runs", "training", "answers", "explanations", "experiments", "publishing"},
}
VERBS = {"cli", "options"}


def imports_of(path):
    """Rooms and verb modules of this package that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("train_scripts"):
            parts = node.module.split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_only_what_lies_below_it(room):
    for path in (SCRIPTS / room).glob("*.py"):
        above = set(imports_of(path)) - {room} - BELOW[room]
        assert not above, f"{path.name} imports {', '.join(sorted(above))}"


def test_every_room_has_a_contract_and_the_contracts_have_no_circle():
    assert {p.parent.name for p in SCRIPTS.glob("*/__init__.py")} == set(BELOW)
    placed: set[str] = set()
    while left := [room for room in BELOW if room not in placed]:
        ready = [room for room in left if BELOW[room] <= placed]
        assert ready, f"a circle among {', '.join(left)}"
        placed.update(ready)


def test_only_verbs_stand_above_the_rooms():
    from train_scripts.cli import VERBS as TABLE

    modules = {p.stem for p in SCRIPTS.glob("*.py")} - {"__init__"}
    assert modules == {module for module, _ in TABLE.values()} | VERBS
    for module in modules - VERBS:
        lines = (SCRIPTS / f"{module}.py").read_text(encoding="utf-8").count("\n")
        assert lines <= 150, f"{module}.py: {lines} lines"


def test_packages_below_know_nothing_of_the_scripts():
    for package in ("modeling_decomp_ser", "processing"):
        for path in (SCRIPTS.parent / package).rglob("*.py"):
            assert not list(imports_of(path)), path
