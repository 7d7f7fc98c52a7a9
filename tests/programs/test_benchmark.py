"""The program `launch.benchmark`: what it prints and writes, and its bad flags."""

import json

import jax
import pytest

from launch import benchmark
from launch.benchmarks import environments, unrolls
from launch.runs import errors, flags
from tests.support import tiny_environments

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
    assert asked == [((unrolls.SHAPES['wide'], 3), 6)]
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
        (['--shapes=wide,none'], "wanted one of narrow, wide, one_slot, four_slots, got 'none'"),
        (['--environments=boxwold'], 'did you mean boxworld?'),
        (['--environments='], '--environments: wanted one of mini_pacman, '),
        (['--repeats=4'], '--repeats: wanted at least 5, got 4'),
        (['--seed=-1'], '--seed: wanted at least 0, got -1'),
        (['--output=no/such/folder/a.json'], '--output: wanted a file in an existing folder'),
        (['--output=.'], '--output: wanted a file in an existing folder'),
        (['--repeat=7'], 'no flag --repeat'),
    ],
)
def test_a_bad_flag_gets_one_line(words, reason, capsys):
    def refuse(_):
        raise AssertionError(words)

    assert flags.main(benchmark.Config, refuse, 'benchmark', args=words) == errors.USAGE
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert reason in error


def test_some_shapes_and_environments_can_be_chosen():
    config = benchmark.Config()
    assert config.shape_names == ['narrow', 'wide', 'one_slot', 'four_slots']
    assert config.environment_names == list(environments.SETTINGS)
    config = benchmark.Config('one_slot,wide', 'boxworld_full,mini_pacman')
    assert config.shape_names == ['one_slot', 'wide']
    assert config.environment_names == ['boxworld_full', 'mini_pacman']
    config = benchmark.Config('none', 'none')
    assert config.shape_names == config.environment_names == []


def test_a_file_that_cannot_be_written_is_a_run_error(tmp_path):
    with pytest.raises(errors.RunError, match='cannot be written') as caught:
        benchmark._write(tmp_path / 'gone' / 'a.json', {})
    assert caught.value.code == errors.CANNOT_SAVE
