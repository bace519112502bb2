"""The files of an explanation: its numbers, the changed sounds, and a figure of what was heard,
what each part added and what would change it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from processing.audio_files import encode_flac
from train_scripts.explanations.explanation import Explanation, strongest_first
from train_scripts.runs.record import write_json

COLOURS = ("#4477aa", "#ccbb44", "#ee6677", "#228833", "#66ccee", "#aa3377", "#bbbbbb", "#222255")
"""Of labels, distinct also to colour-blind eyes; repeated beyond eight."""

SHADES = ("#222222", "#999999")
"""Of the two kinds of values, which are not of any label."""


def write_explanation(explanation: Explanation, folder: Path) -> None:
    """Write explanation.json, explanation.png and the changed utterances as FLAC."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "explanation.json", explanation.summary)
    plot_explanation(explanation, folder / "explanation.png")
    for changed in explanation.changed:
        sound = encode_flac(changed.waveform, sampling_rate=explanation.sampling_rate)
        (folder / f"{changed.name.replace(' ', '_')}.flac").write_bytes(sound)


def plot_explanation(explanation: Explanation, path: Path) -> None:
    """Draw waveform, spectrogram with F0, Shapley values and counterfactuals as a PNG."""
    summary, waveform, rate = explanation.summary, explanation.waveform, explanation.sampling_rate
    figure = Figure(figsize=(12, 9), layout="constrained")
    chance = summary["probabilities"][summary["emotion"]]
    figure.suptitle(f"{Path(summary['file']).name}: {summary['emotion']}, {100 * chance:.0f} %")
    grid = figure.add_gridspec(3, 2, height_ratios=(1, 2, 2.6))
    seconds = len(waveform) / rate
    sound = figure.add_subplot(grid[0, :])
    sound.plot(np.arange(len(waveform)) / rate, waveform, linewidth=0.4, color="#444444")
    sound.set(ylabel="amplitude", xlim=(0, seconds), xticklabels=[])
    spectrogram = figure.add_subplot(grid[1, :])
    spectrogram.set(xlabel="seconds", ylabel="mel band", xlim=(0, seconds))
    plot_spectrogram(spectrogram, explanation.mel, explanation.f0_hz, explanation.hop_length / rate)
    plot_shares(figure.add_subplot(grid[2, 0]), summary)
    plot_counterfactuals(figure.add_subplot(grid[2, 1]), summary)
    figure.savefig(path, dpi=130)


def plot_spectrogram(axes, mel, f0_hz, seconds_per_frame: float) -> None:
    """Log-mel spectrogram, and F0 on a scale of its own at the right."""
    # A frame speaks of the time around its centre.
    begin, end = -0.5 * seconds_per_frame, (len(mel) - 0.5) * seconds_per_frame
    axes.imshow(mel.T, origin="lower", aspect="auto", extent=(begin, end, 0, mel.shape[1]))
    pitch = axes.twinx()
    voiced = np.where(f0_hz > 0, f0_hz, np.nan)
    times = np.arange(len(f0_hz)) * seconds_per_frame
    pitch.plot(times, voiced, color="white", linewidth=3.5)
    pitch.plot(times, voiced, color="#ee3333", linewidth=1.8, marker=".", markersize=3)
    pitch.set(ylabel="F0 in Hz (red)", yscale="log", ylim=(50, 600))
    ticks = [50, 100, 200, 400]
    pitch.set_yticks(ticks, [str(tick) for tick in ticks])
    pitch.set_yticks([], minor=True)


def plot_shares(axes, summary: Mapping[str, Any]) -> None:
    """Percentage points that each part adds, by both replacements; the strongest part above."""
    names = strongest_first(summary)
    places = np.arange(len(names))
    for shift, key, label, colour in (
        (-0.2, "shapley_training_mean", "over the average utterance", SHADES[0]),
        (0.2, "shapley_ablated_input", "over its input ablated", SHADES[1]),
    ):
        values = summary[key]
        widths = [100 * values["probability"][name] for name in names]
        text = f"{label} ({100 * values['base_probability']:.0f} %)"
        axes.barh(places + shift, widths, height=0.38, color=colour, label=text)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set(
        title=f"What each part adds to {summary['emotion']}",
        xlabel="percentage points (Shapley values)",
    )
    axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def plot_counterfactuals(axes, summary: Mapping[str, Any]) -> None:
    """Probabilities of all labels as the recording is, and after each change of the sound."""
    rows = {"as recorded": summary["probabilities"]} | {
        answer["change"]: answer["probabilities"] for answer in summary["counterfactuals"]
    }
    left = np.zeros(len(rows))
    for index, label in enumerate(summary["probabilities"]):
        widths = np.array([100 * probabilities[label] for probabilities in rows.values()])
        colour = COLOURS[index % len(COLOURS)]
        axes.barh(list(rows), widths, left=left, height=0.75, color=colour, label=label)
        left += widths
    axes.invert_yaxis()
    axes.set(title="What if it had been spoken otherwise", xlabel="probability in %", xlim=(0, 100))
    axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4)
