"""What each part of a model is worth on its test turns: UAR with every subset of the parts, the
others replaced by their mean over the training turns.

`decomp-ser report RUNS... --parts DATA --output DIR` reads run folders of `finetune` or
`cross-validate`. Nothing is trained again: a part may be missed here whose place
others would have taken, had it not been there in training.

Axes: N turns, A answers (each run's to its test turns), P parts of the model, G subsets of them (2
to the power of P), K speakers, L labels, R resamples.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets.utils import tqdm

from modeling_decomp_ser.component_shares import PARTS, part_names, shapley_values, subset_logits
from processing.errors import InputError
from train_scripts.answers.evaluation import scored_turns
from train_scripts.explanations.explanation import own_name
from train_scripts.reports.rows import Row, group_rows
from train_scripts.reports.scores import is_resampled, pretraining_steps
from train_scripts.runs.finished_runs import Run, read_runs
from train_scripts.runs.inference import predict_turns
from train_scripts.runs.intervals import bootstrap_statistics, with_interval
from train_scripts.runs.metrics import unweighted_average_recalls
from train_scripts.runs.run_folder import load_model


def part_scores(
    runs: Sequence[str | Path], data: str, *, num_resamples: int = 10_000, seed: int = 0
) -> dict[str, Any]:
    """Score every subset of the parts of each row's models on the turns that they were tested on.

    Args:
        runs: run folders, or folders that hold some at any depth.
        data: corpus of the runs, see `load_corpus`.
        num_resamples: of the bootstrap over speakers.
        seed: of the bootstrap.

    Returns:
        {"num_resamples", "bootstrap_seed", "rows"}; see `score_row_parts`.

    Raises:
        InputError: if there is no model in the folders, or the corpus has not the turns of a run.
    """
    rows = [row for row in group_rows(read_runs(runs)[0]) if row.key.size is not None]
    if not rows:
        raise InputError("no run of a network among the folders: a baseline has no parts.")
    scored = [score_row_parts(row, data, num_resamples=num_resamples, seed=seed) for row in rows]
    return {"num_resamples": num_resamples, "bootstrap_seed": seed, "rows": scored}


def score_row_parts(row: Row, data: str, *, num_resamples: int, seed: int) -> dict[str, Any]:
    """Score the parts of one row, seeds averaged within each turn.

    Returns:
        What the figures depend on; `uar` of the whole model; `uar_of_none`, where every turn gets
        the answer for the average training turn; `answers_changed`, how many of the stored answers
        this machine did not repeat; and for each of `parts` its Shapley value of the UAR (`gain`;
        they sum to uar - uar_of_none), the UAR `without` it and how that differs from the whole
        (`change_without`), and the UAR of it `alone`.
    """
    progress = tqdm(row.runs.values(), desc=row.key.preset, unit="run")
    found = [subset_answers(run, data) for run in progress]
    names = found[0][0]
    answers = np.concatenate([own for _, own in found])  # (A, G), in the order of the row's turns
    confusions = np.stack(
        [replace(row.turns, predictions=subset).by_speaker() for subset in answers.T]
    )  # (G, K, L, L)
    samples = bootstrap_statistics(confusions, num_resamples=num_resamples, seed=seed)
    uar = unweighted_average_recalls(confusions.sum(axis=1))
    num_speakers = confusions.shape[1]
    return {
        "corpus": row.key.corpus,
        "protocol": asdict(row.first.results.protocol),
        "preset": row.key.preset,
        "overrides": list(row.key.overrides),
        "size": row.key.size,
        "resampled": is_resampled(row),
        "pretrained": bool(row.first.results.pretrained),
        "pretraining_steps": pretraining_steps(row),
        "seeds": row.seeds,
        "folds": row.folds,
        "num_turns": len(np.unique(row.turns.ids)),
        "num_speakers": num_speakers,
        "commits": row.commits,
        "answers_changed": int((answers[:, -1] != row.turns.predictions).sum()),
        "uar": float(uar[-1]),
        "uar_of_none": float(uar[0]),
        "parts": describe_parts(names, uar, samples["unweighted_average_recall"].T, num_speakers),
    }


def subset_answers(run: Run, data: str) -> tuple[list[str], np.ndarray]:
    """Answers of a run's model to its test turns with each subset of its parts.

    Returns:
        Names of the parts; label ids, (N, G), turns in the order of the run's predictions and
        subsets in that of `subset_members`.

    Raises:
        InputError: if the model cannot be loaded or the corpus has other turns.
    """
    model, processor = load_model(str(run.folder))
    rows, described, _, collator = scored_turns(
        str(run.folder),
        model,
        processor,
        data=data,
        protocol=run.results.protocol.name,
        fold=run.results.fold,
        skip_bad=False,
        allow_overlap=run.results.protocol.leaks,
    )
    if described["hash"] != run.results.protocol.hash:
        raise InputError(
            f"{run.folder}: was tested on another split than {data} has (hash "
            f"{run.results.protocol.hash}, not {described['hash']}). Give the corpus of the "
            "run as --data."
        )
    turns = predict_turns(model, collator, rows, with_component_shares=True)
    parts = part_names(model.config)
    at = [*(PARTS.index(part) for part in parts), len(PARTS)]  # the bias last
    answers = subset_logits(torch.from_numpy(np.asarray(turns.component_shares)[:, at])).argmax(-1)
    place = {key: i for i, key in enumerate(rows["id"])}
    order = [place[key] for key in run.turns["id"]]
    return [own_name(model, part) for part in parts], answers.numpy()[order]


def describe_parts(
    names: Sequence[str], uar: np.ndarray, resampled: np.ndarray, num_speakers: int
) -> dict[str, dict]:
    """Scores of each part from those of the subsets.

    Args:
        names: of the parts.
        uar: of each subset, (G,).
        resampled: the same of each resample, (R, G).
        num_speakers: that were resampled.
    """
    gains = shapley_values(torch.from_numpy(uar)[None])[0].tolist()
    resampled_gains = shapley_values(torch.from_numpy(resampled)).numpy()
    whole = len(uar) - 1
    parts = {}
    for p, name in enumerate(names):
        without = whole - 2**p
        change = resampled[:, without] - resampled[:, whole]
        parts[name] = {
            "gain": with_interval(gains[p], resampled_gains[:, p], num_speakers),
            "without": float(uar[without]),
            "change_without": with_interval(uar[without] - uar[whole], change, num_speakers),
            "alone": float(uar[2**p]),
        }
    return parts
