"""The program from end to end on small levels: it trains, goes on, evaluates, complains."""

import json

import jax
import numpy as np
import pytest

from launch import boxworld
from launch.agents import agent_run, boxworld_config
from launch.runs import errors, metrics, plots
from launch.runs import flags as flags_lib
from tasks.environments import boxworld as world
from tests.support import saved_bytes

pytestmark = pytest.mark.usefixtures('compile_once')
SIZES = (
    '--size=7 --num_colors=4 --max_solution=1 --max_distractors=0 --max_steps=30 --levels=2 '
    '--viewport=3 --mem_slots=2 --total_units=16 --num_heads=2 --attention_mlp_layers=1 '
    '--batch_size=6 --unroll=8 --num_steps=4 --log_every=2 --evaluate_every=2 --save_every=2 '
    '--evaluation_size=5 --final_evaluation_size=20'
)


def _flags(run_dir, *more):
    return [*SIZES.split(), *more, f'--run_dir={run_dir}']


def _main(*flags):
    return flags_lib.main(boxworld.Config, boxworld.run, 'boxworld', boxworld.PRESETS, flags)


@pytest.fixture(scope='module')
def whole(tmp_path_factory, compile_once):
    """Returns the directory of a finished run, and what it returned."""
    run_dir = tmp_path_factory.mktemp('whole') / 'run'
    config = flags_lib.parse(boxworld.Config, _flags(run_dir), 'boxworld', boxworld.PRESETS)
    return run_dir, boxworld.run(config)


def test_it_trains_measures_and_draws(whole):
    run_dir, results = whole
    evaluation = json.loads((run_dir / 'evaluation.json').read_text())
    assert evaluation['test'] == evaluation['solved'] == results['solved']
    assert (evaluation['episodes'], evaluation['frames']) == (20, 4 * 6 * 8)
    share = results['random_solved']
    wanted = np.sqrt(share * (1 - share) / 19)
    assert results['random_solved_error'] == pytest.approx(wanted, abs=1e-9)
    assert 1 <= results['length'] <= 30
    assert (run_dir / 'solved.png').read_bytes().startswith(b'\x89PNG')
    about = json.loads((run_dir / 'run.json').read_text())
    assert (about['program'], about['measure']) == ('boxworld', 'solved')
    assert (about['unit'], about['units_per_update']) == ('frames', 6 * 8)
    rows = metrics.read_metrics(run_dir / 'metrics.jsonl')
    assert [row['step'] for row in rows if 'frames_per_second' in row] == [2, 4]
    assert [row['step'] for row in rows if 'solved' in row] == [2, 4]


def test_a_run_that_goes_on_ends_in_equal_bytes(whole, tmp_path):
    for last in (1, 4):
        more = f'--num_steps={last}', '--evaluate_every=3', '--log_every=1'
        assert _main(*_flags(tmp_path / 'run', *more)) == 0
    assert saved_bytes.digest(tmp_path / 'run', 4) == saved_bytes.digest(whole[0], 4)


def test_evaluating_again_gives_the_same_numbers(whole, capsys):
    run_dir, _ = whole
    before = (run_dir / 'evaluation.json').read_text()
    flags = '--mode=evaluate', f'--run_dir={run_dir}', '--final_evaluation_size=20'
    assert _main(*flags) == 0
    assert (run_dir / 'evaluation.json').read_text() == before
    assert 'in 20 episodes' in capsys.readouterr().out
    assert _main(*flags, '--size=10') == errors.MISMATCH


def test_the_curve_is_drawn_over_environment_steps(whole, monkeypatch):
    seen = []
    monkeypatch.setattr(plots, 'plot_curves', lambda *args, **facts: seen.append((args, facts)))
    run_dir, results = whole
    config = flags_lib.parse(boxworld.Config, _flags(run_dir), 'boxworld', boxworld.PRESETS)
    program = boxworld_config.PROGRAM
    agent_run._draw(config, program, str(run_dir), results)
    (curves, _), facts = seen[0]
    assert [x for x, _ in curves['evaluation']] == [2 * 48, 4 * 48]
    assert facts['baselines'] == {'random policy': results['random_solved']}


def test_levels_are_drawn_anew_for_each_row_and_begun_with():
    config = flags_lib.parse(boxworld.Config, _flags('run'), 'boxworld', boxworld.PRESETS)
    place = boxworld_config.make_world(config)
    keys = jax.random.split(jax.random.key(0), 2)
    one, other = (place.draw(key) for key in keys)
    assert one.grid.shape[0] == 2
    assert not np.array_equal(one.grid, other.grid)
    chain, _ = place.endless(one).reset(jax.random.key(3))
    assert any(np.array_equal(chain.state.grid, grid) for grid in one.grid)


@pytest.mark.parametrize('preset', ['paper', 'paper-lstm', 'paper-conv-lstm'])
def test_the_papers_settings_are_the_papers(preset):
    config = boxworld.PRESETS[preset]
    assert config.environment() == world.BoxWorld(max_steps=config.max_steps)
    assert (config.batch_size, config.unroll, config.discount) == (32, 40, 0.99)
    assert (config.entropy_cost, config.frames * config.num_steps) == (0.005, 1_024_000_000)
    assert 1e-5 <= config.learning_rate <= 2e-4
    sizes = config.mem_slots, config.total_units, config.num_heads, config.num_blocks
    assert (sizes, config.gate_style) == ((4, 1024, 4, 1), 'memory')
    assert boxworld_config.levels(config)["the paper's RMC"] == 0.98
    assert not boxworld_config.levels(boxworld.PRESETS['cpu'])


@pytest.mark.parametrize(
    ('flags', 'wanted'),
    [
        ('--core=tape', '--core: wanted one of rmc, lstm'),
        ('--cells=map', '--cells: wanted one of rows, flat'),
        ('--viewport=4', 'wanted an odd viewport'),
        ('--num_colors=2 --max_solution=5', 'num_colors'),
        ('--unroll=0', '--unroll: wanted at least 1, got 0'),
        ('--total_units=30', '--total_units: wanted a multiple'),
        ('--optimizer=sgd', '--optimizer: wanted one of adam, rmsprop'),
        ('--evaluation_size=1', '--evaluation_size: wanted at least 2'),
        ('--mode=evaluate', '--mode=evaluate: wanted --run_dir=DIR'),
    ],
)
def test_bad_flags_get_one_line(flags, wanted, capsys):
    assert _main(*flags.split()) == errors.USAGE
    line = capsys.readouterr().err
    assert wanted in line
    assert line.count('\n') == 1
