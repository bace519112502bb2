"""The Dockerfile, which is not built here: what it promises, and that it names what there is.

`make lint` checks it with hadolint.
"""

import json
import re
import tomllib
from pathlib import Path

import typer

from train_scripts.serve import app

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def instructions() -> list[tuple[str, str]]:
    """Name and words of each, in order."""
    text = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    lines = (line.strip() for line in text.splitlines() if line.strip())
    return [tuple(line.split(maxsplit=1)) for line in lines]


def words_of(name: str) -> list[str]:
    return [words for found, words in instructions() if found == name]


def test_its_base_is_a_version_and_its_user_is_nobody_who_may_do_more():
    [base] = words_of("FROM")
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base)
    minor = int(base.split(".")[1])
    assert minor >= int(PROJECT["requires-python"].removeprefix(">=3."))
    names = [name for name, _ in instructions()]
    [user] = words_of("USER")
    assert int(user) > 0
    # nothing is installed or copied by that user, and nothing runs by another
    assert not {"RUN", "COPY", "USER"} & set(names[names.index("USER") + 1 :])


def test_nothing_is_written_but_below_tmp():
    environment = " ".join(words_of("ENV"))
    for name in ("HOME", "HF_HOME"):
        assert re.search(rf"(?:^| ){name}=/tmp", environment)
    assert "PYTHONDONTWRITEBYTECODE=1" in environment
    assert words_of("WORKDIR")[-1] == "/tmp"


def test_it_installs_what_the_project_names():
    for path in " ".join(words_of("COPY")).split():
        assert path.startswith("./") or (REPOSITORY / path).exists(), path
    torch, package, _ = words_of("RUN")
    needed = [d for d in PROJECT["dependencies"] if re.match(r"torch(audio)?>", d)]
    assert re.findall(r'"(torch[^"]*)"', torch) == needed and len(needed) == 2
    extras = re.search(r"\.\[([\w,]+)\]", package)[1].split(",")
    assert "serve" in extras and set(extras) <= PROJECT["optional-dependencies"].keys()


def test_it_serves_and_asks_how_it_is_at_the_same_port():
    [entry] = map(json.loads, words_of("ENTRYPOINT"))
    assert entry[:3] == ["decomp-ser", "serve", "/model"]
    options = {o for p in typer.main.get_command(app).params for o in p.opts}
    assert {word for word in entry if word.startswith("--")} <= options
    port = entry[entry.index("--port") + 1]
    assert words_of("EXPOSE") == [port]
    [check] = words_of("HEALTHCHECK")
    assert f"http://127.0.0.1:{port}/health" in check
