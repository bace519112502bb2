"""The page of all answers, as a browser shows it."""

import re

import numpy as np
import pytest
from support import headless_browser
from support.tiny_pipeline import encode, voice

from train_scripts.answers.overview import write_overview

needs_browser = pytest.mark.skipif(
    headless_browser.missing_program() is not None,
    reason=str(headless_browser.missing_program()),
)
EMOTIONS = ("angry", "happy", "neutral", "sad")


def entry(random, start, end, **known):
    shares = dict(zip(EMOTIONS, random.dirichlet(np.ones(4) * 0.6).tolist(), strict=True))
    best = max(shares, key=lambda name: shares[name])
    flags = known.pop("flags", [])
    return {
        **{"start": start, "end": end, "emotion": best, "probabilities": shares},
        **{"flags": flags, **known},
    }


def answers(folder):
    """A call of two people, a recording of windows, and one in which nobody speaks."""
    random = np.random.default_rng(0)
    for name, seconds in (("call <b>&amp;1.flac", 40.0), ("talk.wav", 20.0), ("silent.wav", 4.0)):
        form = "FLAC" if name.endswith("flac") else "WAV"
        samples = voice(seconds) if "silent" not in name else np.zeros(64000)
        (folder / name).write_bytes(encode(samples, form=form))
    who = ("agent", "caller")
    turns = [
        entry(
            random,
            *(4.0 * i + 0.3, 4.0 * i + 3.8),
            speaker=who[i % 2],
            text="</script><script>document.title = 'broken'</script>" if i == 0 else f"Words {i}.",
            flags=["overlap"] if i == 3 else [],
        )
        for i in range(10)
    ]
    windows = [entry(random, float(i), float(i + 10), flags=["unsure"]) for i in range(0, 11, 5)]

    def whole(name, seconds, segments, timeline):
        first = timeline[0] if timeline else {"emotion": None, "probabilities": None}
        flags = [] if timeline else ["no_speech"]
        kept = {k: first[k] for k in ("emotion", "probabilities")}
        return {
            **{"file": str(folder / name), **kept, "flags": flags, "segments": segments},
            **{"seconds": seconds, "timeline": timeline},
        }

    return [
        whole("call <b>&amp;1.flac", 40.0, "turns", turns),
        whole("talk.wav", 20.0, "windows", windows),
        whole("silent.wav", 4.0, "speech", []),
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("overview")
    path = folder / "page.html"
    write_overview(answers(folder), path, "runs/model", ["broken.wav: cannot be decoded."])
    return path


def test_the_page_stands_alone_and_names_the_law(page):
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"(?:src|href)\s*=|https?://|@import|url\(", text)
    assert "Article 5(1)(f)" in text and "medical or safety reasons" in text
    assert "broken.wav: cannot be decoded." in text
    assert text.count("</script>") == 2  # of the data and of the code


@pytest.fixture(scope="module")
def opened(page):
    with headless_browser.open_browser() as browser:
        browser.get(page.as_uri())
        headless_browser.wait_for(
            browser, lambda: browser.execute_script("return document.querySelector('.file canvas')")
        )
        yield browser


def visible(browser) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll('.name')].map(e => e.textContent)"
    )


COUNT = "return document.getElementById('count').textContent"
SET_VALUE = (
    "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
    "e.dispatchEvent(new Event('input'))"
)
RESET = "document.getElementById('reset').click()"
VIEW = "return document.getElementById('file-0').view"
CLICK = (
    "const c = document.querySelector('#file-0 canvas'), b = c.getBoundingClientRect();"
    "const at = {clientX: b.left + 0.65 * b.width, clientY: b.top + 30};"
    "c.dispatchEvent(new MouseEvent('click', at))"
)
PLAYING = (
    "const a = document.getElementById('file-0').audio;"
    "return a && a.currentTime > 25.9 && a.duration > 39 && !a.error"
)


@needs_browser
def test_filters_search_and_zoom(opened):
    run = opened.execute_script
    assert opened.title == "Emotions in 3 recordings"  # no text of a turn became code
    assert len(visible(opened)) == 3
    run(SET_VALUE, "flag", "overlap")
    assert len(visible(opened)) == 1
    assert run(COUNT) == "1 of 3 recordings, 1 stretches"
    run(SET_VALUE, "flag", "no_speech")
    assert "silent.wav" in visible(opened)[0]
    run(RESET)
    run(SET_VALUE, "search", "caller")
    assert "5 stretches" in run(COUNT)
    run(RESET)
    assert run(VIEW) == [0, 40]
    run("document.querySelector('#file-0 [title=\"Zoom in\"]').click()")
    assert run(VIEW) == [10, 30]
    run("document.querySelector('#file-0 [title=\"Whole recording\"]').click()")
    assert run(VIEW) == [0, 40]


@needs_browser
def test_a_click_plays_from_there(opened):
    run = opened.execute_script
    run(CLICK)
    assert headless_browser.wait_for(opened, lambda: run(PLAYING))
    said = run("return document.querySelector('#file-0 .said').textContent")
    assert "agent" in said
    run("document.getElementById('file-0').audio.pause()")


@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(opened, width):
    opened.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    wider = "return document.documentElement.scrollWidth - innerWidth"
    assert opened.execute_script(wider) <= 0
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
