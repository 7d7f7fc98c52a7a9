"""The network of an agent takes every core, by the shapes of what is observed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch.agents import configuration, network

H, W, C, A, B, T = 3, 4, 2, 5, 6, 7
FEATURES = 24 + 2
FLAGS = {
    'total_units': 16,
    'lstm_size': 8,
    'transformer_size': 8,
    'transformer_layers': 1,
    'dnc_controller_size': 8,
    'entnet_size': 8,
    'conv_lstm_channels': 3,
    'feed_forward_size': 8,
}


class Environment(NamedTuple):
    """What a network has to know of one."""

    observation_spec: jax.ShapeDtypeStruct
    num_actions: int


ENVIRONMENT = Environment(jax.ShapeDtypeStruct((H, W, C), jnp.float32), A)
INPUTS = {
    ('rmc', 'rows'): ('relational_memory', 'input_w', (FEATURES, 16 // 4)),
    ('rmc', 'flat'): ('relational_memory', 'input_w', (H * W * FEATURES, 16 // 4)),
    ('lstm', 'rows'): ('lstm/linear', 'w', (H * W * FEATURES + 8, 4 * 8)),
    ('conv_lstm', 'rows'): ('conv2_dlstm/input_to_hidden', 'w', (2, 2, FEATURES, 4 * 3)),
    ('feed_forward', 'rows'): ('feed_forward/~/linear', 'w', (H * W * FEATURES, 8)),
    ('transformer', 'rows'): None,
    ('dnc', 'rows'): None,
    ('entnet', 'flat'): None,
}


@pytest.mark.parametrize(('core', 'cells'), INPUTS)
def test_every_core_fits_what_is_observed(core, cells):
    """As a program would make it, without running it."""
    made = network.make(configuration.Config(core=core, cells=cells, **FLAGS), ENVIRONMENT)
    params = jax.eval_shape(made.init, jax.random.key(0))
    if INPUTS[core, cells]:
        module, name, shape = INPUTS[core, cells]
        assert params[module][name].shape == shape
    own = {name: each for name, each in params.items() if not name.startswith('actor_critic')}
    assert made.core_parameters == sum(leaf.size for leaf in jax.tree.leaves(own)) > 0
    assert 'actor_critic/~/policy' in params
    state = made.initial_state(B)
    assert all(leaf.shape[0] == B for leaf in jax.tree.leaves(state))
    observations, resets = jnp.zeros((T, B, H, W, C)), np.zeros((T, B), bool)
    shapes = lambda *x: jax.tree.map(jnp.shape, x)  # noqa: E731
    output, after = jax.eval_shape(made.unroll, params, observations, resets, state)
    assert shapes(output, after) == shapes(output, state)
    assert shapes(*output) == ((T, B, A), (T, B))
    output, after = jax.eval_shape(made.step, params, observations[0], resets[0], state)
    assert shapes(output, after) == shapes(output, state)
    assert shapes(*output) == ((B, A), (B,))
