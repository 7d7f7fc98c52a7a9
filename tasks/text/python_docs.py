"""The prose that every CPython carries, as a small corpus: no network, no files.

Documents are the topics of the language reference (`pydoc_data.topics`, what `help('LAMBDA')`
shows) and the modules of the standard library, a module's document being its docstrings, those
of outer scopes first. Modules are parsed, never imported; test packages and installed packages are
left out. A document is a list of paragraphs. Interactive examples (`>>>`) and grammar (`::=`) are
not prose and are left out, and so are lines without a letter or digit (rulers, frames of tables).

Documents are split into train, valid and test by a hash of their names, about 90 : 5 : 5. The
reference repeats its chapters under several topics and modules share docstrings, so a paragraph
that has occurred before, apart from spaces and capitals, is dropped: none occurs in two splits. The
text differs between versions of Python, and so does `fingerprint`.
"""

import ast
from collections.abc import Iterator
import functools
import hashlib
import os
import pathlib
import platform
from pydoc_data import topics
import re
import sysconfig
import warnings

from tasks import base

_RULES = 1  # raise it when this file selects or cuts the text in another way
_LEFT_OUT = {'test', 'tests', 'idle_test', 'site-packages', 'dist-packages', '__pycache__'}
_NOT_PROSE = ('>>>', '::=')
_BETWEEN_PARAGRAPHS = re.compile(r'\n(?:[^\w\n]*\n)+')
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def read(split: str) -> Iterator[tuple[str, ...]]:
    """Yields the paragraphs of each document of 'train', 'valid' or 'test', each on one line."""
    for name, paragraphs in documents().items():
        if split_of(name) == split:
            yield paragraphs


def split_of(name: str) -> str:
    """Returns the split of a document, by its name, as 'topics/lambda' or 'asyncio/events.py'."""
    bucket = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 20
    return {0: 'test', 1: 'valid'}.get(bucket, 'train')


def fingerprint() -> str:
    """Returns the SHA-256 of the Python version, all sources and the rules of reading, in hex."""
    digest = hashlib.sha256(f'{_RULES} {platform.python_version()}'.encode())
    for name, text in sorted(topics.topics.items()):
        digest.update(f'\n{name}\n{text}'.encode())
    for name, source in _sources():
        digest.update(f'\n{name}\n'.encode() + source)
    return digest.hexdigest()


@functools.lru_cache(maxsize=1)
def documents() -> dict[str, tuple[str, ...]]:
    """Reads all documents once, in about three seconds.

    Returns:
      The paragraphs of each document by its name, without repetitions and empty documents.

    Raises:
      DataError: this Python comes without the sources of its standard library.
    """
    texts = {f'topics/{name}': [text] for name, text in sorted(topics.topics.items())}
    texts |= {name: docstrings(source) for name, source in _sources()}
    if len(texts) == len(topics.topics):
        raise base.DataError(
            f'no Python sources in {_library()}: pydoc needs a Python with its standard library; '
            'use dataset text with your own files'
        )
    seen: set[str] = set()
    unique = {name: tuple(_unseen(text, seen)) for name, text in texts.items()}
    return {name: found for name, found in unique.items() if found}


def docstrings(source: bytes) -> list[str]:
    """Returns the docstrings of a module, outer scopes first; none if it is not valid Python."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # invalid escapes in other people's strings
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):
            return []
    nodes = (node for node in ast.walk(tree) if isinstance(node, _DOCUMENTED))
    return [text for text in map(ast.get_docstring, nodes) if text]


def paragraphs(text: str) -> list[str]:
    """Returns the paragraphs of prose of a text, each on one line with single spaces.

    They are separated by lines that hold no letter or digit.
    """
    lines = (' '.join(part.split()) for part in _BETWEEN_PARAGRAPHS.split(f'\n{text}\n'))
    return [line for line in lines if line and not any(mark in line for mark in _NOT_PROSE)]


def _unseen(texts: list[str], seen: set[str]) -> Iterator[str]:
    for text in texts:
        for paragraph in paragraphs(text):
            folded = paragraph.lower()
            if folded not in seen:
                seen.add(folded)
                yield paragraph


def _library() -> pathlib.Path:
    return pathlib.Path(sysconfig.get_paths()['stdlib'])


def _sources() -> Iterator[tuple[str, bytes]]:
    """The name (path in the library) and source of each module, in a fixed order."""
    library = _library()
    for folder, folders, files in os.walk(library):
        folders[:] = sorted(set(folders) - _LEFT_OUT)
        for file in sorted(files):
            path = pathlib.Path(folder, file)
            if path.suffix == '.py':
                yield path.relative_to(library).as_posix(), path.read_bytes()
