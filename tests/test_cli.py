import subprocess
import sys
from pathlib import Path

import pytest

from train_scripts.cli import VERBS

REPOSITORY = Path(__file__).parents[1]


def decomp_ser(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "train_scripts.cli", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )


def test_help_lists_every_verb_without_loading_torch():
    code = (
        "import sys, train_scripts.cli as cli\n"
        "sys.argv = ['decomp-ser']\n"
        "cli.main()\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    for verb in VERBS:
        assert f"\n  {verb}" in answer.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_its_module(verb):
    assert (REPOSITORY / "train_scripts" / f"{VERBS[verb][0]}.py").is_file()


def test_a_misspelt_verb_is_answered_with_the_right_one():
    answer = decomp_ser("finetun")
    assert answer.returncode == 2
    assert answer.stderr == "decomp-ser: no verb 'finetun': did you mean finetune?\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["finetune", "base", "--data", "x"], "Missing option '--protocol'"),
        (["finetune", "base", "--bogus"], "No such option: --bogus"),
        (
            ["finetune", "base", "size=tiny", "--data", "nowhere", "--protocol", "speaker"]
            + ["--fold", "a", "--output", "{tmp}"],
            "'nowhere'",
        ),
        (["evaluate", "{tmp}", "--data", "nowhere"], "model '{tmp}'"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(arguments, message, tmp_path):
    answer = decomp_ser(*(a.format(tmp=tmp_path) for a in arguments))
    assert answer.returncode == 2, answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert message.format(tmp=tmp_path) in answer.stderr
    assert answer.stdout == ""


def test_an_unforeseen_error_keeps_its_traceback_and_exit_code_1():
    code = (
        "import typer\n"
        "from train_scripts.cli import run\n"
        "app = typer.Typer()\n"
        "@app.command()\n"
        "def command(): raise RuntimeError('boom')\n"
        "run(app, [])\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert answer.returncode == 1
    assert "Traceback" in answer.stderr and "boom" in answer.stderr


@pytest.mark.parametrize("verb", ["finetune", "pretrain", "evaluate"])
def test_help_of_a_verb_explains_its_options(verb):
    answer = decomp_ser(verb, "--help")
    assert answer.returncode == 0
    assert "--data" in answer.stdout and "metadata.csv" in answer.stdout
