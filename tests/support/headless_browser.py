"""Chromium without a window, and how the demonstration page is used in it.

As a script: python tests/headless_browser.py URL SOUND PNG writes a screenshot of the answer.
"""

import io
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE = 120
"""Seconds; a busy machine is slow to draw a page."""

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,1250",
)


def missing_program() -> str | None:
    """What has to be installed, or None."""
    for name in ("chromium", "chromedriver"):
        if shutil.which(name) is None:
            return f"{name} is not installed (Debian: apt-get install chromium chromium-driver)"
    return None


@contextmanager
def open_browser():
    """A browser with a profile of its own."""
    options = Options()
    options.binary_location = shutil.which("chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            yield browser
        finally:
            browser.quit()


def open_page(browser, url: str) -> None:
    browser.get(url)
    wait_for(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#sound input[type=file]"))


def wait_for(browser, found):
    return WebDriverWait(browser, PATIENCE).until(lambda _: found())


def upload(browser, path: Path) -> None:
    field = browser.find_element(By.CSS_SELECTOR, "#sound input[type=file]")
    field.send_keys(str(path))


def verdict(browser) -> str:
    """The answer's heading and what stands below it."""
    wait_for(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#verdict h2"))
    return browser.find_element(By.CSS_SELECTOR, "#verdict").text


def drawn_figures(browser) -> list[str]:
    """Ids of the figures that can be seen."""
    script = (
        "return ['shares', 'figure'].filter(id => [...document.querySelectorAll(`#${id} svg`)]"
        ".some(drawn => drawn.getBoundingClientRect().width > 300))"
    )
    return browser.execute_script(script)


def requested_urls(browser) -> list[str]:
    """All that the page loaded or tried to load."""
    return browser.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )


def write_screenshot(browser, path: Path) -> None:
    """The whole page, in 256 colours, which keeps the file small."""
    frame = browser.execute_script("return window.outerHeight - window.innerHeight")
    height = browser.execute_script("return document.documentElement.scrollHeight")
    browser.set_window_size(1280, frame + height)
    wait_for(browser, lambda: len(drawn_figures(browser)) == 2)
    image = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    # rare colours count as much as frequent ones
    few = image.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


if __name__ == "__main__":
    url, sound, png = sys.argv[1:]
    with open_browser() as chromium:
        open_page(chromium, url)
        upload(chromium, Path(sound).resolve())
        print(verdict(chromium))
        wait_for(chromium, lambda: len(drawn_figures(chromium)) == 2)
        write_screenshot(chromium, Path(png))
