"""The benchmark of environments takes their steps, in threads, and its table says how fast."""

import dataclasses
import itertools
import os
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch.benchmarks import environments as benchmark
from tasks.environments import grid as grid_lib
from tests.support import tiny_environments

pytestmark = pytest.mark.usefixtures('compile_quickly')

SIZES = 3, 5  # B, T
CORRIDOR = benchmark.Setting(tiny_environments.Corridor(), 0, *SIZES)


@dataclasses.dataclass(frozen=True)
class Levels(tiny_environments.Corridor):
    """A corridor whose episodes start at one of some places."""

    max_steps: int = 2

    def sample_levels(self, key, count):
        return jax.random.permutation(key, 5)[:count]

    def reset_from(self, levels):
        def reset(key):
            state, timestep = self.reset(key)
            return state._replace(place=jax.random.choice(key, levels)), timestep

        return reset


POOL = benchmark.Setting(Levels(), 2, *SIZES)


@pytest.fixture(autouse=True)
def _no_rank_promotion():
    with jax.numpy_rank_promotion('raise'):
        yield


def by_loop(environment, carry, key, number):
    """Takes the steps of one environment after the other."""
    step = jax.jit(environment.step)
    keys = jax.random.split(jax.random.fold_in(key, number), CORRIDOR.num_steps)
    actions = [
        jax.random.randint(k, (CORRIDOR.batch_size,), 0, environment.num_actions) for k in keys
    ]
    found = []
    for index in range(CORRIDOR.batch_size):
        state, rewards = jax.tree.map(lambda x, i=index: x[i], (carry.states, carry.rewards))
        for action in actions:
            state, timestep = step(state, action[index])
            rewards += timestep.reward
        found.append(benchmark.Carry(state, timestep.observation, rewards))
    return jax.tree.map(lambda *one: jnp.stack(one), *found)


@pytest.mark.parametrize('setting', [CORRIDOR, POOL])
def test_a_call_takes_the_steps_of_every_environment(setting):
    levels = benchmark._levels(setting, jax.random.key(1))
    reset = setting.environment.reset_from(levels) if setting.num_levels else None
    environment = grid_lib.AutoReset(setting.environment, reset)
    carry = benchmark._reset(setting, levels, jax.random.key(2))
    steps = jax.jit(benchmark._steps, static_argnums=0)
    for number in (1, 2):
        after = steps(setting, levels, carry, jax.random.key(3), number)
        expected = by_loop(environment, carry, jax.random.key(3), number)
        for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(expected), strict=True):
            if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
                a, b = jax.random.key_data(a), jax.random.key_data(b)
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
        carry = after
    assert int(jnp.sum(carry.states.episodes)) > 0
    assert float(jnp.sum(jnp.abs(carry.rewards))) > 0


def test_a_pool_is_what_episodes_start_with():
    levels = benchmark._levels(POOL, jax.random.key(1))
    carry = benchmark._reset(POOL._replace(batch_size=20), levels, jax.random.key(2))
    assert set(carry.states.state.place.tolist()) == set(levels.tolist())
    assert len(levels) == 2
    assert benchmark._levels(CORRIDOR, jax.random.key(1)) == ()


def test_actions_wait_for_the_observation():
    carry = benchmark._reset(CORRIDOR, (), jax.random.key(2))
    steps = jax.jit(benchmark._steps, static_argnums=0)
    text = steps.lower(CORRIDOR, (), carry, jax.random.key(3), 1).as_text()
    barriers = [line for line in text.splitlines() if 'optimization_barrier' in line]
    assert len(barriers) == 1
    assert 'tensor<3x2x5x1xf32>' in barriers[0]


def test_every_core_has_a_thread_and_all_run_at_once(monkeypatch):
    cores = 3
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(cores)))
    spans = []

    def nap(x):
        start = time.monotonic()
        time.sleep(0.02)
        spans.append((start, time.monotonic()))
        return x

    class Napping(tiny_environments.Corridor):
        def step(self, state, action):
            state, timestep = super().step(state, action)
            reward = jax.pure_callback(
                nap,
                jax.ShapeDtypeStruct((), jnp.float32),
                timestep.reward,
                vmap_method='broadcast_all',
            )
            return state, timestep._replace(reward=reward)

    results = benchmark.measure(benchmark.Setting(Napping(), 0, *SIZES), 2, seed=1)
    assert results['threads'] == cores
    assert (results['environments'], results['steps']) == SIZES
    assert len(spans) == cores * 5 * 4
    timed = sorted(spans)[cores * 5 :]  # the first call of each compiles, one after the other
    overlaps = [b[0] < a[1] for a, b in itertools.pairwise(timed)]
    assert sum(overlaps) > len(overlaps) / 3
    slowest = 5 * CORRIDOR.batch_size * cores / (5 * 0.02)
    median, best = (results[f'{kind}_steps_per_second'] for kind in ('median', 'best'))
    assert 0 < median <= best < slowest


def test_cores_are_counted_where_the_system_does_not_say_which_are_free(monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda process: {3, 5, 8}, raising=False)
    assert benchmark.num_cores() == 3
    monkeypatch.delattr(os, 'sched_getaffinity')
    monkeypatch.setattr(os, 'cpu_count', lambda: 7)
    assert benchmark.num_cores() == 7


def test_rates_are_of_all_threads_steps(monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: {0, 1})
    clock = iter([0.0, 9.0, 10.0, 12.0, 20.0, 21.0, 30.0, 33.0])
    monkeypatch.setattr(benchmark.time, 'perf_counter', lambda: next(clock))
    results = benchmark.measure(benchmark.Setting(tiny_environments.Recall(), 0, *SIZES), 3, seed=1)
    assert results['median_steps_per_second'] == 2 * 3 * 5 / 2
    assert results['best_steps_per_second'] == 2 * 3 * 5 / 1
    assert 0 < results['mean_reward'] < 0.5  # a third of the steps answers, half of them right


def test_the_environments_are_what_their_names_say():
    for name, (environment, num_levels, *_) in benchmark.SETTINGS.items():
        assert (environment.viewport is None) == name.endswith('_full')
        if 'boxworld' in name:
            assert (environment.size, bool(num_levels)) == (14, 'fresh' not in name)
        else:
            assert (environment.rules == 'released') == ('released' in name)
            assert environment.power_bar == (environment.rules == 'paper')


def test_the_table_holds_rates_and_sizes():
    result = {
        'threads': 2, 'environments': 2048, 'steps': 64, 'mean_reward': 0.5,
        'median_steps_per_second': 1234567.8, 'best_steps_per_second': 2345678.9,
    }  # fmt: skip
    line = benchmark.line('boxworld', result)
    assert line.split() == ['boxworld', '1,234,568', '2,345,679', '2', 'x', '2,048', 'x', '64']
    assert len(line) == len(benchmark.HEADER)
