"""The program `launch.benchmark`: what it prints and writes, and its bad flags."""

import json

import jax
import pytest

from launch import benchmark
from launch.benchmarks import environments, plans, unrolls
from launch.runs import errors, flags
from tests.support import compilers, tiny_environments

METHODS = {
    name: {
        'num_parameters': 7,
        'forward': {'median_ms': 1.0},
        'train': {'median_ms': 2.0, 'memory_bytes': 3_000_000},
    }
    for name in ('unroll', 'matmuls')
}


def test_it_prints_tables_and_writes_what_it_returns(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(unrolls, 'methods', lambda *args: args)
    monkeypatch.setattr(unrolls, 'measure', lambda *args: asked.append(args) or METHODS)
    path = tmp_path / 'numbers.json'
    results = benchmark.run(benchmark.Config('wide', 'none', 6, str(path), seed=3))
    assert asked == [((unrolls.SHAPES['wide'], 3, []), 6)]
    assert json.loads(path.read_text()) == results
    assert list(results) == ['machine', 'repeats', 'shapes', 'environments']
    sizes = {'mem_slots': 8, 'head_size': 32, 'num_heads': 8, 'batch_size': 256}
    sizes |= {'num_steps': 8, 'attention_mlp_layers': 2}
    assert results['shapes'] == {'wide': {'sizes': sizes, **METHODS}}
    assert results['environments'] == {}
    lines = capsys.readouterr().out.splitlines()
    assert results['machine']['cpu'] in lines[0]
    assert f'jax {jax.__version__}' in lines[0]
    assert lines[1] == unrolls.HEADER
    assert [line.split()[0] for line in lines[2:5]] == ['wide', 'unroll', 'matmuls']


def test_environments_alone_can_be_timed(tmp_path, monkeypatch, capsys, compile_quickly):
    setting = environments.Setting(tiny_environments.Corridor(), 0, 3, 5)
    monkeypatch.setitem(environments.SETTINGS, 'corridor', setting)
    path = tmp_path / 'numbers.json'
    results = benchmark.run(benchmark.Config('none', 'corridor', 5, str(path)))
    assert json.loads(path.read_text()) == results
    assert results['shapes'] == {}
    assert list(results['environments']) == ['corridor']
    timed = results['environments']['corridor']
    assert (timed['environments'], timed['steps']) == (3, 5)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == environments.HEADER
    assert lines[2].startswith('corridor ')


@pytest.mark.parametrize(
    ('words', 'reason'),
    [
        (['--shapes=narow'], 'narow'),
        (['--shapes='], '--shapes'),
        (
            ['--shapes=wide,none'],
            'wanted one of narrow, wide, one_slot, four_slots, nth_farthest, language_model, got',
        ),
        (['--environments=boxwold'], 'did you mean boxworld?'),
        (['--environments='], '--environments: wanted one of mini_pacman, '),
        (['--repeats=4'], '--repeats: wanted at least 5, got 4'),
        (['--seed=-1'], '--seed: wanted at least 0, got -1'),
        (['--output=no/such/folder/a.json'], '--output: wanted a file in an existing folder'),
        (['--output=.'], '--output: wanted a file in an existing folder'),
        (['--repeat=7'], 'no flag --repeat'),
        (['--target=h300'], '--target: wanted one of a100, h100, h200'),
        (['--variants=fast'], '--variants: wanted one of resets, lengths, remat'),
    ],
)
def test_a_bad_flag_gets_one_line(words, reason, capsys):
    def refuse(_):
        raise AssertionError(words)

    assert flags.main(benchmark.Config, refuse, 'benchmark', args=words) == errors.USAGE
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert reason in error


@pytest.mark.parametrize(
    ('value', 'names'),
    [
        ('all', ['narrow', 'wide']),
        ('none', []),
        ('wide', ['wide']),
        ('wide,narrow', ['wide', 'narrow']),
    ],
)
def test_some_names_can_be_chosen(value, names):
    assert benchmark.chosen('shapes', value, {'narrow': 1, 'wide': 2}) == names


def test_a_cpu_times_the_paper_s_shapes_only_if_asked(monkeypatch):
    timed = []
    monkeypatch.setattr(unrolls, 'methods', lambda shape, *args: timed.append(shape))
    monkeypatch.setattr(unrolls, 'measure', lambda *args: METHODS)
    benchmark.run(benchmark.Config('all', 'none'))
    small, large = list(unrolls.SHAPES.values())[:4], list(unrolls.PAPER_SHAPES.values())
    assert timed == small
    monkeypatch.setattr(benchmark, 'describe_machine', lambda: {'backend': 'gpu'})
    benchmark.run(benchmark.Config('all', 'none'))
    assert timed[4:] == small + large
    benchmark.run(benchmark.Config('language_model', 'none'))
    assert timed[10:] == [unrolls.PAPER_SHAPES['language_model']]


@compilers.needed('gpu')
def test_a_target_is_planned_for_not_run(tmp_path, monkeypatch, capsys):
    setting = environments.Setting(tiny_environments.Corridor(), 0, 3, 5)
    monkeypatch.setattr(environments, 'SETTINGS', {'corridor': setting})
    tiny = unrolls.Shape(2, 8, 2, 16, 6, 1)
    monkeypatch.setattr(unrolls, 'SHAPES', {'tiny': tiny})
    methods = {name: unrolls.methods(tiny, 0)[name] for name in ('lstm', 'matmuls')}
    asked = []
    monkeypatch.setattr(unrolls, 'methods', lambda *args: asked.append(args) or methods)
    path = tmp_path / 'numbers.json'
    results = benchmark.run(benchmark.Config(output=str(path), target='h200', variants='remat'))
    assert asked == [(tiny, 0, ['remat'])]
    assert json.loads(path.read_text()) == results
    assert results['target']['device'] == 'NVIDIA H200 141GB HBM3e'
    assert list(results['shapes']['tiny']) == ['sizes', 'lstm']  # the lower bound is for the clock
    lstm = results['shapes']['tiny']['lstm']
    assert [loop['steps'] for loop in lstm['forward']['program']['loops']] == [6]
    loops = lstm['train']['program']['loops']
    assert [loop['steps'] for loop in loops] == [6, 6]
    assert lstm['train']['scratch_bytes'] > lstm['forward']['scratch_bytes'] > 0
    assert results['environments']['corridor']['program']['loops'][0]['steps'] == 5
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [lines[0], plans.HEADER, 'tiny (2, 8, 2, 16, 6, 1)']
    assert [len(line) for line in lines[3:6]] == [len(plans.HEADER)] * 3
    assert lines[3].split()[:3] == ['lstm', f'{lstm["num_parameters"]:,}', 'forward']
    counts = [str(loop['body']['total']) for loop in loops]
    assert lines[4].split()[:4] == ['train', counts[0], '+', counts[1]]
    assert lines[5].split()[0] == 'corridor'
