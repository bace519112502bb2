"""The command `decomp-ser`: one verb a module, which loads what it computes with when it is called.

Exit codes: 0 done; 2 wrong input, usage or an output that cannot be written, with one line on
standard error; 3 done but for files that are listed there; 1 anything unforeseen, with a traceback;
130 interrupted; 143 or 129 asked to end by SIGTERM or SIGHUP; 141 nobody reads the output any more.
"""

import difflib
import importlib
import logging
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any, NoReturn

import typer

from train_scripts.runs.foreseen_errors import describe_foreseen

VERBS = {
    "quickstart": ("quickstart", "The whole job on the embedded corpus, in a few minutes."),
    "prepare": ("prepare", "Read a corpus into Parquet with statistics."),
    "leaks": ("leaks", "Say what of each test fold is in its training set."),
    "pretrain-encoder": (
        "pretrain_encoder",
        "Pre-train the speech encoder on unlabelled speech.",
    ),
    "pretrain": ("pretrain", "Pre-train the decomposition (equation 7)."),
    "finetune": ("finetune", "Train on all tasks (equation 5) and score the test fold."),
    "cross-validate": ("cross_validate", "Every fold of every preset and seed."),
    "evaluate": ("evaluate_model", "Score a trained model on a corpus or a test fold."),
    "stress": ("stress", "What answers do when the recording changes: noise, rooms, codecs."),
    "report": ("report", "Tables and figures of runs, with intervals and tests."),
    "predict": ("predict", "Recognise the emotion of audio files."),
    "serve": ("serve", "Answer recordings and live signals over HTTP."),
    "encode": ("encode", "Write the codes of speech, by part, as features for other programs."),
    "explain": ("explain", "Say why: shares of the parts of speech, and what would change it."),
    "push": ("push", "Publish a trained model with its card on the Hub."),
    "export": ("export", "Write a model as ONNX, and compare it with the original."),
    "demo": ("demo", "Open a page in the browser: record or upload, and see the answer."),
    "probe": ("probe", "Measure which code carries which factor of speech."),
    "baselines": ("run_baselines", "Other systems in the same folds."),
    "convert": ("convert", "Hear speech without a component, or with another's."),
}
"""Verb to module of this package, and its line in --help. A table, so that --help imports none."""

HELP = "\n".join(
    [
        "Usage: decomp-ser VERB [OPTIONS] [ARGUMENTS]",
        "",
        "Speech emotion recognition from decomposed speech.",
        "",
        "Verbs:",
        *(f"  {verb:16} {line}" for verb, (_, line) in VERBS.items()),
        "",
        "decomp-ser VERB --help explains a verb, --version names the version,",
        "--install-completion lets your shell complete verbs and options.",
    ]
)

COMPLETION_VARIABLE = "_DECOMP_SER_COMPLETE"
"""Set by a shell that asks what may follow."""

TELEMETRY_OFF = {"HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
"""Nothing is reported to anyone unless the user sets these otherwise."""

SOME_LEFT_OUT = 3
INTERRUPTED = 130
ENDED = {128 + signal.SIGTERM: "asked to end", 128 + signal.SIGHUP: "hung up"}
"""Exit codes of signals that end a verb in order, and what is said of them."""
UNREAD = 128 + signal.SIGPIPE
AFTER_INTERRUPTION = "After Ctrl-C: "
"""How the epilog of a verb's help begins, which is what an interrupted verb says too."""

# The base of Typer's usage errors, which it exports by its subclasses only.
UsageError: Any = typer.BadParameter.__mro__[1]


def make_app() -> typer.Typer:
    """The application of a verb: plain help, by -h too."""
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def run(app: typer.Typer, arguments: list[str] | None = None, verb: str | None = None) -> None:
    """Run one verb, on the arguments of this process unless others are given, and answer what a
    user can put right with one line and exit code 2.
    """
    name = f"decomp-ser {verb}" if verb else "decomp-ser"
    logging.basicConfig(
        format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING, stream=sys.stderr
    )
    command: Any = typer.main.get_command(app)
    command.callback = announced(command.callback)
    try:
        code = command.main(args=arguments, prog_name=name, standalone_mode=False)
    except UsageError as error:
        fail(name, f"{error.format_message()} See {name} --help.")
    except SystemExit as stopped:
        if isinstance(stopped.code, int):
            say_what_is_kept(name, command, ENDED.get(stopped.code))
        raise
    except typer.Abort:  # older versions of Typer; newer ones return the exit code
        code = INTERRUPTED
    except Exception as error:
        message = describe_foreseen(error, sys.argv[1:] if arguments is None else arguments)
        if message is None:
            raise
        fail(name, message)
    say_what_is_kept(name, command, "interrupted" if code == INTERRUPTED else None)
    sys.exit(code or 0)


def say_what_is_kept(name: str, command: Any, how: str | None) -> None:
    """Say how a verb was ended before its time, if it was, and what stays of its work."""
    if how is not None:
        kept = (command.epilog or "").removeprefix(AFTER_INTERRUPTION)
        print(f"\n{name}: {how}. {kept[:1].upper()}{kept[1:]}", file=sys.stderr)


def end_in_order() -> None:
    """Let SIGTERM and SIGHUP end a verb as Ctrl-C does: its workers end with it. What `nohup` has
    told to ignore SIGHUP goes on doing so.
    """

    def end(number: int, frame: Any) -> NoReturn:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)


def announced(body: Callable) -> Callable:
    """The body of a verb, which takes seconds to load; a person at a terminal is told so."""

    def announce_and_run(*arguments, **options):
        if sys.stderr.isatty():
            print("Loading ...", file=sys.stderr)
        try:
            return body(*arguments, **options)
        except BrokenPipeError as error:  # Typer would end by any of them without a word
            if reader_is_gone():
                raise
            raise RuntimeError("a pipe to something else than the output broke") from error

    return announce_and_run


@contextmanager
def quiet_when_unread() -> Iterator[None]:
    """End without a word, as other tools do, where nobody reads the output to its end: `| head`."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except (BrokenPipeError, SystemExit) as stopped:
        # 1 is what Typer ends with where a pipe breaks
        by_pipe = not isinstance(stopped, SystemExit) or stopped.code == 1
        if not (by_pipe and reader_is_gone()):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what is still to be flushed
        sys.exit(UNREAD)


def reader_is_gone() -> bool:
    """Whether the standard output is a pipe that nobody reads any more."""
    asked = select.poll()
    asked.register(1, 0)
    return any(state & (select.POLLERR | select.POLLHUP) for _, state in asked.poll(0))


def fail(name: str, message: str) -> NoReturn:
    """Say what is wrong in one line and stop with exit code 2."""
    print(f"{name}: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def load_app(verb: str) -> typer.Typer:
    """Import the module of a verb for its application."""
    return importlib.import_module(f"train_scripts.{VERBS[verb][0]}").app


def complete() -> None:
    """Install the completion of a shell, or answer a shell that asks what may follow."""
    from typer.core import TyperGroup

    class Verbs(TyperGroup):
        def list_commands(self, ctx) -> list[str]:
            return list(VERBS)

        def get_command(self, ctx, cmd_name):
            return typer.main.get_command(load_app(cmd_name)) if cmd_name in VERBS else None

    verbs = typer.Typer(cls=Verbs, rich_markup_mode=None)
    verbs.callback()(lambda: None)
    verbs(prog_name="decomp-ser", complete_var=COMPLETION_VARIABLE)


def main() -> None:
    """Entry point of `decomp-ser`."""
    for name, off in TELEMETRY_OFF.items():
        os.environ.setdefault(name, off)
    with quiet_when_unread():
        run_verb()


def run_verb() -> None:
    """Do what the arguments of this process ask for."""
    verb, *arguments = sys.argv[1:] or ["--help"]
    if verb.endswith("-completion") or COMPLETION_VARIABLE in os.environ:
        complete()
    elif verb in VERBS:
        end_in_order()
        run(load_app(verb), arguments, verb)
    elif verb in ("--help", "-h", "help"):
        print(HELP)
    elif verb == "--version":
        print(metadata.version("decomp-ser"))
    else:
        close = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(VERBS)}."
        fail("decomp-ser", f"no verb '{verb}': {hint}")


if __name__ == "__main__":
    main()
