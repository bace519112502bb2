"""What answers do when the recording changes, for `decomp-ser stress`.

Every turn is answered as it is and under every condition that was asked for. The answers to a
condition are a file of their own, so that an interrupted call is resumed after the last one.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from datasets.utils import tqdm
from torch.utils.data import DataLoader

from modeling_decomp_ser.speech_activity import detector_is_installed
from processing.collation import DecompSerDataCollator, row_key
from processing.errors import InputError
from train_scripts.answers.evaluation import evaluation_record, scored_turns, write_evaluation
from train_scripts.corruptions.conditions import CORRUPTIONS, check_corruptions
from train_scripts.robustness.corrupted_turns import Condition, CorruptedTurns, conditions_of
from train_scripts.robustness.stress_page import STRESS, write_pages
from train_scripts.robustness.stress_scores import Answers, score_conditions
from train_scripts.runs.foreseen_errors import require_package
from train_scripts.runs.record import RESULTS, git_commit, package_versions, write_json
from train_scripts.runs.run_folder import load_model, model_identity
from train_scripts.runs.whole_files import whole_files

ANSWERS = "answers"
ASKED = "asked.json"
"""What the answers of a folder are to; others are not mixed with them."""


def stress(
    model_name: str,
    *,
    data: str,
    output: str | Path,
    protocol: str | None = None,
    fold: str | None = None,
    only: Sequence[str] = (),
    num_turns: int | None = None,
    seed: int = 0,
    jobs: int = 1,
    batch_size: int = 8,
    skip_bad: bool = False,
    allow_overlap: bool = False,
) -> dict[str, Any]:
    """Answer turns under corruptions, and write the scores.

    Args:
        model_name: folder of a run, or a repository id.
        data: corpus, as `load_corpus` takes it.
        output: folder of stress.json, stress.md and stress.png, and of the results.json and
            predictions.parquet of the turns as they are.
        protocol: whose fold is answered, by its test turns; None takes the whole corpus.
        fold: a name that the protocol gives.
        only: names of corruptions; empty for all.
        num_turns: answer so many turns, chosen by the hash of their ids; None for all.
        seed: of noise, rooms and whatever else is drawn.
        jobs: processes that corrupt and extract; 1 does it in this one.
        batch_size: turns a batch; does not change the result.
        skip_bad: leave out clips that cannot be used.
        allow_overlap: as in `evaluate`.

    Returns:
        The content of stress.json: what was asked, and the scores of `score_conditions`.

    Raises:
        InputError: if anything of it is wrong, the model knows the turns or speakers, or the
            folder holds answers to something else.
    """
    output = Path(output)
    check_asked(only, protocol, fold)
    model, processor = load_model(model_name)
    turns, described, overlap, collator = scored_turns(
        model_name,
        model,
        processor,
        data=data,
        protocol=protocol,
        fold=fold,
        skip_bad=skip_bad,
        allow_overlap=allow_overlap,
    )
    turns = choose_turns(turns.remove_columns(["mel", "f0_hz"]), num_turns)
    asked = {"model": model_identity(model_name), "seed": seed, "turns": sorted(turns["id"])}
    open_answers(output, asked)
    begin = time.monotonic()
    answers: dict[Condition, Answers] = {}
    for condition in tqdm(conditions_of(only), desc="Conditions", unit="condition"):
        path = output / ANSWERS / f"{condition.name}.json"
        if not path.is_file():
            heard = CorruptedTurns(turns, processor.feature_extractor, condition, seed)
            found = answer_turns(model, collator, heard, jobs=jobs, batch_size=batch_size)
            write_json(path, found.to_dict(), indent=0)
        answers[condition] = Answers.read(path)
    clean = answers[Condition()].predictions()
    record = evaluation_record(
        model_name, model, turns, clean, data=data, fold=fold, described=described, overlap=overlap
    )
    record.seconds = time.monotonic() - begin
    config = model.config
    thresholds = {"temperature": config.temperature, "abstain_below": config.abstain_below}
    report = {
        "model": Path(model_name).name,
        "weights": asked["model"],
        "corpus": record.corpus,
        "protocol": vars(record.protocol),
        "fold": fold,
        "overlap": overlap,
        "seed": seed,
        "detector": detector_is_installed(),
        **thresholds,
        **score_conditions(turns, answers, record.labels, **thresholds),
        "versions": package_versions(),
        "commit": git_commit(),
    }
    write_evaluation(output, record, turns, clean)
    with whole_files(output) as place:
        write_json(place / STRESS, report)
        write_pages(report, place)
    return report


def check_asked(only: Sequence[str], protocol: str | None, fold: str | None) -> None:
    """Refuse half a fold, unknown corruptions, and those whose package is not installed."""
    if (protocol is None) != (fold is None):
        raise InputError(
            "--protocol and --fold go together: give both, or neither to take the whole corpus."
        )
    check_corruptions(only, "--only")
    for name in only or CORRUPTIONS:
        if package := CORRUPTIONS[name].package:
            require_package(package, f"corruption '{name}' (--only names others)")


def choose_turns(turns: Dataset, number: int | None) -> Dataset:
    """So many of the turns, those whose ids hash to the least, in their own order."""
    if number is None or number >= len(turns):
        return turns
    keys = [row_key(row_id) for row_id in turns["id"]]
    return turns.select(sorted(np.argsort(keys, kind="stable")[:number].tolist()))


def open_answers(output: Path, asked: dict[str, Any]) -> None:
    """Make the folder, or refuse one that holds answers of another model or seed, or to other
    turns.
    """
    stored = output / ASKED
    if stored.is_file():
        before = json.loads(stored.read_text(encoding="utf-8"))
        differing = [name for name in asked if before.get(name) != asked[name]]
        if differing:
            raise InputError(
                f"{output}: holds answers of such a test with other {' and '.join(differing)}. "
                "Choose another --output, or delete the folder."
            )
    elif (output / RESULTS).exists():
        raise InputError(
            f"{output}: holds results already. Choose another --output, such as {output}/stress."
        )
    (output / ANSWERS).mkdir(parents=True, exist_ok=True)
    write_json(stored, asked, indent=0)


@torch.no_grad()
def answer_turns(
    model,
    collator: DecompSerDataCollator,
    heard: CorruptedTurns,
    *,
    jobs: int = 1,
    batch_size: int = 8,
) -> Answers:
    """Answer turns under a condition, in batches of similar length."""
    order = np.argsort(np.asarray(heard.turns["duration"]), kind="stable").tolist()
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    loader: Any = DataLoader(
        heard,
        batch_sampler=batches,  # type: ignore[arg-type] # any iterable of lists will do
        collate_fn=lambda rows: (collator(rows), [list(row["flags"]) for row in rows]),
        num_workers=jobs if jobs > 1 else 0,
    )
    logits = np.zeros((len(order), len(collator.labels)))
    flags: list[list[str]] = [[]] * len(order)
    bar = tqdm(loader, desc=heard.condition.title, unit="batch", leave=False)
    for positions, (batch, raised) in zip(batches, bar, strict=True):
        output = model(**{name: value.to(model.device) for name, value in batch.items()})
        logits[positions] = output.logits.float().cpu().numpy()
        for position, names in zip(positions, raised, strict=True):
            flags[position] = names
    return Answers(list(heard.turns["id"]), logits.tolist(), flags)
