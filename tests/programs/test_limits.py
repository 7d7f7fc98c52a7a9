"""No number is without limits: what is too large ends in one line, before anything is touched."""

import dataclasses
import importlib
import typing
from unittest import mock

import jax
import pytest

from launch.runs import errors, flags
from launch.training import experiment

EXPERIMENTS = 'boxworld', 'learning_to_execute', 'lm', 'mini_pacman', 'nth_farthest'
TOOLS = 'attention', 'benchmark', 'play', 'report', 'sweep'
NEEDED = {'report': ['run'], 'sweep': ['lm', 'seed=0,1'], 'lm': ['--dataset=pydoc']}


def _main(name, words):
    """Parses a command line and returns the exit code, 0 if the program would have begun."""
    module = importlib.import_module(f'launch.{name}')
    presets = getattr(module, 'PRESETS', {})
    words = [*NEEDED.get(name, []), *words]
    return flags.main(module.Config, lambda config: None, name, presets, words)


@pytest.mark.parametrize('name', [*EXPERIMENTS, *TOOLS])
def test_every_number_has_a_greatest_value(name, capsys):
    config = importlib.import_module(f'launch.{name}').Config
    hints = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        kinds = {hints[field.name], *typing.get_args(hints[field.name])}
        if not kinds & {int, float}:
            continue
        greatest = field.metadata['maximum']
        assert greatest <= flags.LARGEST
        for value in (f'{greatest + 1}', '9' * 20, '9' * 4000):
            assert _main(name, [f'--{field.name}={value}']) == errors.USAGE
            err = capsys.readouterr().err
            assert f'--{field.name}: wanted' in err
            assert err.count('\n') == 1


LONG = 'x' * 300
DEEP = 'folder/' * 700


@pytest.mark.parametrize(
    ('name', 'words', 'reason'),
    [
        ('lm', '--seed=99999999999999999999', '--seed: wanted at most 2147483647'),
        ('lm', '--warmup_steps=99999999999999', '--warmup_steps: wanted at most'),
        ('lm', '--batch_size=10000000000000', '--batch_size: wanted at most 100000'),
        ('lm', '--num_steps=3000000000', '--num_steps: wanted at most 2147483647'),
        ('nth_farthest', '--num_objects=100000000', '--num_objects: wanted at most 1000'),
        ('learning_to_execute', '--nesting=1000000', '--nesting: wanted at most 100'),
        ('boxworld', '--size=1000000', '--size: wanted at most 100'),
        ('boxworld', '--viewport=1000001', '--viewport: wanted at most 205'),
        ('boxworld', '--levels=1000000', '--levels: wanted at most 1000'),
        ('lm', '--learning_rate=1e300', '--learning_rate: wanted at most'),
        ('lm', f'--run_dir={LONG}', '--run_dir: wanted names of at most 240 bytes'),
        ('lm', f'--data_dir={LONG} --dataset=text', '--data_dir: wanted names'),
        ('lm', f'--cache_dir={DEEP}', '--cache_dir: wanted names'),
        ('nth_farthest', f'--output={LONG}', '--output: wanted names'),
        ('benchmark', f'--output={LONG}.json', '--output: wanted names'),
        ('play', f'--gif={LONG}.gif', '--gif: wanted names'),
        ('attention', f'--output={LONG}.html', '--output: wanted names'),
        ('sweep', f'--sweep_dir={LONG}', '--sweep_dir: wanted names'),
        ('report', 'x' * 5000, '--runs: wanted names'),
        ('report', '--output=x.gif', "--output: wanted a folder or FILE.png, got 'x.gif'"),
        ('report', '--output=runs/x.PNG', '--output: wanted a folder or FILE.png'),
        ('boxworld', '--batch_size=4 --accumulate=3', 'wanted a multiple of --accumulate'),
        (
            'lm',
            '--batch_size=6 --accumulate=3 --num_processes=4 --process_id=0 '
            '--coordinator_address=a:1',
            '--batch_size: wanted a multiple of --accumulate x --num_processes = 12, got 6',
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(name, words, reason, capsys):
    assert _main(name, words.split()) == errors.USAGE
    out, err = capsys.readouterr()
    assert (out, err.count('\n')) == ('', 1)
    assert reason in err


def test_folders_with_dots_are_folders(tmp_path, capsys):
    (tmp_path / 'a.gif').mkdir()
    for output in ('runs/report', 'runs/report.v2', 'runs/2024.05', 'x.png', tmp_path / 'a.gif'):
        assert _main('report', [f'--output={output}']) == 0
    assert capsys.readouterr().err == ''


def test_a_batch_that_the_devices_cannot_split_leaves_no_folder(tmp_path, monkeypatch):
    program = importlib.import_module('launch.nth_farthest').EXPERIMENT
    config = program.config(batch_size=4, run_dir=str(tmp_path / 'run'))
    monkeypatch.setattr(jax, 'device_count', lambda: 3)
    with pytest.raises(errors.RunError, match='wanted a multiple of the 3 devices, got 4'):
        experiment.run(program, config)
    assert not (tmp_path / 'run').exists()


def test_memory_that_is_not_there_is_one_line(capsys):
    config = importlib.import_module('launch.benchmark').Config
    for error in (
        MemoryError('Unable to allocate 8 TiB'),
        jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes\nmore'),
    ):
        run = mock.Mock(side_effect=error)
        assert flags.main(config, run, 'toy', args=[]) == errors.INTERNAL
        err = capsys.readouterr().err
        assert err.startswith('toy: out of memory: ')
        assert err.endswith('; lower --batch_size or other sizes\n')
        assert err.count('\n') == 1
