r"""The programs of Learning to Execute: tasks, dialects, operations and difficulty.

A program is built from the inside out. A literal is the first value; then, `nesting` times, one of
the task's operations is applied: the program so far becomes one of its operands, new literals
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
most `length` digits, any operand may be the nested one, + and - are equally likely, variables are
assigned, one factor of a product and the turns of a loop are from 1 ... 4 length, and a dot ends
the answer. Examples of nesting 2 and length 2:

  f=(87 if 71<13 else 34)\nprint((f-74))                        -40.
  a=10\nfor x in range(2):a+=(40 if 63>82 else 21)\nprint(a)    52.

Chosen here, where the sources are silent or differ. The authors' generator has the sets of
operations above, and another of +, - and if; which gave the paper's numbers is not stated: the
natural ones are taken. Memorized texts are numbers of `length` digits, as there: no leading zero.
For 'zaremba', literals are uniform over 1 ... 10^length - 1 (their paper says that `length` is the
number of digits, and also that 10^length occurs); all literals of a program share one length; what
only their code has is left out: semicolons, and an operation that changes nothing; loops stand on
one line and what is printed keeps its brackets, as in their appendix. Their addition is + alone.

Sources: Santoro et al. 2018, "Relational recurrent neural networks", appendix A.2,
https://arxiv.org/abs/1806.01822, and the authors' example `learn_to_execute.py` in Sonnet 1;
Zaremba and Sutskever 2014, "Learning to Execute", https://arxiv.org/abs/1410.4615.

Glossary of shapes:
  T: characters of the longest program; A: characters of the longest answer.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import itertools
from typing import Any, NamedTuple

TASKS = ('addition', 'control', 'program', 'algebra', 'copy', 'reverse', 'double')
DIALECTS = ('sonnet', 'zaremba')
PAD = 0
CHARACTERS = '_0123456789-.+*=<>()[]: \nabcdefghijlnoprstx'  # the first one shows padding
NUM_ANSWER_CHARACTERS = CHARACTERS.index('.') + 1  # answers have the first ones only
VARIABLES = 'abcdefghij'
MAX_LENGTH = 18  # digits of a literal, an int64

MEMORIZATION = ('copy', 'reverse', 'double')


class Operation(NamedTuple):
    """{0} ... {3} stand for operands; {turns}, {sign}, {compare} and {name} vary with them."""

    lines: str  # complete lines, before all that uses the value
    expression: str
    value: Callable[[Sequence[int], int, int], int]  # of operands, turns and sign

    @property
    def num_operands(self) -> int:
        """How many operands there are."""
        return sum(f'{{{place}}}' in self.lines + self.expression for place in range(4))


class Variant(NamedTuple):
    """An operation that has the nested program as a certain operand."""

    operation: Operation
    place: int


def _choose(x: Sequence[int], sign: int) -> int:
    """Returns x[0] if x[1] < x[2] (> where the sign is -1), else x[3]."""
    return x[0] if sign * (x[2] - x[1]) > 0 else x[3]


_SUM = Operation('', '{0}+{1}', lambda x, turns, sign: x[0] + x[1])
_DIFFERENCE = Operation('', '{0}-{1}', lambda x, turns, sign: x[0] - x[1])
_PRODUCT = Operation('', '{0}*{1}', lambda x, turns, sign: x[0] * x[1])
_IF = Operation('', '{0}if{1}{compare}{2}else{3}', lambda x, turns, sign: _choose(x, sign))
_FOR = Operation('', 'x={0}for[{turns}]x+={1}', lambda x, turns, sign: x[0] + turns * x[1])

_PLAIN_SUM = Operation('', '({0}+{1})', lambda x, turns, sign: x[0] + x[1])
_PAIR = Operation('', '({0}{sign}{1})', lambda x, turns, sign: x[0] + sign * x[1])
_TIMES = Operation('', '({0}*{turns})', lambda x, turns, sign: turns * x[0])
_TIMES_LEFT = Operation('', '({turns}*{0})', lambda x, turns, sign: turns * x[0])
_ASSIGN = Operation('{name}={0}\n', '({name}{sign}{1})', _PAIR.value)
_LOOP = Operation(
    '{name}={0}\nfor x in range({turns}):{name}{sign}={1}\n',
    '{name}',
    lambda x, turns, sign: x[0] + sign * turns * x[1],
)
_SPACED_IF = Operation('', '({0} if {1}{compare}{2} else {3})', _IF.value)

_OPERATIONS = {
    'sonnet': {
        'addition': (_SUM,),
        'control': (_IF, _FOR),
        'program': (_SUM, _DIFFERENCE, _PRODUCT, _IF, _FOR),
        'algebra': (_SUM, _DIFFERENCE, _PRODUCT),
    },
    'zaremba': {  # sampled uniformly, so what stands twice is twice as frequent
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
        elif self.dialect == 'zaremba' and self.nesting > len(VARIABLES):
            raise ValueError(f'wanted nesting up to {len(VARIABLES)}, got {self.nesting}')
        elif self.length > MAX_LENGTH:
            raise ValueError(f'wanted length up to {MAX_LENGTH}, got {self.length}')

    @property
    def memorizes(self) -> bool:
        """Whether the answer repeats the text instead of evaluating it."""
        return self.task in MEMORIZATION

    @functools.cached_property
    def variants(self) -> tuple[Variant, ...]:
        """What an operation of a program is sampled from, uniformly."""
        found = []
        for operation in _OPERATIONS[self.dialect].get(self.task, ()):
            count = 1 if self.dialect == 'sonnet' else operation.num_operands
            found += [Variant(operation, place) for place in range(count)] * (4 // count)
        return tuple(found)

    @property
    def max_operands(self) -> int:
        """The operands of the operation that has most of them."""
        return max(operation.num_operands for operation, _ in self.variants)

    def max_turns(self, length: Any) -> Any:
        """Returns the most turns of a loop where literals have this length; integer or array."""
        return 9 if self.dialect == 'sonnet' else 4 * length

    @functools.cached_property
    def input_steps(self) -> int:
        """T: the characters of the longest program."""
        if self.memorizes:
            return self.length
        literal, turns = '9' * self.length, self.max_turns(self.length)
        fields = {'turns': turns, 'sign': '+', 'compare': '<', 'name': 'a'}
        added = max(
            len((operation.lines + operation.expression).format(*[literal] * 4, **fields))
            for operation, _ in self.variants
        )  # less the operand that is nested
        around = len('()') * (self.nesting - 1) if self.dialect == 'sonnet' else len('print()')
        return self.length + self.nesting * (added - self.length) + around

    @functools.cached_property
    def output_steps(self) -> int:
        """A: the characters of the longest answer."""
        dot = self.dialect == 'zaremba'
        if self.memorizes:
            return self.length * (1 + (self.task == 'double')) + dot
        if self.dialect == 'sonnet':
            return self.length + 1
        return max(len(str(value)) for value in self._extremes()) + dot

    def _extremes(self) -> tuple[int, int]:
        """Returns the least and the greatest value of a program, with operands at their ends."""
        literal = nested = 1, 10**self.length - 1
        for _ in range(self.nesting):
            corners = set(nested)
            for operation, place in set(self.variants):
                ranges = [nested if i == place else literal for i in range(4)]
                turns = 1, self.max_turns(self.length)
                for *operands, count, sign in itertools.product(*ranges, turns, (1, -1)):
                    corners.add(operation.value(operands, count, sign))
            nested = min(corners), max(corners)
        return nested
