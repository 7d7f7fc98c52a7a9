"""Word-level language modelling: a corpus as contiguous streams of word ids.

`prepare` encodes a corpus once into memory-mapped files in a cache. `window` cuts the batch of any
training step out of them: it is a pure function of the step's number, so a run can be continued at
any step at no cost. Stream b covers the b-th part of the corpus and window i + 1 continues window
i, so that a network may carry its state from one to the next:

  tokens 0 1 2 3 4 5 6 7 8, batch_size 2, num_steps 2: two windows, 8 targets, none dropped
    stream 0:  window 0 reads 0 1 and predicts 1 2, window 1 reads 2 3 and predicts 3 4
    stream 1:  window 0 reads 4 5 and predicts 5 6, window 1 reads 6 7 and predicts 7 8

Glossary of shapes:
  T: num_steps, words of a window; B: batch_size, streams; N: tokens of a split; V: vocabulary size.
"""

from collections.abc import Callable, Iterator
import contextlib
import hashlib
import json
import os
import pathlib
import tempfile
from typing import NamedTuple

import numpy as np

from tasks import base, corpora, vocabulary

_FORMAT = 1  # raise it when the files of the cache change
_REPORT_EVERY = 10_000_000  # words
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
    progress: Callable[[str], None] | None = None,
) -> Streams:
    """Encodes a corpus, or opens what was encoded before.

    Args:
      corpus: the corpus.
      cache_dir: the folder of all prepared corpora, None for the default of `corpora`.
      vocab_size: the most words to know, `<unk>` and `<eos>` included; None or 0 for all of train.
      progress: is called with a line of text now and then, and when a damaged cache is rebuilt.

    Returns:
      The streams.

    Raises:
      ValueError: the vocabulary size is too small.
      DataError: the corpus cannot be used or the cache not be written.
    """
    identity: dict[str, object] = {
        'format': _FORMAT,
        'source': corpus.fingerprint,
        'vocab_size': vocab_size or 0,
    }
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    folder = pathlib.Path(cache_dir or corpora.default_cache_dir()) / f'{corpus.name}-{key[:16]}'
    report = progress or (lambda line: None)
    try:
        if folder.exists() and (damage := _damage(folder, identity)):
            report(f'{folder} is damaged ({damage}): preparing it anew')
            _remove(folder)
        if not folder.exists():
            _build(corpus, folder, identity, vocab_size, report)
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
) -> Iterator[base.Batch]:
    """Cuts a split into windows that predict each of its words once.

    Args:
      tokens: [N] word ids.
      eos: the id of `<eos>`, from which the first word is predicted.
      batch_size: B.
      num_steps: T.
      vocab_size: V, to check the ids against, or None.

    Yields:
      Batches as of `window`, in the order of the text in each stream, with resets True at the first
      step of the first batch; weights are 0 behind the end of a stream, where inputs and targets
      are `<eos>`.

    Raises:
      ValueError: a size is not positive.
      DataError: the ids are of another vocabulary.
    """
    if batch_size < 1 or num_steps < 1:
        raise ValueError(f'wanted batch_size and num_steps >= 1: got {batch_size} and {num_steps}')
    length = -(-len(tokens) // batch_size)
    starts = np.arange(batch_size) * length  # [B]
    for position in range(0, length, num_steps):
        steps = np.arange(position, position + num_steps)[:, None]  # [T, 1]
        places = starts + steps  # [T, B], of the targets
        real = (steps < length) & (places < len(tokens))
        places = np.where(real, places, 0)
        ids = _ids(tokens, np.stack([np.maximum(places - 1, 0), places]), vocab_size)  # [2, T, B]
        inputs = np.where(real & (places > 0), ids[0], np.int32(eos))
        targets = np.where(real, ids[1], np.int32(eos))
        resets = np.zeros(real.shape, bool)
        resets[0] = position == 0
        yield base.Batch(inputs, targets, real.astype(np.float32), resets)


def _ids(tokens: np.ndarray, places: np.ndarray, vocab_size: int | None) -> np.ndarray:
    ids = np.asarray(tokens[places], np.int32)
    if vocab_size is not None and ids.size and not 0 <= ids.min() <= ids.max() < vocab_size:
        raise base.DataError(
            f'word ids from {ids.min()} to {ids.max()} in a corpus whose vocabulary has '
            f'{vocab_size} words: delete its cache to prepare it anew'
        )
    return ids


def _build(
    corpus: corpora.Corpus,
    folder: pathlib.Path,
    identity: dict[str, object],
    vocab_size: int | None,
    report: Callable[[str], None],
) -> None:
    """Encodes into a temporary folder and renames it when it is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'{folder.name}-', dir=folder.parent) as scratch:
        whole = pathlib.Path(scratch, 'whole')
        whole.mkdir()
        counts = vocabulary.count(_reported(corpus, 'train', 'counted', report))
        words = vocabulary.from_counts(counts, vocab_size)
        words.save(whole / _VOCABULARY)
        for split in corpora.SPLITS:
            _encode(corpus, split, words, whole / f'{split}.bin', report)
        (whole / _MANIFEST).write_text(_manifest(whole, identity))
        try:
            whole.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first
                raise


def _encode(
    corpus: corpora.Corpus,
    split: str,
    words: vocabulary.Vocabulary,
    path: pathlib.Path,
    report: Callable[[str], None],
) -> None:
    empty = True
    with path.open('wb') as file:
        for block in _reported(corpus, split, 'encoded', report):
            ids = words.encode(block)
            empty = empty and bool(np.all(ids == words.eos))
            file.write(ids.astype(_dtype(words)).tobytes())
        file.flush()
        os.fsync(file.fileno())
    if empty:
        raise base.DataError(f'the {split} split of {corpus.name} holds no words')


def _reported(
    corpus: corpora.Corpus, split: str, verb: str, report: Callable[[str], None]
) -> Iterator[list[str]]:
    done = 0
    for block in corpus.blocks(split):
        yield block
        if (done + len(block)) // _REPORT_EVERY > done // _REPORT_EVERY:
            report(f'{corpus.name} {split}: {verb} {done + len(block):,} words')
        done += len(block)


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


def _remove(folder: pathlib.Path) -> None:
    """Moves a folder out of the way at once, so that nobody opens half of it, and deletes it."""
    with (
        tempfile.TemporaryDirectory(dir=folder.parent) as scratch,
        contextlib.suppress(FileNotFoundError),  # another process was first
    ):
        folder.rename(pathlib.Path(scratch, 'damaged'))
