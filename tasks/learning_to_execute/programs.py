"""Samples programs of Learning to Execute with their answers, and assigns them to splits.

`setting` defines the programs. The split of a program depends on its text alone, so that no program
of the validation or test split is ever trained on.

Glossary of shapes:
  B: samples; T: characters of the longest program; A: characters of the longest answer; N: levels
  of nesting; M: operands of an operation.
"""

import functools
from typing import NamedTuple

import numpy as np

from tasks.learning_to_execute import setting as setting_lib
from tasks.learning_to_execute import writing

SPLITS = ('train', 'valid', 'test')
_SALT = 2623  # of the splits: with it even the smallest sets of programs are split 8 : 1 : 1


class Samples(NamedTuple):
    """Programs and answers, padded at their ends."""

    text: np.ndarray  # [B, T] uint8 ids
    lengths: np.ndarray  # [B] int32
    answers: np.ndarray  # [B, A] uint8 ids
    answer_lengths: np.ndarray  # [B] int32


def sample(
    setting: setting_lib.Setting, nesting: np.ndarray, length: np.ndarray, rng: np.random.Generator
) -> Samples:
    """Samples programs, each of its own difficulty.

    Args:
      setting: the task, and the greatest difficulty, which sets T and A.
      nesting: [B] operations of each program, from 1 to the setting's.
      length: [B] digits of each program's literals, from 1 to the setting's.
      rng: the source of randomness.

    Returns:
      The samples.

    Raises:
      ValueError: nesting and length differ in shape, or are out of range.
    """
    nesting, length = np.asarray(nesting), np.asarray(length)
    if nesting.shape != length.shape or nesting.ndim != 1 or not nesting.size:
        raise ValueError(
            'wanted nesting and length of one shape [B], B at least 1, got '
            f'{nesting.shape} and {length.shape}'
        )
    for name, found in (('nesting', nesting), ('length', length)):
        most = getattr(setting, name)
        if not 1 <= found.min() <= found.max() <= most:
            raise ValueError(f'wanted {name} from 1 to {most}, got {found.min()} to {found.max()}')
    if setting.memorizes:
        texts = _sample_numbers(setting, length, rng)
        answers = [_repeat(setting.task, text) for text in texts]
    else:
        programs = _sample_programs(setting, nesting, length, rng)
        texts = [text for text, _ in programs]
        answers = [str(value) for _, value in programs]
    if setting.dialect == 'zaremba':
        answers = [f'{answer}.' for answer in answers]
    text, lengths = writing.encode(texts, setting.input_steps)
    return Samples(text, lengths, *writing.encode(answers, setting.output_steps))


def split_of(samples: Samples) -> np.ndarray:
    """Returns [B] the place in `SPLITS` of each sample: 80, 10 and 10 of 100, by its text alone."""
    batch_size, num_steps = samples.text.shape
    padded = np.zeros((batch_size, num_steps + -num_steps % 8), np.uint8)
    padded[:, :num_steps] = samples.text
    words = padded.view('<u8')
    hashed = (words * _multipliers(words.shape[1])).sum(axis=1, dtype=np.uint64)
    hashed ^= hashed >> np.uint64(32)
    hashed *= np.uint64(0x9E3779B97F4A7C15)  # the golden ratio's bits
    tenth = (hashed >> np.uint64(32)) % np.uint64(10)
    return np.maximum(tenth.astype(np.int64) - 7, 0)


@functools.cache
def _multipliers(count: int) -> np.ndarray:
    """Returns random odd numbers, the first ones of a sequence that never changes."""
    return np.random.PCG64(_SALT).random_raw(count) | np.uint64(1)


def _sample_numbers(
    setting: setting_lib.Setting, length: np.ndarray, rng: np.random.Generator
) -> list[str]:
    """Samples numbers of given lengths [B] to be repeated."""
    digits = rng.integers(10, size=(len(length), setting.length), dtype=np.uint8)
    digits[:, 0] = rng.integers(1, 10, len(length), dtype=np.uint8)
    return [
        ''.join(map(str, number[:end]))
        for number, end in zip(digits.tolist(), length.tolist(), strict=True)
    ]


def _repeat(task: str, text: str) -> str:
    return {'copy': text, 'reverse': text[::-1], 'double': text + text}[task]


def _sample_programs(
    setting: setting_lib.Setting, nesting: np.ndarray, length: np.ndarray, rng: np.random.Generator
) -> list[tuple[str, int]]:
    """Samples programs of given difficulties [B], each with its value."""
    sonnet, num_operands = setting.dialect == 'sonnet', setting.max_operands
    shape = len(nesting), setting.nesting
    powers = 10 ** np.arange(setting.length + 1)
    least = powers[length - 1] if sonnet else np.ones_like(length)
    literals = rng.integers(
        least[:, None], powers[length][:, None], (shape[0], 1 + shape[1] * num_operands)
    )
    kinds = rng.integers(len(setting.variants), size=shape)
    names = np.zeros(shape, np.int64)
    if not sonnet:
        names = rng.random((shape[0], len(setting_lib.VARIABLES))).argsort(axis=1)[:, : shape[1]]
    turns = rng.integers(1, setting.max_turns(length[:, None]) + 1, shape)
    signs = 1 - 2 * rng.integers(2, size=shape)
    operands = literals[:, 1:].reshape(*shape, num_operands)
    columns = nesting, length, kinds, literals[:, 0], operands, turns, signs, names
    found = []
    for count, digits, kind, *others in zip(*(x.tolist() for x in columns), strict=True):
        chosen = [setting.variants[index] for index in kind[:count]]
        text, value = writing.write(writing.Choices(chosen, *others), brackets=sonnet)
        found.append((text, value % 10 ** (digits + 1) if sonnet else value))
    return found
