"""Your own text files, as splits of words: where they lie and how they are cut.

In `lines` every line ends in one `<eos>`, blank lines too. In `paragraphs`, for books, which are
wrapped at some column, a paragraph does: at blank lines and at the end of the book.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import pathlib
import re

from tasks import base
from tasks.text import vocabulary

SPLITS = ('train', 'valid', 'test')
LAYOUTS = ('wiki.{}.tokens', '{}.txt', '{}/*.txt')
Tokenizer = Callable[[str], list[str]]
_BLANK_LINES = re.compile(r'\n[ \t\r\f\v]*\n[ \t\n\r\f\v]*')
_EOS = vocabulary.EOS
_BLOCK = 1 << 20  # bytes


def find(folder: pathlib.Path, layouts: Sequence[str]) -> tuple[str, dict[str, list[pathlib.Path]]]:
    """Finds the splits in a folder.

    Args:
      folder: the folder.
      layouts: of `LAYOUTS`, in the order of preference.

    Returns:
      The most complete layout, and the files of its splits.

    Raises:
      DataError: there is no such folder, or a split is missing or empty.
    """
    if not folder.is_dir():
        raise base.DataError(f'{folder} is not a folder: data_dir names the folder of the splits')
    found = {layout: _files(folder, layout) for layout in layouts}
    layout, paths = max(found.items(), key=lambda item: sum(map(bool, item[1].values())))
    for split in SPLITS:
        if not paths[split]:
            wanted = ', '.join(layout.format(split) for layout in layouts)
            raise base.DataError(
                f'{folder} has no {split} split: looked for {wanted} (one layout for all splits)'
            )
        if not any(path.stat().st_size for path in paths[split]):
            raise base.DataError(f'{folder}: the {split} split ({layout.format(split)}) is empty')
    return layout, paths


def _files(folder: pathlib.Path, layout: str) -> dict[str, list[pathlib.Path]]:
    return {
        split: sorted(path for path in folder.glob(layout.format(split)) if path.is_file())
        for split in SPLITS
    }


def read(path: pathlib.Path) -> Iterator[str]:
    """Reads a text in blocks, without holding the file in memory.

    Args:
      path: the UTF-8 file.

    Yields:
      The text; all blocks but the last one end just before a word.

    Raises:
      DataError: the file cannot be read or is not UTF-8.
    """
    try:
        with path.open('rb') as file:
            offset, rest = 0, b''
            while chunk := file.read(_BLOCK):
                rest += chunk
                body = rest.rstrip()
                cut = max(body.rfind(b'\n'), body.rfind(b' ')) + 1
                yield _decode(rest[:cut], path, offset)
                offset, rest = offset + cut, rest[cut:]
            yield _decode(rest, path, offset)
    except OSError as error:
        raise base.DataError(f'{path} cannot be read: {error.strerror}') from error


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
