"""What a reader of a row has to know: leaks, selection, memorised sentences, gaps."""

from collections.abc import Mapping, Sequence
from typing import Any

from train_scripts.reports.rows import Row
from train_scripts.runs.finished_runs import Run

MEMORISED_SHARE = 0.1
"""From this share of test turns whose words occur in training on, a row says so of its WER."""


def describe_row(row: Row, scored: Mapping[str, Any]) -> list[str]:
    """Notes of a row and its numbers, the gravest first."""
    runs = list(row.runs.values())
    notes = [
        *leak_notes(runs),
        *selection_notes(runs),
        *system_notes(runs[0]),
        *(["INCOMPLETE: lacks " + "; ".join(row.missing)] if row.missing else []),
    ]
    if scored["metrics"]["word_error_rate"]["pooled"] is not None:
        notes += transcript_notes(runs)
    for task in sorted({t for run in runs for t in run.results.tasks_switched_off}):
        notes.append(f"task {task} switched off for lack of labels")
    if not scored["num_speakers"]:
        notes.append("speakers unknown: the interval takes turns for independent")
    elif scored["metrics"]["weighted_accuracy"]["interval_95"] is None:
        notes.append("one speaker only: no interval")
    if len(scored["commits"]) > 1:
        notes.append(f"runs of {len(scored['commits'])} commits")
    if any(commit.endswith("+changes") for commit in scored["commits"]):
        notes.append("source differed from its commit")
    return notes


def note_other_splits(rows: Sequence[dict[str, Any]]) -> None:
    """Add a note to rows of one corpus and protocol that were tested on other splits than the first
    of them.
    """
    known: dict[str, tuple[str, str]] = {}
    for row in rows:
        if row["training"]:  # its splits have other corpora too
            continue
        for fold, digest in row["protocol"]["hash_of_fold"].items():
            first, title = known.setdefault(fold, (digest, row["title"]))
            if first != digest:
                row["notes"].insert(0, f"OTHER SPLITS than {title}: not to be compared with it")
                break


def leak_notes(runs: Sequence[Run]) -> list[str]:
    """How the test turns or speakers are known to the models."""
    notes = []
    overlaps = [run for run in runs if run.results.pretraining_overlap]
    if any(run.results.protocol.leaks and run not in overlaps for run in runs):
        notes.append("LEAKS by its protocol: test speakers or turns are in training")
    elif any(run.results.leaks and run.results.leaks.shared_speakers for run in runs):
        notes.append("LEAKS: test speakers are in training")
    if overlaps:
        first = overlaps[0].results.pretraining_overlap
        notes.append(f"LEAKS by pre-training in {len(overlaps)} of {len(runs)} runs: {first}")
    for kind in ("identical_audio", "near_identical_audio"):
        copies = sum(in_train(run).get(kind) or 0 for run in runs)
        if copies:
            notes.append(f"LEAKS: {copies} test turns have a copy in training ({kind})")
            break
    return notes


def selection_notes(runs: Sequence[Run]) -> list[str]:
    """Whether the test fold chose the checkpoint, and validation turns were trained on."""
    chosen = [run for run in runs if run.results.selected_by == "test"]
    notes = [f"SELECTED BY THE TEST FOLD in {len(chosen)} of {len(runs)} runs"] if chosen else []
    # the runs of a row share their settings
    if runs[0].results.settings.get("train_on_validation"):
        notes.append("trained on validation speakers as well")
    return notes


def system_notes(run: Run) -> list[str]:
    """What the source of another system leaves open and how it was settled, which the runs of a row
    share; and how a combination was made.
    """
    settings = run.results.settings
    notes = [settings["fusion"]] if settings.get("fusion") else []
    if opened := settings.get("reconstruction"):
        values = ", ".join(f"{name} {settings.get(name)}" for name in opened)
        notes.append(f"reconstruction: the source leaves open {values}")
    return [*notes, *settings.get("remarks", ())]


def transcript_notes(runs: Sequence[Run]) -> list[str]:
    """Whether word errors are of sentences that training has as well."""
    counts = [(in_train(run).get("transcript_4_words"), len(run.turns["id"])) for run in runs]
    known = [(n, total) for n, total in counts if n is not None]
    if not known:
        return []
    share = sum(n for n, _ in known) / sum(total for _, total in known)
    if share < MEMORISED_SHARE:
        return []
    sentences = len({text for run in runs for text in run.turns["text"] if text})
    return [
        f"WER measures memorised sentences: {share:.0%} of the test turns say one of training's"
        + (f", of {sentences} in all" if sentences else "")  # an archive does not keep them
    ]


def in_train(run: Run) -> dict[str, int | None]:
    """Numbers of test turns that share something with training; empty where they are not known."""
    return run.results.leaks.in_train if run.results.leaks else {}
