r"""Programs and their answers as text: what Learning to Execute reads and writes.

A program is built from the inside out. A literal is the first value; then, `nesting` times, one of
the task's operations is chosen, the program so far becomes one of its operands and fresh literals
become the others. The tasks and their operations:

  addition: +      control: if, for           copy: none, the answer is the text, a number
  algebra: +, -, * program: +, -, *, if, for  reverse, double: the text backwards, or twice

Dialect 'sonnet' is the authors' public generator. Literals have exactly `length` digits, the nested
program is the first operand, there are no spaces, and the answer is taken modulo 10^(length + 1),
so that it is never negative. Examples of nesting 2 and length 2, answers modulo 1000:

  (77+51)-90                        38
  x=(20if31>46else85)for[3]x+=11    85 + 3 * 11 = 118
  (12-34)*56                        -1232 = 768 modulo 1000

Dialect 'zaremba' has the programs of Zaremba and Sutskever, which Python can run. Literals have at
most `length` digits, any operand may be the nested one, a coin decides between + and -, variables
are assigned, one factor of a product and the turns of a loop are from 1 ... 4 length, and a dot
ends the answer. Examples of nesting 2 and length 2:

  f=(87 if 71<13 else 34)\nprint((f-74))                        -40.
  a=10\nfor x in range(2):a+=(40 if 63>82 else 21)\nprint(a)    52.

Chosen here, where the sources are silent or differ. The authors' generator has the sets of
operations above, and another of +, - and if; which gave the paper's numbers is not stated: the
natural ones are taken. Memorized texts are numbers of `length` digits, as there: no leading zero.
For 'zaremba', literals are even over 1 ... 10^length - 1 (their paper says that `length` is the
number of digits, and also that 10^length occurs); all literals of a program share one length; what
only their code has is left out: semicolons, and an operation that changes nothing; loops stand on
one line and what is printed keeps its brackets, as in their appendix. Their addition is + alone.

Sources: Santoro et al. 2018, "Relational recurrent neural networks", appendix A.2,
https://arxiv.org/abs/1806.01822, and the authors' example `learn_to_execute.py` in Sonnet 1;
Zaremba and Sutskever 2014, "Learning to Execute", https://arxiv.org/abs/1410.4615.

Glossary of shapes:
  B: samples; T: characters of the longest program; A: characters of the longest answer; N: levels
  of nesting; M: operands of an operation; V: variants, an operation with the nested program as a
  certain operand; K: pieces of a text; W: characters of the longest piece; P: what a variant can
  choose its characters from.
"""

from collections.abc import Callable, Iterable
import dataclasses
import functools
import itertools
import string
from typing import Any, NamedTuple

import numpy as np

TASKS = ('addition', 'control', 'program', 'algebra', 'copy', 'reverse', 'double')
DIALECTS = ('sonnet', 'zaremba')
SPLITS = ('train', 'valid', 'test')
PAD = 0
CHARACTERS = '_0123456789-.+*=<>()[]: \nabcdefghijlnoprstx'  # shown as _: padding
NUM_ANSWER_CHARACTERS = CHARACTERS.index('.') + 1  # answers are of the first ones

_MEMORIZATION = ('copy', 'reverse', 'double')
_VARIABLES = 'abcdefghij'
_DRAWN = ('turns', 'sign', 'compare', 'name', 'open', 'close')
_IDS = {character: index for index, character in enumerate(CHARACTERS)}
_SALT = 2623  # of the splits: with it even the smallest sets of programs go 8 : 1 : 1


class Samples(NamedTuple):
    """Programs and answers, each row padded at its end."""

    text: np.ndarray  # [B, T] uint8 ids
    lengths: np.ndarray  # [B] int32
    answers: np.ndarray  # [B, A] uint8 ids
    answer_lengths: np.ndarray  # [B] int32
    # The operations, the innermost first; with memorized texts and 'zaremba' N is 0.
    kinds: np.ndarray  # [B, N] int8, of the setting's `operations`, -1 beyond the nesting
    operands: np.ndarray  # [B, N, M] int64, the nested value first; at random beyond the last one
    turns: np.ndarray  # [B, N] int8, of loops, else 0
    truths: np.ndarray  # [B, N] int8, 1 where a condition holds, -1 where not, else 0
    values: np.ndarray  # [B, N] int64, of operations, modulo 10^(the setting's length + 1)


class _Operation(NamedTuple):
    """{0} ... {3} are operands, {turns}, {sign}, {compare} and {name} what is drawn with them."""

    lines: str  # complete lines, before all that uses the value
    expression: str
    value: Callable[[Any, Any, Any], Any]  # of operands, turns and sign, integers or arrays


def _choose(x: Any, sign: Any) -> Any:
    """Returns x[0] if x[1] < x[2] (or > where the sign is -1), else x[3]."""
    holds = sign * (x[2] - x[1]) > 0
    return holds * x[0] + (1 - holds) * x[3]


_SUM = _Operation('', '{0}+{1}', lambda x, k, s: x[0] + x[1])
_DIFFERENCE = _Operation('', '{0}-{1}', lambda x, k, s: x[0] - x[1])
_PRODUCT = _Operation('', '{0}*{1}', lambda x, k, s: x[0] * x[1])
_IF = _Operation('', '{0}if{1}{compare}{2}else{3}', lambda x, k, s: _choose(x, s))
_FOR = _Operation('', 'x={0}for[{turns}]x+={1}', lambda x, k, s: x[0] + k * x[1])

_PLAIN_SUM = _Operation('', '({0}+{1})', lambda x, k, s: x[0] + x[1])
_PAIR = _Operation('', '({0}{sign}{1})', lambda x, k, s: x[0] + s * x[1])
_TIMES = _Operation('', '({0}*{turns})', lambda x, k, s: k * x[0])
_TIMES_LEFT = _Operation('', '({turns}*{0})', lambda x, k, s: k * x[0])
_ASSIGN = _Operation('{name}={0}\n', '({name}{sign}{1})', lambda x, k, s: x[0] + s * x[1])
_LOOP = _Operation(
    '{name}={0}\nfor x in range({turns}):{name}{sign}={1}\n',
    '{name}',
    lambda x, k, s: x[0] + s * k * x[1],
)
_SPACED_IF = _Operation('', '({0} if {1}{compare}{2} else {3})', lambda x, k, s: _choose(x, s))

_OPERATIONS = {
    'sonnet': {
        'addition': (_SUM,),
        'control': (_IF, _FOR),
        'program': (_SUM, _DIFFERENCE, _PRODUCT, _IF, _FOR),
        'algebra': (_SUM, _DIFFERENCE, _PRODUCT),
    },
    'zaremba': {  # drawn evenly, so what stands twice is twice as frequent
        'addition': (_PLAIN_SUM,),
        'control': (_SPACED_IF, _LOOP),
        'program': (_PAIR, _ASSIGN, _LOOP, _SPACED_IF) * 2 + (_TIMES, _TIMES_LEFT),
        'algebra': (_PAIR, _PAIR, _TIMES, _TIMES_LEFT),
    },
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """A task and its greatest difficulty; raises ValueError if there are no such programs."""

    task: str = 'program'
    nesting: int = 2  # operations of a program
    length: int = 5  # digits of a literal
    dialect: str = 'sonnet'

    def __post_init__(self) -> None:
        for name, known in (('task', TASKS), ('dialect', DIALECTS)):
            if getattr(self, name) not in known:
                raise ValueError(f'wanted a {name} of {known}, got {getattr(self, name)!r}')
        for name in ('nesting', 'length'):
            if getattr(self, name) < 1:
                raise ValueError(f'wanted a {name} of at least 1, got {getattr(self, name)}')
        if self.memorizes:
            if self.nesting > 1:
                raise ValueError(f'wanted nesting 1 for {self.task}, got {self.nesting}')
            return
        if self.dialect == 'zaremba' and self.nesting > len(_VARIABLES):
            raise ValueError(f'wanted nesting up to {len(_VARIABLES)}, got {self.nesting}')
        if 2 * max(map(abs, _extremes(self))) >= 2**63:
            raise ValueError(
                f'wanted values of {self.task} within 62 bits, got nesting {self.nesting} '
                f'and length {self.length}'
            )

    @property
    def memorizes(self) -> bool:
        """Whether the answer repeats the text instead of evaluating it."""
        return self.task in _MEMORIZATION

    @property
    def operations(self) -> tuple[str, ...]:
        """The texts of the operations whose course `draw` tells; none for 'zaremba'."""
        if self.memorizes or self.dialect != 'sonnet':
            return ()
        return tuple(operation.expression for operation in _operations(self))

    @property
    def num_operands(self) -> int:
        """M: the operands of the operation that has most of them, of those in `operations`."""
        return max(map(_count_operands, _operations(self))) if self.operations else 0

    @property
    def input_steps(self) -> int:
        """T: the characters of the longest program."""
        return self.length if self.memorizes else _longest_program(self)

    @property
    def output_steps(self) -> int:
        """A: the characters of the longest answer."""
        dot = self.dialect == 'zaremba'
        if self.memorizes:
            return self.length * (1 + (self.task == 'double')) + dot
        if self.dialect == 'sonnet':
            return self.length + 1
        return max(len(str(value)) for value in _extremes(self)) + dot


class _Layout(NamedTuple):
    """How the variants of a setting are laid out as pieces of text."""

    drawn: np.ndarray  # [any] of V: even draws of these give operations and places their chances
    restarts: np.ndarray  # [V + 1] whether all before is in complete lines now; of no variant, last
    parts: list[int]  # which of lines, before, after and what follows any variant has
    pieces: np.ndarray  # [V, parts, W] of P
    around: np.ndarray  # [0 or 2, W] ids, what the whole stands in


class _Choices(NamedTuple):
    """What is drawn for programs, whether their nesting needs it or not."""

    base: np.ndarray  # [B] the innermost literal
    literals: np.ndarray  # [B, N, M]
    variant: np.ndarray  # [B, N] of V; -1 beyond a program's nesting
    turns: np.ndarray  # [B, N]
    sign: np.ndarray  # [B, N] 1 for + and <, -1 for - and >
    name: np.ndarray  # [B, N] of variables, none twice in a program


def draw(
    setting: Setting, nesting: np.ndarray, length: np.ndarray, rng: np.random.Generator
) -> Samples:
    """Draws one sample for each row, each of its own difficulty.

    Args:
      setting: the task, and the greatest difficulty, which sets T and A.
      nesting: [B] operations of each program, from 1 to the setting's.
      length: [B] digits of each program's literals, from 1 to the setting's.
      rng: where randomness comes from.

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
        return _draw_numbers(setting, length, rng)
    choices = _draw_choices(setting, nesting, length, rng)
    text, lengths = _write(setting, nesting, choices)
    values = _evaluate(setting, choices)
    course = _course(setting, nesting, choices, values)
    printed = values[:, -1]
    if setting.dialect == 'sonnet':
        printed = printed % 10 ** (length.astype(np.int64) + 1)
    return Samples(text, lengths, *_answer(setting, printed), *course)


def split_of(samples: Samples) -> np.ndarray:
    """Returns [B] the place in `SPLITS` of each sample: 80, 10 and 10 of 100, by its text alone."""
    num_rows, num_steps = samples.text.shape
    padded = np.zeros((num_rows, num_steps + -num_steps % 8), np.uint8)
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


def decode(ids: Iterable[int]) -> str:
    """Returns ids as text, padding too."""
    return ''.join(CHARACTERS[index] for index in ids)


def _draw_numbers(setting: Setting, length: np.ndarray, rng: np.random.Generator) -> Samples:
    """Draws numbers of given lengths [B] to be repeated."""
    shape = len(length), setting.length
    text = rng.integers(_IDS['0'], _IDS['9'] + 1, shape, dtype=np.uint8)
    text[:, 0] = rng.integers(_IDS['1'], _IDS['9'] + 1, len(length), dtype=np.uint8)
    text[np.arange(setting.length) >= length[:, None]] = PAD
    slots = [text[:, ::-1] if setting.task == 'reverse' else text]
    if setting.task == 'double':
        slots.append(text)
    answers = _end(setting, slots)
    return Samples(text, length.astype(np.int32), *answers, *_no_course(len(length)))


def _end(setting: Setting, slots: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the answers [B, A] of given slots, with the dialect's end, and their lengths [B]."""
    if setting.dialect == 'zaremba':
        slots = [*slots, np.full((len(slots[0]), 1), _IDS['.'], np.uint8)]
    return _compact(np.concatenate(slots, axis=1), setting.output_steps)


def _draw_choices(
    setting: Setting, nesting: np.ndarray, length: np.ndarray, rng: np.random.Generator
) -> _Choices:
    """Draws what programs of given difficulties [B] are made of."""
    shape = len(nesting), setting.nesting
    sonnet = setting.dialect == 'sonnet'
    num_operands = max(map(_count_operands, _operations(setting)))
    powers = 10 ** np.arange(setting.length + 1)
    least = powers[length - 1] if sonnet else np.ones_like(length)
    literals = rng.integers(
        least[:, None], powers[length][:, None], (shape[0], 1 + shape[1] * num_operands)
    )
    drawn = _layout(setting).drawn
    variant = drawn[rng.integers(len(drawn), size=shape)]
    if sonnet:  # no variables
        name = np.zeros(shape, np.int64)
    else:
        name = rng.random((shape[0], len(_VARIABLES))).argsort(axis=1)[:, : shape[1]]
    return _Choices(
        literals[:, 0],
        literals[:, 1:].reshape(*shape, num_operands),
        np.where(np.arange(setting.nesting) < nesting[:, None], variant, -1),
        rng.integers(1, _most_turns(setting.dialect, length[:, None]) + 1, shape),
        1 - 2 * rng.integers(2, size=shape),
        name,
    )


def _evaluate(setting: Setting, choices: _Choices) -> np.ndarray:
    """Returns the values [B, N + 1] of the base and of what every level makes of it.

    Where there is a modulus, that of the longest literals is applied at every level, so that no
    value is too large: there a nested value is added to, multiplied or chosen, but never compared.
    """
    value = choices.base
    values = [value]
    for level in range(setting.nesting):
        inner = value
        turns, sign = choices.turns[:, level], choices.sign[:, level]
        for index, (operation, place) in enumerate(_variants(setting)):
            operands = [*choices.literals[:, level].T]
            operands[place] = inner
            result = operation.value(operands, turns, sign)
            value = np.where(choices.variant[:, level] == index, result, value)
        if setting.dialect == 'sonnet':
            value = value % 10 ** (setting.length + 1)
        values.append(value)
    return np.stack(values, axis=1)


def _course(
    setting: Setting, nesting: np.ndarray, choices: _Choices, values: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Returns kinds, operands, turns, truths and values of the operations, see `Samples`."""
    if not setting.operations:
        return _no_course(len(values))
    present = np.arange(setting.nesting) < nesting[:, None]
    kinds = np.where(present, choices.variant, -1).astype(np.int8)
    operands = choices.literals.copy()
    operands[..., 0] = values[:, :-1]
    turns, truths = np.zeros_like(kinds), np.zeros_like(kinds)
    if _FOR.expression in setting.operations:
        loops = kinds == setting.operations.index(_FOR.expression)
        turns[loops] = choices.turns[loops]
    if _IF.expression in setting.operations:
        conditions = kinds == setting.operations.index(_IF.expression)
        holds = choices.sign * (operands[..., 2] - operands[..., 1]) > 0
        truths[conditions] = 2 * holds[conditions] - 1
    return kinds, operands, turns, truths, values[:, 1:]


def _no_course(count: int) -> tuple[np.ndarray, ...]:
    """Returns what `_course` does where there are no operations to tell of."""
    few, many = np.zeros((count, 0), np.int8), np.zeros((count, 0), np.int64)
    return few, np.zeros((count, 0, 0), np.int64), few, few, many


def _answer(setting: Setting, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns values [B] as answers [B, A] and their lengths [B]."""
    minus = np.where(values < 0, _IDS['-'], PAD).astype(np.uint8)
    return _end(setting, [minus[:, None], _digits(np.abs(values), setting.output_steps)])


def _write(
    setting: Setting, nesting: np.ndarray, choices: _Choices
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the texts [B, T] of programs and their lengths [B]."""
    layout, num_rows = _layout(setting), len(nesting)
    inner = _pick(layout, _show(setting, nesting, choices), choices.variant)
    outer = np.full((num_rows, 1 + len(layout.around), inner.shape[2]), PAD, np.uint8)
    outer[:, 0, : setting.length] = _digits(choices.base, setting.length)
    outer[:, 1:] = layout.around
    pieces = np.concatenate([inner, outer], axis=1)
    order = _order(layout, choices.variant)
    order += np.arange(0, order.size, order.shape[1])[:, None]
    slots = pieces.reshape(order.size, -1).take(order, axis=0)
    return _compact(slots.reshape(num_rows, -1), setting.input_steps)


def _show(setting: Setting, nesting: np.ndarray, choices: _Choices) -> np.ndarray:
    """Returns what variants can choose from at every level: [B, N, P] ids, PAD for nothing."""
    shape = choices.variant.shape
    nested = np.arange(1, shape[1] + 1) < nesting[:, None]
    found = {
        'turns': _digits(choices.turns, len(_fields(setting)['turns'])),
        'sign': np.where(choices.sign > 0, _IDS['+'], _IDS['-']),
        'compare': np.where(choices.sign > 0, _IDS['<'], _IDS['>']),
        'name': choices.name + _IDS[_VARIABLES[0]],
        'open': np.where(nested, _IDS['('], PAD),
        'close': np.where(nested, _IDS[')'], PAD),
    }
    literals = _digits(choices.literals, setting.length).reshape(*shape, -1)
    constants = np.broadcast_to(
        np.arange(len(CHARACTERS), dtype=np.uint8), (*shape, len(CHARACTERS))
    )
    drawn = [found[name].reshape(*shape, -1).astype(np.uint8) for name in _DRAWN]
    return np.concatenate([constants, *drawn, literals], axis=2)


def _pick(layout: _Layout, shown: np.ndarray, variant: np.ndarray) -> np.ndarray:
    """Returns the pieces [B, N times parts, W] that variants [B, N] choose from [B, N, P]."""
    _, num_parts, width = layout.pieces.shape
    rows_of_all, of_all = shown.reshape(variant.size, -1), variant.ravel()
    found = np.full((variant.size, num_parts * width), PAD, np.uint8)
    for index, columns in enumerate(layout.pieces):
        (rows,) = np.nonzero(of_all == index)
        found[rows] = rows_of_all[rows].take(columns.ravel(), axis=1)
    return found.reshape(len(variant), -1, width)


def _order(layout: _Layout, variant: np.ndarray) -> np.ndarray:
    """Returns the order [B, K] of pieces: those of levels [B, N], the base, and around it all.

    Up to a restart, a text is: the lines of levels, the innermost first; what stands before their
    operand, the outermost first; the base, or what follows the last restart; what stands after
    their operand, the innermost first. The next part of the text is the same again.
    """
    num_rows, num_levels = variant.shape
    level = np.arange(num_levels + 1)
    middle = 2 * num_levels + 2
    stride = 2 * middle
    restarts = np.pad(layout.restarts[variant], ((0, 0), (1, 0)))
    parts = [level, middle - 1 - level, middle + 1 + level, np.full_like(level, middle + stride)]
    keys = stride * restarts.cumsum(axis=1)[..., None] + np.stack(parts, axis=1)  # [B, N + 1, 4]
    inner = keys[:, :-1, layout.parts].reshape(num_rows, -1)
    base = np.full((num_rows, 1), middle)
    around = keys[:, -1, 1 : 1 + len(layout.around)]
    return np.concatenate([inner, base, around], axis=1).argsort(axis=1)


def _compact(slots: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Closes the gaps of rows: [B, any number] to [B, width] and the rows' lengths [B] int32."""
    filled = slots != PAD
    lengths = filled.sum(axis=1, dtype=np.int32)
    closed = np.full((len(slots), width), PAD, np.uint8)
    closed[np.arange(width) < lengths[:, None]] = slots[filled]
    return closed, lengths


def _digits(values: np.ndarray, width: int) -> np.ndarray:
    """Returns numbers [...] that are not negative as ids [..., width], PAD for leading zeros."""
    found = np.empty((*values.shape, width), np.uint8)
    for place in reversed(range(width)):
        quotient = values // 10
        digit = values - 10 * quotient + _IDS['0']
        found[..., place] = digit if place == width - 1 else np.where(values > 0, digit, PAD)
        values = quotient
    return found


def _operations(setting: Setting) -> tuple[_Operation, ...]:
    return _OPERATIONS[setting.dialect][setting.task]


def _count_operands(operation: _Operation) -> int:
    return sum(f'{{{place}}}' in operation.lines + operation.expression for place in range(4))


def _most_turns(dialect: str, length: Any) -> Any:
    return 9 if dialect == 'sonnet' else 4 * length


@functools.cache
def _variants(setting: Setting) -> tuple[tuple[_Operation, int], ...]:
    """Returns V: operations and which of their operands is the nested program."""
    return tuple(
        (operation, place)
        for operation in dict.fromkeys(_operations(setting))
        for place in range(1 if setting.dialect == 'sonnet' else _count_operands(operation))
    )


@functools.cache
def _layout(setting: Setting) -> _Layout:
    """Lays the variants of a setting out; slow, but done once."""
    fields, variants, sonnet = _fields(setting), _variants(setting), setting.dialect == 'sonnet'
    places = [
        [index for index, (known, _) in enumerate(variants) if known == operation]
        for operation in _operations(setting)
    ]
    drawn = [index for found in places for index in found * (4 // len(found))]
    texts = [_cut(operation, place, brackets=sonnet) for operation, place in variants]
    parts = [part for part in range(4) if any(text[part] for text in texts)]
    pieces = [[_spell(text[part], fields) for part in parts] for text in texts]
    around = [_spell(text, fields) for text in (() if sonnet else ('print(', ')'))]
    width = max(setting.length, *(len(x) for found in (*pieces, around) for x in found))
    return _Layout(
        np.array(drawn),
        np.array([bool(text[3]) for text in texts] + [False]),
        parts,
        np.array([[_pad(x, width) for x in found] for found in pieces]),
        np.array([_pad(x, width) for x in around], np.uint8).reshape(-1, width),
    )


@functools.cache
def _fields(setting: Setting) -> dict[str, range]:
    """Returns where in P stands what is drawn, behind the characters themselves."""
    widths = dict.fromkeys(_DRAWN, 1)
    widths['turns'] = len(str(_most_turns(setting.dialect, setting.length)))
    widths |= {str(place): setting.length for place in range(4)}
    ends = [*itertools.accumulate(widths.values(), initial=len(CHARACTERS))]
    return {name: range(*ends[index : index + 2]) for index, name in enumerate(widths)}


def _cut(operation: _Operation, place: int, brackets: bool) -> tuple[str, str, str, str]:
    """Cuts a text around the nested operand: lines, before, after, and what follows a restart."""
    operand = f'{{{place}}}'
    if operand in operation.lines:
        before, after = operation.lines.split(operand)
        return '', before, after, operation.expression
    before, after = operation.expression.split(operand)
    if brackets:
        before, after = '{open}' + before, after + '{close}'
    return operation.lines, before, after, ''


def _spell(text: str, fields: dict[str, range]) -> list[int]:
    """Returns the places in P of a text with fields."""
    columns: list[int] = []
    for constant, name, _, _ in string.Formatter().parse(text):
        columns += [_IDS[character] for character in constant]
        columns += fields[name] if name else ()
    return columns


def _pad(columns: list[int], width: int) -> list[int]:
    return columns + [PAD] * (width - len(columns))


@functools.cache
def _longest_program(setting: Setting) -> int:
    """Returns T: each level adds the longest operation, less the operand that it takes in."""
    fields = _fields(setting)
    added = max(len(_spell(x.lines + x.expression, fields)) for x in _operations(setting))
    levels = setting.nesting * (added - setting.length) + setting.length
    return levels + (2 * (setting.nesting - 1) if setting.dialect == 'sonnet' else len('print()'))


@functools.cache
def _extremes(setting: Setting) -> tuple[int, int]:
    """Returns the least and the greatest value, before a modulus: with operands at their ends."""
    literal = nested = 1, 10**setting.length - 1
    levels = setting.nesting
    if setting.dialect == 'sonnet':  # every level takes in what a modulus left
        nested, levels = (0, 10 ** (setting.length + 1) - 1), 1
    for _ in range(levels):
        corners = set(nested)
        for operation, place in _variants(setting):
            ranges = [nested if x == place else literal for x in range(4)]
            turns = 1, _most_turns(setting.dialect, setting.length)
            for *operands, count, sign in itertools.product(*ranges, turns, (1, -1)):
                corners.add(operation.value(operands, count, sign))
        nested = min(corners), max(corners)
    return nested
