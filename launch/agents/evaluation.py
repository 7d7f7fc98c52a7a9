"""Plays whole episodes and measures them, of a network or of a uniformly random policy.

Every episode is the first of an environment of its own, so that short ones, of which more end in a
given time, do not count more often. Actions are sampled from the policy, as in training.

Glossary of shapes:
  N: episodes; T: steps of a chunk; A: actions.
"""

from collections.abc import Callable
import functools
import math
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from launch.agents import network as network_lib
from launch.agents import rollout
from relational_rnn.networks import actor_critic
from tasks import base

_HELD_OUT = 2018  # the seed of the episodes of evaluations, for runs of any seed
_CHUNK = 50  # steps between tests of whether all episodes are over
_SHRINK = 4  # when so small a share of the episodes still runs, the others are dropped

# parameters (None for a uniformly random policy), N, whether also of each kind apart -> results
Evaluate = Callable[..., dict[str, float]]


class Episodes(NamedTuple):
    """The state of N episodes; one that is over does not change while others last."""

    number: chex.Array  # [N] int32, which episode it is
    state: Any  # [N, ...]
    observation: chex.Array  # [N, ...]
    reset: chex.Array  # [N] bool, whether no action was taken yet
    core: Any  # [N, ...]
    over: chex.Array  # [N] bool
    episode_return: chex.Array  # [N] float32, the sum of the rewards
    length: chex.Array  # [N] int32
    success: chex.Array  # [N] float32


def make(source: rollout.Source, network: network_lib.Network, chunk: int = _CHUNK) -> Evaluate:
    """Returns what plays episodes to their ends.

    Args:
      source: where; its episodes have to end.
      network: the network.
      chunk: T; the episodes are the same for one T.

    Returns:
      Parameters and N to 'return' and 'length', means of an episode, where there is success
      'success', its share, and of each the standard error, such as 'return_error'. With
      `kinds=True` the same of the episodes of each kind, as 'choice_success', and their number,
      'choice_episodes', if there are two or more. The held-out episodes start from the same
      states in all runs.
    """
    reset = jax.jit(functools.partial(_reset, source.environment, network))
    selectors = {name: jax.jit(jax.vmap(select)) for name, select in source.kinds.items()}
    play = jax.jit(functools.partial(_play, source.environment, network, chunk))

    def evaluate(params: chex.ArrayTree | None, size: int, kinds: bool = False) -> dict[str, float]:
        episodes, first = reset(jnp.arange(size)), 0
        selected = {}
        if kinds:
            selected = {name: np.asarray(f(episodes.state)) for name, f in selectors.items()}
        names = ['episode_return', 'length', *(['success'] if source.has_success else [])]
        ended = {name: np.zeros(size) for name in names}
        while not bool(jnp.all(episodes.over)):
            episodes, first = play(params, episodes, first), first + chunk
            for name, values in ended.items():
                values[np.asarray(episodes.number)] = np.asarray(getattr(episodes, name))
            episodes = _drop(episodes)
        results = _summarise(ended)
        for kind, which in selected.items():
            if np.sum(which) > 1:
                found = _summarise({name: values[which] for name, values in ended.items()})
                results |= {f'{kind}_{name}': value for name, value in found.items()}
                results[f'{kind}_episodes'] = int(np.sum(which))
        return results

    return evaluate


def _reset(
    environment: base.Environment, network: network_lib.Network, number: chex.Array
) -> Episodes:
    """Returns the start of the episodes of these numbers [N]."""
    keys = jax.vmap(lambda n: jax.random.fold_in(_key(n), 0))(number)
    state, timestep = jax.vmap(environment.reset)(keys)
    size = len(number)
    yes, zero = jnp.ones(size, bool), jnp.zeros(size)
    core, length = network.initial_state(size), jnp.zeros(size, jnp.int32)
    return Episodes(number, state, timestep.observation, yes, core, ~yes, zero, length, zero)


def _play(
    environment: base.Environment,
    network: network_lib.Network,
    num_steps: int,
    params: chex.ArrayTree | None,
    episodes: Episodes,
    first: chex.Array,
) -> Episodes:
    """Plays T steps; `first` [] is the number of the first of them."""
    shape = num_steps, environment.num_actions
    noise = jax.vmap(
        lambda n: jax.random.gumbel(jax.random.fold_in(_key(n), first + 1), shape), out_axes=1
    )(episodes.number)

    def step(now: Episodes, noise: chex.Array) -> tuple[Episodes, None]:
        output, core = _act(network, params, noise.shape, now)
        action = jnp.argmax(output.logits + noise, axis=-1).astype(jnp.int32)
        state, timestep = jax.vmap(environment.step)(now.state, action)
        after = Episodes(
            now.number,
            state,
            timestep.observation,
            jnp.zeros_like(now.reset),
            core,
            timestep.last,
            now.episode_return + timestep.reward,
            now.length + 1,
            rollout.is_success(timestep.reward, timestep.discount, timestep.last),
        )
        keep = jax.vmap(lambda over, a, b: jax.tree.map(functools.partial(jnp.where, over), a, b))
        return keep(now.over, now, after), None

    return jax.lax.scan(step, episodes, noise)[0]


def _act(
    network: network_lib.Network,
    params: chex.ArrayTree | None,
    shape: tuple[int, ...],
    now: Episodes,
) -> tuple[actor_critic.Output, Any]:
    """Returns the policy's output [N, ...], all equal without parameters, and the core's state."""
    if params is None:
        return actor_critic.Output(jnp.zeros(shape), jnp.zeros(shape[:1])), now.core
    return network.step(params, now.observation, now.reset, now.core)


def _key(number: chex.Array) -> chex.PRNGKey:
    """Returns the key of an episode."""
    return jax.random.fold_in(jax.random.key(_HELD_OUT), number)


def _drop(episodes: Episodes) -> Episodes:
    """Keeps the episodes that still run, in a smaller batch once they are few."""
    running = np.flatnonzero(~np.asarray(episodes.over))
    size = len(episodes.over) // _SHRINK
    if not 0 < len(running) <= size:
        return episodes
    kept = np.concatenate([running, np.flatnonzero(episodes.over)])[:size]
    return jax.tree.map(lambda x: x[kept], episodes)


def _summarise(ended: dict[str, np.ndarray]) -> dict[str, float]:
    """Returns means and standard errors of what is known of every episode, [N] each."""
    results = {}
    for name, values in ended.items():
        name = name.removeprefix('episode_')
        results[name] = float(np.mean(values))
        results[f'{name}_error'] = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return results
