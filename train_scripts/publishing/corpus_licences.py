"""What the terms of a training corpus say about publishing a model, for cards and `push`."""

from collections.abc import Sequence
from dataclasses import dataclass

SEPARATOR = "+"
"""Joins the names of corpora in results.json."""


@dataclass(frozen=True)
class CorpusLicence:
    """A corpus by its name in the rows.

    Attributes:
        title: as people call it.
        terms: in words.
        url: of the source; None where the corpus is made here.
        language: ISO 639-1 code; None where it is not known.
        licence: identifier of the Hub, which the card of a model takes over; "other" where there is
            no public licence.
        may_publish: whether the terms, as far as known here, let anyone publish trained weights.
    """

    title: str
    terms: str
    url: str | None = None
    language: str | None = None
    licence: str = "other"
    may_publish: bool = False


KNOWN = {
    "iemocap": CorpusLicence(
        "IEMOCAP",
        "licensed by USC SAIL to each user who signs its form, for research; whether weights "
        "trained on it may be public, its terms decide",
        "https://sail.usc.edu/iemocap/",
        "en",
    ),
    "ravdess": CorpusLicence(
        "RAVDESS",
        "CC BY-NC-SA 4.0: name the authors, no commercial use, share alike",
        "https://zenodo.org/records/1188976",
        "en",
        "cc-by-nc-sa-4.0",
        True,
    ),
    "nemo": CorpusLicence(
        "nEMO",
        "CC BY-NC-SA 4.0: name the authors, no commercial use, share alike",
        "https://huggingface.co/datasets/amu-cai/nEMO",
        "pl",
        "cc-by-nc-sa-4.0",
        True,
    ),
    "crema-d": CorpusLicence(
        "CREMA-D",
        "Open Database License 1.0: name the authors, share alike",
        "https://github.com/CheyneyComputerScience/CREMA-D",
        "en",
        "odbl",
        True,
    ),
    "synthetic": CorpusLicence(
        "synthetic speech of this project",
        "made by the rule-based synthesiser espeak-ng; nobody's voice",
        None,
        "en",
        "apache-2.0",
        True,
    ),
}
"""By the name that the reader writes into the column "corpus"."""

DEMONSTRATION = "synthetic"
"""The corpus whose scores say nothing about people."""


def training_corpora(names: str | None) -> dict[str, CorpusLicence]:
    """The corpora of a run.

    Args:
        names: entry "trained_on" of results.json, such as "ravdess" or "nemo+ravdess"; None or ""
            where the rows do not name it.

    Returns:
        By name; one that is not known here has terms that say so. Empty where no name is given.

    Examples:
        >>> [c.title for c in training_corpora("nemo+ravdess").values()]
        ['nEMO', 'RAVDESS']
    """
    unknown = "its terms are not known to this software; read them before publishing"
    return {
        name: KNOWN.get(name, CorpusLicence(name, unknown))
        for name in (names or "").split(SEPARATOR)
        if name
    }


def common_licence(corpora: Sequence[CorpusLicence]) -> str:
    """The licence that all corpora share, or "other"."""
    found = {corpus.licence for corpus in corpora}
    return found.pop() if len(found) == 1 else "other"


def reasons_not_to_publish(names: str | None) -> list[str]:
    """Why a model trained on these corpora is not simply made public; empty if nothing is known
    against it.

    Args:
        names: see `training_corpora`.

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
