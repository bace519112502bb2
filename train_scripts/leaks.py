"""`decomp-ser leaks`: what of each test fold is in its training set."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from datasets import Dataset, DatasetDict
from tqdm import tqdm

from processing.corpora.loading import load_corpus
from processing.folds import PROTOCOLS, describe_protocol, fold_names, load_folds
from processing.leakage import find_copies, fingerprint_audio, format_leak_table, leak_report
from train_scripts.cli import run


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


app = typer.Typer(add_completion=False)


@app.command()
def leaks_command(
    data: Annotated[
        str, typer.Option(help="Prepared folder, folder with metadata.csv, or Hub id.")
    ],
    protocol: Annotated[str, typer.Option(help=f"One of: {', '.join(PROTOCOLS)}.")],
    fold: Annotated[
        list[str] | None, typer.Option(help="Only this fold; may be repeated. Default: all.")
    ] = None,
    audio: Annotated[
        bool,
        typer.Option(
            "--audio/--no-audio", help="Decode every clip and look for copies. Default: yes."
        ),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Count the test turns whose speaker, dialogue, words or audio also occur in training.

    transcript: the same words after normalisation, of any length; transcript 4 words: those of four
    or more. identical audio: the same samples; near identical audio: also after a change of gain,
    trimming, resampling or lossy coding. All are counts of test turns.
    """
    report = leaks(data, protocol, folds=fold or (), audio=audio)
    if as_json:
        typer.echo(json.dumps(report, indent=2, ensure_ascii=False))
        return
    marked = "declares" if report["declares_shared_speakers"] else "does not allow"
    typer.echo(
        f"protocol {protocol}, which {marked} shared speakers; test turns found in training:"
    )
    typer.echo(format_leak_table(report["folds"]))
    validation = {n: r for n, r in report["folds"].items() if r["turns"]["validation"]}
    if validation:
        typer.echo("\ntest turns found in validation:")
        typer.echo(format_leak_table(validation, against="validation"))
    for first, second, correlation in (report["copies"] or [])[:20]:
        typer.echo(f"copy: {first} and {second}, correlation {correlation:.2f}")


if __name__ == "__main__":
    run(app)
