"""Small faults put into modules one at a time by mutmut, each judged by the module's own tests.

    python tests/mutation/mutate.py [--digits 37] [MODULE ...]

All modules of judges.yaml, or those named; with digits, of the mutants of each function only those
whose number ends in one of them: 37 is a fifth.

Words of messages and progress bars are left alone. What survives is listed as a change of a line,
with the reason that survivors.yaml gives; the exit code is 1 if a module has survivors without a
reason or kills less than LEAST_KILLED of its mutants.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import yaml

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
PACKAGES = ("modeling_decomp_ser", "processing", "train_scripts")
OUTPUT = REPOSITORY / "build" / "mutation"
LEAST_KILLED = 0.92
KILLED = ("killed", "timeout", "segfault")
SETTINGS = """
[tool.mutmut]
source_paths = ["."]
only_mutate = ["{module}"]
pytest_add_cli_args_test_selection = [{tests}]
pytest_add_cli_args = ["-p", "no:xdist", "-p", "no:cacheprovider"]
also_copy = [{copied}]
use_git_change_detection = false
# a mutant may take 15 times this many seconds more than the tests took, for a machine that is busy
timeout_constant = 4.0
track_dependencies = false
# lines that are words of a message, a string with a space in it and nothing else; progress bars
do_not_mutate_patterns = ['^\\s*f?"[^"]* [^"]*",?$', '^\\s*progress = tqdm\\(']
[tool.pytest.ini_options]
addopts = "--strict-markers -m 'not slow and not gpu and not iemocap'"
markers = ["slow", "gpu", "iemocap"]
"""
FOR_MUTANTS = """

from threading import RLock

from hypothesis import Phase, settings
from tqdm import tqdm

# one example that fails is enough, and the same ones are tried every time
settings.register_profile(
    "mutation", phases=[Phase.explicit, Phase.generate], derandomize=True, database=None
)
settings.load_profile("mutation")
# the lock of before is one for all processes: a mutant that ends while it holds it stops the others
tqdm.set_lock(RLock())
"""
"""Added to the copied conftest.py."""
SHOW = """
import sys
from mutmut.__main__ import find_mutant, get_diff_for_mutant
for name in sys.argv[1:]:
    print(get_diff_for_mutant(name, path=find_mutant(name).path), end="\\0")
"""


def prepare(module: str, tests: list[str]) -> Path:
    """A folder with the packages and a module's own tests, for mutmut to work in."""
    folder = OUTPUT / module.removesuffix(".py").replace("/", ".")
    shutil.rmtree(folder, ignore_errors=True)
    without_caches = shutil.ignore_patterns("__pycache__")
    for name in (*PACKAGES, "tests/support", "tests/assets"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=without_caches)
    for name in ("tests/conftest.py", *tests):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)
    with (folder / "tests/conftest.py").open("a", encoding="utf-8") as conftest:
        conftest.write(FOR_MUTANTS)
    data = [
        path.relative_to(folder).as_posix()
        for name in PACKAGES
        for path in (folder / name).rglob("*.*")
        if path.suffix != ".py"
    ]
    listed = {"module": module, "tests": quoted(tests), "copied": quoted(data)}
    (folder / "pyproject.toml").write_text(SETTINGS.format(**listed), encoding="utf-8")
    return folder


def quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def python(folder: Path, *arguments: str) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def judge(module: str, tests: list[str], digits: str) -> tuple[Counter, list[str]]:
    """Number of mutants by what became of them, and those that survived as changes of lines."""
    folder = prepare(module, tests)
    chosen = [f"*__mutmut_*{digit}" for digit in digits]
    python(folder, "-m", "mutmut", "run", "--max-children", "1", *chosen)
    listed = python(folder, "-m", "mutmut", "results", "--all", "true").splitlines()
    ends = dict(line.strip().rsplit(": ", 1) for line in listed if ": " in line)
    ends = {name: end for name, end in ends.items() if end != "not checked"}
    survivors = [name for name, end in ends.items() if end not in KILLED]
    shown = python(folder, "-c", SHOW, *survivors).split("\0")[:-1]
    return Counter(ends.values()), [describe(difference) for difference in shown]


def describe(difference: str) -> str:
    """The changed lines of a diff, as "old -> new"."""
    lines = [x for x in difference.splitlines() if x[:3] not in ("+++", "---")]
    old, new = (" ".join(" ".join(x[1:] for x in lines if x[:1] == s).split()) for s in "-+")
    return f"{old} -> {new}"


def main(modules: list[str], digits: str) -> int:
    """Judge modules and print what survived."""
    judges = yaml.safe_load((HERE / "judges.yaml").read_text(encoding="utf-8"))
    reasons = yaml.safe_load((HERE / "survivors.yaml").read_text(encoding="utf-8")) or {}
    bad, summary = False, {}
    for module in modules or judges:
        ends, survivors = judge(module, judges[module], digits)
        killed, tried = sum(ends[end] for end in KILLED), sum(ends.values())
        ways = ", ".join(f"{number} {end}" for end, number in ends.most_common())
        print(f"{module}: {killed / max(tried, 1):.1%} of {tried} killed ({ways})", flush=True)
        known = reasons.get(module, {})
        for change in survivors:
            print(f"  {change}\n    {known.get(change, 'no reason is given')}", flush=True)
        bad |= killed < LEAST_KILLED * tried or any(change not in known for change in survivors)
        summary[module] = {"tried": tried, "killed": killed, "survivors": survivors}
        (OUTPUT / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
    return int(bad)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("modules", nargs="*")
    parser.add_argument("--digits", default="")
    given = parser.parse_args()
    sys.exit(main(given.modules, given.digits))
