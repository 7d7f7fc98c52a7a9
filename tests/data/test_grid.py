"""Windows, and episodes that follow each other, in an environment that can be followed by hand."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tasks import base
from tasks.environments import grid

pytestmark = pytest.mark.usefixtures('compile_quickly')


@pytest.fixture(autouse=True)
def _no_rank_promotion():
    with jax.numpy_rank_promotion('raise'):
        yield


class Count(NamedTuple):
    key: jax.Array
    start: jax.Array
    steps: jax.Array


class Counting:
    """Counts from a random number; an episode is 3 steps, or ends by action 1."""

    num_actions = 2
    action_names = ('go', 'end')
    observation_spec = jax.ShapeDtypeStruct((2,), jnp.int32)

    def see(self, state, reward, ended, last):
        observation = jnp.stack([state.start, state.steps])
        return base.TimeStep(observation, jnp.float32(reward), 1 - jnp.float32(ended), last)

    def reset(self, key):
        state = Count(key, jax.random.randint(key, (), 0, 10**6), jnp.int32(0))
        return state, self.see(state, 0, False, jnp.array(False))

    def step(self, state, action):
        state = state._replace(steps=state.steps + 1)
        ended = action == 1
        return state, self.see(state, state.steps, ended, ended | (state.steps >= 3))

    def render(self, state):
        return np.full((1, 2, 3), state.steps, np.uint8)


def window_by_loop(picture, position, size, fill):
    found = np.empty((size, size, picture.shape[2]), picture.dtype)
    for row, column in np.ndindex(size, size):
        r, c = position[0] + row - size // 2, position[1] + column - size // 2
        inside = 0 <= r < picture.shape[0] and 0 <= c < picture.shape[1]
        found[row, column] = picture[r, c] if inside else fill
    return found


@pytest.mark.parametrize('dtype', [np.float32, np.uint8])
@pytest.mark.parametrize('size', [1, 3, 5, 9])
def test_a_viewport_is_that_of_a_loop(size, dtype):
    picture = np.random.default_rng(0).integers(1, 200, (4, 6, 2)).astype(dtype)
    window = jax.jit(grid.viewport, static_argnums=2)
    for fill in (7, np.array([7, 9], dtype)):
        for position in np.ndindex(4, 6):
            found = window(picture, np.array(position), size, fill)
            assert found.dtype == dtype
            expected = window_by_loop(picture, position, size, fill)
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('size', [0, -1, 2, 4])
def test_viewports_without_a_middle_are_refused(size):
    with pytest.raises(ValueError, match=f'wanted an odd size of 1 or more, got {size}'):
        grid.viewport(np.zeros((4, 6, 2)), np.array([1, 1]), size, 0)


def roll(chain, keys, actions):
    """Time steps [T, B] of a batch of chains, and where the chains are after each."""

    def one(state, action):
        after = jax.vmap(chain.step)(state, action)
        return after[0], after

    first = jax.vmap(chain.reset)(keys)
    return first, jax.lax.scan(one, first[0], actions)[1]


def test_the_last_step_of_an_episode_shows_the_first_observation_of_the_next():
    chain = grid.AutoReset(Counting())
    keys = jax.random.split(jax.random.key(1), 3)
    actions = jnp.array([[0, 0, 1], [0, 1, 1], [0, 0, 0], [0, 0, 0], [1, 0, 0]])
    (_, first), (states, steps) = jax.jit(lambda *x: roll(chain, *x))(keys, actions)
    last = [[0, 0, 1], [0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1]]
    np.testing.assert_array_equal(steps.last, np.array(last, bool))
    # The reward is the step's number in the episode that ended, the discount 0 if action 1 did.
    np.testing.assert_array_equal(
        steps.reward, [[1, 1, 1], [2, 2, 1], [3, 1, 1], [1, 2, 2], [2, 3, 3]]
    )
    np.testing.assert_array_equal(
        steps.discount, [[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 1, 1], [0, 1, 1]]
    )
    np.testing.assert_array_equal(
        steps.observation[..., 1], [[1, 1, 0], [2, 0, 0], [0, 1, 1], [1, 2, 2], [0, 0, 0]]
    )
    np.testing.assert_array_equal(states.episodes, np.cumsum(steps.last, axis=0))
    drawn = jax.jit(lambda key, n: Counting().reset(jax.random.fold_in(key, n))[0].start)
    for row in range(3):
        starts = [int(first.observation[row, 0]), *steps.observation[:, row, 0].tolist()]
        ended = np.concatenate([[0], np.cumsum(steps.last[:, row])])
        draws = [drawn(keys[row], n) for n in range(4)]
        assert starts == [int(draws[n]) for n in ended]
    np.testing.assert_array_equal(states.state.steps, steps.observation[..., 1])


def test_an_episode_starts_with_what_another_reset_returns():
    environment = Counting()

    def begin(key):
        state = Count(key, jnp.int32(-5), jnp.int32(0))
        return state, environment.see(state, 0, False, jnp.array(False))

    chain = grid.AutoReset(environment, begin)
    state, timestep = chain.reset(jax.random.key(0))
    assert timestep.observation.tolist() == [-5, 0]
    step = jax.jit(chain.step)
    state, timestep = step(state, 0)
    assert timestep.observation.tolist() == [-5, 1]
    state, timestep = step(state, 1)
    assert timestep.observation.tolist() == [-5, 0]
    assert (int(state.episodes), float(timestep.reward), float(timestep.discount)) == (1, 2, 0)


def test_a_batch_is_its_elements_one_by_one():
    chain = grid.AutoReset(Counting())
    keys = jax.random.split(jax.random.key(2), 4)
    actions = jax.random.randint(jax.random.key(3), (12, 4), 0, 2)
    run = jax.jit(lambda *x: roll(chain, *x))
    _, (_, whole) = run(keys, actions)
    step = jax.jit(chain.step)
    state, _ = jax.jit(chain.reset)(keys[2])
    for time in range(12):
        state, timestep = step(state, actions[time, 2])
        jax.tree.map(
            lambda a, b, time=time: np.testing.assert_array_equal(a, b[time, 2]), timestep, whole
        )
    assert np.sum(whole.last[:, 2]) > 2


def test_the_rest_of_the_protocol_is_the_environments():
    environment = Counting()
    chain = grid.AutoReset(environment)
    assert (chain.num_actions, chain.action_names) == (2, ('go', 'end'))
    assert chain.observation_spec == environment.observation_spec
    state, _ = chain.reset(jax.random.key(0))
    assert chain.render(chain.step(state, 0)[0]).tolist() == [[[1, 1, 1], [1, 1, 1]]]
