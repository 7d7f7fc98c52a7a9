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


@pytest.mark.parametrize(
    ('value', 'wanted'),
    [
        (0.64987, '0.65'),
        (84.53, '84.5'),
        (148.8, '149'),
        (-7654.3, '-7,654'),
        (61_234.5, '61.2 k'),
        (999_600, '1 M'),
        (0.0, '0'),
    ],
)
def test_numbers_of_pictures_have_three_digits(value, wanted):
    assert display.short(value) == wanted


def test_a_mean_has_two_digits_of_its_error():
    assert display.mean(523.4, 6.12) == '523.4 ± 6.1'
    assert display.mean(0.90812, 0.0093) == '0.9081 ± 0.0093'
    assert display.mean(3.0, 0.0) == '3 ± 0'


def test_a_table_is_aligned():
    rows = [['', 'a', 'bcd'], ['first', '10.5', '2'], ['x', '', '']]
    assert display.table(rows).splitlines() == [
        '          a  bcd',
        'first  10.5    2',
        'x',
    ]
