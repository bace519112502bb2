"""Demonstration page: record or upload speech, see the emotion, its course and what it rests on.

It needs the files of a model and the packages of requirements.txt, nothing else of the project.

Axes: S samples, T frames, M mel bands, L emotions, P parts.
"""

import html
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

# Who wants them reported turns them on: read when the packages are imported.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

try:  # before torch: on ZeroGPU it lends a GPU to each call of what it decorates
    import spaces  # pyright: ignore[reportMissingImports]
except ImportError:  # anywhere else
    spaces: Any = None

import gradio as gr
import numpy as np
import torch
from huggingface_hub import metadata_load
from matplotlib.figure import Figure
from speech_plots import Span, as_svg, plot_shares, plot_sound
from transformers import pipeline
from transformers.utils.hub import cached_file

LARGEST_UPLOAD = "200mb"
"""Ten minutes of stereo WAV at 48 kHz have 115 MB."""
LONGEST_SECONDS = 600.0
"""The page draws the whole sound; `decomp-ser predict` takes any length."""

FLAG_HEADINGS = {
    "too_short": "Too short",
    "too_quiet": "Too quiet",
    "not_speech_like": "Not like speech",
    "unsure": "Unsure",
}
FLAG_MEANINGS = {
    "too_short": "It is shorter than half a second.",
    "too_quiet": "It is too quiet to hear anything in it.",
    "not_speech_like": "It does not sound like speech.",
    "unsure": "No emotion is probable enough: the model would rather not answer.",
}

NOTICE, DEMONSTRATION, CSS = (
    Path(__file__).with_name(name).read_text(encoding="utf-8")
    for name in ("notice.md", "demonstration.md", "page.css")
)
WAITING = "Record something or upload a file; the answer comes by itself."


@dataclass
class Detail:
    """A piece of the sound in detail: its span, its log-mel spectrogram in [0, 1] (T, M), its pitch
    in Hz (0 where unvoiced, (T,)), the probability of the answer for the average training
    utterance, and what each part adds to that.
    """

    span: Span
    mel: np.ndarray
    f0_hz: np.ndarray
    base: float
    shares: dict[str, float]


class SoundError(ValueError):
    """A sound that cannot be used; the text is for the user."""


def answer(
    recognize: Any, path: str | None
) -> tuple[str, dict[str, float] | None, list[Figure] | None, list[Figure] | None]:
    """What the page shows for a sound: verdict, probabilities, shares, and the sound over time,
    which is drawn for a wide page and for a narrow one.
    """
    if path is None:
        return WAITING, None, None, None
    try:
        return describe(recognize, path)
    except SoundError as error:
        text = str(error)
    except ValueError as error:  # the pipeline names the sound and what is wrong with it
        text = str(error).replace(path, Path(path).name)
    return f"## This sound cannot be used\n{html.escape(text)}", None, None, None


def describe(recognize: Any, path: str) -> tuple[str, dict[str, float], list[Figure], list[Figure]]:
    """The same for a sound that can be used.

    Raises:
        ValueError: if it cannot.
    """
    waveform, rate = read_mono(recognize, path)
    found = recognize(path, top_k=None, return_timeline=True, return_flags=True)
    config = recognize.model.config
    labels = [config.id2label[i] for i in range(config.num_labels)]
    probabilities = by_label(found["scores"])
    best = found["scores"][0]["label"]
    windows = found["timeline"]
    chosen = max(windows, key=lambda window: by_label(window["scores"])[best])
    detail = look_closer(recognize, waveform, rate, (chosen["start"], chosen["end"]), best)
    draw = partial(
        plot_sound,
        waveform,
        rate,
        spans=divide_overlaps([(w["start"], w["end"]) for w in windows]),
        probabilities=[by_label(w["scores"]) for w in windows],
        labels=labels,
        detail=detail.span,
        mel=detail.mel,
        f0_hz=detail.f0_hz,
        seconds_per_frame=recognize.feature_extractor.hop_length
        / recognize.feature_extractor.sampling_rate,
    )
    return (
        headline(f"{best}, {100 * probabilities[best]:.0f} %", found["flags"]),
        probabilities,
        [plot_shares(detail.shares, best, detail.base)],
        [draw(), draw(narrow=True)],
    )


def by_label(scores: list[dict]) -> dict[str, float]:
    """Probabilities by label from the form of the pipeline."""
    return {entry["label"]: entry["score"] for entry in scores}


def headline(best: str, flags: list[str]) -> str:
    """The answer in words; where a flag speaks against it, the flag is the heading."""
    if not flags:
        return f"## {best}"
    heading, *others = (FLAG_HEADINGS.get(flag, flag) for flag in flags)
    reasons = " ".join(FLAG_MEANINGS.get(flag, flag) for flag in flags)
    return (
        f"## ⚠️ {', '.join([heading, *map(str.lower, others)])}\n"
        f"{reasons} Do not trust the answer, which would be {best}."
    )


def read_mono(recognize: Any, path: str) -> tuple[np.ndarray, int]:
    """Samples (S,), channels averaged, and their rate in Hz. A SoundError says if it is too long to
    be drawn, as soon as that is known; a ValueError, what else is wrong with it.
    """
    stream = recognize.feature_extractor.open_audio(path)
    most = round(LONGEST_SECONDS * stream.sampling_rate)
    announced = stream.num_samples or 0
    blocks, num_samples = [], 0
    while announced <= most and num_samples <= most:
        block = next(stream.blocks, None)
        if block is None:
            return np.concatenate([np.zeros(0, np.float32), *blocks]), stream.sampling_rate
        blocks.append(block)
        num_samples += len(block)
    seconds = max(announced, num_samples) / stream.sampling_rate
    raise SoundError(
        f"It lasts {seconds / 60:.1f} minutes{'' if announced else ' or more'}; this page takes "
        f"{LONGEST_SECONDS / 60:.0f}. `decomp-ser predict` takes any length."
    )


def divide_overlaps(spans: list[Span]) -> list[Span]:
    """Spans of overlapping windows without the overlaps, each divided in its middle."""
    borders = [(end + start) / 2 for (_, end), (start, _) in pairwise(spans)]
    return list(zip([spans[0][0], *borders], [*borders, spans[-1][1]], strict=True))


def look_closer(recognize: Any, waveform: np.ndarray, rate: int, span: Span, label: str) -> Detail:
    """Spectrogram, pitch and shares for an emotion of a span of a sound, (S,) at a rate in Hz."""
    extractor = recognize.feature_extractor
    begin, end = (round(seconds * rate) for seconds in span)
    piece = extractor.prepare_waveforms([waveform[begin:end]], rate)[0]
    signals = extractor.extract([piece])[0]
    inputs = extractor.pad_utterances([extractor.assemble(piece, **signals)], "pt")
    base, shares = component_shares(recognize, inputs, label)
    return Detail(span, signals["mel"], signals["f0_hz"], base, shares)


@torch.no_grad()
def component_shares(
    recognize: Any, inputs: dict[str, torch.Tensor], label: str
) -> tuple[float, dict[str, float]]:
    """The probability of an emotion for the average training utterance, and what each part adds to
    it: Shapley values of the probability, as `decomp-ser explain` tells them. All sum to the
    probability for these inputs.
    """
    model = recognize.model
    # the code that came with the model, under whatever name it was loaded
    package = type(model.config).__module__.rpartition(".")[0]
    code = sys.modules[f"{package}.component_shares"]
    shares = model(**inputs, output_component_shares=True).component_shares  # (1, P + 1, L)
    logits = code.subset_logits(shares) / model.config.temperature
    probability = logits.softmax(-1)[..., model.config.label2id[label]]  # (1, subsets)
    values = dict(zip(code.PARTS, code.shapley_values(probability)[0].tolist(), strict=True))
    return float(probability[0, 0]), {name: values[name] for name in code.part_names(model.config)}


def as_html(figures: list[Figure]) -> str:
    """Figures as part of the page, in its colours: for any width, or for a wide and a narrow page
    (see CSS).
    """
    widths = ("wide", "narrow") if len(figures) == 2 else ("any",)
    return "".join(
        f'<div class="{width}">{as_svg(figure)}</div>'
        for width, figure in zip(widths, figures, strict=True)
    )


def is_demonstration(model_name: str) -> bool:
    """Whether the results beside a model say that it was trained on the synthetic corpus."""
    path = cached_file(model_name, "results.json", _raise_exceptions_for_missing_entries=False)
    if path is None:
        return False
    return "synthetic" in (json.loads(Path(path).read_text(encoding="utf-8")).get("corpus") or "")


def build_page(model_name: str, example: str | Path | None = None) -> gr.Blocks:
    """The page of a model, a folder of a run or a repository id, with a sound to try."""
    recognize = pipeline("audio-classification", model=model_name, trust_remote_code=True)
    with gr.Blocks(
        title="Emotion from decomposed speech",
        analytics_enabled=False,
        delete_cache=(3600, 82800),  # seconds: looked after every hour, kept for 23
    ) as page:
        gr.Markdown(
            "# Emotion from decomposed speech\n"
            "Which emotion is heard, when, and which part of speech it is heard by.",
            elem_id="head",
        )
        if is_demonstration(model_name):
            gr.Markdown(DEMONSTRATION, elem_id="demonstration")
        button, sound, *outputs = lay_out(example)

        # in a process of its own on ZeroGPU, to which the model is not sent with each call
        @(spaces.GPU if spaces else identity)
        def show(path: str | None) -> list:
            text, probabilities, *figures = answer(recognize, path)
            shown = [probabilities, *(None if f is None else as_html(f) for f in figures)]
            return [text, *(gr.update(value=part, visible=part is not None) for part in shown)]

        button.click(show, sound, outputs, api_name="recognise")
        # a file, the end of a recording, the example, and the cross that clears it
        sound.change(show, sound, outputs, api_visibility="private")
    return page


def identity(function: Callable) -> Callable:
    """The function as it is."""
    return function


def lay_out(example: str | Path | None) -> list[Any]:
    """Button and sound of the page, and where the four pieces of `answer` are shown."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            sound = gr.Audio(
                sources=["upload", "microphone"],
                type="filepath",
                label="Speech",
                buttons=[],
                elem_id="sound",
            )
            button = gr.Button("Recognise", variant="primary", elem_id="recognise")
            if example is not None:
                gr.Examples([[str(example)]], [sound], label="Or try this clip")
        with gr.Column(scale=4, min_width=300):
            verdict = gr.Markdown(WAITING, elem_id="verdict")
            emotions = gr.Label(
                show_label=False, show_heading=False, visible=False, elem_id="emotions"
            )
        with gr.Column(scale=5, min_width=340):
            shares = gr.HTML(visible=False, elem_id="shares")
    figure = gr.HTML(visible=False, elem_id="figure")
    gr.Markdown(NOTICE, elem_id="notice")
    return [button, sound, verdict, emotions, shares, figure]


def launch(page: gr.Blocks, **options: Any) -> Any:
    """Serve a page; options as of `gradio.Blocks.launch`."""
    theme = gr.themes.Soft(  # pyright: ignore[reportPrivateImportUsage]
        primary_hue="indigo", neutral_hue="slate", font=["system-ui", "sans-serif"]
    )
    options = {"max_file_size": LARGEST_UPLOAD, **options}
    return page.launch(theme=theme, css=CSS, share=False, ssr_mode=False, **options)


def model_of_space() -> str:
    """Repository id of the model: the variable DECOMP_SER_MODEL, or the first of the Space's
    metadata.
    """
    listed = metadata_load(Path(__file__).with_name("README.md")) or {}
    names = [os.environ.get("DECOMP_SER_MODEL"), *listed.get("models", [])]
    found = next(filter(None, names), None)
    if found is None:
        sys.exit("No model: name a repository under `models` in README.md, or in DECOMP_SER_MODEL.")
    return found


if __name__ == "__main__":
    launch(build_page(model_of_space()))
