"""Show pages of the repository that live outside `docs` on the site: README, changelog,
contributing, experiments and measurements.

Links are written as they work in the repository. Here a link to a file that is on the site leads to
its page; a link to any other file of the repository becomes its name.
"""

import os
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

REPOSITORY = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
FOLDERS = {"model_cards/experiments": "experiments", "model_cards/measurements": "measurements"}
FIGURES = "model_cards/**/*.png"
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s:#]+)(#[^)\s]*)?\)")
"""Image mark, text, file and anchor of a relative link: the file holds no scheme."""


def site_paths() -> dict[str, str]:
    """Where on the site a file from outside `docs` is shown, by its path in the repository."""
    paths = dict(PAGES)
    for folder, place in FOLDERS.items():
        for page in (REPOSITORY / folder).rglob("*.md"):
            name = page.relative_to(REPOSITORY / folder).as_posix()
            paths[f"{folder}/{name}"] = f"{place}/{name}"
    for figure in REPOSITORY.glob(FIGURES):
        name = figure.relative_to(REPOSITORY).as_posix()
        paths[name] = name
    return paths


def on_files(files, config):
    """Add the pages and figures to those of `docs`."""
    for source, place in site_paths().items():
        files.append(File.generated(config, place, abs_src_path=str(REPOSITORY / source)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turn links of the repository into links of the site."""
    paths = site_paths()
    sources = {place: source for source, place in paths.items()}
    place = page.file.src_uri
    source = sources.get(place, f"docs/{place}")

    def relink(match: re.Match) -> str:
        mark, text, target, anchor = match.groups(default="")
        in_repository = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        shown = paths.get(in_repository, in_repository.removeprefix("docs/"))
        if files.get_file_from_path(shown) is None:
            if (REPOSITORY / in_repository).exists():
                return text
            return match[0]  # a broken link: MkDocs says so
        relative = posixpath.relpath(shown, posixpath.dirname(place) or ".")
        return f"{mark}[{text}]({relative}{anchor})"

    return LINK.sub(relink, markdown)


def on_config(config):
    """Build from the repository's own modules, wherever MkDocs is called from."""
    os.chdir(REPOSITORY)
    return config
