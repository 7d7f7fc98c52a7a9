"""Evaluations of agents against a loop that plays every episode by itself, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch.agents import configuration, evaluation
from launch.agents import network as network_lib
from tests.support import tiny_environments

pytestmark = pytest.mark.usefixtures('compile_quickly')
SIZE, CHUNK = 14, 2  # episodes of so different lengths that some are dropped on the way
CORRIDOR = tiny_environments.Corridor(max_steps=20)
SOURCE = tiny_environments.source(CORRIDOR, has_success=True)


@pytest.fixture(scope='module')
def made(compile_quickly):
    """Returns a network, its parameters and evaluations of them."""
    config = configuration.Config(core='lstm', lstm_size=5, cells='flat', batch_size=2, unroll=2)
    network = network_lib.make(config, CORRIDOR)
    # With larger ones its own choice weighs more than chance.
    params = jax.tree.map(lambda x: 3 * x, network.init(jax.random.key(1)))
    return network, params, evaluation.make(SOURCE, network, CHUNK)


def _loop(network, params):
    """Returns return, length and success of each episode, [SIZE, 3]."""
    act, step, found = jax.jit(network.step), jax.jit(CORRIDOR.step), []
    for number in range(SIZE):
        key = jax.random.fold_in(jax.random.key(2018), number)
        state, timestep = CORRIDOR.reset(jax.random.fold_in(key, 0))
        memory, episode_return, length = network.initial_state(1), 0.0, 0
        while not timestep.last or not length:
            if length % CHUNK == 0:
                noise = jax.random.gumbel(jax.random.fold_in(key, length + 1), (CHUNK, 3))
            logits = jnp.zeros(3)
            if params is not None:
                first = jnp.array([length == 0])
                output, memory = act(params, timestep.observation[None], first, memory)
                logits = output.logits[0]
            action = jnp.argmax(logits + noise[length % CHUNK])
            state, timestep = step(state, action)
            episode_return, length = episode_return + float(timestep.reward), length + 1
        success = timestep.discount == 0 and timestep.reward > 0
        found.append((episode_return, length, success))
    return np.array(found, float)


@pytest.mark.parametrize('policy', ['random', 'agent'])
def test_an_evaluation_is_a_loop_over_episodes(policy, made):
    network, params, evaluate = made
    params = params if policy == 'agent' else None
    results, wanted = evaluate(params, SIZE), _loop(network, params)
    assert len(set(wanted[:, 0])) > 3
    assert 0 < wanted[:, 2].sum() < SIZE
    names = 'return', 'length', 'success'
    assert set(results) == {*names, *(f'{name}_error' for name in names)}
    for column, name in enumerate(names):
        values = wanted[:, column]
        assert results[name] == pytest.approx(values.mean())
        error = np.sqrt(np.sum((values - values.mean()) ** 2) / (SIZE - 1) / SIZE)
        assert results[f'{name}_error'] == pytest.approx(error)


def test_where_nothing_is_a_success_none_is_measured(made):
    results = evaluation.make(SOURCE._replace(has_success=False), made[0], CHUNK)(None, 2)
    assert set(results) == {'return', 'return_error', 'length', 'length_error'}


def test_kinds_of_episodes_are_measured_apart(made):
    network, params, _ = made
    kinds = {'left': lambda state: state.place < 2, 'none': lambda state: state.place > 4}
    results = evaluation.make(SOURCE._replace(kinds=kinds), network, CHUNK)(
        params, SIZE, kinds=True
    )
    keys = [jax.random.fold_in(jax.random.key(2018), number) for number in range(SIZE)]
    starts = [int(CORRIDOR.reset(jax.random.fold_in(key, 0))[0].place) for key in keys]
    wanted = _loop(network, params)[np.array(starts) < 2]
    assert 1 < len(wanted) < SIZE
    assert results['left_episodes'] == len(wanted)
    for column, name in enumerate(['return', 'length', 'success']):
        assert results[f'left_{name}'] == pytest.approx(wanted[:, column].mean())
        error = wanted[:, column].std(ddof=1) / np.sqrt(len(wanted))
        assert results[f'left_{name}_error'] == pytest.approx(error)
    assert not any(name.startswith('none') for name in results)
