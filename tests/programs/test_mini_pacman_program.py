"""The program from end to end, in short games: it trains, goes on, evaluates, complains."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch import mini_pacman
from launch.agents import agent_model, mini_pacman_config
from launch.runs import errors, metrics
from launch.runs import flags as flags_lib
from tests.support import saved_bytes

pytestmark = pytest.mark.usefixtures('compile_once')
SIZES = (
    '--viewport=3 --max_steps=11 --mem_slots=2 --total_units=16 --num_heads=2 '
    '--attention_mlp_layers=1 --batch_size=6 --unroll=8 --num_steps=4 --log_every=2 '
    '--evaluate_every=2 --save_every=2 --evaluation_size=5 --final_evaluation_size=20'
)


def _flags(run_dir, *more):
    return [*SIZES.split(), *more, f'--run_dir={run_dir}']


def _main(*flags):
    presets = mini_pacman.PRESETS
    return flags_lib.main(mini_pacman.Config, mini_pacman.run, 'mini_pacman', presets, flags)


@pytest.fixture(scope='module')
def whole(tmp_path_factory, compile_once):
    """Returns the directory of a finished run."""
    run_dir = tmp_path_factory.mktemp('whole') / 'run'
    assert _main(*_flags(run_dir)) == 0
    return run_dir


def test_it_trains_measures_and_draws(whole):
    evaluation = json.loads((whole / 'evaluation.json').read_text())
    assert evaluation['test'] == evaluation['return']
    assert evaluation['episodes'] == 20
    assert evaluation['length'] <= 11
    assert evaluation['random_return'] > 0
    assert 'solved' not in evaluation
    assert (whole / 'return.png').read_bytes().startswith(b'\x89PNG')
    about = json.loads((whole / 'run.json').read_text())
    assert (about['program'], about['measure']) == ('mini_pacman', 'return')
    rows = metrics.read_metrics(whole / 'metrics.jsonl')
    assert [row['step'] for row in rows if 'return' in row] == [2, 4]
    assert [row['step'] for row in rows if 'training_return' in row][-1] == 4


def test_a_run_that_goes_on_ends_in_equal_bytes(whole, tmp_path):
    for last in (3, 4):
        assert _main(*_flags(tmp_path / 'run', f'--num_steps={last}', '--log_every=1')) == 0
    assert saved_bytes.digest(tmp_path / 'run', 4) == saved_bytes.digest(whole, 4)


def test_evaluating_again_gives_the_same_numbers(whole):
    before = (whole / 'evaluation.json').read_text()
    assert _main('--mode=evaluate', f'--run_dir={whole}', '--final_evaluation_size=20') == 0
    assert (whole / 'evaluation.json').read_text() == before


@pytest.mark.parametrize('core', ['lstm', 'conv_lstm', 'feed_forward', 'transformer'])
@pytest.mark.parametrize('viewport', [5, 0])
def test_every_core_fits_what_is_seen(core, viewport):
    """As a program would make it, without running it."""
    flags = {'core': core, 'viewport': viewport, 'total_units': 64, 'batch_size': 3}
    config = mini_pacman.Config(**flags)
    environment = config.environment()
    model = agent_model.make_model(config, environment)
    params = jax.eval_shape(model.init, jax.random.key(0))
    total, core_only = agent_model.count(params)
    assert 0 < core_only < total
    seen = jnp.zeros((3, *environment.observation_spec.shape))
    output, _ = jax.eval_shape(model.step, params, seen, np.zeros(3, bool), model.initial_state(3))
    assert output.logits.shape == (3, 5)


def test_the_papers_scores_stand_where_the_game_is_theirs():
    paper = mini_pacman.PRESETS['paper']
    levels = mini_pacman_config.levels
    assert levels(paper)["the paper's RMC"] == 677
    assert levels(dataclasses.replace(paper, viewport=0))["the paper's LSTM"] == 598
    assert levels(mini_pacman.Config(viewport=7)) == {}
    assert levels(mini_pacman.Config(game='hunt')) == {}


@pytest.mark.parametrize(
    ('flags', 'wanted'),
    [
        ('--game=chess', '--game: wanted one of regular'),
        ('--rules=mine', 'wanted rules one of'),
        ('--viewport=2', 'wanted an odd viewport'),
        ('--observation=words', 'wanted observation one of'),
        ('--discount=1.5', '--discount: wanted at most 1'),
    ],
)
def test_bad_flags_get_one_line(flags, wanted, capsys):
    assert _main(*flags.split()) == errors.USAGE
    line = capsys.readouterr().err
    assert wanted in line
    assert line.count('\n') == 1
