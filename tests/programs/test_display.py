"""Numbers and tables as text."""

import pytest

from launch.runs import display


@pytest.mark.parametrize(
    ('value', 'wanted'),
    [
        (0.000123456, '0.0001235'),
        (3, '3'),
        (12345.6, '12,346'),
        (-2000.4, '-2,000'),
        (99.987, '99.99'),
        (float('nan'), 'nan'),
        (float('inf'), 'inf'),
        (None, '?'),
    ],
)
def test_numbers_are_short(value, wanted):
    assert display.describe({'loss': value}) == f'loss {wanted}'


def test_a_table_is_aligned():
    rows = [['', 'a', 'bcd'], ['first', '10.5', '2'], ['x', '', '']]
    assert display.table(rows).splitlines() == [
        '          a  bcd',
        'first  10.5    2',
        'x',
    ]
