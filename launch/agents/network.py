"""The network of an agent as pure functions, with the core that its flags name.

Glossary of shapes:
  T: time; B: batch; H, W, C: height, width and channels of an observation; A: actions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from launch.agents import configuration
from launch.training import cores
from relational_rnn.networks import actor_critic
from tasks import base


class Network(NamedTuple):
    """The functions of the network; `params` are Haiku's, `state` is the core's [B, ...]."""

    init: Callable[[chex.PRNGKey], chex.ArrayTree]
    initial_state: Callable[[int], Any]  # B -> state
    # params, observation [B, H, W, C], reset [B], state -> `actor_critic.Output` [B, ...], state
    step: Callable[..., tuple[actor_critic.Output, Any]]
    # params, observations [T, B, H, W, C], resets [T, B], state -> output [T, B, ...], state
    unroll: Callable[..., tuple[actor_critic.Output, Any]]
    features: Callable[..., jax.Array]  # params, observations [B, H, W, C] -> the core's inputs
    core_parameters: int


def make(config: configuration.Config, environment: base.Environment) -> Network:
    """Returns the network of a configuration for an environment's observations and actions."""

    def functions() -> tuple:
        core, cells = make_core(config, environment), _cells(config)
        network = actor_critic.ActorCritic(core, environment.num_actions, cells)
        return network.unroll, (
            network.initial_state,
            network.step,
            network.unroll,
            network.features,
        )

    network = hk.multi_transform(functions)
    initial_state, step, unroll, features = network.apply

    def init(key: chex.PRNGKey) -> chex.ArrayTree:
        observations = jnp.zeros((1, 1, *environment.observation_spec.shape))
        return network.init(key, observations, jnp.zeros((1, 1), bool), initial_state({}, None, 1))

    return Network(
        jax.jit(init),
        lambda batch_size: initial_state({}, None, batch_size),
        lambda params, *inputs: step(params, None, *inputs),
        lambda params, *inputs: unroll(params, None, *inputs),
        lambda params, observations: features(params, None, observations),
        cores.num_parameters(config, _core_shape(config, environment)),
    )


def make_core(config: configuration.Config, environment: base.Environment) -> hk.RNNCore:
    """Returns the core for an environment's observations; inside `hk.transform`."""
    return cores.make(config, _core_shape(config, environment))


def _cells(config: configuration.Config) -> str:
    """Returns how a map enters the core, one of `actor_critic.CELLS`."""
    return {'rmc': config.cells, 'conv_lstm': 'map'}.get(config.core, 'flat')


def _core_shape(config: configuration.Config, environment: base.Environment) -> tuple[int, ...]:
    """Returns the shape of the core's input, without batch."""
    height, width, _ = environment.observation_spec.shape
    channels = actor_critic.CHANNELS[-1] + 2
    return {
        'rows': (height * width, channels),
        'flat': (height * width * channels,),
        'map': (height, width, channels),
    }[_cells(config)]
