"""The command `decomp-ser`: one verb a module, loaded only when it is called.

Exit codes: 0 done; 2 wrong input or usage, with one line on standard error; 1 anything unforeseen,
with a traceback.
"""

import difflib
import importlib
import logging
import sys
from importlib import metadata
from typing import NoReturn

import typer

VERBS = {
    "quickstart": ("quickstart", "The whole job on the embedded corpus, in a few minutes."),
    "prepare": ("prepare", "Read a corpus into Parquet with statistics."),
    "leaks": ("leaks", "Say what of each test fold is in its training set."),
    "pretrain": ("pretrain", "Pre-train the decomposition (equation 7)."),
    "finetune": ("finetune", "Train on all tasks (equation 5) and score the test fold."),
    "cross-validate": ("cross_validate", "Every fold of every preset and seed."),
    "evaluate": ("evaluate_model", "Score a trained model on a corpus or a test fold."),
    "report": ("report", "Tables and figures of runs, with intervals and tests."),
    "predict": ("predict", "Recognise the emotion of audio files."),
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
        *(f"  {verb:14} {line}" for verb, (_, line) in VERBS.items()),
        "",
        "decomp-ser VERB --help explains a verb.",
    ]
)

# The base of Typer's usage errors, which it exports by its subclasses only.
UsageError = typer.BadParameter.__mro__[1]


def run(app: typer.Typer, arguments: list[str] | None = None, verb: str | None = None) -> None:
    """Run one verb, and answer wrong input with one line and exit code 2.

    Args:
        app: of the verb's module.
        arguments: of the command line; default those of this process, as for
            `python -m train_scripts.MODULE`.
        verb: as called from `decomp-ser`.
    """
    # here, because it loads torch, which --help of the whole command does not wait for
    from processing.errors import InputError

    name = f"decomp-ser {verb}" if verb else "decomp-ser"
    logging.basicConfig(
        format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING, stream=sys.stderr
    )
    command = typer.main.get_command(app)
    try:
        code = command.main(args=arguments, prog_name=name, standalone_mode=False)
    except InputError as error:
        fail(name, str(error))
    except UsageError as error:
        fail(name, f"{error.format_message()} See {name} --help.")
    except typer.Abort:
        sys.exit(130)
    else:
        sys.exit(code or 0)


def fail(name: str, message: str) -> NoReturn:
    """Say what is wrong in one line and stop with exit code 2."""
    print(f"{name}: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def main() -> None:
    """Entry point of `decomp-ser`."""
    verb, *arguments = sys.argv[1:] or ["--help"]
    if verb in VERBS:
        module = importlib.import_module(f"train_scripts.{VERBS[verb][0]}")
        run(module.app, arguments, verb)
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
