"""Corpora of text as streams of words, or of smaller tokens, by name.

Names for `load`:
  pydoc  the documentation inside Python itself, see `python_docs`; one paragraph, one `<eos>`.
         Text is lower-cased: a corpus this small has too few sentences for a model to learn that
         'The' is 'the'.
  text   your own files in `data_dir`, UTF-8, in the first of these layouts that is complete:
           wiki.train.tokens, wiki.valid.tokens, wiki.test.tokens   (WikiText as published)
           wiki.train.raw, and so on                                (the same before tokenization)
           ptb.train.txt, and so on                                 (Penn Treebank as published)
           train.txt, valid.txt, test.txt
           train.jsonl or train.parquet, and so on   (Hugging Face's WikiText: a line a record)
           train/*.txt, valid/*.txt, test/*.txt        (one document a file, by name, at any depth)
         See `layouts` for other spellings; what is left out is reported.
         In files every line ends in one `<eos>`, blank lines too: the published counts of WikiText
         hold. Books are wrapped at some column, so in folders a paragraph ends in one `<eos>`: at
         blank lines and at the end of the file.
         A single file of one of these kinds in place of the folder, and a folder of them without
         names of splits, is split as in `shares`.
  gutenberg    your own books in `data_dir`, in the last of these layouts, or without splits.
  gigaword, lm1b, pg19, wikitext103
         the data sets of TensorFlow Datasets (TFDS) in its `data_dir`, see `tfds.builders`; they
         are prepared when they are used first. One `<eos>` ends
           a document or headline of gigaword, which writes `<unk>` as 'UNK' too: both are `<unk>`;
           a sentence of lm1b. It has no valid split: that is the end of train, 20,000 sentences
             or a tenth if that is less, and train goes without them; test is whole;
           a paragraph of pg19, as in folders;
           a line of wikitext103, as in files.

So it is for words. Characters, bytes and subwords are those of the text as it is, in which every
line break is one `<eos>`, see `tokenizing`. A text that does not end in a line break gets one.

Nothing holds a corpus in memory: files are read in blocks. Another corpus is a constructor in
`_CORPORA`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import functools
import hashlib
import itertools
import json
import os
import pathlib
import re

from tasks import base
from tasks.text import (
    files,
    layouts,
    own_texts,
    python_docs,
    shares,
    subwords,
    tokenizing,
    vocabulary,
)

SPLITS = layouts.SPLITS
OWN_FILES = ('text', 'gutenberg')  # the corpora that are read from a folder that the user names
_NOT_IN_LABELS = re.compile(r'[^\w.]+')
_LABEL_LENGTH = 50  # characters; the end of a longer path has to do
# Vocabulary sizes by default; all words for the other corpora. In pydoc, words that occur once
# cannot be learned from 380,000 words. Santoro et al. 2018, section 4.3, has about 250,000.
DEFAULT_VOCAB_SIZES = {'pydoc': 10_000, 'gigaword': 250_000, 'lm1b': 250_000, 'pg19': 250_000}
# What is read of gigaword: the fields of its examples.
GIGAWORD_TEXTS = {
    'document': ('document',),
    'summary': ('summary',),
    'both': ('document', 'summary'),
}
_CUT_INTO_WORDS = ('pydoc', 'gutenberg', 'pg19')  # by default; the others at white space
_RULES = 2  # raise it when a tokenizer or a reader changes what it yields
_EOS = vocabulary.EOS


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A corpus that can be read again and again, one split at a time."""

    name: str
    fingerprint: str  # hex; changes with the content and with the rules of cutting it into tokens
    blocks: Callable[[str], Iterator[list[str]]]  # split -> lists of tokens, <eos> included
    num_bytes: Mapping[str, int] = dataclasses.field(default_factory=dict)  # split -> of text
    places: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)  # split -> path
    texts: Callable[[str], Iterator[str]] | None = None  # split -> the text itself, in blocks
    tokenizer: str = 'words'  # of `tokenizing.NAMES`; subwords are learned when it is encoded
    prepared_by: str = ''  # the package, with its version, that learns subwords


@dataclasses.dataclass(frozen=True)
class _Request:
    """The arguments of `load`, with their defaults filled in."""

    name: str
    folder: pathlib.Path | None
    tokenizer: str
    cache_dir: pathlib.Path
    gigaword_text: str
    split: shares.Split
    progress: base.Progress

    @property
    def cut(self) -> files.Tokenizer:
        return tokenizing.make(self.tokenizer).cut


def load(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    tokenizer: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    gigaword_text: str = 'document',
    progress: base.Progress = base.SILENT,
    split: shares.Split = shares.DEFAULT,
) -> Corpus:
    """Opens a corpus and checks that its splits are there.

    Args:
      name: one of `NAMES`.
      data_dir: the folder of your own files, or a single file, or the folder of all data sets of
        TFDS: there None means what TFDS means by it, `$TFDS_DATA_DIR` or `~/tensorflow_datasets`.
      tokenizer: of `tokenizing.NAMES`; None for the corpus's own: 'words' for pydoc, gutenberg and
        pg19, 'whitespace' for those that are published as words with spaces between.
      cache_dir: where digests of files over a gibibyte are remembered, None for the default.
      gigaword_text: of gigaword 'document', 'summary', or 'both', one after the other.
      progress: receives how far the preparation of a data set of TFDS is, and which files of your
        own are left out.
      split: how texts of yours are split where no name says it.

    Returns:
      The corpus.

    Raises:
      ValueError: an argument is not one of those that there are.
      DataError: the data cannot be used.
    """
    for what, value, known in (
        ('dataset', name, NAMES),
        ('tokenizer', tokenizer or 'words', tokenizing.NAMES),
        ('gigaword_text', gigaword_text, GIGAWORD_TEXTS),
    ):
        if value not in known:
            raise ValueError(f'unknown {what} {value!r}: there are {", ".join(known)}')
    request = _Request(
        name,
        pathlib.Path(data_dir) if data_dir else None,
        tokenizer or _default_tokenizer(name),
        pathlib.Path(cache_dir or default_cache_dir()),
        gigaword_text,
        split,
        progress,
    )
    prepared_by = subwords.version() if request.tokenizer == tokenizing.SUBWORDS else ''
    corpus = _CORPORA[name](request)
    corpus = dataclasses.replace(corpus, tokenizer=request.tokenizer, prepared_by=prepared_by)
    return corpus if request.tokenizer in tokenizing.WORDS else of_pieces(corpus, request.cut)


def of_pieces(corpus: Corpus, cut: files.Tokenizer) -> Corpus:
    """Returns a corpus of `load` with its text cut as it is."""
    texts = corpus.texts
    assert texts  # of all that `load` makes

    def blocks(split: str) -> Iterator[list[str]]:
        return map(cut, files.whole_lines(texts(split)))

    # How many bytes the tokens of a block had is not known, so neither is the number of all.
    return dataclasses.replace(corpus, blocks=blocks, num_bytes={})


def label(name: str, data_dir: str | os.PathLike[str] | None = None) -> str:
    """Returns a name of a corpus for folders, another one for each folder of your own files.

    Args:
      name: one of `NAMES`.
      data_dir: as for `load`.

    Returns:
      The name; of your own files also the path of their folder, as `my-books` for `my/books` below
      the current folder, and whole elsewhere.
    """
    if name not in OWN_FILES or not data_dir:
        return name
    path, here = pathlib.Path(data_dir).resolve(), pathlib.Path.cwd().resolve()
    inside = path != here and path.is_relative_to(here)
    folder = (path.relative_to(here) if inside else path).as_posix()
    return f'{name}-{_NOT_IN_LABELS.sub("-", folder).strip("-")[-_LABEL_LENGTH:]}'


def tokenizer_of(
    name: str, tokenizer: str | None = None, learned: str = ''
) -> tokenizing.Tokenizer:
    """Returns what cuts a text, such as a prompt, as the text of a corpus is cut.

    Args:
      name: of the corpus, as for `load`.
      tokenizer: as for `load`.
      learned: subwords, as of `Streams`; '' for the other tokenizers.

    Raises:
      DataError: `tokenizers` cannot be imported.
    """
    tokenizer = tokenizer or _default_tokenizer(name)
    made = subwords.parse(learned) if learned else tokenizing.make(tokenizer)
    return dataclasses.replace(made, cut=lambda text: made.cut(_fold(text, name)))


def _fold(text: str, name: str) -> str:
    """Returns a text as it stands in the corpus of this name."""
    return text.lower() if name == 'pydoc' else text


def _default_tokenizer(name: str) -> str:
    return 'words' if name in _CUT_INTO_WORDS else 'whitespace'


def default_cache_dir() -> pathlib.Path:
    """Returns the folder for caches: `relational_rnn` in `$XDG_CACHE_HOME` or in `~/.cache`."""
    root = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
    return pathlib.Path(root) / 'relational_rnn'


def _pydoc(request: _Request) -> Corpus:
    if request.folder:
        raise ValueError(f'dataset pydoc reads no files: leave out data_dir {request.folder}')

    def texts(split: str) -> Iterator[str]:
        for document in python_docs.read(split):
            yield _fold(''.join(f'{line}\n' for line in document), 'pydoc')

    def blocks(split: str) -> Iterator[list[str]]:
        return (request.cut(text.replace('\n', f' {_EOS} ')) for text in texts(split))

    identity = _hash('pydoc', request.tokenizer, python_docs.fingerprint())
    return Corpus('pydoc', identity, blocks, texts=texts)


def _own(patterns: Sequence[str], request: _Request) -> Corpus:
    """A corpus of texts in a folder or file that the user names."""
    name = request.name
    if not request.folder:
        raise ValueError(f'dataset {name} reads your own files: name their folder with data_dir')
    found = own_texts.find(
        request.folder, patterns, request.split, request.cache_dir, request.progress
    )
    split_up = files.paragraphs if found.are_books else files.lines

    def blocks(split: str) -> Iterator[list[str]]:
        return itertools.chain.from_iterable(split_up(x, request.cut) for x in found.read(split))

    def texts(split: str) -> Iterator[str]:
        return itertools.chain.from_iterable(map(files.ended, found.read(split)))

    identity = _hash(name, request.tokenizer, *found.identity)
    return Corpus(name, identity, blocks, found.num_bytes, found.places, texts)


def _gigaword(request: _Request) -> Corpus:
    def cut(texts: Sequence[str]) -> Iterator[list[str]]:
        for words in _one_eos_each(request, texts):
            yield [vocabulary.UNK if word == 'UNK' else word for word in words]

    return _prepared(request, GIGAWORD_TEXTS[request.gigaword_text], cut)


def _sentences(request: _Request) -> Corpus:
    return _prepared(request, ('text',), functools.partial(_one_eos_each, request))


def _pg19(request: _Request) -> Corpus:
    def cut(texts: Sequence[str]) -> Iterator[list[str]]:
        for text in texts:
            yield from files.paragraphs([text], request.cut)

    return _prepared(request, ('book_text',), cut)


def _one_eos_each(request: _Request, texts: Sequence[str]) -> Iterator[list[str]]:
    yield request.cut(f' {_EOS} '.join([*texts, '']))


def _prepared(
    request: _Request,
    fields: Sequence[str],
    cut: Callable[[Sequence[str]], Iterator[list[str]]],
) -> Corpus:
    """A corpus that TFDS keeps, whose examples have these fields."""
    try:
        from tasks.text.tfds import preparing, records
    except ImportError as error:
        message = f'{request.name} needs a package that cannot be imported: {error}'
        raise base.DataError(f'{message}; datasets pydoc, text and gutenberg do not') from error
    identity, splits = preparing.prepared(request.name, request.folder, request.progress)

    def read(split: str) -> Iterator[list[str]]:
        if split not in splits:
            raise ValueError(f'unknown split {split!r}: there are {", ".join(splits)}')
        return records.read(splits[split], fields)

    def blocks(split: str) -> Iterator[list[str]]:
        return itertools.chain.from_iterable(map(cut, read(split)))

    def texts(split: str) -> Iterator[str]:
        return (''.join(x.removesuffix('\n') + '\n' for x in some) for some in read(split))

    sizes = {split: part.num_bytes for split, part in splits.items()}
    fingerprint = _hash(request.tokenizer, fields, identity)
    return Corpus(request.name, fingerprint, blocks, sizes, texts=texts)


_CORPORA: dict[str, Callable[[_Request], Corpus]] = {
    'pydoc': _pydoc,
    'text': functools.partial(_own, layouts.LAYOUTS),
    'gutenberg': functools.partial(_own, [layouts.FOLDERS]),
    'gigaword': _gigaword,
    'lm1b': _sentences,
    'pg19': _pg19,
    'wikitext103': _sentences,
}
NAMES = tuple(_CORPORA)


def _hash(*parts: object) -> str:
    return hashlib.sha256(json.dumps([_RULES, *parts]).encode()).hexdigest()
