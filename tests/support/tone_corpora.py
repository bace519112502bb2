"""Small corpora of tones on disk, for names, labels and folds; nothing of them is speech."""

import csv
from pathlib import Path

import numpy as np
import soundfile

EMOTIONS = ("angry", "happy", "sad", "neutral")


def write_tones(
    folder: Path,
    *,
    corpus: str | None,
    num_speakers: int = 5,
    emotions: tuple[str, ...] = EMOTIONS,
    turns_each: int = 2,
    text: str | None = "a b",
    seed: int = 0,
) -> str:
    """A folder with metadata.csv; speakers are called s0, s1, ... in every such corpus."""
    (folder / "audio").mkdir(parents=True)
    generator = np.random.default_rng(seed)
    seconds = np.arange(6400) / 16000
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "emotion", "speaker", "gender", "text", "corpus"])
        for speaker in range(num_speakers):
            for k in range(turns_each * len(emotions)):
                name = f"audio/s{speaker}-{k:02d}.wav"
                tone = np.sin(2 * np.pi * (120 + 20 * speaker + 40 * (k % len(emotions))) * seconds)
                noise = generator.normal(size=len(seconds))
                soundfile.write(folder / name, 0.2 * tone + 0.02 * noise, 16000)
                gender = ("female", "male")[speaker % 2]
                emotion = emotions[k % len(emotions)]
                row = [name, emotion, f"s{speaker}", gender, text or "", corpus or ""]
                table.writerow(row)
    return str(folder)
