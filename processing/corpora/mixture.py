"""Several corpora as one: their names kept apart, their labels chosen, and how often each is drawn.

A mixture is a list of corpora on the command line, or a YAML file:

    labels: intersection        # or union
    sampling: equal             # or proportional (default), or a temperature
    corpora:
      - data: data/ravdess      # relative to this file, or a data set id on the Hub
        name: ravdess           # default: what its rows or its folder say
        map: {calm: neutral}    # label maps travel with the corpus
      - data: data/nemo

Instead of `sampling`, each corpus may have a `weight`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from processing.errors import InputError

OWN_ID = "own_id"
"""Column of a mixture: what a row's id is in its own corpus, without the corpus's name."""

DIVIDER = "/"
"""Stands between the name of a corpus and an id, speaker, session or dialogue of it."""

UNION, INTERSECTION = "union", "intersection"
PROPORTIONAL, EQUAL = "proportional", "equal"

NAMED_APART = ("id", "speaker", "session", "dialogue")
_FILE_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Source:
    """One corpus of a mixture."""

    data: str  # what `load_corpus` takes
    name: str | None = None  # of all its rows; None: what they or the folder say
    label_map: tuple[tuple[str, str], ...] = ()  # emotion -> emotion
    weight: float | None = None  # of its draws in training, beside those of the others


@dataclass(frozen=True)
class Mixture:
    """Two corpora or more.

    Attributes:
        sources: the corpora.
        labels: "union" of their emotions or the "intersection"; None where they are the same.
        sampling: "proportional", "equal", or a temperature T as text: a corpus of n training turns
            is drawn in proportion to n ** (1 / T). Not read where sources have weights.
    """

    sources: tuple[Source, ...]
    labels: str | None = None
    sampling: str = PROPORTIONAL

    def __str__(self) -> str:
        return " + ".join(source.name or source.data for source in self.sources)

    def describe(self) -> dict[str, Any]:
        """Plain content, as stored with a run; paths are in full."""
        corpora = []
        for source in self.sources:
            given = {"name": source.name, "map": dict(source.label_map), "weight": source.weight}
            known = {key: value for key, value in given.items() if value}
            corpora.append({"data": full_path(source.data), **known})
        return {"labels": self.labels, "sampling": self.sampling, "corpora": corpora}


def full_path(data: str) -> str:
    """A path in full, and anything else as it is."""
    return str(Path(data).resolve()) if Path(data).exists() else data


def describe_data(data: "str | Mixture") -> Any:
    """What a run stores of its data."""
    return data.describe() if isinstance(data, Mixture) else full_path(data)


def read_data(
    data: Sequence[str], *, labels: str | None = None, sampling: str | None = None
) -> str | Mixture:
    """What one or several `--data` name.

    Args:
        data: one corpus, one mixture file, or several corpora.
        labels: "union" or "intersection"; wins over the file's.
        sampling: "proportional", "equal" or a temperature of 1 or more; wins over the file's.

    Returns:
        The name of one corpus as it is, or the mixture.

    Raises:
        InputError: if a corpus is given twice, the file is wrong, or a choice is.
    """
    options = {"labels": labels, "sampling": sampling}
    given = {name: value for name, value in options.items() if value is not None}
    files = [name for name in data if name.lower().endswith(_FILE_SUFFIXES)]
    if len(data) == 1 and files:
        return _checked(replace(_read_file(Path(data[0])), **given), given)
    if files:
        raise InputError(f"--data {files[0]}: a mixture file names all corpora. Give it alone.")
    if len(data) == 1:
        for name, value in given.items():
            raise InputError(f"--{name} {value}: is of several corpora, one is given.")
        return data[0]
    return _checked(Mixture(tuple(map(Source, data)), **given), given)


def own_name(name: str | None, corpus: str | None) -> str | None:
    """An id or speaker as its own corpus has it, also where it is of no mixture.

    Examples:
        >>> own_name("ravdess/actor01", "ravdess"), own_name("actor01", "ravdess")
        ('actor01', 'actor01')
    """
    return name if name is None or corpus is None else name.removeprefix(corpus + DIVIDER)


def home_of(row: Mapping[str, Any]) -> str | None:
    """The corpus by whose name a row's speaker is called, in a mixture; None anywhere else."""
    corpus, speaker = row.get("corpus"), row.get("speaker")
    named = corpus and speaker and speaker.startswith(corpus + DIVIDER)
    return corpus if named else None


def sampling_shares(mixture: Mixture, num_turns: Mapping[str, int]) -> dict[str, float] | None:
    """Share of the training draws of each corpus.

    Args:
        mixture: whose sampling or weights count.
        num_turns: training turns by corpus, of those that have any.

    Returns:
        Shares with a sum of 1; None where every turn is drawn as often, once an epoch.

    Raises:
        InputError: if a weight is of no corpus by name.
    """
    weights = {source.name: source.weight for source in mixture.sources if source.weight}
    if weights:
        wanted = {name: float(weights.get(name) or 0) for name in num_turns}
    elif mixture.sampling == PROPORTIONAL:
        return None
    elif mixture.sampling == EQUAL:
        wanted = dict.fromkeys(num_turns, 1.0)
    else:
        wanted = {name: n ** (1 / float(mixture.sampling)) for name, n in num_turns.items()}
    total = sum(wanted.values())
    return {name: value / total for name, value in wanted.items()}


def _checked(mixture: Mixture, given: Mapping[str, str]) -> Mixture:
    """The mixture, whose choices are checked; sampling from the command line is all there is."""
    if mixture.labels not in (None, UNION, INTERSECTION):
        raise InputError(f"labels {mixture.labels!r}: expected {UNION} or {INTERSECTION}.")
    if mixture.sampling not in (PROPORTIONAL, EQUAL):
        try:
            temperature = float(mixture.sampling)
        except ValueError:
            temperature = 0.0
        if not 1 <= temperature < float("inf"):
            raise InputError(
                f"sampling {mixture.sampling!r}: expected {PROPORTIONAL}, {EQUAL}, or a "
                "temperature of 1 (proportional) or more."
            )
    paths = [full_path(source.data) for source in mixture.sources]
    for path in paths:
        if paths.count(path) > 1:
            raise InputError(f"--data {path}: is given {paths.count(path)} times. Give it once.")
    if "sampling" in given:
        return replace(mixture, sources=tuple(replace(s, weight=None) for s in mixture.sources))
    return mixture


def _read_file(path: Path) -> Mixture:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as a mixture ({reason}).") from error
    corpora = content.get("corpora") if isinstance(content, dict) else None
    if not isinstance(corpora, list) or len(corpora) < 2:
        raise InputError(f"{path}: expected `corpora:` with a list of two or more.")
    _check_keys(content, ("labels", "sampling", "corpora"), str(path))
    sources = tuple(_read_source(entry, path) for entry in corpora)
    weights = [source.weight for source in sources]
    if any(weights) and not all(weights):
        raise InputError(f"{path}: some corpora have a weight and others none. Give all or none.")
    if any(weights) and "sampling" in content:
        raise InputError(f"{path}: weights and sampling exclude each other. Leave one of them out.")
    if any(source.weight and not source.name for source in sources):
        raise InputError(f"{path}: a corpus with a weight needs a name. Add `name:` to it.")
    sampling = str(content.get("sampling", PROPORTIONAL))
    return Mixture(sources, content.get("labels"), sampling)


def _read_source(entry: Any, path: Path) -> Source:
    entry = {"data": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict) or not isinstance(entry.get("data"), str):
        raise InputError(f"{path}: corpus {entry!r}: expected `data: FOLDER`, file or Hub id.")
    place = f"{path}: corpus {entry['data']}"
    _check_keys(entry, ("data", "name", "map", "weight"), place)
    label_map, weight, name = entry.get("map") or {}, entry.get("weight"), entry.get("name")
    if not isinstance(label_map, dict):
        raise InputError(f"{place}: map {label_map!r}, expected emotions as {{old: new}}.")
    if weight is not None and (not isinstance(weight, int | float) or not weight > 0):
        raise InputError(f"{place}: weight {weight!r}, expected a positive number.")
    if name is not None and (not isinstance(name, str) or DIVIDER in name or not name.strip()):
        raise InputError(f"{place}: name {name!r}, expected a word without {DIVIDER!r}.")
    beside = path.parent / entry["data"]
    return Source(
        data=str(beside) if beside.exists() else entry["data"],
        name=name,
        label_map=tuple((str(old), str(new)) for old, new in label_map.items()),
        weight=weight,
    )


def _check_keys(content: Mapping[str, Any], known: Sequence[str], place: str) -> None:
    for key in content:
        if key not in known:
            raise InputError(f"{place}: {key!r} is unknown, expected {', '.join(known)}.")
