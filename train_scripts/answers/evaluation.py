"""`decomp-ser evaluate`: score a trained model on a corpus or on the test turns of a fold."""

import time
from pathlib import Path

from datasets import Dataset

from processing import DecompSerDataCollator, DecompSerProcessor
from processing.corpora.loading import load_corpus
from processing.corpora.mixture import Mixture
from processing.errors import InputError
from processing.features import add_signals
from processing.folds import describe_protocol, load_folds
from train_scripts.runs.fold_data import check_labels, with_arrays
from train_scripts.runs.inference import TurnPredictions, predict_turns
from train_scripts.runs.record import Protocol, RunRecord, write_record
from train_scripts.runs.results import PREDICTIONS, name_corpora, score_rows, write_predictions
from train_scripts.runs.run_folder import RESULTS, find_overlap, load_model


def evaluate(
    model_name: str,
    *,
    data: str | Mixture,
    protocol: str | None = None,
    fold: str | None = None,
    output: str | Path | None = None,
    batch_size: int = 8,
    skip_bad: bool = False,
    allow_overlap: bool = False,
) -> RunRecord:
    """Score a model.

    Args:
        model_name: folder of a run, or a repository id.
        data: one corpus or a mixture, as `load_corpus` takes it.
        protocol: whose fold is scored, by its test turns; None scores the whole corpus.
        fold: a name that the protocol gives.
        output: where to write results.json and predictions.parquet.
        batch_size: turns a batch; does not change the result.
        skip_bad: leave out clips that cannot be used.
        allow_overlap: score turns or speakers that the model was trained on; the result is marked.

    Returns:
        The record of the evaluation.

    Raises:
        InputError: if anything of it is wrong, or the model knows the turns or speakers.
    """
    check_request(protocol, fold, output)
    model, processor = load_model(model_name)
    begin = time.monotonic()
    corpus, described, overlap, collator = scored_turns(
        model_name,
        model,
        processor,
        data=data,
        protocol=protocol,
        fold=fold,
        skip_bad=skip_bad,
        allow_overlap=allow_overlap,
    )
    turns = predict_turns(model, collator, corpus, batch_size=batch_size)
    record = evaluation_record(
        model_name, model, corpus, turns, data=data, fold=fold, described=described, overlap=overlap
    )
    record.seconds = time.monotonic() - begin
    if output is None:
        return record
    Path(output).mkdir(parents=True, exist_ok=True)
    return write_evaluation(Path(output), record, corpus, turns)


def evaluation_record(
    model_name: str,
    model,
    corpus: Dataset,
    turns: TurnPredictions,
    *,
    data: str | Mixture,
    fold: str | None,
    described: dict,
    overlap: str | None,
) -> RunRecord:
    """The record of scored turns, from their predictions and what `scored_turns` says of them."""
    labels = labels_of(model)
    return RunRecord(
        **vars(score_rows(corpus, turns, labels)),
        backbone=model.config.speech_config.model_type if model.config.use_speech_encoder else None,
        model=model_name,
        corpus=name_corpora(set(corpus["corpus"]) - {None}),
        protocol=Protocol(**{**described, "leaks": described["leaks"] or bool(overlap)}),
        overlap=overlap,
        fold=fold,
        n_parameters=sum(p.numel() for p in model.parameters()),
        labels=labels,
        settings={"data": str(data)},
        seconds=0.0,
    )


def write_evaluation(
    folder: Path, record: RunRecord, corpus: Dataset, turns: TurnPredictions
) -> RunRecord:
    """Write results.json and predictions.parquet."""
    write_predictions(folder, corpus, turns, record.labels)
    record.predictions = PREDICTIONS
    return write_record(folder, record)


def labels_of(model) -> list[str]:
    """Emotion words of a model in the order of its labels."""
    return [model.config.id2label[i] for i in range(model.config.num_labels)]


def check_request(protocol: str | None, fold: str | None, output: str | Path | None) -> None:
    """Refuse half a fold, and a folder that holds results."""
    if (protocol is None) != (fold is None):
        raise InputError(
            "--protocol and --fold go together: give both, or neither to score the whole corpus."
        )
    if output is not None and (Path(output) / RESULTS).exists():
        raise InputError(
            f"{output}: holds results already. Choose another --output, or delete the folder."
        )


def scored_turns(
    model_name: str,
    model,
    processor: DecompSerProcessor,
    *,
    data: str | Mixture,
    protocol: str | None,
    fold: str | None,
    skip_bad: bool = False,
    allow_overlap: bool = False,
) -> tuple[Dataset, dict, str | None, DecompSerDataCollator]:
    """The turns that a model is scored on, with their signals; `model` and `processor` are those
    loaded by the name, the other arguments and errors as of `evaluate`.

    Returns:
        Turns, description of the protocol, what of the turns the model was trained on, and what
        makes batches of them.
    """
    labels = labels_of(model)
    corpus = load_corpus(data, skip_bad=skip_bad)
    described = {"name": "all", "version": 1, "hash": None, "leaks": False}
    if protocol is not None and fold is not None:
        folds = load_folds(corpus, protocol, fold)
        described = describe_protocol(protocol, folds)
        corpus = folds["test"]
    check_labels(corpus, labels, f"corpus {data}")
    ids, speakers, corpora = (list(corpus[name]) for name in ("id", "speaker", "corpus"))
    overlap = find_overlap(model_name, ids, speakers, corpora=corpora)
    if overlap and not allow_overlap and not described["leaks"]:
        raise InputError(
            f"model '{model_name}' on {data}: {overlap}. Score another fold, or pass "
            "--allow-overlap to have the result marked."
        )
    corpus = with_arrays(add_signals(corpus, processor.feature_extractor, skip_bad=skip_bad))
    collator = DecompSerDataCollator(
        processor,
        labels=labels,
        speakers=model.config.speakers if model.speaker_head is not None else (),
        with_waveform=model.speech_encoder is not None,
        with_text=model.ctc_head is not None,
    )
    return corpus, described, overlap, collator
