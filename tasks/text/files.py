"""Your own text files as words: how they are read and cut; `layouts` finds them.

In `lines` every line ends in one `<eos>`, blank lines too. In `paragraphs`, for books, which are
wrapped at some column, a paragraph does: at blank lines and at the end of the book.
"""

from collections.abc import Callable, Iterable, Iterator
import gzip
import io
import pathlib
import re
import zlib

from tasks import base
from tasks.text import layouts, vocabulary

Tokenizer = Callable[[str], list[str]]
_BLANK_LINES = re.compile(r'\n[ \t\r\f\v]*\n[ \t\n\r\f\v]*')
_EOS = vocabulary.EOS
_BLOCK = 1 << 20  # bytes


def read(path: pathlib.Path) -> Iterator[str]:
    """Reads a text in blocks, without holding the file in memory.

    Args:
      path: the UTF-8 file, or one that gzip made of it.

    Yields:
      The text; all blocks but the last one end just before a word.

    Raises:
      DataError: the file cannot be read or unpacked, or is not UTF-8.
    """
    try:
        with _open(path) as file:
            offset, rest = 0, b''
            while chunk := file.read(_BLOCK):
                rest += chunk
                body = rest.rstrip()
                cut = max(body.rfind(b'\n'), body.rfind(b' ')) + 1
                yield _decode(rest[:cut], path, offset)
                offset, rest = offset + cut, rest[cut:]
            yield _decode(rest, path, offset)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise base.DataError(f'{path} cannot be unpacked: {error}; get it again') from error
    except OSError as error:
        raise base.DataError(f'{path} cannot be read: {error.strerror}') from error


def _open(path: pathlib.Path) -> io.BufferedIOBase:
    return gzip.open(path) if layouts.is_packed(path) else path.open('rb')


def lines(blocks: Iterable[str], tokenize: Tokenizer) -> Iterator[list[str]]:
    """Yields the words of each block of a text, with one `<eos>` after each line."""
    text = ''
    for text in blocks:
        yield tokenize(text.replace('\n', f' {_EOS} '))
    if not text.endswith('\n'):
        yield [_EOS]


def paragraphs(blocks: Iterable[str], tokenize: Tokenizer) -> Iterator[list[str]]:
    """Yields the words of each block of a book, with one `<eos>` after each paragraph."""
    last = _EOS
    for text in blocks:
        words = tokenize(_BLANK_LINES.sub(f' {_EOS} ', text))
        if words and words[0] == last == _EOS:
            del words[0]  # blank lines at the beginning
        if words:
            last = words[-1]
            yield words
    if last != _EOS:
        yield [_EOS]


def _decode(block: bytes, path: pathlib.Path, offset: int) -> str:
    try:
        text = block.decode('utf-8')
    except UnicodeDecodeError as error:
        raise base.DataError(
            f'{path} is not UTF-8: byte 0x{block[error.start]:02x} at offset '
            f'{offset + error.start}; convert the file to UTF-8'
        ) from error
    return text if offset else text.removeprefix('\ufeff')
