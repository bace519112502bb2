"""Where the time goes: the parts of the four-task step, and those of the signal front end.

    OMP_NUM_THREADS=1 python tests/benchmarks/profile_parts.py [--rounds N] [--output JSON]

Of the step at the paper's size with random weights, every part is run forward and backward again
on the input that it had in the step; what is left of the whole step are heads, losses and whatever
lies between the parts. Of the front end the functions are timed by cProfile, which makes what calls
many small functions look somewhat dearer. Times are medians of processor seconds, shares of the
whole.
"""

import argparse
import cProfile
import pstats
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

from network import build, random_inputs, training_step  # noqa: E402

from modeling_decomp_ser.decomposition import Codes  # noqa: E402
from modeling_decomp_ser.speech_encoder import convolve  # noqa: E402
from processing import DecompSerFeatureExtractor  # noqa: E402
from train_scripts.reports.pages import render  # noqa: E402
from train_scripts.runs.record import git_commit, write_json  # noqa: E402

RATE = 16000
CONVOLUTIONS = "wav2vec2: convolutions"
FRONT_END = {
    "high-pass filter": ("mel_spectrogram.py", "high_pass"),
    "RAPT: candidates of the period": ("rapt_candidates.py", "all_candidates"),
    "RAPT: costs of a change of voicing": ("rapt_voicing.py", "voicing_change_costs"),
    "RAPT: best path": ("rapt_path.py", "best_path"),
    "log-mel spectrogram": ("mel_spectrogram.py", "log_mel_spectrogram"),
}
"""Functions of which none calls another, by file and name."""


def parts_of(model: Any) -> dict[str, torch.nn.Module]:
    """The parts of the network that are timed, by what the paper calls them."""
    encoders = {f"encoder {name}": part for name, part in model.decomposition.encoders.items()}
    return {
        "wav2vec2: transformer": model.speech_encoder.encoder,
        **encoders,
        "decoder": model.decomposition.decoder,
    }


def record_calls(model: Any, batch: dict[str, torch.Tensor]) -> dict[str, tuple[tuple, dict]]:
    """Arguments that each part gets in a step."""
    calls, hooks = {}, []
    for name, part in parts_of(model).items():

        def keep(part, args, kwargs, name=name):
            calls[name] = (args, kwargs)

        hooks.append(part.register_forward_pre_hook(keep, with_kwargs=True))
    training_step(model, batch)()
    for hook in hooks:
        hook.remove()
    waveform = batch["input_values"]
    lengths = torch.full((len(waveform),), waveform.shape[1])
    calls[CONVOLUTIONS] = ((model.speech_encoder, waveform, lengths), {})
    return calls


def detached(value: Any) -> Any:
    """The same input, cut off from what it came from; of what was computed a gradient is wanted."""
    if isinstance(value, torch.Tensor):
        # a copy, since a part may write into what it is given
        return value.detach().requires_grad_(value.requires_grad).clone()
    if isinstance(value, Codes):
        return Codes(detached(value.values), value.lengths)
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(detached(item) for item in value)
    return value


def first_tensor(output: Any) -> torch.Tensor:
    """What a part gives on."""
    while not isinstance(output, torch.Tensor):
        output = output.values if isinstance(output, Codes) else output[0]
    return output


def seconds_of_part(part: Callable, call: tuple[tuple, dict]) -> tuple[float, float]:
    """Processor seconds of a part alone, forward and backward."""
    args, kwargs = (detached(call[0]), {k: detached(v) for k, v in call[1].items()})
    begin = time.process_time()
    output = first_tensor(part(*args, **kwargs))
    middle = time.process_time()
    output.sum().backward()
    return middle - begin, time.process_time() - middle


def profile_step(batch_size: int, rounds: int) -> dict[str, Any]:
    """Seconds of the step, and of each part forward and backward."""
    torch.manual_seed(0)
    model = build("table3_ours")
    model.config.speech_config.layerdrop = 0.0  # else other layers are dropped each time
    batch = random_inputs(batch_size)
    calls = record_calls(model, batch)
    step = training_step(model, batch)
    parts = {CONVOLUTIONS: convolve, **parts_of(model)}
    timings: dict[str, list[tuple[float, float]]] = {name: [] for name in parts}
    whole = []
    for _ in range(rounds):
        begin = time.process_time()
        step()
        whole.append(time.process_time() - begin)
        for name, part in parts.items():
            timings[name].append(seconds_of_part(part, calls[name]))
    found = {
        name: {
            way: statistics.median(pair[i] for pair in pairs)
            for i, way in enumerate(("forward", "backward"))
        }
        for name, pairs in timings.items()
    }
    return {"seconds": statistics.median(whole), "parts": found}


def speechlike(seconds: float, random: np.random.Generator) -> np.ndarray:
    """A gliding tone with overtones in noise, with pauses."""
    times = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(random.uniform(90, 250) + 20 * np.sin(2 * times)) / RATE
    tone = sum(np.sin(k * phase) / k for k in range(1, 8))
    sound = 0.1 * tone * (times % 1 > 0.3) + 0.005 * random.standard_normal(len(times))
    return sound.astype(np.float32)


def profile_front_end(number: int) -> dict[str, Any]:
    """Seconds of the front end for turns of 1 to 10 s, one by one, and of its functions."""
    random = np.random.default_rng(0)
    turns = [speechlike(random.uniform(1, 10), random) for _ in range(number)]
    extract: Callable = partial(DecompSerFeatureExtractor().extract)
    extract(turns[:1])
    profile = cProfile.Profile()
    profile.enable()
    for turn in turns:
        extract([turn])
    profile.disable()
    stats = pstats.Stats(profile).stats
    cumulative = {(Path(file).name, name): entry[3] for (file, _, name), entry in stats.items()}
    return {
        "seconds": cumulative["feature_extraction_decomp_ser.py", "extract"],
        "parts": {title: cumulative[place] for title, place in FRONT_END.items()},
        "seconds_of_sound": sum(map(len, turns)) / RATE,
    }


def main() -> None:
    """Profile, write and state."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--turns", type=int, default=64, help="for the front end")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = {
        "steps": {str(size): profile_step(size, arguments.rounds) for size in (1, 8)},
        "front_end": profile_front_end(arguments.turns),
        "rounds": arguments.rounds,
        "commit": git_commit(),
    }
    if arguments.output is not None:
        write_json(arguments.output, result, indent=1)
    print(render("profile_parts", result=result).rstrip())


if __name__ == "__main__":
    main()
