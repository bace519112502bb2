import errno
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import typer

from train_scripts.cli import VERBS, end_in_order, load_app, make_app, run
from train_scripts.runs.foreseen_errors import EXTRAS

REPOSITORY = Path(__file__).parents[1]


def decomp_ser(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "train_scripts.cli", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )


HEAVY = ("torch", "transformers", "datasets", "numpy", "matplotlib")


def help_in_own_process(*arguments: str) -> tuple[str, float]:
    """What decomp-ser prints, and the seconds of processor time that it took; nothing heavy may be
    imported.
    """
    code = (
        "import resource, sys\n"
        "import train_scripts.cli as cli\n"
        f"sys.argv = ['decomp-ser', *{list(arguments)}]\n"
        "try: cli.main()\n"
        "except SystemExit as stopped: assert not stopped.code, stopped.code\n"
        f"loaded = sorted(sys.modules.keys() & {set(HEAVY)})\n"
        "assert not loaded, f'{loaded} imported'\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(used.ru_utime + used.ru_stime, file=sys.stderr)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout, float(answer.stderr)


def test_help_lists_every_verb_in_a_third_of_a_second():
    text, seconds = help_in_own_process()
    for verb in VERBS:
        assert f"\n  {verb}" in text
    assert seconds < 0.3


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_takes_less_than_half_a_second(verb):
    text, seconds = help_in_own_process(verb, "-h")
    assert f"Usage: decomp-ser {verb}" in text
    assert "-h, --help" in text
    assert "After Ctrl-C: " in text
    assert seconds < 0.5


def test_help_names_what_the_program_knows():
    """The constants live in modules that take seconds to import, so that help repeats them."""
    from modeling_decomp_ser.configuration_decomp_ser import DECOMPOSED
    from modeling_decomp_ser.pipeline_decomp_ser import WINDOW_SECONDS
    from processing.corpora.iemocap import CONFIGURATIONS
    from processing.corpora.preparation import CORPORA
    from processing.folds import PROTOCOLS
    from train_scripts import convert, leaks, predict, prepare, probe, report, run_baselines
    from train_scripts.baselines.systems import SYSTEMS
    from train_scripts.explanations.linear_probes import NUM_SHUFFLES
    from train_scripts.reports.comparisons import DEFAULT_PAIRS

    def help_of(module, name: str) -> str:
        command = typer.main.get_command(module.app)
        return {p.name: p for p in command.params}[name].help

    def default_of(module, name: str):
        command = typer.main.get_command(module.app)
        return {p.name: p for p in command.params}[name].default

    assert help_of(prepare, "corpus") == f"One of: {', '.join(CORPORA)}."
    assert f"iemocap: {' or '.join(CONFIGURATIONS)} " in help_of(prepare, "configuration")
    assert help_of(leaks, "protocol") == f"One of: {', '.join(PROTOCOLS)}."
    assert f": {', '.join(SYSTEMS)} MODEL_ID" in help_of(run_baselines, "arguments")
    assert help_of(convert, "take").endswith(f": {', '.join(DECOMPOSED)}.")
    pairs = ", ".join(":".join(pair) for pair in DEFAULT_PAIRS)
    assert help_of(report, "compare").endswith(f"Default: {pairs}")
    assert default_of(predict, "window_seconds") == WINDOW_SECONDS
    assert default_of(probe, "num_shuffles") == NUM_SHUFFLES


def test_help_of_predict_names_the_law():
    text, _ = help_in_own_process("predict", "--help")
    said = " ".join(text.split())
    assert "prohibited to infer the emotions of people at their workplace or in education" in said
    assert "except for medical or safety reasons (AI Act, Article 5(1)(f))" in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", list(VERBS)),
        ("fi", ["finetune"]),
        ("finetune --p", ["--protocol", "--pretrained"]),
        ("export on", ["onnx"]),
    ],
)
def test_a_shell_completes_verbs_and_options(words, expected):
    environment = {
        **os.environ,
        "_DECOMP_SER_COMPLETE": "complete_bash",
        "COMP_WORDS": f"decomp-ser {words}",
        "COMP_CWORD": str(max(1, len(words.split()))),
    }
    answer = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "train_scripts.cli"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert answer.stdout.split() == expected
    assert "| torch\n" not in answer.stderr


def test_completion_can_be_installed():
    # a test has no shell above it that Typer could look for
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = decomp_ser("--show-completion", "bash", **named)
    assert "_DECOMP_SER_COMPLETE=complete_bash" in shown.stdout
    assert "--install-completion" in decomp_ser("--help").stdout


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


@pytest.mark.parametrize("verb", ["finetune", "pretrain", "pretrain-encoder", "evaluate"])
def test_help_of_a_verb_explains_its_options(verb):
    answer = decomp_ser(verb, "--help")
    assert answer.returncode == 0
    assert "--data" in answer.stdout and "metadata.csv" in answer.stdout


WRITING = {
    "quickstart": [],
    "prepare": ["synthetic", "-", "{output}"],
    "pretrain-encoder": ["base", "--data", "x"],
    "pretrain": ["base", "--data", "x", "--protocol", "speaker", "--fold", "a"],
    "finetune": ["base", "--data", "x", "--protocol", "speaker", "--fold", "a"],
    "cross-validate": ["base", "--data", "x", "--protocol", "speaker", "--seeds", "1"],
    "evaluate": ["a/b", "--data", "x"],
    "report": ["x"],
    "explain": ["a/b", "x.wav"],
    "export": ["onnx", "a/b", "{output}"],
    "probe": ["a/b", "--data", "x"],
    "baselines": ["baseline_majority", "--data", "x", "--protocol", "speaker"],
    "convert": ["a/b", "x.wav"],
}
"""Verbs that write a folder, with what else they ask for."""


def call(capsys, verb: str, *arguments: str) -> tuple[int, str]:
    """Exit code and standard error of a verb in this process."""
    with pytest.raises(SystemExit) as stopped:
        run(load_app(verb), list(arguments), verb)
    written = capsys.readouterr()
    assert written.out == ""
    return stopped.value.code, written.err


@pytest.mark.parametrize("below", ["", "/below/it"])
@pytest.mark.parametrize("verb", WRITING)
def test_an_output_that_is_a_file_is_refused_at_once(verb, below, tmp_path, capsys):
    (tmp_path / "file").write_text("kept")
    output = f"{tmp_path}/file{below}"
    arguments = [a.format(output=output) for a in WRITING[verb]]
    if output not in arguments:
        arguments += ["--output", output]
    code, said = call(capsys, verb, *arguments)
    assert code == 2
    assert len(said.splitlines()) == 1
    assert f"{tmp_path}/file is not a folder" in said
    assert (tmp_path / "file").read_text() == "kept"


def test_an_output_without_permission_is_refused_at_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    code, said = call(capsys, "report", "x", "--output", str(tmp_path / "new" / "report"))
    assert code == 2
    assert f"no permission to write in {tmp_path}" in said
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "model 'nowhere' does not exist"),
        ("./nobody/nowhere", "model './nobody/nowhere' does not exist"),
        ("/nowhere", "model '/nowhere' does not exist"),
        ("{tmp}", "model '{tmp}': there is no config.json in this folder"),
        ("{tmp}/file", "model '{tmp}/file': it is a file"),
    ],
)
def test_a_model_that_does_not_exist_is_refused_at_once(name, message, tmp_path, capsys):
    (tmp_path / "file").touch()
    given = ["base", *WRITING["finetune"][1:], "--output", f"{tmp_path}/run"]
    for verb, arguments in (
        ("predict", [name, "x.wav"]),
        ("demo", [name]),
        ("finetune", [*given, "--pretrained", name]),
    ):
        code, said = call(capsys, verb, *(a.format(tmp=tmp_path) for a in arguments))
        assert code == 2
        assert message.format(tmp=tmp_path) in said
        assert "--allow-overlap" not in said
        assert len(said.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def failing_app(error: BaseException) -> typer.Typer:
    app = make_app()

    @app.command(epilog="After Ctrl-C: what is finished stays.")
    def command(paths: list[str]) -> None:
        raise error

    return app


def end_of(capsys, error: BaseException, *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stopped:
        run(failing_app(error), list(words), "verb")
    return stopped.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "", "/locked/x"), "/locked/x: Permission denied."),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device."),
        (OSError(errno.EROFS, "", "/cd/x"), "/cd/x: Read-only file system."),
        (FileNotFoundError(errno.ENOENT, "", "/given/a"), "/given/a: No such file or directory."),
        (IsADirectoryError(errno.EISDIR, "", "/given"), "/given: Is a directory."),
        (NotADirectoryError(errno.ENOTDIR, "", "/given/a/b/c"), "/given/a/b/c: Not a directory."),
        (RuntimeError("I/O error: full (os error 28)"), "No space left on device."),
        (
            ModuleNotFoundError("No module named 'peft'", name="peft.tuners"),
            "peft is not installed: install the extra with pip install 'decomp-ser[lora]'.",
        ),
    ],
)
def test_what_the_system_refuses_is_one_line(error, said, capsys):
    code, line = end_of(capsys, error, "/given/a/b")
    assert code == 2
    assert line.startswith(f"decomp-ser verb: {said}")
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "", "/package/template.md"),
        OSError("a library's own words"),
        ConnectionResetError(errno.ECONNRESET, ""),
        ModuleNotFoundError("No module named 'processing.gone'", name="processing.gone"),
        RuntimeError("boom"),
    ],
)
def test_what_nobody_foresaw_keeps_its_traceback(error):
    with pytest.raises(type(error)) as raised:
        run(failing_app(error), ["/given/a/b"], "verb")
    assert raised.value is error


def test_a_full_disk_is_one_line(capsys):
    app = make_app()

    @app.command()
    def command(path: Path) -> None:
        path.write_text("x" * 100_000)

    with pytest.raises(SystemExit) as stopped:
        run(app, ["/dev/full"], "verb")
    assert stopped.value.code == 2
    line = capsys.readouterr().err
    assert "No space left on device" in line and len(line.splitlines()) == 1


def test_ctrl_c_says_what_is_kept(capsys):
    code, said = end_of(capsys, KeyboardInterrupt(), "a")
    assert code == 130
    assert said == "\ndecomp-ser verb: interrupted. What is finished stays.\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_verb_that_is_asked_to_end_says_what_is_kept(number, capsys):
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)]
    app = make_app()

    @app.command(epilog="After Ctrl-C: what is finished stays.")
    def command() -> None:
        os.kill(os.getpid(), number)
        time.sleep(10)

    try:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        end_in_order()
        with pytest.raises(SystemExit) as stopped:
            run(app, [], "verb")
    finally:
        for n, handler in zip((signal.SIGTERM, signal.SIGHUP), before, strict=True):
            signal.signal(n, handler)
    assert stopped.value.code == 128 + number
    assert capsys.readouterr().err.endswith(". What is finished stays.\n")


def test_what_nohup_started_outlives_its_terminal():
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)]
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        end_in_order()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        for n, handler in zip((signal.SIGTERM, signal.SIGHUP), before, strict=True):
            signal.signal(n, handler)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_person_at_a_terminal_is_told_of_the_loading_and_a_log_is_not(
    terminal, capsys, monkeypatch
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    _, said = end_of(capsys, PermissionError(errno.EACCES, "", "/x"), "a")
    assert said.startswith("Loading ...\n") == terminal
    assert len(said.splitlines()) == 1 + terminal


def unread(code: str) -> tuple[int, str]:
    """Exit code and standard error of code whose output nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    return done.returncode, done.stderr.decode()


AS_COMMAND = "import sys; sys.argv = {}; from train_scripts.cli import main; main()"
PLANTED = """
import sys, typer
from train_scripts import cli
app = cli.make_app()
@app.command()
def command():
    {}
cli.load_app = lambda verb: app
sys.argv = ["decomp-ser", "predict"]
cli.main()
"""
BROKEN_CONNECTION = "import os; r, w = os.pipe(); os.close(r); os.write(w, b'x')"


@pytest.mark.parametrize(
    "code",
    [
        AS_COMMAND.format(["decomp-ser", "--help"]),
        AS_COMMAND.format(["decomp-ser", "predict", "--help"]),
        PLANTED.format("typer.echo('x' * 100_000)"),
        PLANTED.format("print('x' * 100_000)"),
        PLANTED.format("print('short')"),
    ],
    ids=["help", "help of a verb", "echo", "print", "at the end"],
)
def test_output_that_nobody_reads_ends_a_verb_quietly(code):
    assert unread(code) == (128 + signal.SIGPIPE, "")


def test_another_pipe_that_breaks_keeps_its_traceback():
    done = subprocess.run(
        [sys.executable, "-c", PLANTED.format(BROKEN_CONNECTION)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "BrokenPipeError" in done.stderr and "Traceback" in done.stderr


@pytest.mark.parametrize("package", EXTRAS)
def test_every_missing_package_is_named_with_the_extra_that_has_it(package):
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    names = {
        "espeakng_loader": "espeakng-loader",
        "silero_vad": "silero-vad",
        "sklearn": "scikit-learn",
        "python_multipart": "python-multipart",
    }
    required = extras["optional-dependencies"].get(EXTRAS[package], [])
    required = [*required, *extras["dependencies"]]
    assert any(r.startswith(f"{names.get(package, package)}>") for r in required)
