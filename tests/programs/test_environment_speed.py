"""The benchmark of worlds plays the games they are, in threads, and its table says how fast."""

import itertools
import os
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch.benchmarks import environments as benchmark
from tasks.environments import boxworld
from tasks.environments import grid as grid_lib
from tests.support import tiny_worlds

pytestmark = pytest.mark.usefixtures('compile_quickly')

SIZE = benchmark.Size(3, 5)
SMALL = boxworld.BoxWorld(7, 3, (1, 1), (0, 1), max_steps=6)


@pytest.fixture(autouse=True)
def _no_rank_promotion():
    with jax.numpy_rank_promotion('raise'):
        yield


def play_by_loop(chain, carry, key, number):
    """Plays environment by environment and step by step."""
    step = jax.jit(chain.step)
    keys = jax.random.split(jax.random.fold_in(key, number), SIZE.num_steps)
    dice = [jax.random.randint(k, (SIZE.batch_size,), 0, chain.num_actions) for k in keys]
    found = []
    for row in range(SIZE.batch_size):
        where, rewards = jax.tree.map(lambda x, row=row: x[row], (carry.chains, carry.rewards))
        for actions in dice:
            where, seen = step(where, actions[row])
            rewards += seen.reward
        found.append(benchmark.Carry(where, seen.observation, rewards))
    return jax.tree.map(lambda *rows: jnp.stack(rows), *found)


@pytest.mark.parametrize(
    'world', [benchmark.World(tiny_worlds.Corridor()), benchmark.World(SMALL, 4)]
)
def test_a_call_plays_every_environment_step_by_step(world):
    levels = benchmark._draw(world, jax.random.key(1))
    begin = world.environment.reset_from(levels) if world.num_levels else None
    chain = grid_lib.AutoReset(world.environment, begin)
    carry = benchmark._begin(world, SIZE, levels, jax.random.key(2))
    play = jax.jit(benchmark._play, static_argnums=(0, 1))
    for number in (1, 2):
        after = play(world, SIZE, levels, carry, jax.random.key(3), number)
        expected = play_by_loop(chain, carry, jax.random.key(3), number)
        data = [jax.random.key_data(x.chains.key) for x in (after, expected)]
        assert data[0].tolist() == data[1].tolist()
        bare = [
            jax.tree.leaves((x.chains.episodes, x.observation, x.rewards))
            for x in (after, expected)
        ]
        for a, b in zip(*bare, strict=True):
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
        carry = after
    assert int(jnp.sum(carry.chains.episodes)) > 0
    assert world.num_levels or float(jnp.sum(jnp.abs(carry.rewards))) > 0


def test_a_pool_is_what_episodes_begin_with():
    world = benchmark.World(SMALL, 4)
    levels = benchmark._draw(world, jax.random.key(1))
    pool = {grid.tobytes() for grid in np.asarray(levels.grid)}
    assert len(pool) == 4
    carry = benchmark._begin(world, benchmark.Size(20, 5), levels, jax.random.key(2))
    begun = {grid.tobytes() for grid in np.asarray(carry.chains.state.grid)}
    assert begun <= pool
    assert len(begun) > 1
    assert benchmark._draw(benchmark.World(SMALL), jax.random.key(1)) == ()


def test_dice_wait_for_the_observation():
    world = benchmark.World(tiny_worlds.Corridor())
    carry = benchmark._begin(world, SIZE, (), jax.random.key(2))
    play = jax.jit(benchmark._play, static_argnums=(0, 1))
    text = play.lower(world, SIZE, (), carry, jax.random.key(3), 1).as_text()
    barriers = [line for line in text.splitlines() if 'optimization_barrier' in line]
    assert len(barriers) == 1
    assert 'tensor<3x2x5x1xf32>' in barriers[0]


@pytest.mark.parametrize('cores', [2, 3])
def test_every_core_has_a_thread_and_all_play_at_once(cores, monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(cores)))
    spans = []

    def nap(x):
        start = time.monotonic()
        time.sleep(0.02)
        spans.append((start, time.monotonic()))
        return x

    class Napping(tiny_worlds.Corridor):
        def step(self, state, action):
            state, seen = super().step(state, action)
            reward = jax.pure_callback(
                nap, jax.ShapeDtypeStruct((), jnp.float32), seen.reward, vmap_method='broadcast_all'
            )
            return state, seen._replace(reward=reward)

    results = benchmark.measure(benchmark.World(Napping()), SIZE, 2, seed=1)
    assert results['threads'] == cores
    assert (results['environments'], results['steps']) == SIZE
    assert len(spans) == cores * 5 * 4
    timed = sorted(spans)[cores * 5 :]  # the first call of each compiles, one after the other
    overlaps = [b[0] < a[1] for a, b in itertools.pairwise(timed)]
    assert sum(overlaps) > len(overlaps) / 3
    slowest = 5 * SIZE.batch_size * cores / (5 * 0.02)
    median, best = (results[f'{kind}_steps_per_second'] for kind in ('median', 'best'))
    assert 0 < median <= best < slowest


def test_rates_are_of_all_threads_steps(monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: {0, 1})
    clock = iter([0.0, 9.0, 10.0, 12.0, 20.0, 21.0, 30.0, 33.0])
    monkeypatch.setattr(benchmark.time, 'perf_counter', lambda: next(clock))
    results = benchmark.measure(benchmark.World(tiny_worlds.Recall()), SIZE, 3, seed=1)
    assert results['median_steps_per_second'] == 2 * 3 * 5 / 2
    assert results['best_steps_per_second'] == 2 * 3 * 5 / 1
    assert 0 < results['mean_reward'] < 0.5  # a third of the steps answers, half of them right


def test_the_worlds_are_what_their_names_say():
    for name, (world, num_levels) in benchmark.WORLDS.items():
        assert (world.viewport is None) == name.endswith('_full')
        if 'boxworld' in name:
            assert (world.size, bool(num_levels)) == (14, 'fresh' not in name)
        else:
            assert (world.rules == 'released') == ('released' in name)
            assert world.power_bar == (world.rules == 'paper')


def test_the_table_holds_rates_and_what_was_played():
    result = {
        'threads': 2, 'environments': 2048, 'steps': 64, 'mean_reward': 0.5,
        'median_steps_per_second': 1234567.8, 'best_steps_per_second': 2345678.9,
    }  # fmt: skip
    (line,) = benchmark.table({'boxworld': result})
    assert line.split() == ['boxworld', '1,234,568', '2,345,679', '2', 'x', '2,048', 'x', '64']
    assert len(line) == len(benchmark.HEADER)
