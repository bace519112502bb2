"""README and the pages of the site: their size, their links, and what they have to name."""

import importlib.util
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from train_scripts.cli import VERBS

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PAGES = sorted(
    path
    for name in ("*.md", "docs/**/*.md", "model_cards/experiments/**/*.md")
    for path in REPOSITORY.glob(name)
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s:#]+)(?:#[^)]*)?\)")


def load_hook(name: str):
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_can_be_read_in_minutes():
    assert len(README.splitlines()) <= 160
    assert len(README.split()) <= 1400
    assert not re.search(r"\bp[ =<]", README), "a p-value belongs on the page of experiments"


def test_readme_names_every_verb_and_no_other():
    table = README.split("| verb of")[1].split("\n\n")[0]
    named = re.findall(r"`([a-z-]+)`", "".join(row.split("|")[1] for row in table.splitlines()[2:]))
    assert sorted(named) == sorted(VERBS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_links_of_a_page_lead_to_files(page):
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


def test_citation_and_changelog_have_the_version_of_the_package():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == project["version"]
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (\S+)", changelog, re.MULTILINE)
    assert versions[:2] == ["Unreleased", project["version"]]


def test_the_site_has_a_page_for_every_public_module():
    hook = load_hook("reference_pages")
    pages = str(hook.on_config(SimpleNamespace(nav=[])).nav)
    for module in ("modeling_decomp_ser/decomposition", "train_scripts/reports/pages"):
        assert f"reference/{module}.md" in pages
    assert "__init__" not in pages
    listed = [
        hook.page_name(p) for n in hook.PACKAGES for p in hook.documented_modules(REPOSITORY / n)
    ]
    assert len(listed) > 80 and all(page in pages for page in listed)


def test_links_of_the_repository_become_links_of_the_site():
    hook = load_hook("repository_pages")
    shown = {"corrections.md", "experiments/README.md", "images/figure1.svg", "index.md"}
    files = SimpleNamespace(get_file_from_path=lambda path: path if path in shown else None)

    def relink(text: str, place: str) -> str:
        page = SimpleNamespace(file=SimpleNamespace(src_uri=place))
        return hook.on_page_markdown(text, page, None, files)

    on_experiments = relink("[c](../../docs/corrections.md#x)", "experiments/README.md")
    assert on_experiments == "[c](../corrections.md#x)"
    on_index = relink(
        "![f](docs/images/figure1.svg) [e](model_cards/experiments/README.md)", "index.md"
    )
    assert on_index == "![f](images/figure1.svg) [e](experiments/README.md)"
    assert relink("see [cite](CITATION.cff).", "index.md") == "see cite."
    assert relink("[gone](docs/gone.md)", "index.md") == "[gone](docs/gone.md)"
    assert relink("[a](https://a.b/c)", "index.md") == "[a](https://a.b/c)"
