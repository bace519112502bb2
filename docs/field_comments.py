"""Show on the site what the comments behind or above the fields of a class say of them."""

import re
from itertools import takewhile

from griffe import Attribute, Extension


class FieldComments(Extension):
    """Adds the section "Attributes" to the docstring of a class whose fields have comments."""

    def on_class_members(self, *, cls, **_):
        """Called for each class once its members are known."""
        comments = {name: comment_of(field) for name, field in cls.attributes.items()}
        told = [f"    {name}: {text}" for name, text in comments.items() if text]
        if cls.docstring and told:
            cls.docstring.value += "\n\nAttributes:\n" + "\n".join(told)


def comment_of(field: Attribute) -> str:
    """The comment above a field, or behind it, in one line; "" where there is none."""
    lines = field.lines_collection[field.filepath]
    before = map(str.strip, reversed(lines[: (field.lineno or 1) - 1]))
    above = [line[2:] for line in takewhile(lambda line: line.startswith("# "), before)][::-1]
    behind = re.findall(r"  # (.+)$", lines[(field.endlineno or 1) - 1])
    return " ".join(above + behind)
