"""The corpora there are: each file of this folder that declares a `CORPUS` is one."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from processing import corpora


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
