"""Worlds as environments of gymnasium: its own checks, and step by step the environment itself."""

import os
import pathlib
import runpy
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tasks.environments import boxworld, grid, mini_pacman
from tests.support import tiny_environments

gymnasium = pytest.importorskip('gymnasium')
env_checker = pytest.importorskip('gymnasium.utils.env_checker')
gymnasium_env = pytest.importorskip('tasks.environments.gymnasium_env')

pytestmark = pytest.mark.usefixtures('compile_quickly')

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = boxworld.BoxWorld(7, 3, (1, 1), (0, 1), viewport=3, max_steps=6)
PACMAN = mini_pacman.MiniPacman(observation='planes', max_steps=9)


@pytest.mark.parametrize('environment', [SMALL, PACMAN])
def test_gymnasium_finds_no_fault(environment):
    env_checker.check_env(gymnasium_env.GymnasiumEnv(environment, render_mode='rgb_array'))


def test_spaces_are_those_of_the_environment():
    env = gymnasium_env.GymnasiumEnv(boxworld.BoxWorld())
    assert env.action_space == gymnasium.spaces.Discrete(4)
    assert env.observation_space == gymnasium.spaces.Box(0, 1, (5, 5, 6), np.float32)
    wide = gymnasium_env.GymnasiumEnv(mini_pacman.MiniPacman(), bounds=(-2, 3))
    assert wide.observation_space == gymnasium.spaces.Box(-2, 3, (6, 5, 3), np.float32)


def test_a_tree_of_observations_is_a_tree_of_spaces():
    class Tree(tiny_environments.Recall):
        @property
        def observation_spec(self):
            parts = jax.ShapeDtypeStruct((2,), jnp.int32), jax.ShapeDtypeStruct((3,), jnp.float32)
            return {'a': parts[0], 'b': parts[1:]}

    box = gymnasium.spaces.Box
    expected = {'a': box(0, 7, (2,), np.int32), 'b': gymnasium.spaces.Tuple([box(0, 7, (3,))])}
    space = gymnasium_env.GymnasiumEnv(Tree(), bounds=(0, 7)).observation_space
    assert space == gymnasium.spaces.Dict(expected)


@pytest.mark.parametrize('environment', [SMALL, PACMAN, tiny_environments.Corridor()])
def test_it_is_the_environment_step_by_step(environment):
    env = gymnasium_env.GymnasiumEnv(environment)
    keys, actions = np.random.default_rng(5), np.random.default_rng(6)
    seed, ends = 5, []
    while len(ends) < 12:
        observation, info = env.reset(seed=seed)
        seed = None
        state, timestep = grid.reset(environment, jax.random.key(int(keys.integers(2**31))))
        over, wanted = False, {'discount': 1, 'episode_return': 0, 'episode_length': 0}
        while not over:
            assert observation in env.observation_space
            assert observation.tobytes() == np.asarray(timestep.observation).tobytes()
            assert observation.flags.writeable
            assert info == wanted
            action = actions.integers(environment.num_actions)
            state, timestep = grid.step(environment, state, np.int32(action))
            observation, reward, terminated, truncated, info = env.step(action)
            assert type(reward) is float
            assert reward == float(timestep.reward)
            total, length = wanted['episode_return'] + reward, wanted['episode_length'] + 1
            discount = float(timestep.discount)
            wanted = {'discount': discount, 'episode_return': total, 'episode_length': length}
            over = bool(timestep.last)
            assert terminated is (float(timestep.discount) == 0)
            assert truncated is (over and not terminated)
        assert observation.tobytes() == np.asarray(timestep.observation).tobytes()
        assert info == wanted
        ends.append(terminated)
    assert 0 < sum(ends) < len(ends) or not isinstance(environment, tiny_environments.Corridor)


def test_an_end_terminates_and_a_limit_truncates():
    env = gymnasium_env.GymnasiumEnv(tiny_environments.Corridor(max_steps=6))
    env.reset(seed=0)
    assert [env.step(0)[2:4] for _ in range(6)] == [(False, False)] * 5 + [(False, True)]
    env.reset()
    steps = []
    while not steps or not steps[-1][1]:
        steps.append(env.step(1)[1:4])
    assert steps == [(0.0, False, False)] * (len(steps) - 1) + [(2.0, True, False)]


def test_a_seed_seeds_all_episodes_from_there_on():
    def firsts(*seeds):
        return [env.reset(seed=seed)[0].tobytes() for seed in seeds]

    env = gymnasium_env.GymnasiumEnv(PACMAN)
    first = firsts(1, None, None)
    assert len(set(first)) == 3
    assert firsts(1, None, None) == first
    assert firsts(2)[0] not in first
    env = gymnasium_env.GymnasiumEnv(PACMAN)
    assert firsts(None, None, 1, None)[2:] == first[:2]


def test_no_step_is_played_where_no_episode_is_on():
    env = gymnasium_env.GymnasiumEnv(tiny_environments.Corridor(max_steps=1), 'rgb_array')
    with pytest.raises(gymnasium.error.ResetNeeded, match='wanted a reset before a picture'):
        env.render()
    for _ in range(2):
        with pytest.raises(
            gymnasium.error.ResetNeeded, match='wanted a reset: the episode is over'
        ):
            env.step(0)
        env.reset(seed=1)
        assert env.step(0)[3]


@pytest.mark.parametrize('kind', [int, np.int64, np.array, jnp.int32, jnp.uint8, jnp.asarray])
def test_an_action_is_an_integer_of_python_numpy_or_jax(kind):
    env = gymnasium_env.GymnasiumEnv(SMALL)
    wanted = gymnasium_env.GymnasiumEnv(SMALL)
    env.reset(seed=0), wanted.reset(seed=0)
    for action in (0, 3, 2):
        observation, *rest = env.step(kind(action))
        other, *others = wanted.step(action)
        assert observation.tobytes() == other.tobytes()
        assert rest == others


@pytest.mark.parametrize('action', tiny_environments.BAD_ACTIONS)
def test_an_action_that_there_is_not_is_refused(action):
    env = gymnasium_env.GymnasiumEnv(tiny_environments.Corridor())
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r'^wanted an action from 0 to 2, got .*$'):
        env.step(action)


def test_pictures_are_those_of_the_environment_in_the_mode_rgb_array():
    env = gymnasium_env.GymnasiumEnv(SMALL, 'rgb_array')
    env.reset(seed=0)
    assert env.render().shape == (72, 72, 3)
    assert env.render().tobytes() == SMALL.render(env._state).tobytes()
    env = gymnasium_env.GymnasiumEnv(SMALL)
    env.reset(seed=0)
    assert env.render() is None
    with pytest.raises(
        ValueError, match=r"wanted render_mode \['rgb_array'\] or None, got 'human'"
    ):
        gymnasium_env.GymnasiumEnv(SMALL, 'human')


def test_equal_environments_compile_once():
    Traced, traced = tiny_environments.traced_corridor()
    envs = [gymnasium_env.GymnasiumEnv(Traced()) for _ in range(3)]
    batch = gymnasium.vector.SyncVectorEnv([lambda env=env: env for env in envs])
    observation, _ = batch.reset(seed=3)
    assert observation.shape == (3, 2, 5, 1)
    batch.step(np.array([0, 1, 2]))
    assert len(traced) == 1


def test_its_spec_makes_another_one():
    env = gymnasium_env.GymnasiumEnv(SMALL).spec.make(render_mode='rgb_array')
    assert env.unwrapped.environment == SMALL
    env.reset(seed=0)
    assert env.render().dtype == np.uint8


@pytest.mark.parametrize('environment', [boxworld.BoxWorld(), mini_pacman.MiniPacman(), SMALL])
def test_gymnasium_makes_it_by_name(environment):
    name = f'relational_rnn/{type(environment).__name__}-v0'
    settings = {'environment': environment} if environment == SMALL else {}
    env = gymnasium.make(name, render_mode='rgb_array', **settings)
    assert env.unwrapped.environment == environment
    wanted = gymnasium_env.GymnasiumEnv(environment)
    assert env.spec.id == wanted.spec.id == name
    assert env.reset(seed=3)[0].tobytes() == wanted.reset(seed=3)[0].tobytes()
    assert env.step(jnp.int32(1))[0].tobytes() == wanted.step(1)[0].tobytes()


def test_a_process_that_was_forked_after_the_import_is_refused(monkeypatch):
    env = gymnasium_env.GymnasiumEnv(SMALL)
    env.reset(seed=0)
    monkeypatch.setattr(os, 'getpid', lambda: gymnasium_env._PROCESS + 1)  # as in the child
    with pytest.raises(RuntimeError, match="make the environments with context='spawn'"):
        env.reset()


ASYNC = """
import sys
import gymnasium
import jax.numpy as jnp
from tasks.environments import gymnasium_env

if __name__ == '__main__':
    jnp.ones(3).sum().block_until_ready()
    name, options = 'relational_rnn/BoxWorld-v0', {'context': sys.argv[1]}
    envs = gymnasium.make_vec(name, 2, 'async', vector_kwargs=options)
    try:
        print(envs.reset(seed=0)[0].shape, envs.step(jnp.array([0, 1]))[0].shape)
    except RuntimeError as error:
        print(error)
    envs.close(terminate=True)
"""


@pytest.mark.slow
def test_in_other_processes_it_runs_by_spawn_and_says_so_by_fork(tmp_path):
    """Without the refusal the fork waits for ever."""
    path = tmp_path / 'vectors.py'
    path.write_text(ASYNC)
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHONWARNINGS': 'ignore'}
    out = {}
    for context in ('spawn', 'forkserver', 'fork'):
        command = [sys.executable, str(path), context]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=300, check=True
        )
        out[context] = done.stdout
    assert out['spawn'] == out['forkserver'] == '(2, 5, 5, 6) (2, 5, 5, 6)\n'
    assert out['fork'].endswith("make the environments with context='spawn'\n")


def test_without_the_library_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'gymnasium', None)
    path = pathlib.Path(gymnasium_env.__file__)
    with pytest.raises(ModuleNotFoundError, match='pip install gymnasium') as caught:
        runpy.run_path(str(path))
    assert '\n' not in str(caught.value)
