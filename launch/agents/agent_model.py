"""The network of an agent, as functions, for whatever core its flags name.

Glossary of shapes:
  T: time; B: rows; H, W, C: height, width and channels of an observation; A: actions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from launch.agents import agent_config
from launch.training import cores
from relational_rnn.baselines import feed_forward
from relational_rnn.networks import actor_critic
from tasks import base

_NAME = 'actor_critic'


class Model(NamedTuple):
    """The functions of the network; `params` are Haiku's, `state` is the core's [B, ...]."""

    init: Callable[[chex.PRNGKey], chex.ArrayTree]
    initial_state: Callable[[int], Any]  # B -> state
    # params, observation [B, H, W, C], reset [B], state -> `actor_critic.Output` [B, ...], state
    step: Callable[..., tuple[actor_critic.Output, Any]]
    # params, observations [T, B, H, W, C], resets [T, B], state -> output [T, B, ...], state
    unroll: Callable[..., tuple[actor_critic.Output, Any]]


def make_model(config: agent_config.Config, environment: base.Environment) -> Model:
    """Returns the network of a configuration for what an environment shows and can be told."""
    shape = environment.observation_spec.shape

    def functions() -> tuple:
        core, cells = _make_core(config, shape)
        network = actor_critic.ActorCritic(core, environment.num_actions, cells, name=_NAME)
        return network.unroll, (network.initial_state, network.step, network.unroll)

    network = hk.multi_transform(functions)
    initial_state, step, unroll = network.apply

    def init(key: chex.PRNGKey) -> chex.ArrayTree:
        nothing = jnp.zeros((1, 1, *shape)), jnp.zeros((1, 1), bool)
        return network.init(key, *nothing, initial_state({}, None, 1))

    return Model(
        jax.jit(init),
        lambda batch_size: initial_state({}, None, batch_size),
        lambda params, *inputs: step(params, None, *inputs),
        lambda params, *inputs: unroll(params, None, *inputs),
    )


def count(params: chex.ArrayTree) -> tuple[int, int]:
    """Returns how many parameters there are, and how many of them are the core's."""
    core = {name: values for name, values in params.items() if not name.startswith(_NAME)}
    return hk.data_structures.tree_size(params), hk.data_structures.tree_size(core)


def _make_core(config: agent_config.Config, shape: tuple[int, int, int]) -> tuple[hk.RNNCore, str]:
    """Returns the core for observations [H, W, C], and how cells enter it."""
    if config.core == 'conv_lstm':
        return hk.Conv2DLSTM(shape[:2], config.conv_lstm_channels, 2), 'map'
    if config.core == 'feed_forward':
        return feed_forward.FeedForward(config.feed_forward_size, name='feed_forward'), 'flat'
    size = shape[0] * shape[1] * (actor_critic.CHANNELS[-1] + 2)
    core = cores.make(config.shared_core(), size)
    return core, config.cells if config.core == 'rmc' else 'flat'
