import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support import headless_browser
from support.tiny_pipeline import as_dict, encode, save_tiny_model, voice
from transformers import pipeline

from processing.errors import InputError
from train_scripts import demo as verb
from train_scripts.publishing import demonstration_page as demo

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """What a quickstart leaves: a model, and a clip beside it."""
    folder = tmp_path_factory.mktemp("quickstart")
    (folder / "model").mkdir()
    save_tiny_model(folder / "model")
    (folder / "clip.flac").write_bytes(encode(voice(1.3), form="FLAC"))
    return folder


@pytest.fixture(scope="module")
def served(run_folder):
    """(module of the Space, page, its URL)"""
    space, page = demo.build_page(str(run_folder / "model"))
    _, url, _ = space.launch(page, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    yield space, page, url
    page.close()


def test_without_a_model_the_quickstart_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="decomp-ser quickstart"):
        demo.default_model()
    model = tmp_path / "runs" / "quickstart" / "model"
    model.mkdir(parents=True)
    (model / "results.json").write_text("{}")
    assert Path(demo.default_model()).resolve() == model


def test_a_folder_without_a_model_is_wrong_input(tmp_path):
    with pytest.raises(InputError, match=f"model '{tmp_path}'"):
        demo.build_page(str(tmp_path))


def test_a_pretrained_folder_is_refused_in_a_line(trained_run):
    with pytest.raises(InputError, match="it is pre-trained only") as raised:
        demo.build_page(str(trained_run[0]))
    assert len(str(raised.value)) < 400


def test_a_port_in_use_is_wrong_input(served, monkeypatch):
    space, page, _ = served
    monkeypatch.setattr(demo, "build_page", lambda model: (space, page))
    monkeypatch.setattr(page, "is_running", False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--port {port}: cannot be used"):
            verb.command(model="any", port=port)


def test_nothing_is_loaded_or_asked_for_until_the_page_is_built():
    code = (
        "import socket\n"
        "def refuse(*_): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "from train_scripts.publishing.demonstration_page import load_space\n"
        "load_space()\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)


@pytest.mark.skipif(
    headless_browser.missing_program() is not None, reason=str(headless_browser.missing_program())
)
def test_a_visitor_uploads_a_file_and_reads_the_answer(served, run_folder, tmp_path):
    space, _, url = served
    clip = run_folder / "clip.flac"
    recognize = pipeline(
        "audio-classification", model=str(run_folder / "model"), trust_remote_code=True
    )
    expected = as_dict(recognize(str(clip)))
    best = max(expected, key=expected.__getitem__)
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no sound")
    with headless_browser.open_browser() as browser:
        headless_browser.open_page(browser, url)
        headless_browser.upload(browser, clip)
        answer = headless_browser.verdict(browser)
        assert answer.startswith(f"{best}, {100 * expected[best]:.0f} %")
        shown = browser.find_element("css selector", "#emotions").text
        for label, probability in expected.items():
            assert label in shown and f"{round(100 * probability)}%" in shown
        headless_browser.wait_for(
            browser, lambda: headless_browser.drawn_figures(browser) == ["shares", "figure"]
        )
        outside = [u for u in headless_browser.requested_urls(browser) if not is_own(u, url)]
        assert outside == []

        browser.find_element("css selector", "#sound button[aria-label=Clear]").click()
        headless_browser.wait_for(browser, lambda: headless_browser.drawn_figures(browser) == [])
        assert browser.find_element("id", "verdict").text == space.WAITING

        browser.find_element("xpath", "//*[text()='clip.flac']").click()
        assert headless_browser.verdict(browser) == answer

        headless_browser.open_page(browser, url)
        headless_browser.upload(browser, bad)
        answer = headless_browser.verdict(browser)
        assert answer.startswith("This sound cannot be used") and "bad.wav" in answer


def is_own(address: str, url: str) -> bool:
    return address.startswith((url, "blob:", "data:"))
