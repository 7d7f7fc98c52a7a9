"""Word-level language modelling: windows of a text as batches.

The window of any training step is a pure function of the step's number, so a run can resume at any
step at no cost. Stream b covers the b-th part of the text and window i + 1 continues window i, so
that a network can carry its state from one to the next:

  tokens 0 1 2 3 4 5 6 7 8, batch_size 2, num_steps 2: two windows, 8 targets, none dropped
    stream 0:  window 0 reads 0 1 and predicts 1 2, window 1 reads 2 3 and predicts 3 4
    stream 1:  window 0 reads 4 5 and predicts 5 6, window 1 reads 6 7 and predicts 7 8

Glossary of shapes:
  T: num_steps, words of a window; B: batch_size, streams; N: tokens of a text; V: vocabulary size.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tasks import base


class Epoch(NamedTuple):
    """How a text is cut into training windows."""

    num_windows: int
    num_dropped: int  # words at the ragged end that are never a target


def epoch(num_tokens: int, batch_size: int, num_steps: int) -> Epoch:
    """Counts the training windows of a text.

    Args:
      num_tokens: N.
      batch_size: B.
      num_steps: T.

    Returns:
      The number of whole windows and of words left over.

    Raises:
      ValueError: a size is not positive.
      DataError: the text does not fill one window.
    """
    _check_sizes(batch_size, num_steps)
    num_windows = (num_tokens - 1) // batch_size // num_steps
    if num_windows < 1:
        raise base.DataError(
            f'the corpus is too short: it has {num_tokens} tokens, batch_size {batch_size} x '
            f'num_steps {num_steps} need {batch_size * num_steps + 1}; lower them or add text'
        )
    return Epoch(num_windows, num_tokens - 1 - num_windows * batch_size * num_steps)


def training_window(
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
      DataError: the text does not fill one window or holds ids of another vocabulary.
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
    """Cuts a text into windows that predict each of its words once.

    Args:
      tokens: [N] word ids.
      eos: the id of `<eos>`, from which the first word is predicted.
      batch_size: B.
      num_steps: T.
      vocab_size: V, to check the ids against, or None.
      reset_every: the words after which the state of a network is reset, counted from the beginning
        of the text whatever B is; None for never.

    Yields:
      Batches as of `training_window`, in the order of the text in each stream, with resets True at
      the first step of the first batch and, counted from there, every `reset_every` steps; weights
      are 0 after the end of a stream, where inputs and targets are `<eos>`.

    Raises:
      ValueError: a size is not positive.
      DataError: the ids are of another vocabulary.
    """
    _check_sizes(batch_size, num_steps)
    if reset_every is not None and reset_every < 1:
        raise ValueError(f'wanted reset_every >= 1 or None: got {reset_every}')
    length = -(-len(tokens) // batch_size)
    if reset_every:
        length = -(-length // reset_every) * reset_every  # each stream starts where one would reset
    starts = np.arange(batch_size) * length  # [B]
    for position in range(0, length, num_steps):
        steps = np.arange(position, position + num_steps)[:, None]  # [T, 1]
        places = starts + steps  # [T, B], of the targets
        real = (steps < length) & (places < len(tokens))
        places = np.where(real, places, 0)
        ids = _ids(tokens, np.stack([np.maximum(places - 1, 0), places]), vocab_size)  # [2, T, B]
        inputs = np.where(real & (places > 0), ids[0], np.int32(eos))
        targets = np.where(real, ids[1], np.int32(eos))
        is_first = (steps % reset_every if reset_every else steps) == 0  # [T, 1]
        resets = np.repeat(is_first, batch_size, axis=1)
        yield base.Batch(inputs, targets, real.astype(np.float32), resets)


def _check_sizes(batch_size: int, num_steps: int) -> None:
    if batch_size < 1 or num_steps < 1:
        raise ValueError(f'wanted batch_size and num_steps >= 1: got {batch_size} and {num_steps}')


def _ids(tokens: np.ndarray, places: np.ndarray, vocab_size: int | None) -> np.ndarray:
    ids = np.asarray(tokens[places], np.int32)
    if vocab_size is not None and ids.size and not 0 <= ids.min() <= ids.max() < vocab_size:
        raise base.DataError(
            f'word ids from {ids.min()} to {ids.max()} in a corpus whose vocabulary has '
            f'{vocab_size} words: delete its cache to prepare it again'
        )
    return ids
