"""`decomp-ser predict`: the emotion of audio files, whole and over time."""

import json
import logging
from collections.abc import Iterator
from typing import Literal

from datasets.utils import tqdm

from modeling_decomp_ser.audio_windows import window_samples
from modeling_decomp_ser.pipeline_decomp_ser import WINDOW_SECONDS, DecompSerPipeline
from processing.errors import InputError
from train_scripts.runs.run_folder import load_model

logger = logging.getLogger(__name__)


def answer_files(
    model_name: str,
    files: list[str],
    *,
    window_seconds: float = WINDOW_SECONDS,
    hop_seconds: float | None = None,
    batch_size: int = 1,
    skip_bad: bool = False,
) -> Iterator[dict]:
    """Recognise the emotion of files, one after another.

    Args:
        model_name: folder of a run, or a repository id.
        files: paths or URLs of WAV, FLAC, OGG or MP3 files of any rate and channels.
        window_seconds: see DecompSerPipeline.
        hop_seconds: see DecompSerPipeline.
        batch_size: windows at once; does not change the answers.
        skip_bad: leave out files that cannot be used; they are counted and listed in a warning.

    Yields:
        For each file {"file", "emotion", "probabilities": {emotion: probability}, "flags",
        "timeline"}; the timeline has for each window {"start", "end"} in seconds and the same three
        entries. See DecompSerPipeline for the flags.

    Raises:
        InputError: if the model, an option or a file cannot be used, or no file is left.
    """
    recognize = load_pipeline(model_name, window_seconds, hop_seconds, batch_size)
    problems = []
    found = recognize_files(recognize, files, batch_size)
    for file, answer in zip(files, tqdm(found, total=len(files), unit="file"), strict=True):
        if isinstance(answer, ValueError):
            if not skip_bad:
                raise InputError(f"{answer} --skip-bad leaves out what cannot be used.") from answer
            problems.append(str(answer))
        else:
            windows = [
                {"start": window["start"], "end": window["end"], **describe(window)}
                for window in answer["timeline"]
            ]
            yield {"file": file, **describe(answer), "timeline": windows}
    if problems:
        logger.warning(
            "%d of %d files cannot be used:\n%s", len(problems), len(files), "\n".join(problems)
        )
    if len(problems) == len(files):
        raise InputError(f"none of the {len(files)} files can be used.")


def load_pipeline(
    model_name: str, window_seconds: float, hop_seconds: float | None, batch_size: int
) -> DecompSerPipeline:
    """The pipeline of a saved model, with all that `answer_files` tells of a file."""
    try:
        window_samples(window_seconds, hop_seconds, 1000)
    except ValueError as error:
        raise InputError(f"--window and --hop: {error}") from error
    model, processor = load_model(model_name)
    return DecompSerPipeline(
        model=model,
        feature_extractor=processor.feature_extractor,
        task="audio-classification",
        batch_size=batch_size,
        top_k=None,
        return_timeline=True,
        return_flags=True,
        window_seconds=window_seconds,
        hop_seconds=hop_seconds,
    )


def recognize_files(
    recognize: DecompSerPipeline, files: list[str], batch_size: int
) -> Iterator[dict | ValueError]:
    """The pipeline's answer for each file, or why there is none; short files share batches."""
    for start in range(0, len(files), batch_size):
        together = files[start : start + batch_size]
        try:
            yield from recognize(together)
        except ValueError:  # one of them is bad: each for itself
            for file in together:
                try:
                    yield recognize(file)
                except ValueError as error:
                    yield error


def describe(answer: dict) -> dict:
    """Emotion, probabilities and flags of an answer or of a window."""
    return {
        "emotion": answer["scores"][0]["label"],
        "probabilities": {s["label"]: s["score"] for s in answer["scores"]},
        "flags": answer["flags"],
    }


def format_answers(answers: list[dict], form: Literal["json", "csv", "rttm"]) -> str:
    """Write answers of `answer_files`, one or more, as text; see `timeline_csv` and
    `timeline_rttm` for the forms other than JSON.
    """
    if form == "json":
        return json.dumps(answers, indent=2, ensure_ascii=False)
    timelines = [(a["file"], [rank_window(w) for w in a["timeline"]]) for a in answers]
    return DecompSerPipeline.format_timelines(timelines, form)


def rank_window(window: dict) -> dict:
    """A window of the timeline in the form of the pipeline: probabilities as ranked scores."""
    scores = [{"label": label, "score": p} for label, p in window["probabilities"].items()]
    return {**window, "scores": scores}
