"""The optimizer: schedules, clipping, Adam and RMSProp, decay of matrices, averaged parameters."""

import dataclasses
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from launch.runs import arrays
from launch.training import loop
from launch.training import optimizer as optimizer_lib

CONFIG = loop.Config(schedule='cosine', warmup_steps=2, clip_norm=0.5)


def _params(seed=0):
    """Returns biases, the gain of a norm, and matrices of two kinds."""
    rng = np.random.default_rng(seed)
    shapes = {'b': (4,), 'scale': (), 'w': (3, 4), 'kernel': (2, 1, 3)}
    return {name: jnp.float32(rng.normal(size=shape)) for name, shape in shapes.items()}


def _rates(config, count):
    """Returns the step sizes: with a gradient of 1 at every step, Adam's update is the rate."""
    optimizer = optimizer_lib.make(config, config.num_steps)
    state = optimizer.init(jnp.zeros(()))
    rates = []
    for _ in range(count):
        update, state = optimizer.update(jnp.ones(()), state)
        rates.append(-float(update))
    return rates


def test_schedules_are_what_they_say():
    flat = loop.Config(learning_rate=0.4, clip_norm=0)
    np.testing.assert_allclose(_rates(flat, 4), [0.4] * 4, rtol=1e-4)
    warm = dataclasses.replace(flat, warmup_steps=4)
    np.testing.assert_allclose(_rates(warm, 6), [0, 0.1, 0.2, 0.3, 0.4, 0.4], rtol=1e-4)
    cosine = dataclasses.replace(flat, schedule='cosine', num_steps=4)
    wanted = [0.4 * (0.01 + 0.99 * (1 + math.cos(math.pi * t / 4)) / 2) for t in range(5)]
    assert wanted[2] == pytest.approx(0.202)
    np.testing.assert_allclose(_rates(cosine, 6), [*wanted, 0.004], rtol=1e-4)
    both = dataclasses.replace(cosine, num_steps=6, warmup_steps=2)
    np.testing.assert_allclose(_rates(both, 7), [0, 0.2, *wanted], rtol=1e-4)


@pytest.mark.parametrize('clip_norm', [0.0, 0.7])
def test_updates_are_those_of_adam_after_clipping(clip_norm):
    config = loop.Config(learning_rate=0.03, clip_norm=clip_norm)
    optimizer = optimizer_lib.make(config, config.num_steps)
    rng = np.random.default_rng(0)
    params = {'x': jnp.zeros((2, 3)), 'y': jnp.zeros(4)}
    state = optimizer.init(params)
    first = second = np.zeros(10)
    for t in range(1, 6):
        grad = rng.normal(size=10) * (0.1 if t == 3 else 2)  # the third is below the limit
        tree = {'x': jnp.float32(grad[:6].reshape(2, 3)), 'y': jnp.float32(grad[6:])}
        updates, state = optimizer.update(tree, state, params)
        norm = np.sqrt((grad**2).sum())
        clipped = grad * min(1, clip_norm / norm) if clip_norm else grad
        first = 0.9 * first + 0.1 * clipped
        second = 0.999 * second + 0.001 * clipped**2
        mean, square = first / (1 - 0.9**t), second / (1 - 0.999**t)
        wanted = -0.03 * mean / (np.sqrt(square) + 1e-8)
        got = np.concatenate([np.ravel(updates['x']), updates['y']])
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-7)


def test_updates_are_those_of_rmsprop_after_clipping():
    config = loop.Config(
        learning_rate=0.03, clip_norm=0.7, optimizer='rmsprop', rmsprop_epsilon=0.01
    )
    optimizer = optimizer_lib.make(config, config.num_steps)
    rng = np.random.default_rng(0)
    state = optimizer.init(jnp.zeros(5))
    square = np.zeros(5)
    for t in range(1, 6):
        grad = rng.normal(size=5) * (0.1 if t == 3 else 2)  # the third is below the limit
        updates, state = optimizer.update(jnp.float32(grad), state)
        grad *= min(1, 0.7 / np.sqrt((grad**2).sum()))
        square = 0.99 * square + 0.01 * grad**2
        np.testing.assert_allclose(updates, -0.03 * grad / np.sqrt(square + 0.01), rtol=1e-4)


def test_the_optimizer_state_has_one_structure_whatever_the_flags_but_for_average():
    params = _params()
    changes = [{}, {'clip_norm': 0.0}, {'schedule': 'constant'}, {'warmup_steps': 0}]
    changes += [{'weight_decay': 0.1}]
    structures = {
        jax.tree.structure(optimizer_lib.make(dataclasses.replace(CONFIG, **x), 10).init(params))
        for x in changes
    }
    assert len(structures) == 1


def test_the_state_has_the_names_that_checkpoints_have():
    """Those of Optax's `chain(clip, adam(schedule))`, whatever decays."""
    for weight_decay in (0.0, 0.1):
        config = dataclasses.replace(CONFIG, weight_decay=weight_decay)
        state = optimizer_lib.make(config, 10).init({'w': jnp.ones((2, 3))})
        wanted = optax.chain(optax.identity(), optax.adam(optax.constant_schedule(0.1)))
        assert list(arrays.named(state)) == list(arrays.named(wanted.init({'w': jnp.ones(2)})))
    assert list(arrays.named(state)) == [
        '[1][0].count',
        "[1][0].mu['w']",
        "[1][0].nu['w']",
        '[1][1].count',
    ]


@pytest.mark.parametrize('optimizer', ['adam', 'rmsprop'])
def test_weight_decay_shrinks_matrices_alone_by_the_step_size(optimizer):
    config = loop.Config(optimizer=optimizer, learning_rate=0.3, warmup_steps=4, clip_norm=0.5)
    plain = optimizer_lib.make(config, 10)
    decayed = optimizer_lib.make(dataclasses.replace(config, weight_decay=0.2), 10)
    params = _params()
    states = plain.init(params), decayed.init(params)
    for step in range(6):
        grads, params = _params(seed=step), _params(seed=10 + step)
        without, first = plain.update(grads, states[0], params)
        with_decay, second = decayed.update(grads, states[1], params)
        states = first, second
        chex.assert_trees_all_equal(*states)
        rate = 0.3 * min(step / 4, 1)
        for name in ('b', 'scale'):
            np.testing.assert_array_equal(with_decay[name], without[name])
        for name in ('w', 'kernel'):
            wanted = -rate * 0.2 * np.asarray(params[name])
            np.testing.assert_allclose(with_decay[name] - without[name], wanted, atol=1e-6)


@pytest.mark.parametrize(('share', 'power'), [(1.0, 0), (0.5, 1)])
def test_an_average_weighs_the_parameters_after_each_update_by_a_power(share, power):
    config = loop.Config(learning_rate=0.3, average=share, weight_decay=0.1)
    plain = optimizer_lib.make(dataclasses.replace(config, average=0.0), 10)
    averaged = optimizer_lib.make(config, 10)
    params = _params()
    states, history = (plain.init(params), averaged.init(params)), []
    chex.assert_trees_all_equal(optimizer_lib.evaluated(params, states[1]), params)
    for step in range(9):
        updates, first = plain.update(_params(seed=step), states[0], params)
        same, second = averaged.update(_params(seed=step), states[1], params)
        chex.assert_trees_all_equal(same, updates)
        params, states = optax.apply_updates(params, updates), (first, second)
        assert optimizer_lib.evaluated(params, states[0]) is params
        history.append(np.asarray(params['w'], np.float64))
        weights = np.arange(1, len(history) + 1.0) ** power
        found = optimizer_lib.evaluated(params, states[1])
        wanted = np.average(history, axis=0, weights=weights)
        np.testing.assert_allclose(found['w'], wanted, rtol=1e-5, atol=1e-6)
        if step == 0:
            chex.assert_trees_all_equal(found, params)
    assert np.abs(found['w'] - params['w']).max() > 0.05


def test_an_average_stands_where_checkpoints_are_read():
    config = loop.Config(average=0.1)
    params = {'layer': {'w': jnp.ones((2, 3))}}
    state = {'opt_state': optimizer_lib.make(config, 10).init(params), 'params': params}
    names = [name.replace("['opt_state']", '.opt_state') for name in arrays.named(state)]
    assert f"{optimizer_lib.AVERAGE}['layer']['w']" in names
