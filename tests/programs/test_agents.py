"""The programs with agents: their networks, levels, presets, results and flags."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch import boxworld, mini_pacman
from launch.agents import network, results
from launch.runs import errors, flags, plots
from launch.training import cores
from tasks.environments import boxworld as boxworld_lib

PROGRAMS = {'boxworld': boxworld, 'mini_pacman': mini_pacman}


@pytest.mark.parametrize('core', ['rmc', 'lstm', 'conv_lstm', 'feed_forward', 'transformer'])
@pytest.mark.parametrize('viewport', [5, 0])
def test_every_core_fits_what_is_observed(core, viewport):
    """As a program would make it, without running it."""
    config = mini_pacman.Config(core=core, viewport=viewport, total_units=64, batch_size=3)
    environment = config.environment()
    functions = network.make(config, environment)
    params = jax.eval_shape(functions.init, jax.random.key(0))
    total = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert 0 < functions.core_parameters < total
    observation = jnp.zeros((3, *environment.observation_spec.shape))
    state = functions.initial_state(3)
    output, _ = jax.eval_shape(functions.step, params, observation, np.zeros(3, bool), state)
    assert output.logits.shape == (3, 5)


def test_an_lstm_has_as_many_parameters_as_the_rmc_with_flat_cells():
    shape = (7 * 7 * 5,)
    rmc = boxworld.Config(total_units=64)
    lstm = dataclasses.replace(rmc, core='lstm')
    limit = cores.num_parameters(rmc, shape)
    bigger = dataclasses.replace(lstm, lstm_size=cores.size(lstm, shape) + 1)
    assert cores.num_parameters(lstm, shape) <= limit < cores.num_parameters(bigger, shape)


def test_levels_are_sampled_for_each_batch_element_and_episodes_start_from_them():
    config = boxworld.Config(size=7, num_colors=4, max_solution=1, max_distractors=0, viewport=3)
    source = boxworld.make_source(config)
    one, other = map(source.sample_starts, jax.random.split(jax.random.key(0), 2))
    assert one.grid.shape[0] == config.levels == 2
    assert not np.array_equal(one.grid, other.grid)
    state, _ = source.auto_resetting(one).reset(jax.random.key(3))
    assert any(np.array_equal(state.state.grid, grid) for grid in one.grid)
    assert source.has_success
    assert not mini_pacman.make_source(mini_pacman.Config()).has_success


def _evaluation(**more):
    measured = {'return': 1.5, 'return_error': 0.25, 'length': 7.0, 'length_error': 0.5}
    random = {f'random_{name}': value / 2 for name, value in measured.items()}
    return {'step': 4, 'episodes': 20, **measured, **random, **more}


def test_results_are_described_with_standard_errors_for_agent_and_random_policy():
    config = boxworld.Config(batch_size=6, unroll=8)
    lines = results.describe(config, _evaluation()).splitlines()
    assert lines[0] == '192 environment steps; 20 held-out episodes'
    assert lines[1].split(maxsplit=2)[2] == 'return 1.5 ± 0.25, length 7 ± 0.5'
    assert lines[2].startswith('  uniformly random policy')
    assert 'return 0.75 ± 0.12' in lines[2]
    solved = {f'{prefix}success{end}': 0.5 for prefix in ('', 'random_') for end in ('', '_error')}
    assert 'success 0.5 ± 0.5' in results.describe(config, _evaluation(**solved))


def test_the_curve_is_drawn_over_environment_steps(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(plots, 'plot_curves', lambda *args, **facts: drawn.append((args, facts)))
    config = dataclasses.replace(mini_pacman.PRESETS['paper'], batch_size=6, unroll=8)
    rows = [{'step': 2, 'return': 3.0}, {'step': 4, 'return': 5.0, 'training_return': 4.0}]
    mini_pacman.EXPERIMENT.draw(config, str(tmp_path), rows, _evaluation())
    (curves, picture), facts = drawn[0]
    assert curves == {'training': [(192, 4.0)], 'evaluation': [(96, 3.0), (192, 5.0)]}
    assert picture == str(tmp_path / 'return.png')
    paper = {"the paper's RMC": 677, "the paper's LSTM": 550}
    assert facts['baselines'] == {'uniformly random policy': 0.75, **paper}


@pytest.mark.parametrize('preset', ['paper', 'paper-lstm', 'paper-conv-lstm'])
def test_the_papers_settings_are_the_papers(preset):
    config = boxworld.PRESETS[preset]
    assert config.environment() == boxworld_lib.BoxWorld(max_steps=config.max_steps)
    assert (config.batch_size, config.unroll, config.discount) == (32, 40, 0.99)
    assert (config.entropy_cost, config.frames * config.num_steps) == (0.005, 1_024_000_000)
    assert 1e-5 <= config.learning_rate <= 2e-4
    sizes = config.mem_slots, config.total_units, config.num_heads, config.num_blocks
    assert (sizes, config.gate_style) == ((4, 1024, 4, 1), 'memory')
    assert boxworld.published_shares(config)["the paper's RMC"] == 0.98
    assert not boxworld.published_shares(boxworld.PRESETS['cpu'])


def test_the_papers_returns_are_shown_for_the_papers_games_only():
    paper, levels = mini_pacman.PRESETS['paper'], mini_pacman.published_returns
    assert levels(paper)["the paper's RMC"] == 677
    assert levels(dataclasses.replace(paper, viewport=0))["the paper's LSTM"] == 598
    assert levels(mini_pacman.Config(viewport=7)) == {}
    assert levels(mini_pacman.Config(game='hunt')) == {}


@pytest.mark.parametrize(
    ('name', 'words', 'wanted'),
    [
        ('boxworld', '--core=tape', '--core: wanted one of rmc, lstm'),
        ('boxworld', '--cells=map', '--cells: wanted one of rows, flat'),
        ('boxworld', '--viewport=4', 'wanted an odd viewport'),
        ('boxworld', '--num_colors=2 --max_solution=5', 'num_colors'),
        ('boxworld', '--unroll=0', '--unroll: wanted at least 1, got 0'),
        ('boxworld', '--total_units=30', '--total_units: wanted a multiple'),
        ('boxworld', '--optimizer=sgd', '--optimizer: wanted one of adam, rmsprop'),
        ('boxworld', '--evaluation_size=1', '--evaluation_size: wanted at least 2'),
        ('boxworld', '--mode=evaluate', '--mode=evaluate: wanted --run_dir=DIR'),
        ('mini_pacman', '--game=chess', '--game: wanted one of regular'),
        ('mini_pacman', '--rules=mine', '--rules: wanted one of paper, released'),
        ('mini_pacman', '--viewport=2', 'wanted an odd viewport'),
        ('mini_pacman', '--observation=words', '--observation: wanted one of rgb, planes'),
        ('mini_pacman', '--discount=1.5', '--discount: wanted at most 1'),
    ],
)
def test_bad_flags_get_one_line(name, words, wanted, capsys):
    module = PROGRAMS[name]
    found = flags.main(module.Config, module.run, name, module.PRESETS, words.split())
    assert found == errors.USAGE
    line = capsys.readouterr().err
    assert wanted in line
    assert line.count('\n') == 1
