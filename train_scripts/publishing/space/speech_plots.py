"""Figures of the demonstration page: the sound with its answer over time, and shares of the parts.

Axes: S samples, T frames, M mel bands.
"""

import io
from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

COLOURS = ("#4477aa", "#ccbb44", "#ee6677", "#228833", "#66ccee", "#aa3377", "#bbbbbb", "#222255")
"""Of labels, distinct also to colour-blind eyes; repeated beyond eight."""
INK, FAINT, SOUND = "#27303f", "#8a94a6", "#6b7ca3"
"""Of words, of lines and of the waveform. A page draws words in the colour of its own text."""
SUPPORTS, OPPOSES = "#3f7fbf", "#c8553d"
ENVELOPE_POINTS = 1600
"""Columns of the drawn waveform: about one a pixel, whatever the length of the sound."""

WIDE, NARROW = (12.0, 6.6), (4.2, 7.0)
"""Inches of the figure of a sound; drawn 330 pixels wide, the words of the narrow one are legible.
"""

Span = tuple[float, float]
"""Start and end in seconds."""


def plot_sound(
    waveform: np.ndarray,
    sampling_rate: int,
    *,
    spans: Sequence[Span],
    probabilities: Sequence[Mapping[str, float]],
    labels: Sequence[str],
    detail: Span,
    mel: np.ndarray,
    f0_hz: np.ndarray,
    seconds_per_frame: float,
    narrow: bool = False,
) -> Figure:
    """Waveform, probabilities over time, and the spectrogram of one piece with its pitch contour.

    Args:
        waveform: of the whole sound, (S,).
        sampling_rate: in Hz.
        spans: that each answer speaks for, in order and without overlap.
        probabilities: by label, of each span.
        labels: in the order of their colours.
        detail: the piece of which the spectrogram is.
        mel: log-mel spectrogram of it in [0, 1], (T, M).
        f0_hz: its pitch, 0 where unvoiced, (T,).
        seconds_per_frame: hop of both.
        narrow: draw it for the width of a telephone.
    """
    figure = Figure(figsize=NARROW if narrow else WIDE, dpi=110, layout="constrained")
    sound, time, spectrogram = figure.subplots(3, 1, height_ratios=(1, 0.75, 2.4))
    seconds = len(waveform) / sampling_rate
    plot_waveform(sound, waveform, sampling_rate)
    plot_timeline(time, spans, probabilities, labels, legend_below=narrow)
    for axes in (sound, time):
        axes.set_xlim(0, seconds)
    plot_spectrogram(spectrogram, mel, f0_hz, seconds_per_frame, detail)
    if detail[1] - detail[0] <= 0.99 * seconds:  # of a piece, not of the whole sound
        sound.axvspan(*detail, color="#ffcf56", alpha=0.35, linewidth=0)
        style(spectrogram, "Spectrogram and pitch of the shaded part", "mel band")
    return figure


def plot_waveform(axes: Axes, waveform: np.ndarray, sampling_rate: int) -> None:
    """Envelope of a waveform."""
    step = max(1, len(waveform) // ENVELOPE_POINTS)
    whole = waveform[: len(waveform) // step * step].reshape(-1, step)
    times = (np.arange(len(whole)) + 0.5) * step / sampling_rate
    axes.fill_between(times, whole.min(1), whole.max(1), color=SOUND, linewidth=0.4)
    largest = 1.1 * max(float(np.abs(waveform).max()), 1e-3)
    axes.set_ylim(-largest, largest)
    style(axes, "Waveform")
    axes.set(xticklabels=[], yticks=[])


def plot_timeline(
    axes: Axes,
    spans: Sequence[Span],
    probabilities: Sequence[Mapping[str, float]],
    labels: Sequence[str],
    *,
    legend_below: bool = False,
) -> None:
    """Probabilities of each window, stacked to 100 %; the legend stands beside the title, or below
    where there is no room for it.
    """
    starts = np.array([start for start, _ in spans])
    widths = np.array([end - start for start, end in spans])
    bottom = np.zeros(len(spans))
    edge = {"align": "edge", "edgecolor": FAINT, "lw": 0.4}
    handles = []
    for label, colour in zip(labels, cycle(COLOURS), strict=False):
        heights = np.array([100 * values[label] for values in probabilities])
        axes.bar(starts, heights, widths, bottom, color=colour, **edge)
        handles.append(Patch(color=colour, label=label))
        bottom += heights
    axes.set_ylim(0, 100)
    style(axes, "Answer over time", "%")
    axes.legend(
        handles=handles,
        loc="upper center" if legend_below else "lower right",
        bbox_to_anchor=(0.5, -0.22) if legend_below else (1, 1),
        ncols=min(len(labels), 4) if legend_below else len(labels),
        frameon=False,
        fontsize=10,
        labelcolor=INK,
        handlelength=1.0,
        handleheight=1.0,
        borderaxespad=0.2,
        columnspacing=1.4,
    )


def plot_spectrogram(
    axes: Axes, mel: np.ndarray, f0_hz: np.ndarray, seconds_per_frame: float, detail: Span
) -> None:
    """Log-mel spectrogram, and the pitch contour on a scale of its own at the right."""
    # a frame speaks of the time around its centre
    times = detail[0] + np.arange(len(mel)) * seconds_per_frame
    half = seconds_per_frame / 2
    extent = (times[0] - half, times[-1] + half, 0.0, float(mel.shape[1]))
    axes.imshow(mel.T, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=0, vmax=1)
    style(axes, "Mel spectrogram and pitch contour", "mel band")
    axes.set_xlabel("seconds", color=INK)
    axes.set_xlim(*detail)
    pitch = axes.twinx()
    contour = np.where(f0_hz > 0, f0_hz, np.nan)
    pitch.plot(times, contour, color="black", linewidth=4.5, alpha=0.6)
    pitch.plot(times, contour, color="#57e8ff", linewidth=2.2, marker=".", markersize=3)
    pitch.set(yscale="log", ylim=(50, 600))
    pitch.set_yticks([50, 100, 200, 400], ["50", "100", "200", "400"])
    pitch.set_yticks([], minor=True)
    style(pitch, "", "pitch in Hz")


def plot_shares(shares: Mapping[str, float], label: str, base: float) -> Figure:
    """What each part adds to the probability of an emotion, the most important first; `base` is the
    probability for the average training utterance.
    """
    figure = Figure(figsize=(4.6, 3.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    names = sorted(shares, key=lambda name: -abs(shares[name]))
    values = 100 * np.array([shares[name] for name in names])
    colours = [SUPPORTS if value >= 0 else OPPOSES for value in values]
    bars = axes.barh(names, values, height=0.62, color=colours)
    texts = [f"{value:+.0f}" if round(value) else "0" for value in values]
    axes.bar_label(bars, texts, padding=4, fontsize=10, color=INK)
    axes.axvline(0, color=INK, linewidth=1)
    reach = 1.35 * max(float(np.abs(values).max()), 1.0)
    axes.set_xlim(-reach, reach)
    axes.invert_yaxis()
    style(axes, f"Why “{label}”: what each part adds")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", labelsize=11, length=0)
    unit = f"percentage points, from {100 * base:.0f} % for average speech"
    axes.set_xlabel(unit, color=INK, fontsize=10)
    return figure


def style(axes: Axes, title: str, unit: str = "") -> None:
    """Title at the left, the unit of the vertical axis, and no more lines than needed."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_ylabel(unit, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9)


def as_svg(figure: Figure) -> str:
    """A figure to stand in a page: without a background, with words in the colour of its text."""
    drawn = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(drawn, format="svg", transparent=True)
    svg = drawn.getvalue()
    return svg[svg.index("<svg") :].replace(INK, "currentColor")
