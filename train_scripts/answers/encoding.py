"""`decomp-ser encode`: the codes of recordings as a table or as tensors."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from modeling_decomp_ser.audio_windows import cut_spans, cut_windows
from processing.errors import InputError
from train_scripts.answers.input_files import Source
from train_scripts.answers.prediction import Listening, Prepared, Recording, prepare
from train_scripts.runs.run_folder import load_model

FORMS = (".parquet", ".safetensors")


def encode_recordings(
    model_name: str,
    sources: Sequence[Source],
    output: Path,
    *,
    listening: Listening,
    frames: bool = False,
    skip_bad: bool = False,
) -> list[str]:
    """Write the codes of recordings, a row a stretch of speech or a window.

    Args:
        model_name: folder of a run, or a repository id.
        sources: the recordings.
        output: a Parquet or safetensors file.
        listening: how they are heard.
        frames: frame by frame too, with the seconds from the beginning of the stretch.
        skip_bad: leave out what cannot be used.

    Returns:
        What could not be used, a line each.

    Raises:
        InputError: if the model, an option or a recording cannot be used, or none is left.
    """
    if output.suffix not in FORMS:
        raise InputError(f"--output {output}: expected a file that ends in {' or '.join(FORMS)}.")
    listening = listening.checked()
    model, processor = load_model(model_name)
    rows, problems = [], []
    for source in tqdm(sources, unit="file", desc="Recordings"):
        try:
            rows += list(encode_recording(model, processor, source, listening, frames))
        except ValueError as error:
            if not skip_bad:
                raise InputError(f"{error} --skip-bad leaves out what cannot be used.") from error
            problems.append(str(error))
    if len(problems) == len(sources):
        raise InputError(f"none of the {len(sources)} files can be used: {problems[0]}")
    part = output.with_name(f"{output.name}.part")
    write = write_table if output.suffix == ".parquet" else write_tensors
    write(rows, part)
    part.replace(output)
    return problems


def encode_recording(
    model: Any, processor: Any, source: Source, listening: Listening, frames: bool
) -> Iterator[dict[str, Any]]:
    """The rows of a recording: file, channel, start, end, and tensors by name."""
    extractor = processor.feature_extractor
    parts, _ = prepare(Recording(source), listening)
    for part in (part for part in parts if part.sound):
        stream = extractor.open_audio(part.sound)
        for start, samples in stretches(stream, part, listening):
            [waveform] = extractor.prepare_waveforms([samples], stream.sampling_rate)
            [speech] = model.encode(waveform, extractor, extractor.sampling_rate)
            row = {"file": source.name, "channel": part.channel}
            row["start"] = round(start / stream.sampling_rate, 3)
            row["end"] = round((start + len(samples)) / stream.sampling_rate, 3)
            for name, features in speech.parts.items():
                row[name] = features.pooled
                if frames:
                    row |= {f"{name}_frames": features.frames, f"{name}_times": features.times}
            if speech.speaker_embedding is not None:
                row["speaker_embedding"] = speech.speaker_embedding
            yield row


def stretches(stream: Any, part: Prepared, listening: Listening):
    """First sample and samples of each stretch of speech, or of each window."""
    rate = stream.sampling_rate
    if part.segments is None:
        size = round(listening.window_seconds * rate)
        hop = round((listening.hop_seconds or listening.window_seconds) * rate)
        return cut_windows(stream.blocks, size, hop)
    limits = ((round(a * rate), round(b * rate)) for a, b in part.sound["spans"])
    return cut_spans(stream.blocks, limits, stream.name)


def write_table(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Parquet, vectors as lists."""
    import pyarrow
    import pyarrow.parquet

    plain = [
        {k: v.tolist() if isinstance(v, torch.Tensor) else v for k, v in row.items()}
        for row in rows
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(plain), path)


def write_tensors(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """safetensors: `ROW.NAME`, rows counted from 0; what else is known of the rows is the JSON of
    the entry "rows" of the metadata.
    """
    from safetensors.torch import save_file

    tensors = {
        f"{number}.{name}": value.contiguous().clone()
        for number, row in enumerate(rows)
        for name, value in row.items()
        if isinstance(value, torch.Tensor)
    }
    known = [{k: v for k, v in r.items() if not isinstance(v, torch.Tensor)} for r in rows]
    save_file(tensors, path, {"rows": json.dumps(known)})
