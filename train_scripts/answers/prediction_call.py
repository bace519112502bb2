"""One call of `decomp-ser predict`: from the words of the command line to what is printed."""

import logging
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from processing.folder_locks import sole_writer
from train_scripts.answers.answer_formats import format_answers
from train_scripts.answers.answer_store import KEY, AnswerStore
from train_scripts.answers.input_files import find_inputs
from train_scripts.answers.many_recordings import Progress, answer_many
from train_scripts.answers.prediction import Listening
from train_scripts.answers.turns import Conversations

logger = logging.getLogger(__name__)


@dataclass
class Call:
    """What a call prints, and whether it left out recordings."""

    lines: list[str]
    some_left_out: bool = False


def predict(
    model_name: str,
    inputs: Sequence[str],
    *,
    output: Path | None = None,
    form: str | None = None,
    channels: str = "auto",
    segments: str = "auto",
    rttm: Sequence[Path] | None = None,
    transcript: Sequence[Path] | None = None,
    summary: Path | None = None,
    window_seconds: float = 10.0,
    hop_seconds: float | None = None,
    fast: bool = False,
    batch_size: int = 1,
    jobs: int = 1,
    skip_bad: bool = False,
) -> Call:
    """Answer recordings, write what was asked for, and say it; the options are those of the verb.

    Raises:
        InputError: if the model, an option or a recording cannot be used, or another process
            writes to the same output.
    """
    listening = Listening(window_seconds, hop_seconds, channels, segments, fast).checked()
    conversations = Conversations(rttm or (), transcript or ())
    sources = find_inputs(inputs)
    with nullcontext() if output is None else sole_writer(output):
        store = AnswerStore(output, form, [source.name for source in sources])
        try:
            progress = answer_many(
                model_name,
                sources,
                store,
                listening=listening,
                conversations=conversations,
                batch_size=batch_size,
                jobs=jobs,
                skip_bad=skip_bad,
            )
        except KeyboardInterrupt:
            store.finish()
            if output is None and store.order:
                print(as_text(store), flush=True)
            raise
    warn(progress, len(sources))
    lines = [as_text(store)] if output is None else [describe(progress, output)]
    if summary is not None:
        from train_scripts.answers.overview import write_overview

        write_overview(store.in_order(), summary, model_name, progress.problems)
        lines.append(f"Overview: {summary}")
        if output is None:
            print(lines.pop(), file=sys.stderr)
    return Call(lines, bool(progress.problems))


def as_text(store: AnswerStore) -> str:
    """The answers as they are printed."""
    answers = [{k: v for k, v in a.items() if k != KEY} for a in store.in_order()]
    return format_answers(answers, store.form)


def describe(progress: Progress, output: Path) -> str:
    """What was done, in a line."""
    number = len(progress.store.order)
    before = f", {progress.num_known} of them answered before" if progress.num_known else ""
    return f"{number} recording{'s' * (number != 1)}{before}: {output}"


def warn(progress: Progress, total: int) -> None:
    """List what cannot be used, and say how many were noted."""
    if len(progress.notes) > 1:
        logger.warning("The same of %d more recordings.", len(progress.notes) - 1)
    if progress.problems:
        listed = "\n".join(progress.problems)
        logger.warning("%d of %d files cannot be used:\n%s", len(progress.problems), total, listed)
