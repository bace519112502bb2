"""The corpora there are, each declared as `CORPUS` in a file here, and what their terms allow."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from processing import corpora

SEPARATOR = "+"
"""Joins the names of corpora in results.json."""

DEMONSTRATION = "synthetic"
"""The corpus whose scores say nothing about people."""


@dataclass(frozen=True)
class Corpus:
    """All that the rest of the project knows of a corpus, declared in the file that reads it.

    Attributes:
        name: what `prepare` calls it, and what its rows have in the column "corpus".
        title: as people call it.
        emotions: the corpus's own code or word of an emotion -> the emotion in the rows.
        terms: of its licence, in words.
        citation: of the publication to name.
        read: reader of a folder; takes `source` and `skip_bad`, returns rows and bad clips.
        synthesize: maker of a corpus that is not read, by keywords; returns the data set.
        settings: keywords of `synthesize` that a user may give, whole numbers.
        url: of the source; None where the corpus is made here.
        language: ISO 639-1 code; None where it is not known, or there are several.
        licence: identifier of the Hub, which the card of a model takes over; "other" where there is
            no public licence.
        may_publish: whether the terms, as far as known here, let anyone publish trained weights.
    """

    name: str
    title: str
    terms: str
    citation: str = ""
    emotions: Mapping[str, str] | None = None
    read: Callable[..., Any] | None = None
    synthesize: Callable[..., Any] | None = None
    settings: tuple[str, ...] = ()
    url: str | None = None
    language: str | None = None
    licence: str = "other"
    may_publish: bool = False


def known_corpora() -> dict[str, Corpus]:
    """Every declared corpus by its name, in the order of the names."""
    modules = [
        importlib.import_module(f"{corpora.__name__}.{module.name}")
        for module in pkgutil.iter_modules(corpora.__path__)
    ]
    declared = [module.CORPUS for module in modules if hasattr(module, "CORPUS")]
    return {corpus.name: corpus for corpus in sorted(declared, key=lambda c: c.name)}


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
