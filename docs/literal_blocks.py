"""Shows the indented examples and formulas of docstrings as code in the API reference.

Docstrings indent them by two spaces, Markdown wants four. Used by `mkdocs.yml`.
"""

import re
from typing import Any

import griffe

_SECTION = re.compile(r'[A-Z][\w ]*:$')  # 'Args:', 'Glossary of shapes:'
_LIST_ITEM = re.compile(r'\s*[-*] ')


class LiteralBlocks(griffe.Extension):
    """Rewrites docstrings as they are collected."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Indents the literal blocks of an object's docstring."""
        if obj.docstring:
            obj.docstring.value = indent_literals(obj.docstring.value)


def indent_literals(docstring: str) -> str:
    """Returns a docstring whose indented lines, outside sections and lists, are Markdown code."""
    lines, owner, in_literal = [], '', False  # owner: the last line without indentation
    for line in docstring.split('\n'):
        if line and not line.startswith(' '):
            owner = line
        of_text = not (_SECTION.match(owner) or _LIST_ITEM.match(owner))
        if line.startswith('  ') and of_text:
            if not in_literal and lines and lines[-1]:
                lines.append('')
            in_literal = True
            line = f'  {line}'
        elif line:
            in_literal = False
        lines.append(line)
    return '\n'.join(lines)
