"""Mini PacMan's program: its game, settings, and flags; see also test_experiment."""

import jax
import jax.numpy as jnp
import pytest

from launch import mini_pacman as program
from launch.agents import network
from launch.runs import errors, flags
from tasks.environments import grid, mini_pacman


def test_the_environment_is_that_of_the_flags():
    config = program.Config(game='hunt', rules='released', viewport=0, observation='planes')
    wanted = mini_pacman.MiniPacman(
        mode='hunt', rules='released', viewport=None, observation='planes', max_steps=None
    )
    assert config.environment() == wanted
    config = program.Config(viewport=3, max_steps=11)
    assert config.environment() == mini_pacman.MiniPacman(viewport=3, max_steps=11)


def test_levels_are_sampled_as_the_game_proceeds():
    config = program.Config(viewport=3)
    source = program.make_source(config)
    assert source.environment == config.environment()
    assert not source.has_success
    starts = source.sample_starts(jax.random.key(0))
    assert starts == ()
    resetting = source.auto_resetting(starts)
    assert isinstance(resetting, grid.AutoReset)
    assert resetting.environment == source.environment


@pytest.mark.parametrize('viewport', [5, 0])
@pytest.mark.parametrize('core', ['rmc', 'conv_lstm'])
def test_a_network_fits_what_is_observed(core, viewport):
    """As a program would make it, without running it."""
    config = program.Config(core=core, viewport=viewport, total_units=64)
    environment = config.environment()
    made = network.make(config, environment)
    params = jax.eval_shape(made.init, jax.random.key(0))
    observations = jnp.zeros((3, *environment.observation_spec.shape))
    inputs = observations, jnp.zeros(3, bool), made.initial_state(3)
    assert jax.eval_shape(made.step, params, *inputs)[0].logits.shape == (3, 5)


def test_the_papers_returns_are_drawn_where_the_game_is_theirs():
    returns = program.published_levels
    assert returns(program.PRESETS['paper']) == {"the paper's RMC": 677, "the paper's LSTM": 550}
    assert returns(program.Config(viewport=0)) == {"the paper's RMC": 1159, "the paper's LSTM": 598}
    for changes in ({'viewport': 7}, {'game': 'hunt'}, {'rules': 'released'}):
        assert returns(program.Config(**changes)) == {}


@pytest.mark.parametrize(
    ('preset', 'core'),
    [('paper', 'rmc'), ('paper-lstm', 'lstm'), ('paper-conv-lstm', 'conv_lstm')],
)
def test_the_papers_presets_have_the_agent_of_boxworld_and_2e9_steps(preset, core):
    config = program.PRESETS[preset]
    assert config.frames * config.num_steps == 2_048_000_000
    assert (config.batch_size, config.unroll, config.total_units) == (32, 40, 1024)
    assert config.core == core
    assert (config.game, config.rules, config.viewport) == ('regular', 'paper', 5)


def test_titles_name_game_rules_and_window():
    assert program.title(program.Config()) == 'Mini PacMan, regular, paper rules, window of 5 x 5'
    config = program.Config(game='rush', rules='released', viewport=0)
    assert program.title(config) == 'Mini PacMan, rush, released rules, full view'


@pytest.mark.parametrize(
    ('words', 'wanted'),
    [
        ('--game=chess', '--game: wanted one of regular'),
        ('--rules=mine', '--rules: wanted one of paper, released'),
        ('--viewport=2', 'wanted an odd viewport'),
        ('--observation=words', '--observation: wanted one of rgb, planes'),
        ('--discount=1.5', '--discount: wanted at most 1'),
    ],
)
def test_bad_flags_get_one_line(words, wanted, capsys):
    facts = program.Config, program.run, 'mini_pacman', program.PRESETS
    assert flags.main(*facts, words.split()) == errors.USAGE
    line = capsys.readouterr().err
    assert wanted in line
    assert line.count('\n') == 1
