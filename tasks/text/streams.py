"""Word-level language modelling: a corpus as contiguous streams of word ids.

`prepare` encodes a corpus once into memory-mapped files in a cache; with a limited vocabulary the
memory it takes does not grow with the corpus. `window` cuts the batch of any training step out of
them: it is a pure function of the step's number, so a run can be continued at any step at no cost.
Stream b covers the b-th part of the corpus and window i + 1 continues window i, so that a network
may carry its state from one to the next:

  tokens 0 1 2 3 4 5 6 7 8, batch_size 2, num_steps 2: two windows, 8 targets, none dropped
    stream 0:  window 0 reads 0 1 and predicts 1 2, window 1 reads 2 3 and predicts 3 4
    stream 1:  window 0 reads 4 5 and predicts 5 6, window 1 reads 6 7 and predicts 7 8

Glossary of shapes:
  T: num_steps, words of a window; B: batch_size, streams; N: tokens of a split; V: vocabulary size.
"""

from collections.abc import Iterator
import hashlib
import json
import os
import pathlib
import shutil
from typing import NamedTuple

import numpy as np

from tasks import base, storage
from tasks.text import build_once, corpora, vocabulary

_FORMAT = 1  # raise it when the files of the cache change
_SAMPLE = 1000  # words of a block whose bytes are counted
_VOCABULARY = 'vocabulary.txt'
_MANIFEST = 'manifest.json'


class Streams(NamedTuple):
    """A prepared corpus."""

    vocabulary: vocabulary.Vocabulary  # counted over train
    train: np.ndarray  # [N] uint16 or int32, memory-mapped
    valid: np.ndarray  # [N]
    test: np.ndarray  # [N]
    key: str  # hex; identifies corpus, tokenizer and vocabulary size


class Epoch(NamedTuple):
    """How a split is cut into training windows."""

    num_windows: int
    num_dropped: int  # words at the ragged end that are never a target


def prepare(
    corpus: corpora.Corpus,
    cache_dir: str | os.PathLike[str] | None = None,
    vocab_size: int | None = None,
    progress: base.Progress = base.SILENT,
) -> Streams:
    """Encodes a corpus, or opens what was encoded before.

    One process at a time encodes; others that want the same corpus wait for it and open what it
    made. A process that is stopped leaves nothing that is ever read.

    Args:
      corpus: the corpus.
      cache_dir: the folder of all prepared corpora, None for the default of `corpora`.
      vocab_size: the most words to know, `<unk>` and `<eos>` included; None or 0 for all of train.
      progress: is told how far it is, what it waits for, and that a damaged cache is made again.

    Returns:
      The streams.

    Raises:
      ValueError: the vocabulary size is too small.
      DataError: the corpus cannot be used, or the cache not be written or has no room for it.
    """
    identity: dict[str, object] = {
        'format': _FORMAT,
        'source': corpus.fingerprint,
        'vocab_size': vocab_size or 0,
    }
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    folder = pathlib.Path(cache_dir or corpora.default_cache_dir()) / f'{corpus.name}-{key[:16]}'
    try:
        build_once.build_once(
            folder,
            lambda whole: _build(corpus, progress, whole, identity, vocab_size),
            lambda: _damage(folder, identity),
            progress,
        )
        words = vocabulary.load(folder / _VOCABULARY)
        train, valid, test = (
            np.memmap(folder / f'{split}.bin', _dtype(words), 'r') for split in corpora.SPLITS
        )
    except OSError as error:
        raise base.DataError(f'cannot prepare {corpus.name} in {folder}: {error}') from error
    return Streams(words, train, valid, test, key)


def epoch(num_tokens: int, batch_size: int, num_steps: int) -> Epoch:
    """Counts the training windows of a split.

    Args:
      num_tokens: N.
      batch_size: B.
      num_steps: T.

    Returns:
      The number of whole windows and of words left over.

    Raises:
      ValueError: a size is not positive.
      DataError: the split does not fill one window.
    """
    if batch_size < 1 or num_steps < 1:
        raise ValueError(f'wanted batch_size and num_steps >= 1: got {batch_size} and {num_steps}')
    num_windows = (num_tokens - 1) // batch_size // num_steps
    if num_windows < 1:
        raise base.DataError(
            f'the corpus is too short: it has {num_tokens} tokens, batch_size {batch_size} x '
            f'num_steps {num_steps} need {batch_size * num_steps + 1}; lower them or add text'
        )
    return Epoch(num_windows, num_tokens - 1 - num_windows * batch_size * num_steps)


def window(
    tokens: np.ndarray,
    index: int,
    batch_size: int,
    num_steps: int,
    streams: slice = slice(None),
    vocab_size: int | None = None,
) -> base.Batch:
    """Cuts out a training batch.

    Args:
      tokens: [N] word ids.
      index: windows since the beginning of training, over all epochs.
      batch_size: B, the streams of all processes.
      num_steps: T.
      streams: which of the B streams to read, all by default.
      vocab_size: V, to check the ids against, or None.

    Returns:
      inputs and targets [T, B] int32, weights [T, B] float32 ones, and resets [T, B] bool, True at
      the first words of an epoch; B is smaller where `streams` chooses fewer.

    Raises:
      ValueError: a size or the index is out of range.
      DataError: the split does not fill one window or holds ids of another vocabulary.
    """
    if index < 0:
        raise ValueError(f'wanted a window index >= 0: got {index}')
    num_windows = epoch(len(tokens), batch_size, num_steps).num_windows
    position = index % num_windows * num_steps
    length = (len(tokens) - 1) // batch_size
    starts = np.arange(batch_size)[streams] * length + position  # [B]
    ids = _ids(tokens, starts + np.arange(num_steps + 1)[:, None], vocab_size)  # [T + 1, B]
    resets = np.zeros(ids[1:].shape, bool)
    resets[0] = position == 0
    return base.Batch(ids[:-1], ids[1:], np.ones(resets.shape, np.float32), resets)


def evaluation_windows(
    tokens: np.ndarray,
    eos: int,
    batch_size: int,
    num_steps: int,
    vocab_size: int | None = None,
    reset_every: int | None = None,
) -> Iterator[base.Batch]:
    """Cuts a split into windows that predict each of its words once.

    Args:
      tokens: [N] word ids.
      eos: the id of `<eos>`, from which the first word is predicted.
      batch_size: B.
      num_steps: T.
      vocab_size: V, to check the ids against, or None.
      reset_every: the words after which a network starts anew, counted from the beginning of the
        split whatever B is; None for never.

    Yields:
      Batches as of `window`, in the order of the text in each stream, with resets True at the first
      step of the first batch and, counted from there, every `reset_every` steps; weights are 0
      behind the end of a stream, where inputs and targets are `<eos>`.

    Raises:
      ValueError: a size is not positive.
      DataError: the ids are of another vocabulary.
    """
    if batch_size < 1 or num_steps < 1:
        raise ValueError(f'wanted batch_size and num_steps >= 1: got {batch_size} and {num_steps}')
    if reset_every is not None and reset_every < 1:
        raise ValueError(f'wanted reset_every >= 1 or None: got {reset_every}')
    length = -(-len(tokens) // batch_size)
    if reset_every:
        length = -(-length // reset_every) * reset_every  # each stream begins where one would reset
    starts = np.arange(batch_size) * length  # [B]
    for position in range(0, length, num_steps):
        steps = np.arange(position, position + num_steps)[:, None]  # [T, 1]
        places = starts + steps  # [T, B], of the targets
        real = (steps < length) & (places < len(tokens))
        places = np.where(real, places, 0)
        ids = _ids(tokens, np.stack([np.maximum(places - 1, 0), places]), vocab_size)  # [2, T, B]
        inputs = np.where(real & (places > 0), ids[0], np.int32(eos))
        targets = np.where(real, ids[1], np.int32(eos))
        anew = (steps % reset_every if reset_every else steps) == 0  # [T, 1]
        resets = np.repeat(anew, batch_size, axis=1)
        yield base.Batch(inputs, targets, real.astype(np.float32), resets)


def _ids(tokens: np.ndarray, places: np.ndarray, vocab_size: int | None) -> np.ndarray:
    ids = np.asarray(tokens[places], np.int32)
    if vocab_size is not None and ids.size and not 0 <= ids.min() <= ids.max() < vocab_size:
        raise base.DataError(
            f'word ids from {ids.min()} to {ids.max()} in a corpus whose vocabulary has '
            f'{vocab_size} words: delete its cache to prepare it anew'
        )
    return ids


def _blocks(
    corpus: corpora.Corpus,
    progress: base.Progress,
    split: str,
    verb: str,
    total: int | None = None,
) -> Iterator[list[str]]:
    """The blocks of a split, whose words are `total` or guessed from its bytes."""
    title, num_bytes = f'{corpus.name} {split}: {verb}', corpus.num_bytes.get(split)
    done, read = 0, 0.0
    for block in corpus.blocks(split):
        yield block
        done += len(block)
        read += _num_bytes(block)
        guess = max(done, round(num_bytes * done / read)) if num_bytes and read else None
        progress.update(title, done, total or guess, 'words')


def _num_bytes(words: list[str]) -> float:
    """About how many bytes of text words were, a space behind each."""
    sample = words[:_SAMPLE]
    return len(' '.join([*sample, '']).encode()) * len(words) / max(len(sample), 1)


def _build(
    corpus: corpora.Corpus,
    progress: base.Progress,
    folder: pathlib.Path,
    identity: dict[str, object],
    vocab_size: int | None,
) -> None:
    """Counts and encodes a corpus into an empty folder."""
    words = _count(corpus, progress, folder.parent / 'counts', vocab_size)
    words.save(folder / _VOCABULARY)
    num_words = int(words.counts.sum())
    _check_space(folder, num_words * np.dtype(_dtype(words)).itemsize, corpus)
    for split in corpora.SPLITS:
        total = num_words if split == 'train' else None
        blocks = _blocks(corpus, progress, split, 'encoded', total)
        if not _encode(blocks, words, folder / f'{split}.bin'):
            raise base.DataError(f'the {split} split of {corpus.name} holds no words')
    storage.write_text(folder / _MANIFEST, _manifest(folder, identity))


def _count(
    corpus: corpora.Corpus, progress: base.Progress, spill_dir: pathlib.Path, vocab_size: int | None
) -> vocabulary.Vocabulary:
    spill_dir.mkdir()
    counts = vocabulary.count(_blocks(corpus, progress, 'train', 'counted'), spill_dir)
    words = vocabulary.from_counts(counts, vocab_size)
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
    """Writes the ids of words; returns whether there were any beside `<eos>`."""
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


def _manifest(folder: pathlib.Path, identity: dict[str, object]) -> str:
    """What identifies a prepared corpus: its source, its vocabulary and the sizes of its files."""
    digest = hashlib.sha256((folder / _VOCABULARY).read_bytes()).hexdigest()
    sizes = {f'{split}.bin': (folder / f'{split}.bin').stat().st_size for split in corpora.SPLITS}
    return json.dumps(identity | {_VOCABULARY: digest} | sizes, indent=1)


def _damage(folder: pathlib.Path, identity: dict[str, object]) -> str:
    """What is wrong with a prepared corpus; empty if nothing is."""
    try:
        wanted = (folder / _MANIFEST).read_text().splitlines()
        found = _manifest(folder, identity).splitlines()
    except (OSError, ValueError) as error:
        return str(error)
    wrong = [line.strip() for line in found if line not in wanted]
    return f'{_MANIFEST} does not fit {"; ".join(wrong)}' if found != wanted else ''
