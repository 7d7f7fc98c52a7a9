"""Runs that differ in the seed alone: mean and standard error, by hand."""

import dataclasses
import importlib
import math

import pytest

from launch.reports import seeds
from launch.runs import flags, plots

PROGRAMS = ('lm', 'nth_farthest', 'learning_to_execute', 'mini_pacman', 'boxworld')


def test_three_known_numbers():
    # deviations -1, 0, 1: a standard deviation of 1, over the root of 3
    assert seeds.estimate([1.0, 2.0, 3.0]) == (2.0, pytest.approx(1 / math.sqrt(3)), 3)
    assert seeds.estimate([4.0, None, 6.0]) == (5.0, pytest.approx(1.0), 2)
    assert seeds.estimate([4.0]) == (4.0, None, 1)
    assert seeds.estimate([None]) is None
    assert seeds.estimate([]) is None


def test_three_known_curves():
    curves = [[(x, slope * x) for x in (1, 2, 3)] for slope in (1.0, 2.0, 3.0)]
    mean = seeds.mean_curve(curves)
    assert mean.points == [(1, 2.0), (2, 4.0), (3, 6.0)]
    assert mean.errors == pytest.approx([x / math.sqrt(3) for x in (1, 2, 3)])
    assert mean.singles == curves


def test_curves_of_unequal_steps_are_averaged_where_all_are_known():
    one, two = [(0, 0.0), (2, 2.0), (4, 4.0)], [(1, 10.0), (3, 30.0), (6, 0.0)]
    mean = seeds.mean_curve([one, two, []])
    # from 1 to 4; at 1, 2, 3 and 4: 1, 2, 3, 4 and 10, 20, 30, 20; two numbers have half their
    # distance as standard error
    assert mean.points == [(1, 5.5), (2, 11.0), (3, 16.5), (4, 12.0)]
    assert mean.errors == pytest.approx([4.5, 9.0, 13.5, 8.0])
    assert mean.singles == [one, two]


def test_curves_without_common_steps_have_no_mean_and_stay_visible():
    apart = [[(1, 1.0), (2, 2.0)], [(3, 3.0)]]
    assert seeds.mean_curve(apart) == plots.Curve([], [], apart)


def test_one_curve_stays_as_it_is():
    assert seeds.mean_curve([[(1, 2.0)], []]) == plots.Curve([(1, 2.0)])
    assert seeds.mean_curve([[]]) == plots.Curve([])


def test_runs_are_grouped_that_differ_in_seed_and_in_what_changes_nothing():
    base = {'core': 'rmc', 'rate': 1, 'seed': 0, 'run_dir': 'a', 'log_every': 5}
    changes = [
        {},
        {'seed': 1, 'run_dir': 'b', 'log_every': 7},
        {'core': 'lstm'},
        {'seed': 2, 'rate': 2},
        {'seed': 2},
        {'seed': 1},  # again: no independent run
        {'seed': 3, 'evaluation_size': 4},
    ]
    groups = seeds.by_seed([{**base, **change} for change in changes])
    assert groups == [[0, 1, 4], [2], [3], [5], [6]]


def test_runs_without_a_seed_are_apart():
    assert seeds.by_seed([{'core': 'rmc'}, {'core': 'rmc'}]) == [[0], [1]]


def test_other_flags_can_be_ignored():
    configs = [{'seed': '0', 'data_dir': 'a'}, {'seed': '1', 'data_dir': 'b'}]
    assert seeds.by_seed(configs) == [[0, 1]]
    assert seeds.by_seed(configs, {'seed'}) == [[0], [1]]


def test_what_is_ignored_are_the_seed_and_flags_that_are_free_on_resuming():
    found = set()
    for program in PROGRAMS:
        config = importlib.import_module(f'launch.{program}').Config
        assert dataclasses.is_dataclass(config)
        free = {name for name, value in flags.on_resume(config).items() if value == 'free'}
        known = flags.on_resume(config).keys() & seeds.IGNORED
        assert known - free == {'seed'}
        found |= known
    assert found == seeds.IGNORED


@pytest.mark.parametrize(
    ('estimate', 'text'),
    [
        (seeds.Estimate(0.91234, 0.0123, 3), '0.912 ± 0.012'),
        (seeds.Estimate(1234.56, 98.7, 3), '1,235 ± 99'),
        (seeds.Estimate(12.345, 1.5, 2), '12.3 ± 1.5'),
        (seeds.Estimate(0.5, 0.0, 2), '0.5 ± 0'),
        (seeds.Estimate(0.5, None, 1), '0.5'),
        (None, '?'),
    ],
)
def test_a_mean_has_as_many_digits_as_its_error(estimate, text):
    assert seeds.show(estimate) == text


def test_pooled_facts_are_those_of_the_first_and_hold_all():
    runs = [{'a': 1}, {'a': 2}]
    assert seeds.pool(runs)['a'] == 1
    assert seeds.pooled(seeds.pool(runs)) == runs
    assert seeds.pooled({'a': 3}) == [{'a': 3}]
