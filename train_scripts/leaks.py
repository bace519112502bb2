"""`decomp-ser leaks`: what of each test fold is in its training set."""

import json
from typing import Annotated

import typer

from train_scripts.cli import make_app, run
from train_scripts.options import Corpora, SomeFolds, read_data

app = make_app()


@app.command(epilog="After Ctrl-C: nothing was written, so nothing has to be cleared away.")
def leaks_command(
    data: Corpora,
    protocol: Annotated[
        str,
        typer.Option(
            help="One of: speaker, speaker-paper, speaker-5, session, dialogue-prefix, corpus, "
            "predefined, ravdess-published, ravdess-emobox."
        ),
    ],
    fold: SomeFolds = None,
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
    trimming, bandwidth, codec or speed (up to 10 %). All are counts of test turns. With several
    corpora, all their emotions count, and recordings and people that two of them share are named.
    """
    from processing.leakage import format_leak_table, leaks

    several = len(data) > 1 or data[0].endswith((".yaml", ".yml"))
    corpora = read_data(data, "union" if several else None)
    report = leaks(corpora, protocol, folds=fold or (), audio=audio)
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
    for first, second, likeness in (report["copies"] or [])[:20]:
        typer.echo(f"copy: {first} and {second}, likeness {likeness:.2f}")
    for first, second, number in report["same_people"] or []:
        typer.echo(f"same person? {first} and {second} share {number} recordings")


if __name__ == "__main__":
    run(app)
