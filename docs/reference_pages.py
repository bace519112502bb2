"""Write a reference page for every module with public names, and list them in the navigation.

The packages are walked, so that no page is typed: a module that is added, moved or removed changes
the site by itself.
"""

import ast
from pathlib import Path

from mkdocs.structure.files import File

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("modeling_decomp_ser", "processing", "train_scripts")


def on_config(config):
    """Put the tree of modules under the heading Reference."""
    config.nav.append({"Reference": [navigation(REPOSITORY / name) for name in PACKAGES]})
    return config


def on_files(files, config):
    """Add a page for each module."""
    for package in PACKAGES:
        for path in documented_modules(REPOSITORY / package):
            text = f"# {path.stem}\n\n::: {module_name(path)}\n"
            files.append(File.generated(config, page_name(path), content=text))
    return files


def navigation(folder: Path) -> dict[str, list]:
    """The modules of a package by name, its rooms last."""
    modules = [{path.stem: page_name(path)} for path in documented_modules(folder, deep=False)]
    rooms = [
        navigation(path)
        for path in sorted(folder.iterdir())
        if (path / "__init__.py").is_file() and documented_modules(path)
    ]
    return {folder.name: [*modules, *rooms]}


def documented_modules(folder: Path, deep: bool = True) -> list[Path]:
    """Modules of a package that define a public class or function."""
    found = folder.rglob("*.py") if deep else folder.glob("*.py")
    return sorted(
        path
        for path in found
        # the folder of the demonstration page is no package: a Space runs it as it is
        if (path.parent / "__init__.py").is_file() and has_public_names(path)
    )


def has_public_names(path: Path) -> bool:
    """Whether a module defines a class or a function without a leading underscore."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.ClassDef, ast.FunctionDef)
    return any(isinstance(node, kinds) and not node.name.startswith("_") for node in tree.body)


def module_name(path: Path) -> str:
    """Dotted name of a module."""
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)


def page_name(path: Path) -> str:
    """Page of a module."""
    return f"reference/{path.relative_to(REPOSITORY).with_suffix('.md').as_posix()}"
