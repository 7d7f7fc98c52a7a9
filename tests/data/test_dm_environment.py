"""Worlds as environments of dm_env: its own tests, and step by step a chain of episodes."""

import pathlib
import runpy
import sys

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tasks.environments import boxworld, grid, mini_pacman
from tests.support import tiny_environments

dm_env = pytest.importorskip('dm_env')
specs = pytest.importorskip('dm_env.specs')
test_utils = pytest.importorskip('dm_env.test_utils')
dm_environment = pytest.importorskip('tasks.environments.dm_environment')

pytestmark = pytest.mark.usefixtures('compile_quickly')

BOXWORLD = boxworld.BoxWorld(7, 3, (1, 1), (0, 1), viewport=3, max_steps=6)
PACMAN = mini_pacman.MiniPacman(max_steps=9)


class BoxWorldTest(test_utils.EnvironmentTestMixin, absltest.TestCase):
    def make_object_under_test(self):
        return dm_environment.DmEnvironment(BOXWORLD, seed=3)

    def make_action_sequence(self):
        yield from np.random.default_rng(0).integers(4, size=40).astype(np.int32)


def test_specs_are_those_of_the_environment():
    env = dm_environment.DmEnvironment(boxworld.BoxWorld())
    timestep = env.observation_spec()
    assert (timestep.shape, timestep.dtype, timestep.minimum, timestep.maximum) == (
        (5, 5, 6),
        np.float32,
        0,
        1,
    )
    assert env.action_spec() == specs.DiscreteArray(4, np.int32, name='action')
    assert env.reward_spec() == specs.Array((), np.float32, name='reward')
    assert env.discount_spec() == specs.BoundedArray((), np.float32, 0, 1, name='discount')
    wide = dm_environment.DmEnvironment(PACMAN, bounds=(-2, 3)).observation_spec()
    assert (wide.shape, wide.minimum, wide.maximum) == ((6, 5, 3), -2, 3)


def test_a_tree_of_observations_is_a_tree_of_specs():
    class Tree(tiny_environments.Recall):
        @property
        def observation_spec(self):
            return {'a': (jax.ShapeDtypeStruct((2,), jnp.int32),)}

    spec = dm_environment.DmEnvironment(Tree(), bounds=(0, 7)).observation_spec()
    assert spec == {'a': (specs.BoundedArray((2,), np.int32, 0, 7, name='observation'),)}


@pytest.mark.parametrize('environment', [BOXWORLD, tiny_environments.Corridor()])
def test_its_episodes_are_those_of_auto_reset(environment):
    env = dm_environment.DmEnvironment(environment, seed=7)
    auto = grid.AutoReset(environment)
    step = jax.jit(auto.step)
    state, wanted = jax.jit(auto.reset)(jax.random.key(7))
    last, discounts, actions = True, [], np.random.default_rng(8)
    for _ in range(100):
        action = np.int32(actions.integers(environment.num_actions))
        timestep, first = env.step(action), np.asarray(wanted.observation)
        if last:
            assert timestep.first()
            assert timestep.reward is timestep.discount is None
            assert timestep.observation.tobytes() == first.tobytes()
            assert timestep.observation.flags.writeable
            last = False
            continue
        final = grid.step(environment, state.state, action)[1].observation
        state, wanted = step(state, action)
        last = bool(wanted.last)
        assert timestep.last() is last
        assert timestep.observation.tobytes() == np.asarray(final).tobytes()
        for name in ('reward', 'discount'):
            assert getattr(timestep, name).dtype == np.float32
            assert getattr(timestep, name) == getattr(wanted, name)
        if last:
            discounts.append(float(timestep.discount))
    assert int(state.episodes) > 5
    assert set(discounts) == {0, 1} or not isinstance(environment, tiny_environments.Corridor)


def test_a_reset_starts_the_next_episode_wherever_it_is_called():
    def firsts(seed, steps):
        env = dm_environment.DmEnvironment(BOXWORLD, seed)
        found = []
        for count in steps:
            found.append(env.reset().observation.tobytes())
            assert all(env.step(0).mid() for _ in range(count))
        return found

    first = firsts(1, [0, 0, 0])
    assert len(set(first)) == 3
    assert firsts(1, [2, 0, 1]) == first
    assert firsts(2, [0])[0] not in first


@pytest.mark.parametrize('action', tiny_environments.BAD_ACTIONS)
def test_an_action_that_there_is_not_is_refused(action):
    env = dm_environment.DmEnvironment(tiny_environments.Corridor())
    assert env.step(action).first()  # not looked at
    with pytest.raises(ValueError, match=r'^wanted an action from 0 to 2, got .*$'):
        env.step(action)


@pytest.mark.parametrize('kind', [int, np.int64, np.array, jnp.int32, jnp.uint8, jnp.asarray])
def test_an_action_is_an_integer_of_python_numpy_or_jax(kind):
    envs = [dm_environment.DmEnvironment(BOXWORLD, seed=1) for _ in range(2)]
    for action in (0, 3, 2):
        got, wanted = (
            env.step(each) for env, each in zip(envs, (kind(action), action), strict=True)
        )
        assert got.observation.tobytes() == wanted.observation.tobytes()
        assert (got.reward, got.discount) == (wanted.reward, wanted.discount)


def test_equal_environments_compile_once():
    Traced, traced = tiny_environments.traced_corridor()
    for seed in range(3):
        env = dm_environment.DmEnvironment(Traced(), seed)
        env.reset()
        env.step(0)
    assert len(traced) == 1


def test_without_the_library_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'dm_env', None)
    path = pathlib.Path(dm_environment.__file__)
    with pytest.raises(ModuleNotFoundError, match='pip install dm-env') as caught:
        runpy.run_path(str(path))
    assert '\n' not in str(caught.value)
