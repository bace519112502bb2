"""Types the code blocks of a page one after the other, as a reader would.

As a script: python typed_page.py PAGE runs the commands in the shell and the Python in one session.
"""

import doctest
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]+) -->\n+)?"
    r"^(?P<fence>```+)(?P<language>[^\n]*)\n(?P<code>.*?)^(?P=fence)$",
    re.DOTALL | re.MULTILINE,
)
PYTHON = ("python", "pycon")
SHELL = ("bash", "console", "sh", "shell")


@dataclass
class Block:
    """A block of code.

    Attributes:
        line: of the page, where its code begins.
        language: as the page names it, with what else it says of the block.
        code: without the fences.
        reason: why it is not run; None if it is.
    """

    line: int
    language: str
    code: str
    reason: str | None


def read_blocks(text: str) -> list[Block]:
    """The blocks of a page of Markdown."""
    return [
        Block(
            line=text.count("\n", 0, match.start("code")) + 1,
            language=match["language"].strip(),
            code=match["code"],
            reason=match["reason"],
        )
        for match in BLOCK.finditer(text)
    ]


def is_code(block: Block) -> bool:
    """Whether a reader would type it."""
    return block.language in PYTHON or block.language in SHELL


def typed_commands(code: str) -> str:
    """What is typed of a block of the shell: the lines with a prompt and those that go on from
    them, where there are prompts; else all lines.
    """
    if not re.search(r"^\$ ", code, re.MULTILINE):
        return code
    return "\n".join(re.findall(r"^\$ ((?:[^\n]*\\\n)*[^\n]*)", code, re.MULTILINE))


def type_page(page: Path) -> None:
    """Run all blocks of a page; the first that fails ends it."""
    session = {"__name__": "typed"}
    for block in read_blocks(page.read_text(encoding="utf-8")):
        if block.reason is not None or not is_code(block):
            continue
        print(f"{page.name}:{block.line}", flush=True)
        if block.language == "pycon":
            for example in doctest.DocTestParser().get_examples(block.code):
                exec(at_line(block.line + example.lineno, example.source, page), session)
        elif block.language == "python":
            exec(at_line(block.line, block.code, page), session)
        else:
            subprocess.run(["bash", "-euc", typed_commands(block.code)], check=True)


def at_line(line: int, code: str, page: Path):
    """Compiled so that a traceback tells the line of the page."""
    return compile("\n" * (line - 1) + code, str(page), "exec")


if __name__ == "__main__":
    type_page(Path(sys.argv[1]))
