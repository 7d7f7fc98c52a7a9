"""BoxWorld's program: its levels, settings of the paper, and flags; see also test_experiment."""

import jax
import numpy as np
import pytest

from launch import boxworld as program
from launch.runs import errors, flags
from tasks.environments import boxworld

pytestmark = pytest.mark.usefixtures('compile_quickly')
SMALL = program.Config(
    size=7, num_colors=3, max_solution=1, max_distractors=0, max_steps=30, levels=3, viewport=3
)


def test_levels_are_sampled_for_each_element_and_its_episodes_start_from_them():
    source = program.make_source(SMALL)
    assert source.environment == SMALL.environment()
    assert source.has_success
    levels = jax.jit(jax.vmap(source.sample_starts))(jax.random.split(jax.random.key(0), 4))
    assert levels.grid.shape[:2] == (4, 3)
    grids = [leaf.tobytes() for each in np.asarray(levels.grid) for leaf in each]
    assert len(set(grids)) == 12
    one = jax.tree.map(lambda x: x[1], levels)
    reset = jax.jit(lambda key: source.auto_resetting(one).reset(key)[0].state.grid)
    starts = {np.asarray(reset(jax.random.key(seed))).tobytes() for seed in range(12)}
    assert starts == set(grids[3:6])


def test_every_level_is_of_one_kind_that_is_measured_apart():
    source = program.make_source(program.PRESETS['cpu'])
    keys = jax.random.split(jax.random.key(0), 400)
    states, _ = jax.jit(jax.vmap(source.environment.reset))(keys)
    assert set(source.kinds) == set(program.KINDS)
    found = {name: jax.jit(jax.vmap(kind))(states) for name, kind in source.kinds.items()}
    assert np.all(sum(np.asarray(each, int) for each in found.values()) == 1)
    shares = {name: np.mean(each) for name, each in found.items()}
    wanted = {'no_distractor': 1 / 2, 'no_choice': 3 / 8, 'choice': 1 / 8}
    assert shares == pytest.approx(wanted, abs=0.06)


@pytest.mark.parametrize(
    ('preset', 'core'),
    [('paper', 'rmc'), ('paper-lstm', 'lstm'), ('paper-conv-lstm', 'conv_lstm')],
)
def test_the_papers_settings_are_the_papers(preset, core):
    config = program.PRESETS[preset]
    assert config.environment() == boxworld.BoxWorld(max_steps=config.max_steps)
    assert (config.batch_size, config.unroll, config.discount) == (32, 40, 0.99)
    assert (config.entropy_cost, config.frames * config.num_steps) == (0.005, 1_024_000_000)
    assert 1e-5 <= config.learning_rate <= 2e-4
    sizes = config.mem_slots, config.total_units, config.num_heads, config.num_blocks
    assert (sizes, config.gate_style) == ((4, 1024, 4, 1), 'memory')
    assert config.core == core


def test_the_papers_shares_are_drawn_on_its_levels_only():
    shares = program.published_levels(program.PRESETS['paper'])
    assert shares == {"the paper's RMC": 0.98, "the paper's ConvLSTM": 0.73}
    assert program.published_levels(program.Config(max_steps=100)) == shares
    for changes in ({'max_solution': 4}, {'viewport': 7}, {'size': 13}):
        assert program.published_levels(program.Config(**changes)) == {}
    assert program.published_levels(program.PRESETS['cpu']) == {}


def test_titles_name_levels_and_window():
    wanted = 'BoxWorld, 7 x 7 squares, 1 box, no distractors, window of 3 x 3'
    assert program.title(SMALL) == wanted
    assert program.title(program.Config(viewport=0)).endswith('0 to 5 distractors, full view')


@pytest.mark.parametrize(
    ('words', 'wanted'),
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
def test_bad_flags_get_one_line(words, wanted, capsys):
    facts = program.Config, program.run, 'boxworld', program.PRESETS
    assert flags.main(*facts, words.split()) == errors.USAGE
    line = capsys.readouterr().err
    assert wanted in line
    assert line.count('\n') == 1
