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

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from datasets import Dataset, Value, concatenate_datasets

from processing.corpora.schema import ROW_FEATURES, label_order
from processing.corpora.votes import map_votes
from processing.errors import InputError

OWN_ID = "own_id"
"""Column of a mixture: what a row's id is in its own corpus, without the corpus's name."""

DIVIDER = "/"
"""Stands between the name of a corpus and an id, speaker, session or dialogue of it."""

UNION, INTERSECTION = "union", "intersection"
PROPORTIONAL, EQUAL = "proportional", "equal"

_NAMED_APART = ("id", "speaker", "session", "dialogue")
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


def join_corpora(mixture: Mixture, load: Callable[[str], Dataset]) -> Dataset:
    """All rows of a mixture, corpus after corpus, on the Arrow tables of the corpora.

    Ids, speakers, sessions and dialogues become "corpus/name"; OWN_ID has the id as it was.

    Args:
        mixture: which corpora.
        load: name of a corpus -> its rows.

    Raises:
        InputError: if names of corpora are alike, or their emotions differ and no choice is made.
    """
    names: dict[str, str] = {}
    parts = []
    for source in mixture.sources:
        part = _name_apart(source, load(source.data))
        for name in dict.fromkeys(part["corpus"]):
            other = names.setdefault(name, source.data)
            if other != source.data:
                raise InputError(
                    f"{other} and {source.data}: both hold the corpus {name!r}, so their speakers "
                    "would be taken for the same people. If they are, give one table of all; if "
                    "not, give each a `name` in a mixture file."
                )
        parts.append(part)
    kept = _choose_labels(mixture, parts)
    columns = list(dict.fromkeys(name for part in parts for name in part.column_names))
    aligned = [_align(part, columns, parts) for part in parts]
    chosen = [
        part if rows is None else part.select(rows)
        for part, rows in zip(aligned, kept, strict=True)
    ]
    return concatenate_datasets(chosen)


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


def corpus_runs(corpus: Dataset) -> Iterator[range]:
    """Row numbers of each corpus of a mixture; all of any other data set."""
    if OWN_ID not in corpus.column_names:
        yield range(len(corpus))
        return
    names = list(corpus["corpus"])
    starts = [i for i in range(len(names)) if i == 0 or names[i] != names[i - 1]]
    for start, stop in zip(starts, [*starts[1:], len(names)], strict=True):
        yield range(start, stop)


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


def count_corpora(rows: Dataset) -> dict[str, dict[str, Any]]:
    """Of each corpus of some rows: turns, speakers, minutes, turns without a transcript, and turns
    of each emotion.
    """
    wanted = ["corpus", "speaker", "text", "emotion", "duration"]
    table: Any = rows.select_columns(wanted).with_format("pandas")[:]
    counts = {}
    for name, own in table.groupby("corpus", sort=True):
        emotions = Counter(own["emotion"])
        counts[str(name)] = {
            "turns": len(own),
            "speakers": int(own["speaker"].nunique()),
            "minutes": round(float(own["duration"].sum()) / 60, 3),
            "without_text": int(own["text"].isna().sum()),
            "emotions": {label: emotions[label] for label in label_order(emotions)},
        }
    return counts


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


def _name_apart(source: Source, corpus: Dataset) -> Dataset:
    """One corpus with its name before its ids and speakers, and its label map applied."""
    fallback = _folder_name(source.data)
    known = (source.name or name or fallback for name in corpus["corpus"])
    names = [name.replace(DIVIDER, "-") for name in known]
    emotions = list(corpus["emotion"])
    label_map = dict(source.label_map)
    for old in set(label_map) - set(emotions):
        raise InputError(
            f"{source.data}: map names the emotion {old!r}, which is not in this corpus. Found: "
            f"{', '.join(label_order(emotions))}."
        )
    columns = {
        "corpus": names,
        "emotion": [label_map.get(emotion, emotion) for emotion in emotions],
        OWN_ID: list(corpus["id"]),
    }
    for column in _NAMED_APART:
        columns[column] = [
            None if value is None else f"{name}{DIVIDER}{value}"
            for name, value in zip(names, corpus[column], strict=True)
        ]
    if label_map and "votes" in corpus.column_names:
        columns["votes"] = [map_votes(text, label_map) for text in corpus["votes"]]
    corpus = corpus.remove_columns([name for name in columns if name != OWN_ID])
    for name, values in columns.items():
        values: Any
        corpus = corpus.add_column(name, values, feature=Value("string"))
    return corpus


def _folder_name(data: str) -> str:
    """Name of a corpus whose rows have none: that of its folder, or of its id on the Hub."""
    path = Path(data)
    if path.exists():
        path = path.resolve()
        return (path.parent if path.is_file() else path).name
    return path.name


def _choose_labels(mixture: Mixture, parts: Sequence[Dataset]) -> list[list[int] | None]:
    """Numbers of the rows of each corpus that stay; None where all do."""
    of_part = [set(part["emotion"]) for part in parts]
    common = set.intersection(*of_part)
    if mixture.labels is None and any(labels != common for labels in of_part):
        described = "; ".join(
            f"{source.name or source.data}: {', '.join(label_order(labels))}"
            for source, labels in zip(mixture.sources, of_part, strict=True)
        )
        raise InputError(
            f"the corpora have other emotions ({described}). Choose --labels intersection "
            f"({', '.join(label_order(common)) or 'which is empty'}) or --labels union, or rename "
            "some by `map` in a mixture file."
        )
    if mixture.labels != INTERSECTION:
        return [None for _ in parts]
    if len(common) < 2:
        raise InputError(
            f"--labels intersection: {len(common)} emotions are in all corpora, expected 2 or "
            "more. Rename some by `map` in a mixture file."
        )
    return [
        None if labels == common else [i for i, e in enumerate(part["emotion"]) if e in common]
        for part, labels in zip(parts, of_part, strict=True)
    ]


def _align(part: Dataset, columns: Sequence[str], parts: Sequence[Dataset]) -> Dataset:
    """A corpus with the columns of all, null where it has none of a name."""
    for name in columns:
        if name not in part.column_names:
            feature = next(p.features[name] for p in parts if name in p.column_names)
            part = part.add_column(name, [None] * len(part), feature=feature)
    part = part.select_columns(list(columns))
    return part if part.features["audio"] == ROW_FEATURES["audio"] else _plain_audio(part)


def _plain_audio(part: Dataset) -> Dataset:
    return part.cast_column("audio", ROW_FEATURES["audio"])
