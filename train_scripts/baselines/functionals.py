"""openSMILE functionals of a corpus: one vector a clip, kept on disk as the signals are."""

import json
from functools import cache
from importlib import metadata
from typing import Any

import numpy as np
from datasets import Dataset, Features, Sequence, Value

from processing.audio_files import audio_name, read_audio
from processing.corpora.schema import SAMPLING_RATE
from processing.errors import InputError
from processing.features import add_columns

FEATURE_SETS = {"baseline_egemaps": "eGeMAPSv02", "baseline_compare": "ComParE_2016"}
"""88 functionals (Eyben et al., IEEE Transactions on Affective Computing 7(2), 2016) and 6,373
(Schuller et al., Interspeech 2016)."""

SHORTEST_SAMPLES = SAMPLING_RATE // 10
"""Shorter clips are lengthened with silence: openSMILE has no functionals below 60 ms."""

EMPTY = np.zeros(0, np.float32)


def add_functionals(corpus: Dataset, feature_set: str, **options: Any) -> Dataset:
    """Add the column `functionals` (D,) to a corpus.

    Args:
        corpus: rows of the schema.
        feature_set: "eGeMAPSv02" or "ComParE_2016".
        options: cache_folder, num_proc and skip_bad of `add_signals`.

    Raises:
        InputError: if openSMILE is not installed, or a clip cannot be used; names it.
    """
    load_smile(feature_set)  # that it is missing is said before the long work
    settings = ["functionals", feature_set, SAMPLING_RATE, metadata.version("opensmile")]
    return add_columns(
        corpus,
        extract_functionals,
        {"feature_set": feature_set},
        columns=Features({"functionals": Sequence(Value("float32")), "problem": Value("string")}),
        settings=json.dumps(settings),
        title=f"Functionals-{feature_set}",
        **options,
    )


def extract_functionals(row: dict, feature_set: str) -> dict:
    """Functionals of one row, or why there are none."""
    try:
        waveform = read_audio(row["audio"], sampling_rate=SAMPLING_RATE)
    except InputError as error:
        name = audio_name(row["audio"])
        problem = str(error) if name in str(error) else f"{name}: {error}"
        return {"functionals": EMPTY, "problem": f"row '{row['id']}': {problem}"}
    waveform = np.pad(waveform, (0, max(0, SHORTEST_SAMPLES - len(waveform))))
    values = load_smile(feature_set).process_signal(waveform, SAMPLING_RATE).to_numpy()[0]
    if not np.isfinite(values).all():
        return {"functionals": EMPTY, "problem": f"row '{row['id']}': openSMILE gave NaN for it."}
    return {"functionals": values.astype(np.float32), "problem": None}


@cache
def load_smile(feature_set: str):
    """The extractor of a feature set, loaded once a process."""
    try:
        import opensmile
    except ImportError as error:
        raise InputError(
            "the eGeMAPS and ComParE baselines need the extra `baselines`: "
            "pip install -e '.[baselines]' (openSMILE's licence is for research)."
        ) from error
    return opensmile.Smile(
        feature_set=opensmile.FeatureSet[feature_set],
        feature_level=opensmile.FeatureLevel.Functionals,
    )
