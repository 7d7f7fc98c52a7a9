"""Episodes of one environment, step by step, and the policies that act in them.

Glossary of shapes:
  A: actions; ...: of an observation.
"""

from collections.abc import Callable, Iterator
import itertools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from launch.agents import network as network_lib
from tasks import base
from tasks.environments import grid

_SALT = 5  # separates the keys of what is shown from those of training


class Step(NamedTuple):
    """Where an episode is."""

    state: Any
    timestep: base.TimeStep  # on the host
    episode_return: float  # the sum of the rewards so far
    length: int  # steps so far


class Policy(NamedTuple):
    """What chooses actions; its state lasts for an episode."""

    initial_state: Callable[[], Any]
    # state, observation [...], whether it is the first of an episode, key -> action [], state
    act: Callable[[Any, chex.Array, bool, chex.PRNGKey], tuple[chex.Array, Any]]


def first(environment: base.Environment, seed: int, number: int) -> Step:
    """Returns the reset of an episode, by its number; the environment is hashable."""
    state, timestep = grid.reset(environment, _keys(seed, number)[0])
    return Step(state, jax.device_get(timestep), 0.0, 0)


def advance(environment: base.Environment, step: Step, action: chex.Numeric) -> Step:
    """Returns the step of an episode that follows an action []."""
    state, timestep = grid.step(environment, step.state, jnp.int32(action))
    timestep = jax.device_get(timestep)
    episode_return = step.episode_return + float(timestep.reward)
    return Step(state, timestep, episode_return, step.length + 1)


def episode(
    environment: base.Environment, policy: Policy, seed: int, number: int
) -> Iterator[Step]:
    """Yields the steps of an episode, by its number, from its reset to its last."""
    step, policy_state = first(environment, seed, number), policy.initial_state()
    yield step
    while not step.timestep.last:
        key = jax.random.fold_in(_keys(seed, number)[1], step.length)
        observation, is_first = step.timestep.observation, step.length == 0
        action, policy_state = policy.act(policy_state, observation, is_first, key)
        step = advance(environment, step, action)
        yield step


def warm_up(environment: base.Environment, policy: Policy) -> None:
    """Compiles what an episode needs, by two steps of one: a person does not like to wait later."""
    for _ in itertools.islice(episode(environment, policy, 0, 0), 3):
        pass


def _keys(seed: int, number: int) -> chex.Array:
    """Returns the keys [2] of an episode, and of the actions in it."""
    salted = jax.random.fold_in(jax.random.key(seed), _SALT)
    return jax.random.split(jax.random.fold_in(salted, number))


def uniform(num_actions: int) -> Policy:
    """Returns the uniformly random policy over A actions."""
    sample = jax.jit(lambda key: jax.random.randint(key, (), 0, num_actions))
    return Policy(lambda: (), lambda state, observation, is_first, key: (sample(key), state))


def agent(network: network_lib.Network, params: chex.ArrayTree, greedy: bool) -> Policy:
    """Returns the policy of a trained network; a greedy one takes the likeliest action."""

    @jax.jit
    def act(
        params: chex.ArrayTree,
        state: Any,
        observation: chex.Array,
        is_first: chex.Array,
        key: chex.PRNGKey,
    ) -> tuple[chex.Array, Any]:
        output, state = network.step(params, observation[None], is_first[None], state)
        logits = output.logits[0]  # [A]
        return jnp.argmax(logits) if greedy else jax.random.categorical(key, logits), state

    return Policy(
        lambda: network.initial_state(1),
        lambda state, observation, is_first, key: act(
            params, state, observation, np.asarray(is_first), key
        ),
    )
