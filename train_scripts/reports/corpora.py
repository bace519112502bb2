"""Runs on several corpora, corpus by corpus: each tested corpus as a run of its own, whose turns
have the names that they have alone; and answers adjusted to other shares of the emotions.

Axes: N turns, L labels.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from processing.corpora.mixture import DIVIDER, own_name
from processing.corpora.registry import SEPARATOR
from processing.errors import InputError
from train_scripts.runs.archive import PROBABILITY
from train_scripts.runs.finished_runs import Run
from train_scripts.runs.record import Leaks, Metrics

ADJUSTMENTS = ("uniform", "estimated")
SMALLEST = 1e-12
"""Probabilities below are taken for this."""


def by_corpus(runs: Sequence[Run]) -> list[Run]:
    """Runs, of which one that tested several corpora is followed by its part of each; one that was
    trained on several and tested one is its part.
    """
    found = []
    for run in runs:
        if run.results.mixture is None:
            found.append(run)
            continue
        parts = [part_of(run, corpus) for corpus in sorted(run.results.mixture.counts["test"])]
        found += parts if len(parts) == 1 else [run, *parts]
    return found


def part_of(run: Run, corpus: str) -> Run:
    """What a run answered to the turns of one of its corpora."""
    record, mixture = run.results, run.results.mixture
    assert mixture is not None
    turns = turns_of(run.turns, corpus)
    total = mixture.turns[corpus]
    leaks = record.leaks
    if leaks is not None:  # its counts are of all tested corpora together
        whole = len(turns["id"]) == len(run.turns["id"])
        leaks = Leaks(
            turns={"test": len(turns["id"]), "others": total - len(turns["id"])},
            speakers={},
            shared_speakers=leaks.shared_speakers if whole else [],
            in_train=leaks.in_train if whole else {},
        )
    changed = {
        "corpus": corpus,
        "leaks": leaks,
        "metrics": Metrics(num_turns=len(turns["id"])),
        "per_speaker": {},
        "per_gender": {},
    }
    training = SEPARATOR.join(sorted(mixture.counts["train"]))
    return replace(
        run,
        results=replace(record, **changed),
        turns=turns,
        validation_turns=turns_of(run.validation_turns, corpus),
        training=training,
    )


def turns_of(turns: dict[str, list], corpus: str) -> dict[str, list]:
    """Columns of predictions, of one corpus of a mixture, with the names that turns have alone."""
    if not turns:
        return {}
    prefix = corpus + DIVIDER
    chosen = [i for i, name in enumerate(turns["id"]) if name.startswith(prefix)]
    kept = {name: [values[i] for i in chosen] for name, values in turns.items()}
    own = {name: [own_name(value, corpus) for value in kept[name]] for name in ("id", "speaker")}
    return {**kept, **own}


def adjust_runs(runs: Sequence[Run], how: str | None) -> tuple[list[Run], list[str]]:
    """Runs on several corpora once more with adjusted logits, as rows of their own.

    A network that learnt from the shares of the emotions in training expects them of every corpus.
    From its log-probabilities the logarithm of these shares is taken (Menon et al., "Long-tail
    learning via logit adjustment", ICLR 2021), and that of the expected ones added.

    Args:
        runs: of `by_corpus`.
        how: "uniform" expects all emotions alike; "estimated" the shares that the answers to the
            tested turns suggest, without their labels (Saerens, Latinne and Decaestecker, Neural
            Computation 14(1), 2002). None adjusts nothing.

    Returns:
        The adjusted runs, and what is not adjusted and why.

    Raises:
        InputError: if there is no such adjustment.
    """
    if how is None:
        return [], []
    if how not in ADJUSTMENTS:
        raise InputError(f"--adjust-logits {how}: expected {' or '.join(ADJUSTMENTS)}.")
    adjusted, passed_over = [], set()
    for run in runs:
        prior = training_shares(run)
        if prior is not None:
            adjusted.append(adjust(run, prior, how))
        elif run.training:
            passed_over.add(
                f"{run.key.title}: not adjusted, its training weighs emotions in balance or is not "
                "known"
            )
    return adjusted, sorted(passed_over)


def training_shares(run: Run) -> np.ndarray | None:
    """Share of each label in the draws of training, (L,); None for what is not of a mixture, or
    weighs emotions itself.
    """
    record = run.results
    weights = record.settings.get("finetuning", {}).get("class_weights")
    if run.training is None or record.mixture is None or record.size is None or weights != "none":
        return None
    counts, shares = record.mixture.counts["train"], record.mixture.shares
    of_corpus = {
        name: np.array([found.emotions.get(label, 0) for label in record.labels], float)
        for name, found in counts.items()
    }
    drawn = [
        (shares[name] / counts[name].turns if shares else 1.0) * emotions
        for name, emotions in of_corpus.items()
    ]
    total = np.sum(drawn, axis=0)
    return total / total.sum()


def adjust(run: Run, prior: np.ndarray, how: str) -> Run:
    """A run whose answers expect other shares of the emotions than training had, (L,)."""
    labels = run.results.labels
    columns = [PROBABILITY + label for label in labels]
    known = np.maximum(np.transpose([run.turns[name] for name in columns]), SMALLEST)  # (N, L)
    prior = np.maximum(prior, SMALLEST)
    expected = np.full(len(labels), 1 / len(labels))
    if how == "estimated":
        expected = estimate_shares(known, prior)
    adjusted = known * expected / prior
    adjusted /= adjusted.sum(axis=1, keepdims=True)
    turns = {
        **run.turns,
        **{name: adjusted[:, i].tolist() for i, name in enumerate(columns)},
        "prediction": [labels[i] for i in adjusted.argmax(axis=1)],
    }
    settings = dict(run.results.settings)
    settings["overrides"] = [*settings.get("overrides", ()), f"logit_adjustment={how}"]
    return replace(run, results=replace(run.results, settings=settings), turns=turns)


def estimate_shares(probabilities: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Shares of the labels, (L,), among turns of which a model that learnt with the prior, (L,),
    says (N, L): the maximum of the likelihood, by expectation and maximisation.

    Examples:
        >>> said = np.array([[0.9, 0.1]] * 3 + [[0.1, 0.9]])
        >>> estimate_shares(said, np.array([0.5, 0.5])).round(3).tolist()
        [0.812, 0.188]
    """
    shares = prior
    for _ in range(1000):
        weighted = probabilities * shares / prior
        new = (weighted / weighted.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(new - shares).max() < 1e-9:
            return new
        shares = new
    return shares
