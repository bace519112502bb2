"""Which changed copies of a recording `processing.copies` finds, and what it takes for one.

    python tests/benchmarks/copy_detection.py --corpus NAME=FOLDER ... [--output JSON]

A corpus is a folder of WAV or FLAC clips, no two of which are the same recording. All clips of all
corpora are compared with each other, at most 1,500 of each: every pair that is found is a false
alarm. 30 clips of each corpus are changed, and looked for among 40 clips of each. The changes are
the corruptions of `decomp-ser stress` at their strongest, some milder ones, trimming, and some at
once. The table in Markdown is printed, and the counts are written as JSON.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[2]))

from modeling_decomp_ser.keyed_random import fold_in, mix  # noqa: E402
from processing.audio_files import read_audio  # noqa: E402
from processing.copies import find_copies, fingerprint_waveforms  # noqa: E402
from train_scripts.corruptions import codecs, effects  # noqa: E402
from train_scripts.corruptions.conditions import (  # noqa: E402
    CORRUPTIONS,
    corrupt,
    describe_condition,
    other_turns,
)
from train_scripts.reports.pages import render  # noqa: E402
from train_scripts.runs.record import git_commit  # noqa: E402

CHANGED, AMONG, COMPARED = 30, 40, 1500
"""Clips of each corpus."""


def part(waveform: Tensor, share: float) -> Tensor:
    """The middle of a clip."""
    size = round(len(waveform) * share)
    start = (len(waveform) - size) // 2
    return waveform[start : start + size]


MILDER = {"faster": (1.0,), "slower": (1.0,), "white_noise": (10.0,), "babble": (10.0,)}
MILDER |= {"room": (0.3,), "mp3": (32.0,)}

OTHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "the middle half": lambda x: part(x, 0.5),
    "the middle quarter": lambda x: part(x, 0.25),
    "middle half, quieter, telephone band, GSM": lambda x: codecs.gsm(
        effects.telephone(0.1 * part(x, 0.5))
    ),
    "telephone band, 2 % faster": lambda x: effects.change_speed(effects.telephone(x), 2),
}


def changes() -> dict[str, Callable[[Tensor, Tensor, Any], Tensor]]:
    """Every change by its name, of a waveform, a key and the other clips."""
    found: dict[str, Any] = {}
    for name, kind in CORRUPTIONS.items():
        for strength in (*MILDER.get(name, ()), kind.strengths[-1]):
            found[describe_condition(name, strength)] = lambda x, key, voices, n=name, s=strength: (
                corrupt(x, n, s, key, voices)
            )
    return found | {name: lambda x, key, voices, f=f: f(x) for name, f in OTHERS.items()}


def clips_in(folder: str) -> list[Path]:
    """Sound files of a corpus, in order."""
    return sorted(p for p in Path(folder).rglob("*") if p.suffix in (".wav", ".flac"))


def read(path: Path) -> Tensor:
    """Samples of a clip at 16 kHz."""
    return torch.from_numpy(read_audio(path))


def false_alarms(paths: list[Path]) -> dict[str, Any]:
    """What is found among recordings of which no two are the same."""
    begin = time.process_time()
    everything = fingerprint_waveforms(
        (str(p), read(p).numpy()) for p in tqdm(paths, desc="fingerprints")
    )
    middle = time.process_time()
    found = find_copies(everything)
    return {
        "clips": len(paths),
        "pairs": len(paths) * (len(paths) - 1) // 2,
        "found": [[Path(a).name, Path(b).name, share] for a, b, share in found],
        "processor_seconds": {
            "fingerprints": round(middle - begin, 1),
            "comparison": round(time.process_time() - middle, 1),
        },
    }


def every(items: list[Path], number: int) -> list[Path]:
    """So many items, evenly from the whole list."""
    return items[:: max(1, -(-len(items) // number))][:number]


def search(corpora: dict[str, list[Path]]) -> dict[str, dict[str, int]]:
    """How many changed clips are found, and how many other pairs, by change."""
    around = {name: every(paths, AMONG) for name, paths in corpora.items()}
    originals = {str(p): read(p) for paths in around.values() for p in paths}
    changed = [str(p) for paths in around.values() for p in every(paths, CHANGED)]
    names = list(originals)
    counts = {}
    for title, change in tqdm(changes().items(), desc="changes"):
        copies = {}
        for k, name in enumerate(changed):
            key = fold_in(mix(torch.tensor(k + 1)), 0)
            own = names.index(name)
            voices = other_turns(lambda i: originals[names[i]], own, len(names))
            copies[f"copy of {name}"] = change(originals[name], key, voices)
        clips = {**originals, **copies}
        found = find_copies(fingerprint_waveforms((n, x.numpy()) for n, x in clips.items()))
        pairs = {(a, b) for a, b, _ in found}
        right = {p for p in pairs if p[1] == f"copy of {p[0]}" or p[0] == f"copy of {p[1]}"}
        counts[title] = {"copies": len(copies), "found": len(right), "wrong": len(pairs - right)}
    return counts


def main() -> None:
    """Measure, write and state."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", action="append", required=True, help="NAME=FOLDER")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    corpora = {
        name: clips_in(folder)
        for name, _, folder in (corpus.partition("=") for corpus in arguments.corpus)
    }
    result = {
        "corpora": {name: len(paths) for name, paths in corpora.items()},
        "seed": 0,
        "commit": git_commit(),
        "changes": search(corpora),
        "false_alarms": false_alarms(
            [p for paths in corpora.values() for p in every(paths, COMPARED)]
        ),
    }
    if arguments.output is not None:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(render("copy_detection", result=result).rstrip())


if __name__ == "__main__":
    main()
