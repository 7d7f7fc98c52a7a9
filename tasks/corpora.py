"""Corpora of text as streams of words, by name.

`load` knows:
  pydoc  the documentation inside Python itself, see `python_docs`; one paragraph, one `<eos>`.
         Capitals are folded: a corpus this small shows too few sentences for a model to learn that
         'The' is 'the', and what Python's names lose by it is little.
  text   your own files in `data_dir`, UTF-8, in the first of these layouts that is complete:
           wiki.train.tokens, wiki.valid.tokens, wiki.test.tokens   (WikiText as published)
           train.txt, valid.txt, test.txt
           train/*.txt, valid/*.txt, test/*.txt                     (one document a file, by name)
         In files every line ends in one `<eos>`, blank lines too: the published counts of WikiText
         hold. Books are wrapped at some column, so in folders a paragraph ends in one `<eos>`: at
         blank lines and at the end of the file.

Nothing holds a corpus in memory: files are read in blocks of a mebibyte that end before a word.
Another corpus is a constructor in `_CORPORA`.
"""

from collections.abc import Callable, Iterator
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import re
import tempfile

from tasks import base, python_docs, vocabulary

SPLITS = ('train', 'valid', 'test')
# whitespace: words between ASCII white space; a no-break space belongs to its word.
# words: runs of letters, digits and underscores, and every other visible character alone.
TOKENIZERS: dict[str, Callable[[str], list[str]]] = {
    'whitespace': re.compile(r'[^ \t\n\r\f\v]+').findall,
    'words': re.compile(rf'\w+|{vocabulary.UNK}|{vocabulary.EOS}|[^\w\s]').findall,
}
_DEFAULT_TOKENIZERS = {'pydoc': 'words', 'text': 'whitespace'}
_RULES = 1  # raise it when a tokenizer or a reader changes what it yields
_LAYOUTS = ('wiki.{}.tokens', '{}.txt', '{}/*.txt')
_BLANK_LINES = re.compile(r'\n[ \t\r\f\v]*\n[ \t\n\r\f\v]*')
_EOS = vocabulary.EOS
_BLOCK = 1 << 20  # bytes
_LARGE = 1 << 30  # bytes; digests of such files are remembered


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A corpus that can be read again and again, one split at a time."""

    name: str
    fingerprint: str  # hex; changes with the content and with the rules of cutting it into words
    blocks: Callable[[str], Iterator[list[str]]]  # split -> lists of words, <eos> included


def load(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    tokenizer: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Corpus:
    """Opens a corpus and checks that its splits are there.

    Args:
      name: 'pydoc' or 'text'.
      data_dir: the folder of a `text` corpus.
      tokenizer: 'whitespace' (the default of `text`) or 'words' (of `pydoc`).
      cache_dir: where digests of files over a gibibyte are remembered, None for the default.

    Returns:
      The corpus.

    Raises:
      ValueError: an argument is not one of those that there are.
      DataError: the data cannot be used.
    """
    if name not in _CORPORA:
        raise ValueError(f'unknown dataset {name!r}: there are {", ".join(_CORPORA)}')
    if tokenizer and tokenizer not in TOKENIZERS:
        raise ValueError(f'unknown tokenizer {tokenizer!r}: there are {", ".join(TOKENIZERS)}')
    folder = pathlib.Path(data_dir) if data_dir else None
    return _CORPORA[name](folder, tokenizer, pathlib.Path(cache_dir or default_cache_dir()))


def tokenize(text: str, name: str, tokenizer: str | None = None) -> list[str]:
    """Cuts a line of text as the lines of a corpus are cut.

    Args:
      text: the line.
      name: the corpus, as for `load`.
      tokenizer: as for `load`.

    Returns:
      Its words, without an `<eos>` at the end.
    """
    folded = text.lower() if name == 'pydoc' else text
    return TOKENIZERS[tokenizer or _DEFAULT_TOKENIZERS[name]](folded)


def default_cache_dir() -> pathlib.Path:
    """Names the folder for what can be made again.

    Returns:
      `relational_rnn` in `$XDG_CACHE_HOME` or in `~/.cache`.
    """
    root = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
    return pathlib.Path(root) / 'relational_rnn'


def _pydoc(folder: pathlib.Path | None, tokenizer: str | None, cache_dir: pathlib.Path) -> Corpus:
    del cache_dir
    if folder:
        raise ValueError(f'dataset pydoc reads no files: leave out data_dir {folder}')
    tokenizer = tokenizer or _DEFAULT_TOKENIZERS['pydoc']

    def blocks(split: str) -> Iterator[list[str]]:
        for document in python_docs.read(split):
            yield tokenize(''.join(f'{line} {_EOS} ' for line in document), 'pydoc', tokenizer)

    return Corpus('pydoc', _hash('pydoc', tokenizer, python_docs.fingerprint()), blocks)


def _text(folder: pathlib.Path | None, tokenizer: str | None, cache_dir: pathlib.Path) -> Corpus:
    if not folder:
        raise ValueError('dataset text reads your own files: name their folder with data_dir')
    tokenizer = tokenizer or _DEFAULT_TOKENIZERS['text']
    layout, paths = _find(folder)
    read = _paragraphs if layout.endswith('/*.txt') else _lines

    def blocks(split: str) -> Iterator[list[str]]:
        return itertools.chain.from_iterable(
            read(path, TOKENIZERS[tokenizer]) for path in paths[split]
        )

    digests = [
        (split, path.name, _digest(path, cache_dir)) for split in SPLITS for path in paths[split]
    ]
    return Corpus('text', _hash('text', tokenizer, layout, digests), blocks)


_CORPORA: dict[str, Callable[[pathlib.Path | None, str | None, pathlib.Path], Corpus]] = {
    'pydoc': _pydoc,
    'text': _text,
}
NAMES = tuple(_CORPORA)


def _find(folder: pathlib.Path) -> tuple[str, dict[str, list[pathlib.Path]]]:
    """The most complete layout and the files of its splits."""
    if not folder.is_dir():
        raise base.DataError(f'{folder} is not a folder: data_dir names the folder of the splits')
    found = {layout: _files(folder, layout) for layout in _LAYOUTS}
    layout, paths = max(found.items(), key=lambda item: sum(map(bool, item[1].values())))
    for split in SPLITS:
        if not paths[split]:
            wanted = ', '.join(layout.format(split) for layout in _LAYOUTS)
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


def _lines(path: pathlib.Path, tokenize: Callable[[str], list[str]]) -> Iterator[list[str]]:
    text = ''
    for text in _blocks(path):
        yield tokenize(text.replace('\n', f' {_EOS} '))
    if not text.endswith('\n'):
        yield [_EOS]


def _paragraphs(path: pathlib.Path, tokenize: Callable[[str], list[str]]) -> Iterator[list[str]]:
    last = _EOS
    for text in _blocks(path):
        words = tokenize(_BLANK_LINES.sub(f' {_EOS} ', text))
        if words and words[0] == last == _EOS:
            del words[0]  # blank lines at the beginning
        if words:
            last = words[-1]
            yield words
    if last != _EOS:
        yield [_EOS]


def _blocks(path: pathlib.Path) -> Iterator[str]:
    """The text of a file in blocks; all but the last end just before a word."""
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


def _decode(block: bytes, path: pathlib.Path, offset: int) -> str:
    try:
        text = block.decode('utf-8')
    except UnicodeDecodeError as error:
        raise base.DataError(
            f'{path} is not UTF-8: byte 0x{block[error.start]:02x} at offset '
            f'{offset + error.start}; convert the file to UTF-8'
        ) from error
    return text if offset else text.removeprefix('\ufeff')


def _digest(path: pathlib.Path, cache_dir: pathlib.Path) -> str:
    """The SHA-256 of a file; of a large one, remembered by path, size and time of change."""
    try:
        stat = path.stat()
        key = _hash(str(path.resolve()), stat.st_size, stat.st_mtime_ns)
        memo = cache_dir / 'digests' / key
        if stat.st_size >= _LARGE and memo.is_file():
            return memo.read_text()
        with path.open('rb') as file:
            digest = hashlib.file_digest(file, 'sha256').hexdigest()
        if stat.st_size >= _LARGE:
            memo.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache_dir) as scratch:
                whole = pathlib.Path(scratch) / key
                whole.write_text(digest)
                whole.replace(memo)
        return digest
    except OSError as error:
        raise base.DataError(f'{error.filename} cannot be read: {error.strerror}') from error


def _hash(*parts: object) -> str:
    return hashlib.sha256(json.dumps([_RULES, *parts]).encode()).hexdigest()
