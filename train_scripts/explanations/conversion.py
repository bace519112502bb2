"""Spectrograms and sounds of an utterance without a component, or with one from another recording.

Axes: B batch, S samples, T frames, M mel bands, K codes, D code width.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F
from torchaudio.transforms import GriffinLim, InverseMelScale

from modeling_decomp_ser.decomposition import Codes, ResamplingPlans
from processing import DecompSerFeatureExtractor
from processing.audio_files import encode_flac, read_audio
from processing.errors import InputError
from processing.mel_spectrogram import HEADROOM, RANGE_DB, REFERENCE_DB
from train_scripts.runs.run_folder import load_model

GRIFFIN_LIM_ITERATIONS = 64
"""Steps after which the log-mel spectrogram of the sound no longer comes nearer."""

ORIGINAL, ALL = "original", "all components"


@torch.no_grad()
def encode(model, inputs: Mapping[str, Tensor]) -> dict[str, Codes]:
    """Codes of each component, without random resampling, from what the feature extractor gives."""
    lengths = model.lengths_of(inputs["mel"], inputs.get("frame_mask"))
    return model.decomposition(
        inputs["mel"], inputs["log_f0"], inputs["voiced"] > 0, lengths, ResamplingPlans()
    )


@torch.no_grad()
def decode(model, codes: dict[str, Codes], num_frames: int) -> np.ndarray:
    """Spectrogram of the codes of one utterance, (1, K, D) each -> (T, M) in [0, 1]."""
    lengths = torch.tensor([num_frames], device=model.device)
    ordered = {name: codes[name] for name in model.config.components}
    mel = model.decomposition.reconstruct(ordered, lengths, num_frames)[0]
    return mel.clamp(0, 1).cpu().numpy()


def remove_component(
    model, inputs: Mapping[str, Tensor], codes: dict[str, Codes], component: str
) -> dict[str, Codes]:
    """Codes with one component's taken from silence of the length of the inputs, as SpeechSplit
    removes them; a code of zeros would be one that no speech has.
    """
    silence = {name: torch.zeros_like(inputs[name]) for name in ("mel", "voiced")}
    return {**codes, component: encode(model, {**inputs, **silence})[component]}


def take_component(
    codes: dict[str, Codes], donor: dict[str, Codes], component: str
) -> dict[str, Codes]:
    """Codes of one utterance, (1, K, D) each, with one component from another, (1, K', D) each; as
    long as the rhythm's owner, so that codes of the other are stretched to that length.
    """
    mixed = {**codes, component: donor[component]}
    timed_by = mixed.get("rhythm", codes[next(iter(codes))])
    return {name: stretch(code, timed_by) for name, code in mixed.items()}


def stretch(codes: Codes, like: Codes) -> Codes:
    """Interpolate codes over time to as many as others have, (1, K, D) -> (1, K', D)."""
    values = codes.values.transpose(1, 2)  # (1, D, K)
    num_codes = like.values.shape[1]
    if values.shape[2] != num_codes:
        values = F.interpolate(values, num_codes, mode="linear", align_corners=True)
    return Codes(values.transpose(1, 2), like.lengths)


def reconstructions(model, inputs: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Spectrograms of an utterance by name, (T, M) each: the original, from all codes, and without
    each of them.
    """
    codes = encode(model, inputs)
    all_codes = {ALL: codes} | {
        f"without {name}": remove_component(model, inputs, codes, name)
        for name in model.config.components
    }
    mel = inputs["mel"]
    decoded = {name: decode(model, x, mel.shape[1]) for name, x in all_codes.items()}
    return {ORIGINAL: mel[0].cpu().numpy()} | decoded


def mel_to_waveform(mel: np.ndarray, feature_extractor: DecompSerFeatureExtractor) -> np.ndarray:
    """Sound of a log-mel spectrogram (T, M) in [0, 1]: least squares from bands to frequencies,
    then Griffin-Lim from magnitudes to phases, from a fixed start.

    Returns:
        float32 waveform at full scale 1.0, (S,) with S = (T - 1) * hop length.
    """
    fe = feature_extractor
    decibels = mel * RANGE_DB - RANGE_DB + REFERENCE_DB
    magnitudes = torch.from_numpy(10 ** (decibels.T / 20).astype(np.float32))  # (M, T)
    bins = fe.n_fft // 2 + 1
    to_spectrum = InverseMelScale(
        bins, fe.num_mel_bins, fe.sampling_rate, fe.mel_f_min, fe.mel_f_max, "slaney", "slaney"
    )
    lengths = (fe.n_fft, GRIFFIN_LIM_ITERATIONS, fe.win_length, fe.hop_length)
    to_waveform = GriffinLim(*lengths, power=1.0, rand_init=False)
    if mel.shape[0] * fe.hop_length <= fe.n_fft:  # too short for the transform's reflected ends
        short = fe.n_fft // fe.hop_length + 2 - mel.shape[0]
        magnitudes = F.pad(magnitudes, (0, short))
    waveform = to_waveform(to_spectrum(magnitudes))[: (mel.shape[0] - 1) * fe.hop_length]
    return np.clip(waveform.numpy() / HEADROOM, -1, 1)


def plot_spectrograms(
    mels: Mapping[str, np.ndarray], path: Path, *, seconds_per_frame: float, title: str
) -> None:
    """Draw log-mel spectrograms, one panel each, on one scale."""
    rows = -(-len(mels) // 2)
    figure = Figure(figsize=(11, 2.1 * rows + 0.6), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(rows, 2, squeeze=False, sharey=True).flat
    for axes in panels[len(mels) :]:
        axes.set_axis_off()
    for axes, (name, mel) in zip(panels, mels.items(), strict=False):
        image = axes.imshow(
            mel.T,
            origin="lower",
            aspect="auto",
            vmin=0,
            vmax=1,
            extent=(0, len(mel) * seconds_per_frame, 0, mel.shape[1]),
        )
        axes.set(title=name, xlabel="seconds", ylabel="mel band")
    scale = figure.colorbar(image, ax=figure.axes, label="dB", ticks=[0, 0.25, 0.5, 0.75, 1])
    scale.set_ticklabels(
        [f"{t * RANGE_DB - RANGE_DB + REFERENCE_DB:.0f}" for t in scale.get_ticks()]
    )
    figure.savefig(path, dpi=130)


def convert(
    model_name: str,
    file: str | Path,
    output: str | Path,
    *,
    take: str | None = None,
    source: str | Path | None = None,
) -> list[Path]:
    """Write the sounds and a plot of an utterance without each component, or with one from another
    recording.

    Args:
        model_name: folder of a run, or a repository id.
        file: the utterance.
        output: folder; existing files are replaced.
        take: component to take from `source`; without it, each is removed in turn.
        source: another recording.

    Returns:
        The files written: FLAC, and spectrograms.png.

    Raises:
        InputError: if model or files cannot be used, or `take` and `source` do not go together.
    """
    if (take is None) != (source is None):
        raise InputError("--take and --source go together: give both, or neither.")
    model, processor = load_model(model_name)
    check_decoder(model, model_name, take)
    extractor = processor.feature_extractor
    inputs = read_inputs(extractor, file)
    if take is None or source is None:
        mels = reconstructions(model, inputs)
    else:
        others = read_inputs(extractor, source)
        codes, donor = encode(model, inputs), encode(model, others)
        frames = (others if take == "rhythm" else inputs)["mel"].shape[1]
        mels = {
            ORIGINAL: inputs["mel"][0].numpy(),
            "source": others["mel"][0].numpy(),
            ALL: decode(model, codes, inputs["mel"].shape[1]),
            f"{take} of the source": decode(model, take_component(codes, donor, take), frames),
        }
    return write_conversions(mels, extractor, Path(output), title=Path(file).name)


def check_decoder(model, model_name: str, take: str | None) -> None:
    """Raise InputError where a model has no decoder or lacks a component."""
    if model.decomposition is None or model.decomposition.decoder is None:
        raise InputError(
            f"model '{model_name}': has no decoder, so its codes cannot be heard. Train a preset "
            "with reconstruction, such as base."
        )
    if take is not None and take not in model.config.components:
        raise InputError(
            f"--take {take}: model '{model_name}' has {', '.join(model.config.components)}."
        )


def read_inputs(extractor: DecompSerFeatureExtractor, file: str | Path) -> dict[str, Tensor]:
    """Model inputs of a file, a batch of one."""
    waveform = read_audio(file, sampling_rate=extractor.sampling_rate)
    return dict(extractor(waveform, sampling_rate=extractor.sampling_rate, return_tensors="pt"))


def write_conversions(
    mels: Mapping[str, np.ndarray],
    extractor: DecompSerFeatureExtractor,
    folder: Path,
    *,
    title: str,
) -> list[Path]:
    """Write each spectrogram as sound, and all as one plot."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, mel in mels.items():
        written.append(folder / f"{name.replace(' ', '_')}.flac")
        sound = encode_flac(mel_to_waveform(mel, extractor), sampling_rate=extractor.sampling_rate)
        written[-1].write_bytes(sound)
    written.append(folder / "spectrograms.png")
    step = extractor.hop_length / extractor.sampling_rate
    plot_spectrograms(mels, written[-1], seconds_per_frame=step, title=title)
    return written
