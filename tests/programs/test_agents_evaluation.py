"""Evaluations of agents against a loop that plays every episode by itself, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch.agents import configuration, evaluation, network
from tests.support import tiny_environments

pytestmark = pytest.mark.usefixtures('compile_quickly')
SIZE, CHUNK = 14, 2  # of episodes so unlike in length that some are dropped on the way
SOURCE = tiny_environments.source(tiny_environments.Corridor(max_steps=20), has_success=True)


def _loop(model, params):
    """Returns return, length and success of each episode, [SIZE, 3]."""
    environment, found = SOURCE.environment, []
    for number in range(SIZE):
        key = jax.random.fold_in(jax.random.key(2018), number)
        state, seen = environment.reset(jax.random.fold_in(key, 0))
        memory, total, length = model.initial_state(1), 0.0, 0
        while not seen.last or not length:
            if length % CHUNK == 0:
                noise = jax.random.gumbel(jax.random.fold_in(key, length + 1), (CHUNK, 3))
            logits = jnp.zeros(3)
            if params is not None:
                first = jnp.array([length == 0])
                output, memory = model.step(params, seen.observation[None], first, memory)
                logits = output.logits[0]
            action = jnp.argmax(logits + noise[length % CHUNK])
            state, seen = environment.step(state, action)
            total, length = total + float(seen.reward), length + 1
        found.append((total, length, seen.discount == 0 and seen.reward > 0))
    return np.array(found, float)


@pytest.mark.parametrize('policy', ['uniformly random', 'agent'])
def test_an_evaluation_is_a_loop_over_episodes(policy):
    config = configuration.Config(core='lstm', lstm_size=5, cells='flat', batch_size=2, unroll=2)
    model = network.make(config, SOURCE.environment)
    params = None
    if policy == 'agent':  # its own choice weighs more than the noise
        params = jax.tree.map(lambda x: 3 * x, model.init(jax.random.key(1)))
    evaluate = evaluation.make(SOURCE, model, CHUNK)
    results = evaluate(params, SIZE)
    wanted = _loop(model, params)
    assert len(set(wanted[:, 0])) > 3
    for column, name in enumerate(('return', 'length', 'success')):
        values = wanted[:, column]
        assert results[name] == pytest.approx(values.mean())
        error = np.sqrt(np.sum((values - values.mean()) ** 2) / (SIZE - 1) / SIZE)
        assert results[f'{name}_error'] == pytest.approx(error)
