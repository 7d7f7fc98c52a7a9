"""Programs from choices: the worked examples of the documentation, and ids and back."""

import numpy as np
import pytest

from tasks.learning_to_execute import setting as setting_lib
from tasks.learning_to_execute import writing


def variant(dialect, mark, place=0):
    """The variant of 'program' whose text has a mark in it, with the nested program at a place."""
    variants = setting_lib.Setting('program', 1, 1, dialect).variants
    return next(x for x in variants if mark in x[0].lines + x[0].expression and x.place == place)


@pytest.mark.parametrize(
    ('marks', 'base', 'literals', 'turns', 'signs', 'text', 'value'),
    [
        ('+-', 77, [[0, 51], [0, 90]], [7, 7], [1, 1], '(77+51)-90', 38),
        ('-*', 12, [[0, 34], [0, 56]], [7, 7], [1, 1], '(12-34)*56', -1232),
        (
            ['if', 'for'],
            20,
            [[0, 31, 46, 85], [0, 11]],
            [7, 3],
            [-1, 1],
            'x=(20if31>46else85)for[3]x+=11',
            118,
        ),
    ],
)
def test_the_worked_examples_of_sonnet(marks, base, literals, turns, signs, text, value):
    variants = [variant('sonnet', mark) for mark in marks]
    choices = writing.Choices(variants, base, literals, turns, signs, [0, 0])
    assert writing.write(choices, brackets=True) == (text, value)
    assert f'  {text}  ' in setting_lib.__doc__


def test_the_worked_examples_of_zaremba():
    spaced_if, pair = variant('zaremba', ' if '), variant('zaremba', '({0}{sign}{1})')
    assign = variant('zaremba', '{name}={0}\n')._replace(place=0)
    loop = variant('zaremba', 'range', place=1)
    names = [setting_lib.VARIABLES.index(name) for name in 'af']
    first = writing.Choices(
        [spaced_if, assign], 87, [[0, 71, 13, 34], [0, 74]], [1, 1], [1, -1], names
    )
    assert writing.write(first, brackets=False) == (
        'f=(87 if 71<13 else 34)\nprint((f-74))',
        -40,
    )
    second = writing.Choices(
        [spaced_if, loop], 40, [[0, 63, 82, 21], [10, 0]], [1, 2], [-1, 1], names[::-1]
    )
    assert writing.write(second, brackets=False) == (
        'a=10\nfor x in range(2):a+=(40 if 63>82 else 21)\nprint(a)',
        52,
    )
    third = writing.Choices([pair, pair], 1, [[0, 2], [0, 3]], [1, 1], [1, -1], names)
    assert writing.write(third, brackets=False) == ('print(((1+2)-3))', 0)


def test_texts_become_ids_padded_at_their_ends():
    ids, lengths = writing.encode(['0-.', '', '*x'], 4)
    x = len(setting_lib.CHARACTERS) - 1
    np.testing.assert_array_equal(ids, [[1, 11, 12, 0], [0, 0, 0, 0], [14, x, 0, 0]])
    np.testing.assert_array_equal(lengths, [3, 0, 2])
    assert (ids.dtype, lengths.dtype) == (np.uint8, np.int32)


def test_decoding_shows_padding():
    assert writing.decode(np.array([1, 11, 12, 0], np.uint8)) == '0-._'
