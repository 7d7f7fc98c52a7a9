"""Grids: how they are read, named, checked by their program, kept, and joined."""

import json
import pathlib
import re

import pytest

from launch import lm
from launch.runs import errors
from launch.sweeps import grid as grid_lib
from tasks import base
from tests.support import toy_program

ON_RESUME = {'size': 'fixed', 'rate': 'warn', 'num_steps': 'warn', 'preset': 'free'}
ON_RESUME |= {'log_every': 'free', 'heads': 'fixed'}


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    """Lets programs be looked for among the tests."""
    monkeypatch.setattr(grid_lib, 'PACKAGE', 'tests.support')


def _parse(line, known=None):
    return grid_lib.parse(line.split(), known, ON_RESUME)


def _points(grid):
    return [tuple(each.values()) for each in grid.configurations]


def test_flags_with_several_values_make_every_combination_and_others_are_fixed():
    grid = _parse('lm size=8,1 heads=1,2,4 preset=paper data-dir=a/b')
    assert (grid.program, grid.axes) == ('lm', ['size', 'heads'])
    assert grid.fixed == {'preset': 'paper', 'data_dir': 'a/b'}
    assert _points(grid) == [(size, heads) for size in '18' for heads in '124']
    flags = {'preset': 'paper', 'data_dir': 'a/b', 'size': '8', 'heads': '4'}
    run = grid.runs(pathlib.Path('sweep'))[-1]
    assert (run.name, run.folder) == ('size=8,heads=4', pathlib.Path('sweep/size=8,heads=4'))
    assert run.flags == flags
    assert run.words == [*(f'--{k}={v}' for k, v in flags.items()), f'--run_dir={run.folder}']


def test_values_are_ordered_by_size_where_all_are_numbers_and_as_given_elsewhere():
    grid = _parse('toy_program size=16,8,2 text=b,a,10')
    assert grid.values('size') == ['2', '8', '16']
    assert grid.values('text') == ['b', 'a', '10']
    ordered = [(size, text) for size in ('2', '8', '16') for text in ('b', 'a', '10')]
    assert _points(grid) == ordered


def test_a_comma_after_a_backslash_belongs_to_the_value():
    grid = grid_lib.parse(['lm', r'prompt=yes\, sir,no', r'text=a\,b'])
    assert _points(grid) == [('yes, sir',), ('no',)]
    assert grid.fixed == {'text': 'a,b'}
    assert grid.runs(pathlib.Path())[0].name == 'prompt=yes__sir'


def test_a_name_may_have_200_characters():
    grid = _parse(f'lm text=a,{"b" * 195}')
    assert [len(run.name) for run in grid.runs(pathlib.Path())] == [6, 200]


def test_a_grid_has_at_most_so_many_configurations():
    values = ','.join(map(str, range(30)))
    words = [f'{name}={values}' for name in ('seed', 'size', 'heads')]
    assert len(grid_lib.parse(['toy', *words[:2]]).configurations) == 900
    with pytest.raises(errors.RunError, match=r'at most 1,000 configurations, got 27,000'):
        grid_lib.parse(['toy', *words])


def test_a_value_may_hold_an_equals_sign_and_be_empty():
    grid = _parse('lm prompt=a=b, seed=3')
    assert _points(grid) == [('a=b',), ('',)]
    assert grid.fixed == {'seed': '3'}


@pytest.mark.parametrize(
    ('line', 'reason'),
    [
        ('lm', 'wanted a flag with several values, for example seed=0,1,2; got none'),
        ('lm seed=1', 'wanted a flag with several values'),
        ('lm seed', "wanted NAME=VALUE,VALUE for a flag of the program, got 'seed'"),
        ('lm =1,2', "got '=1,2'"),
        ('lm --seed=1,2', "got '--seed=1,2'"),
        ('lm seed=1,2 seed=3', 'wanted every flag of the program once'),
        ('lm seed=1,2,1', 'seed: wanted values that differ, got 1,2,1'),
        ('lm run_dir=a,b', 'run_dir: wanted --sweep_dir=DIR'),
        ('lm data_dir=a/b,a_b', 'names that differ, got data_dir=a_b twice'),
        (f'lm text=a,{"b" * 200}', 'names up to 200 characters, got text=bbb'),
    ],
)
def test_arguments_that_are_no_grid_are_refused(line, reason):
    with pytest.raises(errors.RunError, match=re.escape(reason)) as caught:
        _parse(line)
    assert caught.value.code == errors.USAGE


@pytest.mark.parametrize(
    ('program', 'reason'),
    [
        ('toy_progam', 'no program .toy_progam.; wanted one that trains, out of .*toy_program'),
        ('__init__', 'no program .__init__.; wanted one that trains'),
        ('programs', 'no program .programs.; wanted one that trains'),
    ],
)
def test_a_program_that_is_none_is_refused(program, reason, monkeypatch):
    if program == 'programs':  # a folder
        monkeypatch.setattr(grid_lib, 'PACKAGE', 'tests')
    with pytest.raises(errors.RunError, match=reason) as caught:
        grid_lib.load_program(program)
    assert caught.value.code == errors.USAGE


def test_a_program_that_does_not_train_is_refused(monkeypatch):
    assert grid_lib.load_program('toy_program').PRESETS == toy_program.PRESETS
    monkeypatch.setattr(grid_lib, 'PACKAGE', 'launch')
    assert grid_lib.load_program('lm') is lm
    for name in ('benchmark', 'play', 'sweep'):
        with pytest.raises(errors.RunError, match=f'with --run_dir and --num_steps; got {name}'):
            grid_lib.load_program(name)
    with pytest.raises(errors.RunError, match=r'no program .gremlin.; .* out of attention, '):
        grid_lib.load_program('gremlin')


def test_the_program_checks_every_configuration_and_the_first_bad_one_is_named():
    grid_lib.check(_parse('toy_program size=4,8 heads=1,2,4 preset=large'), toy_program)
    bad = _parse('toy_program size=4,9 heads=1,3')
    with pytest.raises(errors.RunError) as caught:
        grid_lib.check(bad, toy_program)
    wanted = '--size: wanted a multiple of --heads=3, got 4'
    assert str(caught.value) == f'toy_program size=4,heads=3: {wanted}'
    assert caught.value.code == errors.USAGE


@pytest.mark.parametrize(
    ('line', 'reason'),
    [
        ('toy_program size=1,2 sise=3', 'no flag --sise (did you mean size?)'),
        ('toy_program size=1,x', "size=x: --size: wanted an integer, got 'x'"),
        ('toy_program size=1,2 preset=huge', 'size=1: --preset: wanted one of small, large'),
        ('lm total_units=60,64 mem_slots=1 num_heads=4,8', 'wanted a multiple of --mem_slots'),
    ],
)
def test_flags_that_the_program_refuses_are_reported_in_its_words(line, reason, capsys):
    module = lm if line.startswith('lm') else toy_program
    with pytest.raises(errors.RunError, match=re.escape(reason)) as caught:
        grid_lib.check(_parse(line), module)
    assert caught.value.code == errors.USAGE
    assert capsys.readouterr().err == ''


def test_a_grid_is_read_as_it_was_written(tmp_path):
    grid = grid_lib.parse(['toy_program', r'text=a\,b,c', 'size=2,3', 'rate=1'])
    assert grid_lib.read(tmp_path) is None
    grid_lib.write(tmp_path, grid)
    assert grid_lib.read(tmp_path) == grid
    values = json.loads((tmp_path / 'sweep.json').read_text())
    assert list(values) == ['program', 'fixed', 'axes', 'points']
    assert values['points'][0] == ['a,b', '2']


@pytest.mark.parametrize(
    'change',
    [
        {'points': 3},
        {'points': []},
        {'points': [['1']]},
        {'axes': None},
        {'program': None, 'points': [[1, 2]]},
    ],
)
def test_a_damaged_grid_is_refused(change, tmp_path):
    grid_lib.write(tmp_path, _parse('toy_program heads=1,2 size=2,4'))
    path = tmp_path / 'sweep.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(base.DataError, match=r'sweep\.json is not the grid of a sweep'):
        grid_lib.read(tmp_path)


def test_grids_of_the_same_axes_are_joined():
    known = _parse('toy_program size=4,8 heads=1,2 rate=1')
    both = _parse('toy_program heads=4 size=4,16 rate=1', known)
    assert both.axes == ['size', 'heads']
    wanted = [('4', '1'), ('4', '2'), ('4', '4'), ('8', '1'), ('8', '2'), ('16', '4')]
    assert _points(both) == wanted
    assert _parse('toy_program size=4,8 heads=1,2 rate=1', both) == both


def test_the_program_alone_means_what_the_directory_holds():
    known = _parse('toy_program size=4,8 rate=1')
    assert _parse('toy_program', known) == known
    with pytest.raises(errors.RunError, match='program: toy_program -> lm'):
        _parse('lm', known)


def test_more_steps_and_flags_that_do_not_matter_may_change():
    known = _parse('toy_program size=4,8 num_steps=5 log_every=1')
    both = _parse('toy_program size=8 num_steps=9', known)
    assert both.fixed == {'num_steps': '9'}
    assert _points(both) == [('4',), ('8',)]


@pytest.mark.parametrize(
    ('line', 'differences'),
    [
        ('size=4 rate=2 num_steps=5', ['rate: 1 -> 2']),
        ('size=4 num_steps=5', ['rate: 1 -> absent']),
        ('size=4 rate=1', ['num_steps: 5 -> absent']),
        ('size=4 rate=1 num_steps=5 preset=large', ['preset: absent -> large']),
        ('size=4 rate=2,3 num_steps=5 heads=2', ['rate: 1 -> several', 'heads: absent -> 2']),
        ('size=4 rate=1 num_steps=5,6', ['num_steps: 5 -> several']),
        ('heads=1,2 rate=1 num_steps=5', ['size: several -> absent', 'heads: absent -> several']),
        ('size=4 rate=1 num_steps=5 log_every=1,2', ['log_every: absent -> several']),
    ],
)
def test_grids_of_other_fixed_flags_or_axes_are_refused_with_all_differences(line, differences):
    known = _parse('toy_program size=4,8 rate=1 num_steps=5')
    with pytest.raises(errors.RunError) as caught:
        _parse(f'toy_program {line}', known)
    assert caught.value.code == errors.MISMATCH
    assert f'holds another sweep ({"; ".join(differences)}); use the same' in str(caught.value)


def test_a_part_of_a_grid_has_the_axes_that_differ_in_it():
    whole = grid_lib.parse(['lm', 'core=rmc,lstm', 'seed=0,1', 'num_steps=8'])
    part = grid_lib.subset(whole, whole.configurations[:2])
    assert (part.axes, part.values('seed'), part.fixed) == (['seed'], ['0', '1'], whole.fixed)
