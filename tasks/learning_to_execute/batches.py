"""Learning to Execute as batches: programs to read and answers to write, character by character.

A curriculum sets the difficulty of the samples of a batch. 'mix' samples nesting and length of each
program uniformly from 1 to the setting's, 'baseline' takes the setting's own; 'naive' and
'combined' have levels, which training goes through one after the other: at nesting 1 all lengths,
then at nesting 2 all lengths, and so on. 'naive' takes the level's difficulty; 'combined' does so
for four fifths of the samples and mixes the others, as Zaremba and Sutskever did. (The authors'
example has another 'combined', which samples uniformly up to the level.)

A batch holds the first programs of its split among those that are sampled from all splits: where a
difficulty has few programs, its share follows from how many of them the split has.

Sources: Santoro et al. 2018, "Relational recurrent neural networks", appendix A.2,
https://arxiv.org/abs/1806.01822; Zaremba and Sutskever 2014, "Learning to Execute", section 4,
https://arxiv.org/abs/1410.4615.

Glossary of shapes:
  T: characters of the longest program; A: characters of the longest answer; B: samples.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tasks.learning_to_execute import programs
from tasks.learning_to_execute import setting as setting_lib

CURRICULA = ('mix', 'baseline', 'naive', 'combined')

_MIXED = 0.2  # of the samples of 'combined'
_SHARES = (0.8, 0.1, 0.1)  # of the splits
_BLOCK = 2048  # programs sampled at once
_MAX_TRIES = 16_384  # programs without one of the split
_HELD_OUT = 2018  # the seed of the programs of evaluations, for runs of any seed
_CHUNK = 256  # programs of an evaluation at a time


class Batch(NamedTuple):
    """Programs and answers, time-major and padded at their ends."""

    inputs: np.ndarray  # [T, B] int32 ids
    lengths: np.ndarray  # [1, B] int32, of the programs
    targets: np.ndarray  # [A, B] int32 ids
    weights: np.ndarray  # [A, B] float32, 1 over the answer


def num_levels(setting: setting_lib.Setting, curriculum: str) -> int:
    """Returns how many levels there are; 1 where difficulty stays as it is."""
    _check_choice('curriculum', curriculum, CURRICULA)
    return setting.nesting * setting.length if curriculum in ('naive', 'combined') else 1


def difficulty(setting: setting_lib.Setting, level: int) -> tuple[int, int]:
    """Returns nesting and length of a level."""
    nesting, length = divmod(level, setting.length)
    return nesting + 1, length + 1


def sample(
    setting: setting_lib.Setting,
    curriculum: str,
    level: int,
    split: str,
    seed: int,
    step: int,
    batch_size: int,
) -> Batch:
    """Samples a batch, a pure function of its arguments.

    Args:
      setting: the task and its greatest difficulty, which sets T and A.
      curriculum: one of `CURRICULA`.
      level: from 0 to `num_levels` - 1.
      split: one of `programs.SPLITS`.
      seed: of the run, at least 0.
      step: of the run, at least 0.
      batch_size: B, at least 1.

    Returns:
      The batch.

    Raises:
      ValueError: an argument is out of range, or the split has no such programs.
    """
    _check_choice('split', split, programs.SPLITS)
    count = num_levels(setting, curriculum)
    if not 0 <= level < count:
        raise ValueError(f'wanted a level from 0 to {count - 1}, got {level}')
    if min(seed, step) < 0 or batch_size < 1:
        raise ValueError(
            'wanted a seed and step of at least 0 and a batch_size of at least 1, got '
            f'{seed}, {step} and {batch_size}'
        )
    part = programs.SPLITS.index(split)
    rng = np.random.default_rng(np.random.SeedSequence((seed, step, part)))
    samples = _collect(setting, curriculum, level, part, batch_size, rng)
    steps = np.arange(samples.answers.shape[1])[:, None]
    return Batch(
        np.ascontiguousarray(samples.text.T, np.int32),
        samples.lengths[None],
        np.ascontiguousarray(samples.answers.T, np.int32),
        (steps < samples.answer_lengths).astype(np.float32),
    )


def held_out(
    setting: setting_lib.Setting, split: str, size: int, level: int | None = None
) -> Iterator[Batch]:
    """Yields the samples of an evaluation in batches of one size, the same ones for all runs.

    Args:
      setting: the task and its greatest difficulty.
      split: one of `programs.SPLITS`.
      size: how many samples; the weights of further ones are 0.
      level: of the curriculum 'naive'; None for the greatest difficulty.

    Raises:
      ValueError: as `sample`.
    """
    curriculum = 'baseline' if level is None else 'naive'
    for part, first in enumerate(range(0, size, _CHUNK)):
        batch = sample(setting, curriculum, level or 0, split, _HELD_OUT, part, _CHUNK)
        kept = np.arange(first, first + _CHUNK) < size
        yield batch._replace(weights=batch.weights * kept)


def check_splits(setting: setting_lib.Setting, curriculum: str) -> None:
    """Raises a ValueError if training or an evaluation would find no programs in its split."""
    levels = range(num_levels(setting, curriculum))
    for level in levels:
        sample(setting, curriculum, level, 'train', 0, 0, 1)
        if len(levels) > 1:
            sample(setting, 'naive', level, 'valid', 0, 0, 1)
    for split in ('valid', 'test'):
        sample(setting, 'baseline', 0, split, 0, 0, 1)


def sort_by_length(batch: Batch, num_devices: int) -> Batch:
    """Sorts the programs of a batch by length, in the share of each device.

    Every device gets short and long ones alike. In the parts that gradient accumulation makes of a
    share, programs are of similar length, and a part of short ones takes less time.
    """
    order = np.argsort(batch.lengths[0], kind='stable')
    order = order.reshape(-1, num_devices).T.reshape(-1)
    return Batch(*(array[:, order] for array in batch))


def _check_choice(name: str, found: str, known: tuple[str, ...]) -> None:
    if found not in known:
        raise ValueError(f'wanted a {name} of {known}, got {found!r}')


def _collect(
    setting: setting_lib.Setting,
    curriculum: str,
    level: int,
    part: int,
    batch_size: int,
    rng: np.random.Generator,
) -> programs.Samples:
    """Samples programs until there are enough of a split."""
    found: list[programs.Samples] = []
    missing, tried = batch_size, 0
    while missing:
        if tried > _MAX_TRIES and missing == batch_size:
            raise ValueError(
                f'wanted samples of the split {programs.SPLITS[part]!r}, got none in {tried} '
                f'programs: {setting} has too few'
            )
        count = min(_BLOCK, int(1.1 * missing / _SHARES[part]) + 16)
        difficulties = _difficulties(setting, curriculum, level, count, rng)
        samples = programs.sample(setting, *difficulties, rng)
        (chosen,) = np.nonzero(programs.split_of(samples) == part)
        found.append(programs.Samples(*(array[chosen[:missing]] for array in samples)))
        missing -= len(found[-1].text)
        tried += count
    return programs.Samples(*map(np.concatenate, zip(*found, strict=True)))


def _difficulties(
    setting: setting_lib.Setting,
    curriculum: str,
    level: int,
    count: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Samples nesting and length [count]."""
    fixed = (
        (setting.nesting, setting.length)
        if curriculum == 'baseline'
        else difficulty(setting, level)
    )
    mixed = rng.random(count) < {'mix': 1, 'combined': _MIXED}.get(curriculum, 0)
    nesting = rng.integers(1, setting.nesting + 1, count)
    length = rng.integers(1, setting.length + 1, count)
    return np.where(mixed, nesting, fixed[0]), np.where(mixed, length, fixed[1])
