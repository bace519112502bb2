"""Rows of several corpora as one table: joined, named apart, and counted by corpus."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, Value, concatenate_datasets

from processing.corpora.mixture import (
    DIVIDER,
    INTERSECTION,
    NAMED_APART,
    OWN_ID,
    Mixture,
    Source,
)
from processing.corpora.schema import ROW_FEATURES, label_order
from processing.corpora.votes import map_votes
from processing.errors import InputError


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


def corpus_runs(corpus: Dataset) -> Iterator[range]:
    """Row numbers of each corpus of a mixture; all of any other data set."""
    if OWN_ID not in corpus.column_names:
        yield range(len(corpus))
        return
    names = list(corpus["corpus"])
    starts = [i for i in range(len(names)) if i == 0 or names[i] != names[i - 1]]
    for start, stop in zip(starts, [*starts[1:], len(names)], strict=True):
        yield range(start, stop)


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
    for column in NAMED_APART:
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
