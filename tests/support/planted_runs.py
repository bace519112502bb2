"""Run folders with planted answers, as finetune, pretrain and the baselines write them."""

import hashlib
import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from support.records import make_record, plant_record

from train_scripts.runs.inference import TurnPredictions
from train_scripts.runs.record import Leaks, Metrics, Protocol, RunRecord, write_record
from train_scripts.runs.results import score_rows

LABELS = ["angry", "happy", "sad", "neutral"]
SENTENCES = ["THE CUP IS ON THE TABLE", "WE WALK HOME AT NIGHT", "NO ONE CAME IN TIME"]


def corpus_rows(num_speakers: int = 10, turns_each: int = 12) -> list[dict]:
    """A balanced corpus without audio."""
    return [
        {
            "id": f"s{speaker:02}-{turn:02}",
            "speaker": f"s{speaker:02}",
            "gender": ("female", "male")[speaker % 2],
            "emotion": LABELS[turn % 4],
            "text": SENTENCES[turn % 3],
            "duration": 2.0 + turn % 4,
        }
        for speaker in range(num_speakers)
        for turn in range(turns_each)
    ]


def fold_rows(rows: list[dict], fold: int, num_folds: int = 5) -> list[dict]:
    """Turns that a fold tests: every so many-th speaker."""
    speakers = sorted({row["speaker"] for row in rows})
    return [row for row in rows if speakers.index(row["speaker"]) % num_folds == fold - 1]


def plant_run(
    folder: Path,
    *,
    preset: str = "table3_ours",
    seed: int = 0,
    fold: int | str = 1,
    size: str | None = "small",
    rows: list[dict] | None = None,
    test: list[dict] | None = None,
    right: float = 0.7,
    answers: dict[str, str] | None = None,
    corpus: str | None = "planted",
    protocol: str = "speaker-5",
    overrides: tuple[str, ...] = (),
    words: bool = False,
    memorised: int = 0,
    **changes,
) -> RunRecord:
    """Write a run folder.

    Args:
        rows: the corpus.
        test: turns that are tested; default those of `fold_rows`.
        right: chance that a turn is recognised, if `answers` has none for it.
        answers: id to emotion word.
        words: with recognised words, the first of which is wrong in every second turn.
        memorised: test turns whose words are in training.
        changes: other fields of the record.
    """
    everything = corpus_rows() if rows is None else rows
    number = fold if isinstance(fold, int) else zlib.crc32(fold.encode())
    test = fold_rows(everything, number) if test is None else test
    generator = np.random.default_rng([seed, number, *preset.encode()])
    predicted = [
        (answers or {}).get(row["id"])
        or (row["emotion"] if generator.random() < right else str(generator.choice(LABELS)))
        for row in test
    ]
    logits = np.zeros((len(test), 4))
    logits[np.arange(len(test)), [LABELS.index(p) for p in predicted]] = 2.0
    texts = None
    if words:
        texts = [
            row["text"] if k % 2 else "X " + row["text"].split(" ", 1)[1]
            for k, row in enumerate(test)
        ]
    columns: Any = {name: [row[name] for row in test] for name in test[0]}
    turns = TurnPredictions(logits=logits, texts=texts)
    folder.mkdir(parents=True)
    table = {
        "id": columns["id"],
        "speaker": columns["speaker"],
        "label": columns["emotion"],
        "prediction": predicted,
        **{f"probability_{label}": turns.probabilities[:, k] for k, label in enumerate(LABELS)},
        "text": columns["text"],
        "recognized_text": texts or [None] * len(test),
        "duration": columns["duration"],
        **({"gender": columns["gender"]} if "gender" in columns else {}),
    }
    pyarrow.parquet.write_table(pyarrow.table(table), folder / "predictions.parquet")
    train = len(everything) - len(test) - 12
    record = make_record(
        **vars(score_rows(columns, turns, LABELS)),
        preset=preset,
        size=size,
        backbone="scratch",
        corpus=corpus,
        trained_on=corpus,
        protocol=Protocol(
            name=protocol,
            version=1,
            hash=hashlib.sha256(f"{protocol} {fold}".encode()).hexdigest()[:16],
            leaks=False,
        ),
        fold=str(fold),
        leaks=Leaks(
            turns={"train": train - 6, "validation": 6, "heldout_turns": 12, "test": len(test)},
            speakers={"train": 7, "validation": 1, "heldout_turns": 7, "test": 2},
            shared_speakers=[],
            in_train={"speaker": 0, "transcript_4_words": memorised, "identical_audio": None},
        ),
        seed=seed,
        selected_by="last",
        n_parameters=1000,
        settings={
            "preset": preset,
            "seed": seed,
            "overrides": [f"size={size}", f"seed={seed}", *overrides],
        },
    )
    return write_record(folder, replace(record, **changes))


def plant_row(root: Path, preset: str, *, seeds=(0, 1, 2), folds=(1, 2, 3, 4, 5), **options):
    """All folds and seeds of a row, laid out as cross-validate does."""
    for seed in seeds:
        for fold in folds:
            folder = root / preset / f"seed-{seed}" / f"fold-{fold}"
            plant_run(folder, preset=preset, seed=seed, fold=fold, **options)


def plant_pretraining(folder: Path, *, seed: int = 0, fold: int = 1, steps: int = 100) -> None:
    """A run folder of pretrain, with its log."""
    plant_record(
        folder,
        size="small",
        corpus="planted",
        fold=str(fold),
        seed=seed,
        metrics=Metrics(speaker_accuracy=0.5, speech_mse=0.01, speech_mse_padded=0.008),
        settings={"overrides": []},
    )
    lines = [
        {
            "step": step,
            "loss": 1.0,
            "loss_reconstruction": 0.1 / step + 0.001 * fold,
            "loss_speaker": 3 - step / 50,
        }
        for step in range(1, steps + 1)
    ]
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
