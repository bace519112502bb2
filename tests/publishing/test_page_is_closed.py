"""What the demonstration page gives to strangers: answers, and no file of this computer."""

import os
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path

import pytest
from support.tiny_pipeline import encode, save_tiny_model, voice

from train_scripts.cli import TELEMETRY_OFF
from train_scripts.publishing import demonstration_page


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quickstart")
    (folder / "model").mkdir()
    save_tiny_model(folder / "model")
    (folder / "secret.txt").write_text("what nobody shall read")
    (folder / "clip.flac").write_bytes(encode(voice(1.0), form="FLAC"))
    return folder


@pytest.fixture(scope="module")
def served(folder):
    space, page = demonstration_page.build_page(str(folder / "model"))
    _, url, _ = space.launch(
        page, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, max_file_size=100_000
    )
    yield space, page, url
    page.close()


ROUTES = ("file=", "file/", "static/", "assets/", "svelte/", "theme.css/../", "stream/x/y/")


def ask(url: str, data: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_no_file_is_read_through_the_page_s_routes(served, folder):
    _, _, url = served
    wanted = [str(folder / "secret.txt"), str(folder / "model" / "config.json"), "/etc/passwd"]
    wanted += [str(demonstration_page.SPACE / "app.py"), os.path.abspath("pyproject.toml")]
    up = "/".join([".."] * 12)
    asked = 0
    for path in wanted:
        content = Path(path).read_bytes()
        forms = [path, up + path, "." + path, path.replace("/", "\\"), f"file://{path}"]
        forms += [os.path.relpath(path), path + "%00.wav", path.replace("/", "//")]
        for form in (*forms, *map(urllib.parse.quote, forms), urllib.parse.quote(path, safe="")):
            for route in ("", "gradio_api/"):
                for prefix in ROUTES:
                    code, got = ask(f"{url}{route}{prefix}{urllib.parse.quote(form, safe='%/')}")
                    assert content[:200] not in got, (prefix, form)
                    asked += 1
    assert asked > 500


def upload(url: str, content: bytes, name="a.wav") -> tuple[int, bytes]:
    mark = uuid.uuid4().hex
    head = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{mark}--\r\n".encode()
    kind = f"multipart/form-data; boundary={mark}"
    return ask(f"{url}gradio_api/upload", body, **{"Content-Type": kind})


def test_an_upload_that_is_too_large_is_refused_before_it_is_decoded(served):
    _, _, url = served
    assert upload(url, encode(voice(1.0)))[0] == 200
    assert upload(url, bytes(200_000))[0] == 413


def test_the_page_bounds_uploads_and_reports_nothing(served, monkeypatch):
    space, page, _ = served
    given = {}
    monkeypatch.setattr(type(page), "launch", lambda self, **options: given.update(options))
    space.launch(page)
    assert given["max_file_size"] == space.LARGEST_UPLOAD and given["share"] is False
    assert page.analytics_enabled is False


LOCAL_USE = """
import os, socket, sys

def refuse(*args, **kwargs):
    raise AssertionError(f"asked for the network: {args[:2]}")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
socket.create_connection = refuse
os.environ.pop("HF_HUB_OFFLINE", None)
import modeling_decomp_ser, processing, train_scripts.cli
from transformers import pipeline

recognise = pipeline("audio-classification", model=sys.argv[1], trust_remote_code=True)
print(recognise(sys.argv[2])[0]["label"])
sys.argv = ["decomp-ser", "predict", sys.argv[1], sys.argv[2]]
train_scripts.cli.main()
"""


def test_import_and_local_use_ask_nothing_of_the_network(folder):
    environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"}
    done = subprocess.run(
        [sys.executable, "-c", LOCAL_USE, str(folder / "model"), str(folder / "clip.flac")],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "asked for the network" not in done.stderr and done.stdout.strip()


def test_telemetry_is_off_unless_the_user_turned_it_on(monkeypatch):
    from train_scripts import cli

    monkeypatch.setattr(sys, "argv", ["decomp-ser", "--help"])
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "True")
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY", raising=False)
    cli.main()
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "True"
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == TELEMETRY_OFF["HF_HUB_DISABLE_TELEMETRY"]
