"""What the terms of a training corpus say about publishing a model, for cards and `push`."""

from collections.abc import Sequence

from processing.corpora.registry import Corpus, known_corpora

SEPARATOR = "+"
"""Joins the names of corpora in results.json."""

DEMONSTRATION = "synthetic"
"""The corpus whose scores say nothing about people."""


def training_corpora(names: str | None) -> dict[str, Corpus]:
    """The corpora of a run by name, from the entry "trained_on" of its results, such as "ravdess"
    or "nemo+ravdess"; empty where it names none. One that is not known here has terms that say so.

    Examples:
        >>> [c.title for c in training_corpora("nemo+ravdess").values()]
        ['nEMO', 'RAVDESS']
    """
    unknown = "its terms are not known to this software; read them before publishing"
    known = known_corpora()
    return {
        name: known.get(name) or Corpus(name, title=name, terms=unknown)
        for name in (names or "").split(SEPARATOR)
        if name
    }


def common_licence(corpora: Sequence[Corpus]) -> str:
    """The licence that all corpora share, or "other"."""
    found = {corpus.licence for corpus in corpora}
    return found.pop() if len(found) == 1 else "other"


def reasons_not_to_publish(names: str | None) -> list[str]:
    """Why a model trained on these corpora, named as for `training_corpora`, is not simply made
    public; empty if nothing is known against it.

    Examples:
        >>> reasons_not_to_publish("ravdess")
        []
    """
    corpora = training_corpora(names)
    if not corpora:
        return ["its results do not name the training corpus, so its terms are not known"]
    return [
        f"it was trained on {corpus.title}: {corpus.terms}"
        for corpus in corpora.values()
        if not corpus.may_publish
    ]
