"""Mini PacMan as an environment: its episodes, its choices and its pictures."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tasks.environments import grid, mini_pacman
from tasks.environments.mini_pacman import levels
from tasks.environments.mini_pacman import rules as rules_lib
from tests.support import mini_pacman_reference as reference
from tests.support import mini_pacman_scenes as scenes

pytestmark = pytest.mark.usefixtures('compile_quickly')

SIZE, LENGTH = 90, 60
MiniPacman = mini_pacman.MiniPacman


@pytest.fixture(autouse=True)
def _no_rank_promotion():
    with jax.numpy_rank_promotion('raise'):
        yield


@functools.cache
def roller(environment):
    """A jitted function: key -> states and time steps [T, B] of chains of games at random."""
    chain = grid.AutoReset(environment)

    def roll(key):
        for_chains, for_actions = jax.random.split(key)
        actions = jax.random.randint(for_actions, (LENGTH, SIZE), 0, environment.num_actions)

        def one(state, action):
            state, timestep = jax.vmap(chain.step)(state, action)
            return state, (hide(state.state), timestep, state.episodes)

        state, _ = jax.vmap(chain.reset)(jax.random.split(for_chains, SIZE))
        return jax.lax.scan(one, state, actions)[1]

    return jax.jit(roll)


def play(environment, seed=0):
    return jax.tree.map(np.asarray, roller(environment)(jax.random.key(seed)))


def hide(state):
    return state._replace(key=jax.random.key_data(state.key))


def as_bytes(tree):
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(tree)]


@pytest.mark.parametrize('rules', ['paper', 'released'])
def test_an_episode_starts_with_a_level_of_its_key(rules):
    environment = MiniPacman('hunt', rules)
    state, timestep = grid.reset(environment, jax.random.key(4))
    game = reference.Game(rules, 'hunt')
    game.begin_level(1, np.asarray(environment.sample_words(jax.random.key(4), 0)))
    assert reference.Game.of(rules, 'hunt', state).facts() == game.facts()
    assert (timestep.reward, timestep.discount, timestep.last) == (0, 1, False)
    assert len({int(grid.reset(environment, jax.random.key(i))[0].pacman) for i in range(5)}) > 2


@pytest.mark.parametrize('rules', ['paper', 'released'])
def test_an_episode_is_that_of_plain_python(rules):
    environment = MiniPacman('hunt', rules)
    sample_words, key = jax.jit(environment.sample_words), jax.random.key(7)
    state, _ = grid.reset(environment, key)
    actions = np.random.default_rng(8).integers(0, 5, 40, np.int32)
    game = reference.Game.of(rules, 'hunt', state)
    total = np.float32(0)
    for time in range(1, 40):
        state, timestep = grid.step(environment, state, actions[time])
        reward, dead = game.step(actions[time], np.asarray(sample_words(key, time)))
        total += np.float32(reward)
        assert reference.Game.of(rules, 'hunt', state).facts() == game.facts()
        assert (timestep.reward, timestep.discount, timestep.last) == (reward, not dead, dead)
        assert state.score == total
        if dead:
            break


@pytest.mark.parametrize('rules', ['paper', 'released'])
def test_random_episodes_stay_in_the_corridors_and_counts_are_right(rules):
    states, steps, _ = play(MiniPacman(rules=rules, max_steps=25))
    corridors = set(levels.CORRIDORS.tolist())
    assert set(states.pacman.ravel()) <= corridors
    assert set(states.pills.ravel()) <= corridors | {levels.NOWHERE}
    assert set(states.ghosts.ravel()) <= corridors | {levels.NOWHERE}
    assert not np.any(states.food & levels.WALLS)
    np.testing.assert_array_equal(states.num_food, states.food.sum(axis=(2, 3)))
    assert np.all((states.power >= 0) & (states.power <= rules_lib.POWER[rules]))
    counts = (states.ghosts < levels.NOWHERE).sum(axis=2)
    assert np.all(counts <= 1 + (states.level - 1) // 2)
    fresh = steps.last
    assert np.all(states.steps[fresh] == 0)
    np.testing.assert_array_equal(states.steps[1:][~fresh[1:]], states.steps[:-1][~fresh[1:]] + 1)
    gained = states.score[1:] - states.score[:-1]
    np.testing.assert_allclose(gained[~fresh[1:]], steps.reward[1:][~fresh[1:]])
    assert np.all(states.num_food[fresh] == 138)
    assert fresh.sum() > 50
    assert np.any(states.power > 0)
    assert np.all((steps.observation >= 0) & (steps.observation <= 1))


def test_death_terminates_an_episode_and_truncation_leaves_its_discount():
    states, steps, episodes = play(MiniPacman(max_steps=25))
    assert np.all(steps.last[steps.discount == 0])
    cut = steps.last & (steps.discount == 1)
    assert cut.sum() > 20
    assert (steps.discount == 0).sum() > 20
    lengths = np.concatenate([np.zeros((1, SIZE), int), states.steps])[:-1] + 1
    assert np.all(lengths[cut] == 25)
    assert np.all(lengths <= 25)
    np.testing.assert_array_equal(episodes, np.cumsum(steps.last, axis=0))


@pytest.mark.parametrize(('rules', 'most'), [('paper', 10_000), ('released', 3_000)])
def test_the_limit_of_steps_is_that_of_the_rules(rules, most):
    environment = MiniPacman('hunt', rules)
    for steps, last in ((most - 2, False), (most - 1, True)):
        state = scenes.place((3, 7), [((13, 9), 'left')], steps=steps)
        state = jax.tree.map(jnp.asarray, state._replace(key=jax.random.key(0)))
        timestep = grid.step(environment, state, np.int32(0))[1]
        assert (timestep.last, timestep.discount) == (last, 1)


def test_the_same_key_gives_the_same_bytes_and_another_does_not():
    environment = MiniPacman(max_steps=25)
    assert as_bytes(play(environment)) == as_bytes(play(environment))
    assert as_bytes(play(environment)) != as_bytes(play(environment, 1))


@pytest.mark.slow
def test_to_compile_changes_nothing():
    environment = MiniPacman('hunt')
    state, _ = grid.reset(environment, jax.random.key(2))
    compiled = grid.step(environment, state, np.int32(1))
    with jax.disable_jit():
        plain = environment.step(state, np.int32(1))
    compiled, plain = ((hide(state), *timestep) for state, timestep in (compiled, plain))
    assert as_bytes(compiled) == as_bytes(plain)


@pytest.mark.parametrize(
    ('choices', 'shape'),
    [
        ({}, (6, 5, 3)),
        ({'power_bar': False}, (5, 5, 3)),
        ({'viewport': 7}, (8, 7, 3)),
        ({'viewport': None}, (16, 19, 3)),
        ({'viewport': None, 'rules': 'released', 'power_bar': False}, (15, 19, 3)),
        ({'observation': 'planes'}, (5, 5, 6)),
        ({'observation': 'planes', 'viewport': None}, (15, 19, 6)),
    ],
)
def test_observations_have_the_shape_of_their_spec(choices, shape):
    environment = MiniPacman(**choices)
    assert environment.observation_spec == jax.ShapeDtypeStruct(shape, jnp.float32)
    state = jax.eval_shape(environment.reset, jax.random.key(0))[0]
    timestep = jax.eval_shape(environment.step, state, jnp.int32(0))[1]
    assert timestep.observation == environment.observation_spec
    assert (timestep.reward.dtype, timestep.discount.dtype) == (jnp.float32, jnp.float32)
    assert (timestep.last.dtype, timestep.last.shape) == (bool, ())
    assert environment.action_names == ('stay', 'right', 'up', 'left', 'down')
    assert environment.num_actions == 5


def test_a_picture_is_the_whole_maze_enlarged():
    environment = MiniPacman(viewport=5, observation='planes')
    state, _ = grid.reset(MiniPacman('hunt'), jax.random.key(1))
    picture = environment.render(state, scale=3)
    assert (picture.shape, picture.dtype) == ((3 * 16, 3 * 19, 3), np.uint8)
    row, column = divmod(int(state.pacman), 19)
    assert np.all(picture[3 * row : 3 * row + 3, 3 * column : 3 * column + 3] == (0, 255, 0))
    assert np.all(picture[:3, :3] == 255)


@pytest.mark.parametrize(
    ('choices', 'message'),
    [
        ({'mode': 'easy'}, "wanted mode one of regular, avoid, hunt, ambush, rush, got 'easy'"),
        ({'rules': 'own'}, "wanted rules one of paper, released, got 'own'"),
        ({'observation': 'text'}, "wanted observation one of rgb, planes, got 'text'"),
        ({'viewport': 4}, 'wanted an odd viewport of 3 or more or None, got 4'),
        ({'viewport': 1}, 'odd viewport .* got 1'),
        ({'viewport': 0}, 'odd viewport .* got 0'),
        ({'max_steps': 0}, 'wanted max_steps of 1 or more, got 0'),
    ],
)
def test_impossible_environments_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        MiniPacman(**choices)
