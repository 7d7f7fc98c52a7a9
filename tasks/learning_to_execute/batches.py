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
of two numbers' sum, every angle is the sum of theirs, without a carry. A product is told as one
operation for each digit of its second factor, as on paper: ten times what there is, and the first
factor as often as the digit says. A condition is told as two: the difference of the numbers
compared, above zero (below half of the modulus) if it holds, and the choice. The number that a
program begins with is an operation too. What all these give is written to two registers: values,
and what lies between, differences and products so far.

Sources: Santoro et al. 2018, "Relational recurrent neural networks", appendix A.2,
https://arxiv.org/abs/1806.01822; Zaremba and Sutskever 2014, "Learning to Execute", section 4,
https://arxiv.org/abs/1410.4615. What hints are: Velickovic et al. 2022, "The CLRS Algorithmic
Reasoning Benchmark", section 2, https://arxiv.org/abs/2205.15659.

Glossary of shapes:
  T: characters of the longest program; A: characters of the longest answer; B: samples; N:
  operations of a program, with those that products and conditions are told as; M: operands that
  an operation can have; K: facts of an operation; R: registers, 2.
"""

from typing import NamedTuple

import chex
import numpy as np

from tasks.learning_to_execute import programs

NUM_REGISTERS = 2  # R: for values, and for what lies between
CURRICULA = ('mix', 'baseline', 'naive', 'combined')

_MIXED = 0.2  # of the samples of 'combined'
_SHARES = (0.8, 0.1, 0.1)  # of the splits
_MOST_TURNS = 9  # of a loop or a digit, where operations are told of
_IF, _PRODUCT = '{0}if{1}{compare}{2}else{3}', '{0}*{1}'
_VALUE, _BETWEEN = np.array([True, False]), np.array([False, True])  # of registers
_BLOCK = 2048  # samples drawn at once: what fits a processor's cache
_MOST_IN_VAIN = 16_384  # samples drawn and none of them of the split


class Hints(NamedTuple):
    """What operations take in and give, the innermost first, and where in a text they end."""

    steps: chex.Array  # [N, B] int32, the characters behind which results are heard
    writes: chex.Array  # [N, B, R] float32, 1 for registers written then; 0 if nothing ends
    operands: chex.Array  # [N, B, M, A, 2] float32 cosines and sines, see `operands_of`
    taken: chex.Array  # [N, B, M] float32, 0 for operands that an operation does not have
    facts: chex.Array  # [N, B, K] float32, one-hots, see `fact_sizes`
    results: chex.Array  # [N, B, A, 2] float32 cosines and sines


class _Course(NamedTuple):
    """The operations of samples, the innermost first."""

    steps: np.ndarray  # [N, B] as in `Hints`
    writes: np.ndarray  # [N, B, R] bool
    kinds: np.ndarray  # [N, B] of the setting's operations; then a comparison, the first number
    operands: np.ndarray  # [N, B, M]
    taken: np.ndarray  # [N, B, M] bool
    turns: np.ndarray  # [N, B] of a loop, or a digit; -1 for none
    signs: np.ndarray  # [N, B] 1 if a condition holds or is < of two numbers, -1 if not, 0 for none
    values: np.ndarray  # [N, B]


class Batch(NamedTuple):
    """Programs and answers, time-major and padded at their ends."""

    inputs: chex.Array  # [T, B] int32 ids
    lengths: chex.Array  # [1, B] int32, of the programs
    targets: chex.Array  # [A, B] int32 ids
    weights: chex.Array  # [A, B] float32, 1 over the answer
    hints: Hints | None = None


def operands_of(setting: programs.Setting) -> tuple[str, ...]:
    """Returns the M operands that operations can have, in words.

    They are what is added to (in a product ten times what there is so far), what is added (in a
    product its first factor), and the first of two numbers that are compared.
    """
    return 'augend', 'addend', *(('compared',) if _IF in setting.operations else ())


def fact_sizes(setting: programs.Setting) -> tuple[int, ...]:
    """Returns how long the one-hots are that make up the K facts of an operation.

    They are its kind, with comparisons and first numbers last; how often a number is added, none or
    0 to 9; and the sign: that a condition does not hold or is >, none, that it holds or is <.
    """
    return len(setting.operations) + 2, _MOST_TURNS + 2, 3


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
    course, places = _tell(setting, samples), setting.output_steps
    choices = course.kinds, course.turns, course.signs
    facts = [
        choice[..., None] == np.arange(first, first + size)
        for choice, first, size in zip(choices, (0, -1, -1), fact_sizes(setting), strict=True)
    ]
    present = np.any(course.writes, axis=-1, keepdims=True)
    return Hints(
        np.where(present[..., 0], course.steps, 0).astype(np.int32),
        course.writes.astype(np.float32),
        _angles(course.operands, places),
        (course.taken & present).astype(np.float32),
        np.concatenate(facts, axis=-1).astype(np.float32),
        _angles(course.values, places),
    )


def _tell(setting: programs.Setting, samples: programs.Samples) -> _Course:
    """Tells the course of samples: of every level the parts that its operations are told as."""
    count = max(
        1, 2 * (_IF in setting.operations), setting.length * (_PRODUCT in setting.operations)
    )
    whole = _whole(setting, samples)
    parts = [_part(setting, samples, whole, place) for place in range(count)]
    stacked = (np.stack(arrays, axis=1) for arrays in zip(*parts, strict=True))
    levels = [array.reshape(-1, *array.shape[2:]) for array in stacked]
    first = _first_number(setting, samples, whole)
    return _Course(*(np.concatenate(each) for each in zip(first, levels, strict=True)))


def _whole(setting: programs.Setting, samples: programs.Samples) -> _Course:
    """Returns one operation for each level; what is not taken is at random."""
    names, kinds = operands_of(setting), samples.kinds.T
    nested, *literals = samples.operands.transpose(2, 1, 0)
    found = [nested, literals[0]]
    if 'compared' in names:
        is_if = _are(setting, kinds, _IF)
        last = np.where(is_if, literals[2], literals[0])
        found = [nested, last, np.where(is_if, literals[0], literals[1])]
    taken = np.broadcast_to(np.arange(len(names)) < 2, (*kinds.shape, len(names)))
    turns = np.where(samples.turns.T > 0, samples.turns.T, -1)
    signs, values = samples.truths.T, samples.values.T
    operands, writes = np.stack(found, axis=-1), (kinds >= 0)[..., None] & _VALUE
    return _Course(_ends(samples), writes, kinds, operands, taken, turns, signs, values)


def _first_number(setting: programs.Setting, samples: programs.Samples, whole: _Course) -> _Course:
    """Returns the operation of the number that a program begins with, told one step behind it."""
    number = whole.operands[:1, :, 0]
    digits = [programs.CHARACTERS.index(digit) for digit in '0123456789']
    begin = np.isin(samples.text, digits).argmax(axis=1)
    operands = np.roll(whole.operands[:1], 1, axis=1)  # others' but for the literal
    operands[..., 1] = number
    return whole._replace(
        steps=begin[None] + _num_digits(setting, number),
        writes=whole.writes[:1],
        kinds=np.full_like(whole.kinds[:1], len(setting.operations) + 1),
        operands=operands,
        taken=_taken(setting, operands, ('addend',)),
        turns=np.full_like(whole.turns[:1], -1),
        signs=np.zeros_like(whole.signs[:1]),
        values=number,
    )


def _part(
    setting: programs.Setting, samples: programs.Samples, whole: _Course, place: int
) -> _Course:
    """Returns the operations of all levels that are told at a place among a level's."""
    is_if, is_product = (_are(setting, whole.kinds, text) for text in (_IF, _PRODUCT))
    here = ~is_product & (is_if == (place == 1)) & (place < 2)
    part = whole._replace(writes=whole.writes & here[..., None])
    if place == 0 and _IF in setting.operations:
        part = _where(is_if, _comparison(setting, samples, whole), part)
    if _PRODUCT in setting.operations:
        part = _where(is_product, _digit(setting, whole, place), part)
    return part


def _taken(setting: programs.Setting, operands: np.ndarray, wanted: tuple[str, ...]) -> np.ndarray:
    """Returns which operands [N, B, M] are those of these names."""
    return np.broadcast_to([name in wanted for name in operands_of(setting)], operands.shape)


def _are(setting: programs.Setting, kinds: np.ndarray, text: str) -> np.ndarray:
    """Returns which kinds are of this operation."""
    operations = setting.operations
    return kinds == operations.index(text) if text in operations else np.zeros(kinds.shape, bool)


def _where(chosen: np.ndarray, new: _Course, old: _Course) -> _Course:
    """Returns new operations where they are chosen [N, B]."""
    fit = [chosen.reshape(chosen.shape + (1,) * (array.ndim - 2)) for array in new]
    return _Course(*map(np.where, fit, new, old))


def _comparison(setting: programs.Setting, samples: programs.Samples, whole: _Course) -> _Course:
    """Returns the comparisons of conditions, told where the second number ends."""
    first, second = samples.operands.transpose(2, 1, 0)[1:3]
    operands = whole.operands.copy()
    operands[..., 1] = second
    length = _num_digits(setting, second)  # of all literals of a program
    ends = _last_digits(whole) - length - len('else')
    signs = samples.text[np.arange(len(samples.text)), ends - length]
    sign = np.where(signs == programs.CHARACTERS.index('<'), 1, -1)
    return whole._replace(
        steps=ends,
        writes=np.broadcast_to(_BETWEEN, whole.writes.shape),
        kinds=np.full_like(whole.kinds, len(setting.operations)),
        operands=operands,
        taken=_taken(setting, operands, ('addend', 'compared')),
        signs=sign,
        values=sign * (second - first),
    )


def _digit(setting: programs.Setting, whole: _Course, place: int) -> _Course:
    """Returns the operations of the digit of products' second factors at a place from the left."""
    nested, second = whole.operands[..., 0], whole.operands[..., 1]
    length = _num_digits(setting, second)
    behind = np.maximum(length - 1 - place, 0)  # digits
    read, modulus = second // 10**behind, 10 ** (setting.length + 1)
    operands = whole.operands.copy()
    operands[..., 0] = 10 * (read // 10 * nested % modulus)
    operands[..., 1] = nested
    writes = np.stack([place == length - 1, place < length], axis=-1)
    return whole._replace(
        steps=_last_digits(whole) - behind,
        writes=writes,
        operands=operands,
        taken=_taken(setting, operands, ('augend', 'addend')),
        turns=read % 10,
        values=read * nested,
    )


def _num_digits(setting: programs.Setting, values: np.ndarray) -> np.ndarray:
    """Returns how many digits literals have."""
    return (values[..., None] >= 10 ** np.arange(setting.length)).sum(axis=-1)


def _last_digits(whole: _Course) -> np.ndarray:
    """Returns the steps of operations' last digits, before the bracket of those that are nested."""
    is_nested = np.append(whole.writes[1:, :, 0], np.zeros_like(whole.writes[:1, :, 0]), axis=0)
    return whole.steps - is_nested


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
