import ast
import inspect
import re
import sys
import tomllib
import types
from pathlib import Path

import gradio
import numpy as np
import pytest
from huggingface_hub import metadata_load
from support.tiny_pipeline import as_dict, encode, save_tiny_model, tiny_pipeline, voice

from modeling_decomp_ser.audio_windows import own_spans
from train_scripts.explanations.explanation import explain_parts
from train_scripts.publishing.demonstration_page import SPACE, load_space

REPOSITORY = Path(__file__).parents[2]
PIECES = ("app.py", "speech_plots.py")


@pytest.fixture(scope="module")
def space():
    return load_space()


@pytest.fixture(scope="module")
def plots(space):
    return sys.modules["speech_plots"]


@pytest.fixture(scope="module")
def recognize():
    return tiny_pipeline()


def write(path: Path, samples, rate=16000) -> str:
    path.write_bytes(encode(samples, rate))
    return str(path)


def test_a_short_sound_gets_the_answer_of_the_pipeline_and_its_figures(space, recognize, tmp_path):
    path = write(tmp_path / "clip.wav", voice(1.5, 44100), 44100)
    verdict, probabilities, (shares,), figures = space.answer(recognize, path)
    expected = as_dict(recognize(path, top_k=None))
    assert probabilities == pytest.approx(expected, abs=1e-6)
    best = max(expected, key=expected.__getitem__)
    assert verdict.startswith(f"## {best}, {100 * expected[best]:.0f} %")
    assert best in shares.axes[0].get_title(loc="left")
    wide, narrow = figures
    for figure in figures:
        assert [axes.get_title(loc="left") for axes in figure.axes[:3]] == [
            "Waveform",
            "Answer over time",
            "Mel spectrogram and pitch contour",
        ]
    # drawn as wide as a telephone has room, 330 pixels, its words are at least 9 pixels high
    smallest = min(tick.get_fontsize() for axes in narrow.axes for tick in axes.get_xticklabels())
    assert smallest * 330 / (72 * narrow.get_figwidth()) >= 9
    assert wide.get_figwidth() > 2 * narrow.get_figwidth()


def test_a_long_sound_is_shown_whole_and_its_clearest_window_in_detail(space, recognize, tmp_path):
    path = write(tmp_path / "talk.wav", voice(23.0, 8000), 8000)
    verdict, probabilities, _, (figure, _) = space.answer(recognize, path)
    windows = recognize(path, top_k=None, return_timeline=True)["timeline"]
    best = max(probabilities, key=probabilities.__getitem__)
    clearest = max(windows, key=lambda w: as_dict(w["scores"])[best])
    waveform, timeline, spectrogram = figure.axes[:3]
    assert waveform.get_xlim() == timeline.get_xlim() == (0, 23)
    assert spectrogram.get_xlim() == (clearest["start"], clearest["end"])
    assert "of the shaded part" in spectrogram.get_title(loc="left")
    (shade,) = waveform.patches
    assert (shade.get_x(), shade.get_width()) == (clearest["start"], 10.0)
    assert len(timeline.patches) == 4 * len(windows)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no sound <b>", "cannot be decoded as audio"),
        (b"", ""),
        (encode(voice(0.01)), "expected at least"),
        (encode(np.full(16000, np.nan, np.float32), subtype="FLOAT"), "NaN"),
    ],
)
def test_a_bad_file_is_explained_on_the_page(space, recognize, tmp_path, content, reason):
    path = tmp_path / "<b>bad.wav"
    path.write_bytes(content)
    text, *nothing = space.answer(recognize, str(path))
    assert text.startswith("## This sound cannot be used\n") and reason in text
    assert nothing == [None, None, None]
    assert str(tmp_path) not in text and "<b>" not in text and "bad.wav" in text


def test_a_sound_that_is_too_long_is_told_where_to_go(space, recognize, tmp_path, monkeypatch):
    monkeypatch.setattr(space, "LONGEST_SECONDS", 60.0)
    path = write(tmp_path / "hour.wav", np.zeros(61 * 1000, np.float32), 1000)
    assert "1.0 minutes; this page takes 1" in space.answer(recognize, path)[0]
    assert space.answer(recognize, None)[0] == space.WAITING


def test_a_flag_is_the_heading_and_not_the_emotion(space, recognize, tmp_path):
    silence = write(tmp_path / "a.wav", np.zeros(16000, np.float32))
    verdict, probabilities, *_ = space.answer(recognize, silence)
    heading, *below = verdict.splitlines()
    assert heading.startswith("## ⚠️ Too quiet")
    assert not any(label in heading for label in probabilities)
    best = max(probabilities, key=probabilities.__getitem__)
    assert space.FLAG_MEANINGS["too_quiet"] in below[0]
    assert f"would be {best}, {100 * probabilities[best]:.0f} %" in below[0]
    from modeling_decomp_ser import signal_flags

    known = {signal_flags.TOO_SHORT, signal_flags.TOO_QUIET, signal_flags.NOT_SPEECH_LIKE}
    assert space.FLAG_HEADINGS.keys() == space.FLAG_MEANINGS.keys()
    assert space.FLAG_MEANINGS.keys() == {*known, signal_flags.UNSURE}


@pytest.mark.parametrize("variant", ["table3_ours", "table3_m4", "table3_m1", "table2_rhythm"])
def test_shares_are_those_that_explain_tells(space, variant):
    recognize = tiny_pipeline(variant, temperature=1.7)
    extractor, model = recognize.feature_extractor, recognize.model
    inputs = extractor(voice(1.2), sampling_rate=16000, return_tensors="pt")
    told = explain_parts(model, inputs)
    base, shares = space.component_shares(recognize, inputs, told["emotion"])
    assert shares == pytest.approx(told["shapley_training_mean"]["probability"], abs=1e-6)
    assert base == pytest.approx(told["shapley_training_mean"]["base_probability"], abs=1e-6)
    # also of an emotion that is not the answer, as of a piece of a longer sound
    for label, probability in told["probabilities"].items():
        base, shares = space.component_shares(recognize, inputs, label)
        assert base + sum(shares.values()) == pytest.approx(probability, abs=1e-5)


def test_shares_are_drawn_in_percentage_points_the_largest_first(plots):
    figure = plots.plot_shares({"rhythm": 0.004, "content": -0.27, "timbre": 0.128}, "sad", 0.31)
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["content", "timbre", "rhythm"]
    assert [text.get_text() for text in axes.texts] == ["-27", "+13", "0"]
    assert axes.get_xlabel() == "percentage points, from 31 % for average speech"


def test_a_figure_in_the_page_has_no_background_and_the_colour_of_its_words(space, plots):
    figure = plots.plot_shares({"rhythm": 0.1}, "<b>", 0.5)
    (drawn,) = re.findall("<svg.*</svg>", space.as_html([figure]), re.DOTALL)
    assert "currentColor" in drawn and plots.INK not in drawn
    assert "#ffffff" not in drawn and "white" not in drawn
    assert "<b>" not in drawn and "&lt;b&gt;" in drawn
    both = space.as_html([figure, figure])
    assert both.count("<svg") == 2
    for name in re.findall(r'<div class="(\w+)">', both):
        assert f"#figure .{name} {{display: none}}" in space.CSS


def test_overlaps_are_divided_as_in_rttm(space):
    spans = [(0.0, 10.0), (5.0, 15.0), (8.0, 18.0)]
    inner = [end for _, end in own_spans(spans)[:-1]]
    assert space.divide_overlaps(spans) == [(0.0, inner[0]), (inner[0], inner[1]), (inner[1], 18.0)]
    assert space.divide_overlaps([(0.0, 2.5)]) == [(0.0, 2.5)]


def test_bars_of_a_window_fill_it_and_sum_to_one(plots):
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    labels = [f"label{i}" for i in range(9)]  # more than there are colours
    spans = [(0.0, 2.0), (2.0, 5.0)]
    random = np.random.default_rng(0)
    rows = [dict(zip(labels, row, strict=True)) for row in random.dirichlet(np.ones(9), 2)]
    plots.plot_timeline(axes, spans, rows, labels)
    for k, (start, end) in enumerate(spans):
        bars = [p for p in axes.patches if p.get_x() == start]
        assert len(bars) == 9 and {p.get_width() for p in bars} == {end - start}
        assert sum(p.get_height() for p in bars) == pytest.approx(100)
        assert bars[3].get_height() == pytest.approx(100 * rows[k]["label3"])


def test_the_pitch_contour_stands_over_its_frames_and_breaks_where_unvoiced(plots):
    from matplotlib.figure import Figure

    figure = Figure()
    f0_hz = np.array([0, 100, 200, 0, 400.0])
    plots.plot_spectrogram(figure.subplots(), np.zeros((5, 80)), f0_hz, 0.016, (3.0, 3.08))
    (outline, contour) = figure.axes[1].get_lines()
    times, heights = contour.get_data()
    assert times == pytest.approx(3.0 + 0.016 * np.arange(5))
    assert np.isnan(heights[[0, 3]]).all() and heights[[1, 2, 4]].tolist() == [100, 200, 400]
    assert np.array_equal(outline.get_ydata(), heights, equal_nan=True)


def test_figures_of_the_shortest_and_of_a_silent_sound_can_be_drawn(plots, tmp_path):
    for samples in (400, 16000):
        figure = plots.plot_sound(
            np.zeros(samples, np.float32),
            16000,
            spans=[(0.0, samples / 16000)],
            probabilities=[{"a": 1.0}],
            labels=["a"],
            detail=(0.0, samples / 16000),
            mel=np.zeros((samples // 256 + 1, 80)),
            f0_hz=np.zeros(samples // 256 + 1),
            seconds_per_frame=0.016,
        )
        figure.savefig(tmp_path / "figure.png")
    plots.plot_shares({"rhythm": 0.0}, "a", 0.5).savefig(tmp_path / "figure.png")


def test_the_space_is_described_as_the_hub_asks(space):
    card = metadata_load(SPACE / "README.md")
    assert card["sdk"] == "gradio" and (SPACE / card["app_file"]).is_file()
    assert card["sdk_version"].split(".")[0] == gradio.__version__.split(".")[0]
    assert {"title", "emoji", "colorFrom", "colorTo", "python_version", "license"} <= card.keys()
    for text in ((SPACE / "README.md").read_text(encoding="utf-8"), space.NOTICE):
        assert re.search(r"Article\s+5\(1\)\(f\)", text)


def test_on_zerogpu_a_gpu_is_lent_to_each_answer_and_the_model_is_not_sent(monkeypatch, tmp_path):
    lent = []
    zero = types.ModuleType("spaces")
    zero.GPU = lambda function: lent.append(function) or function
    monkeypatch.setitem(sys.modules, "spaces", zero)
    save_tiny_model(tmp_path)
    load_space().build_page(str(tmp_path))
    [show] = lent
    assert list(inspect.signature(show).parameters) == ["path"]


def test_requirements_are_those_of_the_package_and_cover_the_imports():
    lines = (SPACE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    required = [line for line in lines if not line.startswith("#")]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(required) <= set(project["dependencies"])
    names = {re.split("[<>=]", line)[0] for line in required}
    imported = set()
    for piece in PIECES:
        for node in ast.walk(ast.parse((SPACE / piece).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.split(".")[0])
    given = {"gradio", "spaces", "huggingface_hub", "speech_plots", *sys.stdlib_module_names}
    assert imported - given <= names


def test_the_model_of_a_space_is_named_by_its_metadata_or_a_variable(space, monkeypatch, tmp_path):
    monkeypatch.setattr(space, "__file__", str(tmp_path / "app.py"))
    card = tmp_path / "README.md"
    card.write_text("---\ntitle: a\nmodels: []\n---\n", encoding="utf-8")
    monkeypatch.delenv("DECOMP_SER_MODEL", raising=False)
    with pytest.raises(SystemExit, match="No model"):
        space.model_of_space()
    card.write_text("---\ntitle: a\nmodels: [me/mine]\n---\n", encoding="utf-8")
    assert space.model_of_space() == "me/mine"
    monkeypatch.setenv("DECOMP_SER_MODEL", "folder")
    assert space.model_of_space() == "folder"


def test_a_model_of_synthetic_voices_is_marked(space, tmp_path):
    assert not space.is_demonstration(str(tmp_path))
    for corpus, marked in (("synthetic", True), ("ravdess", False), (None, False)):
        (tmp_path / "results.json").write_text(
            f'{{"corpus": {"null" if corpus is None else repr(corpus)}}}'.replace("'", '"'),
            encoding="utf-8",
        )
        assert space.is_demonstration(str(tmp_path)) == marked
