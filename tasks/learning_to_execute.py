"""Learning to Execute as batches: programs to read and answers to write, character by character.

Curricula say how hard the samples of a batch are. 'mix' draws nesting and length of each sample
evenly from 1 to the setting's, 'baseline' takes the setting's own; 'naive' and 'combined' have
levels, which a training walks up: at nesting 1 all lengths, then at nesting 2 all lengths, and so
on. 'naive' takes the level's difficulty; 'combined' does so for four fifths of the samples and
mixes the others, as Zaremba and Sutskever did. (The authors' example has another 'combined', which
draws evenly up to the level.)

Which split a sample is of depends on its text alone, so that no program of the validation or test
split is ever trained on. A batch holds the first samples of its split among those that are drawn:
where a difficulty has few programs, its share follows from how many of them the split has.

Hints tell what a program's operations take in and give, so that a memory can be taught in training
to hold it. A number v is shown as A angles, 2 pi v / 10^k for k = 1 ... A, by cosine and sine:
of two numbers' sum, every angle is the sum of theirs, without a carry. Products, whose angles do
not follow from those of their factors, are not given.

Sources: Santoro et al. 2018, "Relational recurrent neural networks", appendix A.2,
https://arxiv.org/abs/1806.01822; Zaremba and Sutskever 2014, "Learning to Execute", section 4,
https://arxiv.org/abs/1410.4615. What hints are: Velickovic et al. 2022, "The CLRS Algorithmic
Reasoning Benchmark", section 2, https://arxiv.org/abs/2205.15659.

Glossary of shapes:
  T: characters of the longest program; A: characters of the longest answer; B: samples; N:
  operations of a program; M: operands of an operation; K: facts of an operation.
"""

from typing import NamedTuple

import chex
import numpy as np

from tasks import programs

CURRICULA = ('mix', 'baseline', 'naive', 'combined')

_MIXED = 0.2  # of the samples of 'combined'
_SHARES = (0.8, 0.1, 0.1)  # of the splits
_MOST_TURNS = 9  # of a loop, where operations are told of
_BLOCK = 2048  # samples drawn at once: what fits a processor's cache
_MOST_IN_VAIN = 16_384  # samples drawn and none of them of the split


class Hints(NamedTuple):
    """What operations take in and give, the innermost first, and where in a text they end."""

    steps: chex.Array  # [N, B] int32, of the last character of an operation
    present: chex.Array  # [N, B] float32, 0 beyond a program's nesting
    operands: chex.Array  # [N, B, M, A, 2] float32 cosines and sines
    taken: chex.Array  # [N, B, M] float32, 0 for operands that an operation does not have
    facts: chex.Array  # [N, B, K] float32: kind and turns as one-hots, truth of a condition
    results: chex.Array  # [N, B, A, 2] float32 cosines and sines
    given: chex.Array  # [N, B] float32, 0 for products


class Batch(NamedTuple):
    """Programs and answers, time-major and padded at their ends."""

    inputs: chex.Array  # [T, B] int32 ids
    lengths: chex.Array  # [1, B] int32, of the programs
    targets: chex.Array  # [A, B] int32 ids
    weights: chex.Array  # [A, B] float32, 1 over the answer
    hints: Hints | None = None


def num_facts(setting: programs.Setting) -> int:
    """Returns K."""
    return len(setting.operations) + _MOST_TURNS + 1


def num_levels(setting: programs.Setting, curriculum: str) -> int:
    """Returns how many levels there are to walk; 1 where difficulty stays as it is."""
    _check_choice('curriculum', curriculum, CURRICULA)
    return setting.nesting * setting.length if curriculum in ('naive', 'combined') else 1


def difficulty(setting: programs.Setting, level: int) -> tuple[int, int]:
    """Returns nesting and length of a level."""
    nesting, length = divmod(level, setting.length)
    return nesting + 1, length + 1


def batch(
    setting: programs.Setting,
    curriculum: str,
    level: int,
    split: str,
    seed: int,
    step: int,
    batch_size: int,
    hints: bool = False,
) -> Batch:
    """Makes a batch: a pure function of its arguments.

    Args:
      setting: the task and its greatest difficulty, which shapes follow.
      curriculum: one of `CURRICULA`.
      level: from 0 to `num_levels` - 1.
      split: one of `programs.SPLITS`.
      seed: of the run, at least 0.
      step: of the run, at least 0.
      batch_size: B, at least 1.
      hints: whether to tell of operations; only for a setting that has `operations`.

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
    made = _to_batch(samples)
    return made._replace(hints=_hints(setting, samples)) if hints else made


def _check_choice(name: str, found: str, known: tuple[str, ...]) -> None:
    if found not in known:
        raise ValueError(f'wanted a {name} of {known}, got {found!r}')


def _collect(
    setting: programs.Setting,
    curriculum: str,
    level: int,
    part: int,
    batch_size: int,
    rng: np.random.Generator,
) -> programs.Samples:
    """Draws until there are enough samples of a split."""
    found: list[programs.Samples] = []
    missing, drawn = batch_size, 0
    while missing:
        if drawn > _MOST_IN_VAIN and missing == batch_size:
            raise ValueError(
                f'wanted samples of the split {programs.SPLITS[part]!r}, got none in {drawn} that '
                f'were drawn: {setting} has too few programs'
            )
        count = min(_BLOCK, int(1.1 * missing / _SHARES[part]) + 16)
        difficulties = _difficulties(setting, curriculum, level, count, rng)
        samples = programs.draw(setting, *difficulties, rng)
        (chosen,) = np.nonzero(programs.split_of(samples) == part)
        found.append(programs.Samples(*(array[chosen[:missing]] for array in samples)))
        missing -= len(found[-1].text)
        drawn += count
    return programs.Samples(*map(np.concatenate, zip(*found, strict=True)))


def _difficulties(
    setting: programs.Setting, curriculum: str, level: int, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws nesting and length [count]."""
    fixed = (
        (setting.nesting, setting.length)
        if curriculum == 'baseline'
        else difficulty(setting, level)
    )
    mixed = rng.random(count) < {'mix': 1, 'combined': _MIXED}.get(curriculum, 0)
    nesting = rng.integers(1, setting.nesting + 1, count)
    length = rng.integers(1, setting.length + 1, count)
    return np.where(mixed, nesting, fixed[0]), np.where(mixed, length, fixed[1])


def _to_batch(samples: programs.Samples) -> Batch:
    """Turns samples into a time-major batch."""
    steps = np.arange(samples.answers.shape[1])[:, None]
    return Batch(
        np.ascontiguousarray(samples.text.T, np.int32),
        samples.lengths[None],
        np.ascontiguousarray(samples.answers.T, np.int32),
        (steps < samples.answer_lengths).astype(np.float32),
    )


def _hints(setting: programs.Setting, samples: programs.Samples) -> Hints:
    """Tells what the operations of samples are about."""
    kinds, places = samples.kinds.T, setting.output_steps
    present = kinds >= 0
    operands = [f'{{{place}}}' for place in range(setting.num_operands)]
    taken = np.array([[operand in text for operand in operands] for text in setting.operations])
    given = np.array(['*' not in text for text in setting.operations])
    turns = samples.turns.T[..., None] == np.arange(1, _MOST_TURNS + 1)
    known = kinds[..., None] == np.arange(len(setting.operations))
    facts = np.concatenate([known, turns, samples.truths.T[..., None]], axis=-1)
    return Hints(
        _ends(samples),
        present.astype(np.float32),
        _angles(samples.operands.transpose(1, 0, 2), places),
        (taken[kinds] & present[..., None]).astype(np.float32),
        facts.astype(np.float32),
        _angles(samples.values.T, places),
        (given[kinds] & present).astype(np.float32),
    )


def _ends(samples: programs.Samples) -> np.ndarray:
    """Returns the steps [N, B] of the characters that end operations, 0 beyond the nesting.

    A nested operation ends with its bracket, so that the n-th bracket that closes is that of the
    n-th operation; the outermost one ends with the text.
    """
    levels = np.arange(samples.kinds.shape[1])[:, None]
    nesting = (samples.kinds >= 0).sum(axis=1)
    closed = (samples.text == programs.CHARACTERS.index(')')).cumsum(axis=1)  # [B, T]
    brackets = (closed[None] <= levels[..., None]).sum(axis=-1)
    ends = np.where(levels == nesting - 1, samples.lengths - 1, brackets)
    return np.where(levels < nesting, ends, 0).astype(np.int32)


def _angles(values: np.ndarray, places: int) -> np.ndarray:
    """Returns cosine and sine of 2 pi v / 10^k, k = 1 ... A, of numbers: [...] to [..., A, 2]."""
    moduli = 10 ** np.arange(1, places + 1)
    angles = 2 * np.pi * (values[..., None] % moduli) / moduli
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1).astype(np.float32)
