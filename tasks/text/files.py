"""Your own text files as words: how they are read and cut; `layouts` finds them.

A file is text, or holds a text in the field `text` of each record: `.jsonl`, a JSON object a line,
or `.parquet`, for which pyarrow is wanted. Text and JSON may be packed by gzip or Zstandard, for
which Python before 3.14 wants backports.zstd. The extra `corpora` of this package has both.

In `lines` every line ends in one `<eos>`, blank lines too. In `paragraphs`, for books, which are
wrapped at some column, a paragraph does: at blank lines and at the end of the book.
"""

from collections.abc import Callable, Iterable, Iterator
import contextlib
import gzip
import importlib
import json
import pathlib
import re
from typing import IO, NamedTuple, cast
import zlib

from tasks import base
from tasks.text import layouts, vocabulary

Tokenizer = Callable[[str], list[str]]
_BLANK_LINES = re.compile(r'\n[ \t\r\f\v]*\n[ \t\n\r\f\v]*')
_LINE_BREAK = re.compile(r'\n')
_EOS = vocabulary.EOS
_BLOCK = 1 << 20  # bytes


class Size(NamedTuple):
    """How long a text is."""

    words: int  # between white space of any kind, as of `str.split`
    bytes: int  # of UTF-8


def read(path: pathlib.Path, end: str = '\n') -> Iterator[str]:
    """Reads a text in blocks, without holding the file in memory.

    Args:
      path: the UTF-8 file, packed or not; or one of records.
      end: what the text of each record ends in; one line break that it has is part of it.

    Yields:
      The text; all blocks but the last one end just before a word.

    Raises:
      DataError: the file cannot be read or unpacked, is not UTF-8, has other records, or wants a
        package that cannot be imported.
    """
    with _explained(path):
        if layouts.kind(path) not in _RECORDS:
            yield from _read_text(path)
            return
        yield from blocks(text.removesuffix('\n') + end for text in _strings(path))


@contextlib.contextmanager
def _explained(path: pathlib.Path) -> Iterator[None]:
    """Raises a DataError for what goes wrong with a file."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise base.DataError(f'{path} cannot be unpacked: {error}; get it again') from error
    except ImportError as error:
        package = 'pyarrow' if (error.name or '').startswith('pyarrow') else 'backports.zstd'
        wanted = f'wants a package: pip install {package}'
        raise base.DataError(f'{path} {wanted} ({error})') from error
    except OSError as error:
        raise base.DataError(f'{path} cannot be read: {error.strerror or error}') from error
    except Exception as error:
        if type(error).__name__ != 'ZstdError':  # of a module that may not be there
            raise
        raise base.DataError(f'{path} cannot be unpacked: {error}; get it again') from error


def _strings(path: pathlib.Path) -> Iterator[str]:
    """Yields the texts of records."""
    for number, text in enumerate(_RECORDS[layouts.kind(path)](path), 1):
        if not isinstance(text, str):
            wanted = 'wanted a record with a string "text"'
            raise base.DataError(f'{path}, record {number}: {wanted}, got {text!r:.60}')
        try:
            text.encode()
        except UnicodeEncodeError as error:  # JSON can escape half of a surrogate pair
            wanted = f'wanted text that can be UTF-8, got {text[error.start]!a}'
            raise base.DataError(f'{path}, record {number}: {wanted}') from error
        yield text


def blocks(texts: Iterable[str]) -> Iterator[str]:
    """Yields texts, of which most are short, joined to blocks."""
    block, size = [], 0
    for text in texts:
        block.append(text)
        size += len(text)
        if size >= _BLOCK:
            yield ''.join(block)
            block, size = [], 0
    if block:
        yield ''.join(block)


def _read_text(path: pathlib.Path) -> Iterator[str]:
    with _open(path) as file:
        offset, rest = 0, b''
        while chunk := file.read(_BLOCK):
            rest += chunk
            body = rest.rstrip()
            cut = max(body.rfind(b'\n'), body.rfind(b' ')) + 1
            yield _decode(rest[:cut], path, offset)
            offset, rest = offset + cut, rest[cut:]
        yield _decode(rest, path, offset)


def _read_jsonl(path: pathlib.Path) -> Iterator[object]:
    with _open(path) as file:
        for line in filter(bytes.strip, file):
            try:
                yield json.loads(line)['text']
            except (ValueError, KeyError, TypeError, RecursionError):
                yield line  # which is no string


def _read_parquet(path: pathlib.Path) -> Iterator[object]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=['text']):
                yield from batch.column('text').to_pylist()
    except (pyarrow.ArrowException, KeyError) as error:
        wanted = 'wanted a parquet file with strings in a column "text"'
        raise base.DataError(f'{path}: {wanted}, got: {error}'.splitlines()[0]) from error


_RECORDS = {'.jsonl': _read_jsonl, '.parquet': _read_parquet}


def _open(path: pathlib.Path) -> IO[bytes]:
    """Opens a file for its bytes before packing."""
    ending = path.suffix.lower()
    if ending == '.zst':
        try:
            zstd = importlib.import_module('compression.zstd')  # of Python 3.14
        except ImportError:
            zstd = importlib.import_module('backports.zstd')
        return cast(IO[bytes], zstd.open(path))
    return cast(IO[bytes], gzip.open(path)) if ending == '.gz' else path.open('rb')


def units(path: pathlib.Path, end: str) -> Iterator[str]:
    """Yields the records of a file, or the lines or paragraphs of a text, with what ends them.

    Args:
      path: as for `read`, which see for what is raised.
      end: one line break for lines, two for paragraphs; a record ends in it too.
    """
    if layouts.kind(path) in _RECORDS:
        with _explained(path):
            for text in _strings(path):
                yield text.removesuffix('\n') + end
        return
    borders, rest = _BLANK_LINES if end == '\n\n' else _LINE_BREAK, ''
    for text in read(path, end):
        rest += text
        start = 0
        for border in borders.finditer(rest):
            if border.end() == len(rest):
                break  # the next block may begin with more of it
            yield rest[start : border.end()]
            start = border.end()
        rest = rest[start:]
    if rest:
        yield rest


def ended(blocks: Iterable[str]) -> Iterator[str]:
    """Yields the blocks of a text, and a line break if its last line has none."""
    last = '\n'
    for text in filter(None, blocks):
        yield text
        last = text[-1]
    if last != '\n':
        yield '\n'


def whole_lines(blocks: Iterable[str]) -> Iterator[str]:
    """Yields a text in blocks that end in a line break, or within lines that are very long."""
    rest = ''
    for text in blocks:
        rest += text
        end = rest.rfind('\n') + 1 or (len(rest) if len(rest) >= _BLOCK else 0)
        if end:
            yield rest[:end]
            rest = rest[end:]
    if rest:
        yield rest


def measure(blocks: Iterable[str]) -> Size:
    """Returns the size of a text, whose blocks all end between words."""
    num_words = num_bytes = 0
    for text in blocks:
        num_words += len(text.split())
        num_bytes += len(text.encode())
    return Size(num_words, num_bytes)


def lines(blocks: Iterable[str], tokenize: Tokenizer) -> Iterator[list[str]]:
    """Yields the words of each block of a text, with one `<eos>` after each line."""
    last = '\n'  # a text without any has no line
    for text in blocks:
        last = text or last
        yield tokenize(text.replace('\n', f' {_EOS} '))
    if not last.endswith('\n'):
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
