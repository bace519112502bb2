"""The corpora there are, each declared as `CORPUS` in a file here, and what their terms allow."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from processing import corpora

SEPARATOR = "+"
"""Joins the names of corpora in results.json."""

HUB_DATASETS = "https://huggingface.co/datasets/"

DEMONSTRATION = "synthetic"
"""The corpus whose scores say nothing about people."""


@dataclass(frozen=True)
class Corpus:
    """All that the rest of the project knows of a corpus, declared in the file that reads it."""

    name: str  # what `prepare` calls it, and its rows have in the column "corpus"
    title: str  # as people call it
    terms: str  # of its licence, in words
    citation: str = ""  # of the publication to name
    emotions: Mapping[str, str] | None = None  # its own code of an emotion -> that in the rows
    read: Callable[..., Any] | None = None  # (source, *, skip_bad) -> Reading
    synthesize: Callable[..., Any] | None = None  # keywords -> a data set that is not read but made
    settings: tuple[str, ...] = ()  # keywords of `synthesize` for users, whole numbers
    url: str | None = None  # of the source; None where the corpus is made here
    language: str | None = None  # ISO 639-1; None where not known, or several
    licence: str = "other"  # identifier of the Hub, for cards; "other" where none is public
    may_publish: bool = False  # whether the terms, as far as known, let anyone publish weights

    @property
    def hub_id(self) -> str | None:
        """Its id on the Hub, where its authors publish it there."""
        address = self.url or ""
        return address.removeprefix(HUB_DATASETS) if address.startswith(HUB_DATASETS) else None


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
