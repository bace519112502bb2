"""What README and the documentation show is typed as it stands, after the quickstart, in a folder
of its own.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.stub_hub import TOKEN, StubHub
from support.typed_page import is_code, read_blocks, typed_commands
from support.warm_python import WarmPython

REPOSITORY = Path(__file__).parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
TYPED_PAGE = Path(__file__).parent / "support" / "typed_page.py"
MOST_NOT_RUN = 5
"""Blocks of one page that say why they are not run."""
NEEDED = ("model_cards", "Makefile", "README.md")
"""What a reader who has cloned the repository finds beside the runs."""


PROGRAMS = Path(sys.executable).parent


def names(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def surroundings(hub: StubHub, programs: Path = PROGRAMS) -> dict[str, str]:
    return {
        **{k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"},
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "MPLBACKEND": "agg",
    }


def type_page(page: Path, folder: Path, hub: StubHub, programs: Path = PROGRAMS) -> None:
    """Type a page, with `python` and `decomp-ser` of a folder of programs."""
    hub.repositories.clear()
    done = subprocess.run(
        [programs / "python", TYPED_PAGE, page],
        cwd=folder,
        env=surroundings(hub, programs),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout[-1500:]}\n{done.stderr[-3000:]}"


def reader_folder(quickstart: Path, folder: Path) -> Path:
    """The quickstart's folder beside what a clone of the repository holds."""
    shutil.copytree(quickstart / "runs", folder / "runs")
    for name in NEEDED:
        (folder / name).symlink_to(REPOSITORY / name)
    return folder


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_every_block_of_a_page_runs_as_typed(page, tiny_quickstart, hub, warm_programs, tmp_path):
    if not any(is_code(b) and b.reason is None for b in read_blocks(page.read_text("utf-8"))):
        return  # a page of prose
    # the first page that one types, by the programs as installed
    programs = PROGRAMS if page.name == "README.md" else warm_programs
    type_page(page, reader_folder(tiny_quickstart[0], tmp_path), hub, programs)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=names)
def test_every_block_of_a_page_runs_after_the_true_quickstart(page, true_quickstart, hub, tmp_path):
    type_page(page, reader_folder(true_quickstart, tmp_path), hub)


@pytest.fixture(scope="module")
def hub():
    with StubHub() as hub:
        yield hub


@pytest.fixture(scope="module")
def warm_programs(hub, tmp_path_factory):
    with WarmPython(tmp_path_factory.mktemp("programs"), surroundings(hub)) as warm:
        yield warm.folder


@pytest.fixture(scope="module")
def true_quickstart(tmp_path_factory):
    folder = tmp_path_factory.mktemp("true")
    subprocess.run(
        [sys.executable, "-m", "train_scripts.cli", "quickstart"], cwd=folder, check=True
    )
    return folder


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_a_page_names_the_language_of_its_blocks_and_leaves_few_out(page):
    blocks = read_blocks(page.read_text("utf-8"))
    unnamed = [block.line for block in blocks if not block.language]
    assert not unnamed, f"{page.name}: lines {unnamed}: ```bash, ```python or ```text?"
    assert sum(block.reason is not None for block in blocks) <= MOST_NOT_RUN


def test_the_last_lines_of_the_quickstart_run_as_they_stand(tiny_quickstart):
    folder, said = tiny_quickstart
    lines = said.splitlines()
    begin = lines.index("from transformers import pipeline")
    done = subprocess.run(
        [sys.executable, "-i", "-q"],
        input="\n".join(lines[begin : begin + 2]) + "\n",
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert "'score'" in done.stdout, done.stderr[-3000:]
    label = done.stdout.split("'label': '")[1].split("'")[0]
    assert lines[begin + 2].split()[0] == label


def test_blocks_are_found_with_their_lines_and_reasons():
    text = (
        "a\n```python\nx = 1\n```\n<!-- not run: it never ends -->\n\n```bash\ndemo\n```\n"
        "```text\nno code\n```\n"
    )
    blocks = read_blocks(text)
    assert [(b.line, b.language, b.reason) for b in blocks] == [
        (3, "python", None),
        (8, "bash", "it never ends"),
        (11, "text", None),
    ]
    assert [is_code(b) for b in blocks] == [True, True, False]


def test_output_below_a_prompt_is_not_typed():
    code = "$ echo a \\\n    b\na b\n$ echo c\nc\n"
    assert typed_commands(code) == "echo a \\\n    b\necho c"
    assert typed_commands("echo a\n") == "echo a\n"


def test_a_block_that_fails_is_named_with_its_line(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\ny = 1\n```\n\n```pycon\n>>> y\n2\n>>> wave_a\n3\n```\n", encoding="utf-8"
    )
    done = subprocess.run([sys.executable, TYPED_PAGE, page], capture_output=True, text=True)
    assert done.returncode == 1
    assert "line 8" in done.stderr and "NameError: name 'wave_a'" in done.stderr


def test_a_warm_program_is_a_process_of_its_own(warm_programs, hub, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "word = sys.stdin.read()\n"
        "print(sys.argv[1:], word, os.getcwd(), os.environ['HOME'])\n"
        "print('torch' in sys.modules, file=sys.stderr)\n"
        "os.kill(os.getpid(), 9) if word == 'die' else sys.exit(5)\n"
    )
    environment = {**surroundings(hub, warm_programs), "HOME": "/h"}

    def run(*words, **options):
        return subprocess.run(
            words,
            **{"env": environment, "cwd": tmp_path, "capture_output": True, "text": True} | options,
        )

    done = run(warm_programs / "python", script, "a b", input="word")
    assert (done.returncode, done.stderr) == (5, "True\n")
    assert done.stdout == f"['a b'] word {tmp_path} /h\n"
    assert run(warm_programs / "python", script, input="die").returncode == -9
    # what was read while importing cannot be another value now
    other = run(warm_programs / "decomp-ser", "help", env={**environment, "HF_ENDPOINT": "x"})
    assert other.returncode == 70 and "other values of HF_ENDPOINT" in other.stderr
    wrong = run(warm_programs / "decomp-ser", "finetun")
    true = run(PROGRAMS / "decomp-ser", "finetun")
    assert (wrong.returncode, wrong.stderr) == (true.returncode, true.stderr)
    assert wrong.returncode == 2
