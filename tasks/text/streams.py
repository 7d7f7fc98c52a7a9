"""A corpus as streams of ids of its tokens, encoded once into memory-mapped files in a cache.

With a limited vocabulary the memory that this takes does not grow with the corpus. `windows` cuts
batches out of the streams.

Glossary of shapes:
  N: tokens of a split.
"""

from collections.abc import Callable, Iterator, Mapping
import functools
import hashlib
import json
import os
import pathlib
import shutil
from typing import NamedTuple

import numpy as np

from tasks import base, storage
from tasks.text import build_once, corpora, digests, files, subwords, tokenizing, vocabulary

_FORMAT = 1  # raise it when the files of the cache change
_SAMPLE = 1000  # words of a block whose bytes are counted
_VOCABULARY = 'vocabulary.txt'
_SIZES = 'sizes.json'  # older caches have none
_LEARNED = 'tokenizer.json'  # of subwords alone
_MANIFEST = 'manifest.json'


class Streams(NamedTuple):
    """A prepared corpus."""

    vocabulary: vocabulary.Vocabulary  # counted over train
    train: np.ndarray  # [N] uint16 or int32, memory-mapped
    valid: np.ndarray  # [N]
    test: np.ndarray  # [N]
    key: str  # hex; identifies corpus, tokenizer and vocabulary size
    sizes: Mapping[str, files.Size] = {}  # split -> of its text; none if that is not known
    learned: str = ''  # the tokenizer of subwords, see `subwords.parse`
    prepared_by: str = ''  # as of the corpus


def prepare(
    corpus: corpora.Corpus,
    cache_dir: str | os.PathLike[str] | None = None,
    vocab_size: int | None = None,
    progress: base.Progress = base.SILENT,
) -> Streams:
    """Encodes a corpus, or opens what was encoded before.

    One process at a time encodes; others that want the same corpus wait for it and open what it
    made. A process that is stopped leaves nothing that is read later.

    Args:
      corpus: the corpus.
      cache_dir: the folder of all prepared corpora, None for the default of `corpora`.
      vocab_size: the largest vocabulary, `<unk>` and `<eos>` included; None or 0 for all of train,
        of subwords for their default.
      progress: receives how far it is, what it waits for, and that a damaged cache is replaced.

    Returns:
      The streams.

    Raises:
      ValueError: the vocabulary size is too small.
      DataError: the corpus cannot be used, or the cache not be written or has no room for it.
    """
    is_learned = corpus.tokenizer == tokenizing.SUBWORDS
    vocab_size = vocab_size or (subwords.DEFAULT_SIZE if is_learned else 0)
    identity = {'format': _FORMAT, 'source': corpus.fingerprint, 'vocab_size': vocab_size}
    identity |= {'prepared_by': corpus.prepared_by} if corpus.prepared_by else {}
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    folder = _folder(corpus.name, key, cache_dir)
    try:
        build_once.build_once(
            folder,
            lambda whole: _build(corpus, whole, key, vocab_size, progress),
            lambda: _damage(folder, key),
            progress,
        )
        return _open(folder, key)._replace(prepared_by=corpus.prepared_by)
    except OSError as error:
        raise base.DataError(f'cannot prepare {corpus.name} in {folder}: {error}') from error


def cached(name: str, key: str, cache_dir: str | os.PathLike[str] | None = None) -> Streams | None:
    """Opens what was encoded before, without the corpus.

    Args:
      name: of the corpus.
      key: of its streams.
      cache_dir: as for `prepare`.

    Returns:
      The streams, or None if they are not there or damaged.
    """
    folder = _folder(name, key, cache_dir)
    try:
        return None if _damage(folder, key) else _open(folder, key)
    except OSError:  # it is deleted meanwhile
        return None


def _folder(name: str, key: str, cache_dir: str | os.PathLike[str] | None) -> pathlib.Path:
    return pathlib.Path(cache_dir or corpora.default_cache_dir()) / f'{name}-{key[:16]}'


def _open(folder: pathlib.Path, key: str) -> Streams:
    words = vocabulary.load(folder / _VOCABULARY)
    train, valid, test = (
        np.memmap(folder / f'{split}.bin', _dtype(words), 'r') for split in corpora.SPLITS
    )
    return Streams(words, train, valid, test, key, _read_sizes(folder), _read(folder / _LEARNED))


def _read_sizes(folder: pathlib.Path) -> dict[str, files.Size]:
    sizes = json.loads(_read(folder / _SIZES) or '{}')
    return {split: files.Size(*size) for split, size in sizes.items()}


def _read(path: pathlib.Path) -> str:
    return path.read_text('utf-8') if path.exists() else ''


def _build(
    corpus: corpora.Corpus,
    folder: pathlib.Path,
    key: str,
    vocab_size: int,
    progress: base.Progress,
) -> None:
    """Counts and encodes a corpus into an empty folder."""
    always = tokenizing.make(corpus.tokenizer).always
    if corpus.tokenizer == tokenizing.SUBWORDS:
        tokenizer = _learn(corpus, vocab_size, progress)
        storage.write_text(folder / _LEARNED, tokenizer.learned)
        corpus, always = corpora.of_pieces(corpus, tokenizer.cut), tokenizer.always
    blocks = functools.partial(_blocks, corpus, progress)
    words = _count(blocks('train', 'counted'), folder.parent / 'counts', vocab_size, always)
    words.save(folder / _VOCABULARY)
    num_words = int(words.counts.sum())
    _check_space(folder, num_words * np.dtype(_dtype(words)).itemsize, corpus)
    for split in corpora.SPLITS:
        total = num_words if split == 'train' else None
        if not _encode(blocks(split, 'encoded', total), words, folder / f'{split}.bin'):
            where = corpus.places.get(split, f'the {split} split of {corpus.name}')
            raise base.DataError(f'{where} holds no words: the {split} split needs some')
    if corpus.texts:
        sizes = {split: files.measure(corpus.texts(split)) for split in corpora.SPLITS}
        storage.write_text(folder / _SIZES, json.dumps(sizes))
    storage.write_text(folder / _MANIFEST, _manifest(folder, key, storage.sha256))


def _learn(corpus: corpora.Corpus, size: int, progress: base.Progress) -> tokenizing.Tokenizer:
    """Learns subwords from the training split alone."""

    def read() -> Iterator[str]:
        assert corpus.texts  # of all that `corpora.load` makes
        done = 0
        for text in files.whole_lines(corpus.texts('train')):
            yield text
            done += len(text)
            progress.update(f'{corpus.name} train: learning subwords', done, None, 'characters')

    return subwords.parse(subwords.learn(read(), size))


def _blocks(
    corpus: corpora.Corpus,
    progress: base.Progress,
    split: str,
    verb: str,
    total: int | None = None,
) -> Iterator[list[str]]:
    """The blocks of a split, reported; its tokens are `total` or guessed from its bytes."""
    unit = f'{tokenizing.make(corpus.tokenizer).unit}s'
    title, num_bytes = f'{corpus.name} {split}: {verb}', corpus.num_bytes.get(split)
    done, read = 0, 0.0
    progress.update(title, 0, total, unit)
    for block in corpus.blocks(split):
        yield block
        done += len(block)
        read += _num_bytes(block)
        guess = max(done, round(num_bytes * done / read)) if num_bytes and read else None
        progress.update(title, done, total or guess, unit)


def _num_bytes(words: list[str]) -> float:
    """About how many bytes of text words were, with a space after each."""
    sample = words[:_SAMPLE]
    return len(' '.join([*sample, '']).encode()) * len(words) / max(len(sample), 1)


def _count(
    blocks: Iterator[list[str]],
    spill_dir: pathlib.Path,
    vocab_size: int | None,
    always: tuple[str, ...],
) -> vocabulary.Vocabulary:
    spill_dir.mkdir()
    words = vocabulary.from_counts(vocabulary.count(blocks, spill_dir), vocab_size, always)
    shutil.rmtree(spill_dir)
    return words


def _check_space(folder: pathlib.Path, needed: int, corpus: corpora.Corpus) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise base.DataError(
            f'{folder.parent.parent} has {free / 1e6:,.0f} MB free, {corpus.name} takes '
            f'{needed / 1e6:,.0f} MB there: make room or choose another cache_dir'
        )


def _encode(blocks: Iterator[list[str]], words: vocabulary.Vocabulary, path: pathlib.Path) -> bool:
    """Writes the ids of words; returns whether there were any but `<eos>`."""
    found = False
    with path.open('wb') as file:
        for block in blocks:
            ids = words.encode(block)
            found = found or bool(np.any(ids != words.eos))
            file.write(ids.astype(_dtype(words)).data)
        file.flush()
        os.fsync(file.fileno())
    return found


def _dtype(words: vocabulary.Vocabulary) -> type[np.integer]:
    return np.uint16 if len(words) <= 1 << 16 else np.int32


def _manifest(folder: pathlib.Path, key: str, digest: Callable[[pathlib.Path], str]) -> str:
    """What seals a prepared corpus: its key and the digests of its files."""
    names = [_VOCABULARY, *(f'{split}.bin' for split in corpora.SPLITS)]
    names += [name for name in (_SIZES, _LEARNED) if (folder / name).exists()]
    return json.dumps({'key': key} | {name: digest(folder / name) for name in names}, indent=1)


def _damage(folder: pathlib.Path, key: str) -> str:
    """What is wrong with a prepared corpus; empty if nothing is."""
    try:
        wanted = (folder / _MANIFEST).read_text()
        found = _manifest(folder, key, lambda path: digests.digest(path, folder.parent))
    except (OSError, ValueError, base.DataError) as error:
        return str(error)
    if found == wanted:
        return ''
    lines = [line for line in found.splitlines() if line not in wanted.splitlines()]
    names = [line.split('"')[1] for line in lines if '"' in line]
    return f'{", ".join(names) or "more"} does not fit {_MANIFEST}'
