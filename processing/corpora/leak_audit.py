"""`decomp-ser leaks`: what of each test fold is in its training set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from tqdm import tqdm

from processing.corpora.loading import load_corpus
from processing.folds import PROTOCOLS, describe_protocol, fold_names, load_folds
from processing.leakage import find_copies, fingerprint_audio, leak_report


def leaks(
    data: str | Path | Dataset | DatasetDict,
    protocol: str,
    *,
    folds: Sequence[str] = (),
    audio: bool = True,
) -> dict[str, Any]:
    """Report the leaks of a protocol's folds.

    Args:
        data: what `load_corpus` takes.
        protocol: a name in PROTOCOLS.
        folds: the folds to report; empty for all.
        audio: also decode every clip and look for copies.

    Returns:
        {"protocol", "declares_shared_speakers", "copies": [[id, id, correlation], ...] or None,
        "folds": {fold: report of `leak_report` with the "hash" of the split}}.

    Raises:
        InputError: if the data, the protocol or a fold is wrong, or a clip cannot be decoded.
    """
    corpus = load_corpus(data)
    names = fold_names(corpus, protocol)
    copies = None
    if audio:
        with tqdm(total=len(corpus), desc="fingerprints", unit="clip", mininterval=1.0) as progress:
            rows = corpus.select_columns(["id", "audio"])
            fingerprints = fingerprint_audio(rows, progress=lambda done: progress.update())
        copies = find_copies(fingerprints)
    reports = {}
    for fold in folds or names:
        splits = load_folds(corpus, protocol, fold)
        digest = describe_protocol(protocol, splits)["hash"]
        reports[fold] = {"hash": digest, **leak_report(splits, copies)}
    return {
        "protocol": protocol,
        "declares_shared_speakers": PROTOCOLS[protocol].declares_shared_speakers,
        "copies": copies,
        "folds": reports,
    }
