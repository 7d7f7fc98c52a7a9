"""Which published numbers stand next to which runs."""

import dataclasses
import importlib

import pytest

from launch.reports import comparable, published

PROGRAMS = ('nth_farthest', 'mini_pacman', 'boxworld')


def _paper(program):
    return dataclasses.asdict(importlib.import_module(f'launch.{program}').PRESETS['paper'])


@pytest.mark.parametrize('program', PROGRAMS)
def test_the_papers_presets_are_compared_with_the_paper(program):
    config = _paper(program)
    wanted = {
        'nth_farthest': published.NTH_FARTHEST,
        'mini_pacman': published.MINI_PACMAN[5],
        'boxworld': published.BOXWORLD,
    }[program]
    assert comparable.levels(program, config) == wanted
    line = comparable.describe(program, [config, config])
    assert line.startswith("published: the paper's RMC 0.9" if program != 'mini_pacman' else 'pub')
    assert line.endswith(('hours', 'M environment steps'))


@pytest.mark.parametrize(
    ('program', 'change'),
    [
        ('nth_farthest', {'num_objects': 3}),
        ('nth_farthest', {'head': 'distances'}),
        ('mini_pacman', {'rules': 'released'}),
        ('mini_pacman', {'viewport': 7}),
        ('boxworld', {'max_solution': 4}),
        ('boxworld', {'num_colors': None}),  # of an older version
    ],
)
def test_next_to_another_task_or_training_they_are_left_out_with_the_reason(program, change):
    other = {**_paper(program), **change}
    assert comparable.levels(program, other) == {}
    for configs in ([other], [_paper(program), other]):
        assert comparable.common_levels(program, configs) == {}
        line = comparable.describe(program, configs)
        assert line.startswith('published numbers are left out: they are of ')
    assert comparable.common_levels(program, [_paper(program)])


def test_of_other_programs_there_is_no_line():
    assert comparable.describe('lm', [{}]) == ''
    assert comparable.levels('lm', {}) == {}
    assert comparable.common_levels('nth_farthest', []) == {}
