"""The wheel, made through the source distribution and installed where the repository cannot be
seen: the verbs that need more than Python files.
"""

import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import venv
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from support.stub_hub import TOKEN, StubHub

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("modeling_decomp_ser", "processing", "train_scripts")
ROOT_FILES = ("pyproject.toml", "README.md", "LICENSE")
WHERE = "import modeling_decomp_ser as m, processing as p, train_scripts as t; print(m, p, t)"


def build(kind: str, source: Path, output: Path) -> Path:
    """Build a distribution as pip would; returns its file."""
    code = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", code, str(output)], cwd=source, check=True, capture_output=True
    )
    (file,) = output.iterdir()
    return file


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of programs of an environment with the wheel and what it depends on."""
    root = tmp_path_factory.mktemp("wheel")
    source = root / "source"
    for name in PACKAGES:
        shutil.copytree(
            REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ROOT_FILES:
        shutil.copy(REPOSITORY / name, source)
    archive = build("sdist", source, root / "sdist")
    with tarfile.open(archive) as file:
        file.extractall(root, filter="data")
    wheel = build("wheel", root / archive.name.removesuffix(".tar.gz"), root / "dist")

    environment = root / "environment"
    venv.create(environment)
    (packages,) = environment.glob("lib/python*/site-packages")
    # Paths named in such a file are searched, but the .pth files in them are not read, so an
    # editable installation of the repository stays out of sight.
    others = [path for path in sys.path if Path(path).name == "site-packages"]
    (packages / "dependencies.pth").write_text("\n".join(others), encoding="utf-8")
    python = str(environment / "bin" / "python")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
        + ["--no-deps", "--no-index", "--target", str(packages), str(wheel)],
        check=True,
    )
    return environment / "bin"


@pytest.fixture(scope="module")
def elsewhere(installed, tmp_path_factory):
    """A folder of the user, from which the packages are those of the wheel."""
    folder = tmp_path_factory.mktemp("elsewhere")
    found = run([installed / "python", "-P", "-c", WHERE], folder)
    assert found.count(str(installed.parent)) == len(PACKAGES) and str(REPOSITORY) not in found
    return folder


def surroundings(**variables) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "HF_HUB_OFFLINE")}
    return {**kept, "HF_HUB_DISABLE_TELEMETRY": "1", **variables}


def run(command, folder: Path, **variables) -> str:
    done = subprocess.run(
        command, cwd=folder, env=surroundings(**variables), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def program(installed: Path) -> list:
    """The command line of the wheel; -P: nothing is imported from the working folder."""
    return [installed / "python", "-P", "-m", "train_scripts.cli"]


def test_the_packages_are_typed(installed):
    (packages,) = installed.parent.glob("lib/python*/site-packages")
    assert all((packages / name / "py.typed").is_file() for name in PACKAGES)


def test_predict_answers(installed, elsewhere, trained_run, corpus_folder):
    _, model, _ = trained_run
    clip = min((corpus_folder / "audio").iterdir())
    assert clip.name in run([*program(installed), "predict", model, clip], elsewhere)


def test_push_publishes_a_card(installed, elsewhere, trained_run):
    _, model, _ = trained_run
    with StubHub() as hub:
        hub_variables = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
        run([*program(installed), "push", model, "me/speech"], elsewhere, **hub_variables)
        card = hub.repositories["me/speech"].files()["README.md"].decode()
    assert "@inproceedings{hsu2023" in card


def test_demo_serves_the_page(installed, elsewhere, trained_run):
    _, model, _ = trained_run
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*program(installed), "demo", str(model), "--port", str(port)]
    with (elsewhere / "demo.log").open("w+") as log:
        server = subprocess.Popen(
            command, cwd=elsewhere, env=surroundings(), stdout=log, stderr=log
        )
        try:
            page = fetch(f"http://127.0.0.1:{port}", server)
        finally:
            server.terminate()
            server.wait()
        log.seek(0)
        assert page is not None, log.read()[-3000:]
    assert "Emotion from decomposed speech" in page


def fetch(url: str, server: subprocess.Popen) -> str | None:
    """The page, as soon as the server answers; None if it ends before."""
    patience = time.monotonic() + 180
    while server.poll() is None and time.monotonic() < patience:
        try:
            with urlopen(url) as answer:
                return answer.read().decode()
        except URLError:
            time.sleep(0.5)
    return None


@pytest.mark.slow
def test_the_quickstart_runs(installed, elsewhere):
    said = run([*program(installed), "quickstart"], elsewhere)
    assert "trust_remote_code=True" in said
    assert (elsewhere / "runs" / "quickstart" / "model" / "results.json").is_file()
