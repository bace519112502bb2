"""A fold of a corpus, ready for a run: rows with signals, labels, speakers, and which tasks its
labels allow.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import typer
from datasets import Dataset, DatasetDict, concatenate_datasets

from processing.copies import digest_audio
from processing.corpora.loading import load_corpus
from processing.corpora.mixture import OWN_ID, PROPORTIONAL, Mixture, sampling_shares
from processing.corpora.mixture_rows import count_corpora
from processing.corpora.schema import label_order
from processing.errors import InputError
from processing.feature_extraction_decomp_ser import DecompSerFeatureExtractor
from processing.features import add_signals
from processing.folds import describe_protocol, load_folds
from processing.leakage import check_shared_speakers, format_leak_table, leak_report
from processing.pitch import f0_deviation_within, f0_statistics
from processing.text import normalize_transcript
from train_scripts.runs.record import CorpusCounts, MixtureRecord
from train_scripts.runs.sealed_folds import SealedFolds

logger = logging.getLogger(__name__)


@dataclass
class FoldData:
    """One fold of a corpus.

    Attributes:
        folds: train, validation, heldout_turns and, under seal, test: rows with their features.
        protocol: name, version, hash and whether it leaks by rule.
        fold: its name.
        leaks: report of `leakage.leak_report`.
        labels: emotion words in the order of the labels.
        speakers: training speakers in the order of the speaker head.
        missing: tasks that the training labels do not allow, with the reason.
        mixture: which corpora it is of, where there are several.
    """

    folds: SealedFolds
    protocol: dict
    fold: str
    leaks: dict
    labels: list[str]
    speakers: list[str]
    missing: dict[str, str]
    mixture: MixtureRecord | None = None


def load_fold_data(
    data: str | Mixture,
    protocol: str,
    fold: str,
    feature_extractor: DecompSerFeatureExtractor,
    *,
    train_on_validation: bool = False,
    skip_bad: bool = False,
    num_proc: int | None = None,
) -> FoldData:
    """Load a corpus or a mixture, extract its signals, split it and report its leaks.

    Args:
        data: see `load_corpus`.
        protocol: see `load_folds`.
        fold: see `load_folds`.
        feature_extractor: its F0 statistics are set from the training turns where its settings ask
            for any.
        train_on_validation: count the turns of validation speakers as training turns.
        skip_bad: leave out clips that cannot be used, counted and listed, instead of stopping.
        num_proc: processes of the extraction; default all processors.

    Raises:
        InputError: if anything of it is wrong, or test speakers are in the training set of a
            protocol that does not say so.
    """
    corpus = load_corpus(data, skip_bad=skip_bad)
    load_folds(corpus, protocol, fold)  # a wrong protocol or fold is said before the long work
    corpus = add_signals(corpus, feature_extractor, num_proc=num_proc, skip_bad=skip_bad)
    found = split_corpus(corpus, protocol, fold, data=data, train_on_validation=train_on_validation)
    found.folds = with_arrays(found.folds)
    fit_f0_statistics(feature_extractor, found.folds["train"])
    return found


def split_corpus(
    corpus: Dataset,
    protocol: str,
    fold: str,
    *,
    data: str | Dataset | Mixture,
    train_on_validation: bool = False,
    uses_sampling: bool = True,
) -> FoldData:
    """Split a corpus that has its features, and report its leaks.

    Args:
        corpus: rows with features.
        protocol: see `load_folds`.
        fold: see `load_folds`.
        data: that the corpus was loaded from.
        train_on_validation: see `load_fold_data`.
        uses_sampling: whether what is trained draws corpora as a mixture says.

    Raises:
        InputError: see `load_fold_data`.
    """
    folds = load_folds(corpus, protocol, fold)
    # of the protocol's own splits: which of them are trained on does not change the test
    description = describe_protocol(protocol, folds)
    if train_on_validation:
        folds = merge_validation(folds)
    digests = digest_audio(corpus.select_columns(["id", "audio"]))
    leaks = leak_report(folds, digests=digests)
    typer.echo(
        f"What of the test turns is in training:\n{format_leak_table({fold: leaks})}", err=True
    )
    check_shared_speakers(leaks, protocol)
    if isinstance(data, Mixture):
        check_copies_between(folds, digests)
    labels = label_order(folds["train"]["emotion"])
    for split, rows in folds.items():
        check_labels(rows, labels, f"split '{split}' of {data}")
    speakers = sorted(set(folds["train"]["speaker"]) - {None})
    return FoldData(
        folds=SealedFolds(folds),
        protocol=description,
        fold=fold,
        leaks=leaks,
        labels=labels,
        speakers=speakers,
        missing=find_missing_tasks(folds["train"], speakers),
        mixture=describe_mixture(data, folds, uses_sampling) if isinstance(data, Mixture) else None,
    )


def describe_mixture(mixture: Mixture, folds: DatasetDict, uses_sampling: bool) -> MixtureRecord:
    """What a run of several corpora stores of them; says it on standard error."""
    counts = {
        str(split): {name: CorpusCounts(**found) for name, found in count_corpora(rows).items()}
        for split, rows in folds.items()
        if len(rows)
    }
    train = {name: found.turns for name, found in counts["train"].items()}
    shares = sampling_shares(mixture, train) if uses_sampling else None
    for name, found in counts["train"].items():
        share = shares[name] if shares else found.turns / sum(train.values())
        typer.echo(
            f"training turns of {name}: {found.turns} of {found.speakers} speakers, "
            f"{found.without_text} without a transcript, {share:.1%} of the draws",
            err=True,
        )
    return MixtureRecord(
        labels=mixture.labels,
        sampling=mixture.sampling if uses_sampling else PROPORTIONAL,
        shares=shares,
        counts=counts,
    )


def check_copies_between(folds: DatasetDict, digests: Mapping[str, str]) -> None:
    """Raise InputError where a recording that one corpus tests is another's in another split."""
    others: dict[str, tuple[str, str]] = {}
    for name in (split for split in folds if split != "test"):
        for corpus, row_id in zip(folds[name]["corpus"], folds[name]["id"], strict=True):
            others.setdefault(digests[row_id], (corpus, row_id))
    found = [
        (row_id, others[digests[row_id]][1])
        for corpus, row_id in zip(folds["test"]["corpus"], folds["test"]["id"], strict=True)
        if others.get(digests[row_id], (corpus, ""))[0] != corpus
    ]
    if found:
        raise InputError(
            f"{len(found)} test turns are in training or validation as turns of another corpus, "
            f"first {found[0][0]} as {found[0][1]}. `decomp-ser leaks` lists them; leave them out "
            "of one corpus."
        )


def merge_validation(folds: DatasetDict) -> DatasetDict:
    """The same fold with the validation turns in its training set; there is no validation then."""
    validation = folds["validation"]
    train = concatenate_datasets([folds["train"], validation])
    ids = train["id"]
    # Dataset.sort passes on a warning of pyarrow about the library's own call
    train = train.select(sorted(range(len(ids)), key=ids.__getitem__))
    return DatasetDict({**folds, "train": train, "validation": validation.select(range(0))})


def with_arrays(folds):
    """Have the signals come as NumPy arrays."""
    return folds.with_format("numpy", columns=["mel", "f0_hz"], output_all_columns=True)


def check_labels(rows: Dataset, labels: list[str], place: str) -> None:
    """Raise InputError for an emotion that is none of the labels."""
    way_out = "leave it out with " + (
        "`--labels intersection`."
        if OWN_ID in rows.column_names
        else "`decomp-ser prepare folder SOURCE OUTPUT --map old=new --labels "
        + ",".join(labels)
        + "`."
    )
    unknown = sorted({e for e in rows["emotion"] if e not in labels}, key=str)
    if unknown:
        raise InputError(
            f"{place}: emotion {unknown[0]!r} is none of the labels {', '.join(labels)}. Rename or "
            + way_out
        )


def find_missing_tasks(train: Dataset, speakers: list[str]) -> dict[str, str]:
    """Tasks that the training rows have no labels for, with the reason."""
    missing = {}
    if len(speakers) < 2:
        missing["speaker"] = (
            f"{len(speakers)} speakers are named in the training rows, at least 2 are needed"
        )
    if not any(normalize_transcript(t) for t in train["text"] if t is not None):
        missing["ctc"] = "no training row has a transcript"
    return missing


def task_weights(weights: dict[str, float], missing: dict[str, str]) -> dict[str, float]:
    """Switch tasks off and spread their weight over the others in proportion; says so.

    Args:
        weights: weight of each task.
        missing: tasks to switch off, with the reason.

    Returns:
        Weights with the same sum.

    Examples:
        >>> task_weights({"emotion": 0.6, "ctc": 0.4}, {"ctc": "no text"})
        {'emotion': 1.0, 'ctc': 0.0}
    """
    for task, reason in missing.items():
        if weights.get(task):
            logger.warning("Task '%s' is switched off: %s.", task, reason)
    kept = {k: 0.0 if k in missing else w for k, w in weights.items()}
    scale = sum(weights.values()) / sum(kept.values())
    return {k: w * scale for k, w in kept.items()}


def fit_f0_statistics(feature_extractor: DecompSerFeatureExtractor, train: Dataset) -> None:
    """Set the statistics that log-F0 is normalised by, from training turns only."""
    contours = train["f0_hz"]
    if feature_extractor.f0_stats == "global":
        feature_extractor.f0_global_stats = f0_statistics(contours)
        if feature_extractor.f0_global_stats is None:
            raise InputError("features.f0_stats=global: no training turn has a voiced frame.")
    if feature_extractor.f0_stats == "utterance-mean":
        feature_extractor.f0_deviation = f0_deviation_within(contours)
        if feature_extractor.f0_deviation is None:
            raise InputError(
                "features.f0_stats=utterance-mean: no training turn has a voiced frame."
            )
    if feature_extractor.f0_stats == "speaker":
        turns: dict[str, list] = {}
        for speaker, contour in zip(train["speaker"], contours, strict=True):
            turns.setdefault(speaker, []).append(contour)
        statistics: dict[str, Sequence[float]] = {}
        for speaker, contours_of_speaker in turns.items():
            found = f0_statistics(contours_of_speaker) if speaker is not None else None
            if found is not None:
                statistics[speaker] = found
        feature_extractor.f0_speaker_stats = statistics
