"""Acting: a rollout of a batch of environments is the batch that the agent learns from.

The state of a batch element, its episode and the core's memory, is the loop's `carry`, so
checkpoints hold it. It acts and learns in turn, so the policy that acts is the one that learns,
and the same run gives the same bytes.

Glossary of shapes:
  T: steps of a rollout; B: batch of environments; A: actions; ...: what an observation is.
"""

from collections.abc import Callable, Mapping
import types
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from launch.agents import configuration
from launch.agents import network as network_lib
from tasks import base


class Source(NamedTuple):
    """Where an agent's episodes come from."""

    environment: base.Environment  # one episode at a time
    # key -> what one batch element's next episodes may start from, in a rollout; () for nothing
    sample_starts: Callable[[chex.PRNGKey], Any]
    # these starts -> the environment, auto-resetting; its states have one structure for all starts
    auto_resetting: Callable[[Any], base.Environment]
    has_success: bool = False  # whether an episode that ends with a reward above 0 is a success
    # kinds of episodes that are also measured apart: an initial state -> whether it is one, [] bool
    kinds: Mapping[str, Callable[[Any], jax.Array]] = types.MappingProxyType({})


class ActorState(NamedTuple):
    """The state of the batch elements between two rollouts; keys in it are their data."""

    environment: Any  # [B, ...]
    observation: chex.Array  # [B, ...], not yet acted on
    reset: chex.Array  # [B] bool, whether it is the first of an episode
    core: Any  # [B, ...]
    episode_return: chex.Array  # [B] float32, rewards of the episode so far
    episode_length: chex.Array  # [B] int32, its steps so far


class Rollout(NamedTuple):
    """What was observed and done; the last observation is not yet acted on."""

    observations: chex.Array  # [T + 1, B, ...]
    resets: chex.Array  # [T + 1, B] bool
    actions: chex.Array  # [T, B] int32
    logits: chex.Array  # [T, B, A], of the policy that acted
    rewards: chex.Array  # [T, B] float32
    discounts: chex.Array  # [T, B] float32, the environment's: 0 where an episode terminated
    last: chex.Array  # [T, B] bool, terminated or truncated
    episode_returns: chex.Array  # [T, B] float32, of the episode up to this step
    episode_lengths: chex.Array  # [T, B] int32, likewise
    core: Any  # [1, B, ...], the core's state at its start


def initial_state(
    config: configuration.Config, source: Source, network: network_lib.Network
) -> ActorState:
    """Returns where all batch elements start, arrays [B, ...]."""
    size = config.batch_size
    seed = jax.random.fold_in(jax.random.key(config.seed), 2)  # 0 and 1 are the loop's

    @jax.jit
    def start(key: chex.PRNGKey) -> ActorState:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(size))
        reset = lambda key: source.auto_resetting(source.sample_starts(key)).reset(key)  # noqa: E731
        state, timestep = jax.vmap(reset)(keys)
        first, core = jnp.ones(size, bool), network.initial_state(size)
        counts = jnp.zeros(size), jnp.zeros(size, jnp.int32)
        return ActorState(hide_keys(state), timestep.observation, first, core, *counts)

    return start(seed)


def collect(
    num_steps: int,
    source: Source,
    network: network_lib.Network,
    params: chex.ArrayTree,
    state: ActorState,
    keys: chex.PRNGKey,
) -> tuple[Rollout, ActorState]:
    """Acts for some steps in all environments.

    Args:
      num_steps: T.
      source: where the episodes come from.
      network: the network.
      params: its parameters.
      state: of the batch elements.
      keys: [B], of their episodes and actions.

    Returns:
      What was observed and done, and the state of the batch elements after it.
    """
    starts_keys, keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    advance = _make_advance(source, starts_keys)
    sizes = num_steps, source.environment.num_actions
    noise = jax.vmap(lambda key: jax.random.gumbel(key, sizes), out_axes=1)(keys)

    def step(state: ActorState, noise: chex.Array) -> tuple[ActorState, tuple]:
        output, core = network.step(params, state.observation, state.reset, state.core)
        action = jnp.argmax(output.logits + noise, axis=-1).astype(jnp.int32)
        environment, timestep = advance(state.environment, action)
        episode = state.episode_return + timestep.reward, state.episode_length + 1
        done = state.observation, action, output.logits
        rest = timestep.reward, timestep.discount, timestep.last, *episode
        counts = [jnp.where(timestep.last, 0, count) for count in episode]
        after = ActorState(environment, timestep.observation, timestep.last, core, *counts)
        return after, (*done, *rest)

    after, (observations, *rest) = jax.lax.scan(step, state, noise)
    observations = jnp.concatenate([observations, after.observation[None]])
    resets = jnp.concatenate([state.reset[None], rest[4]])  # `last` of the step before
    core = jax.tree.map(lambda x: x[None], state.core)
    return Rollout(*[observations, resets, *rest, core]), after


def _make_advance(source: Source, keys: chex.PRNGKey) -> Callable[..., Any]:
    """Returns a step of all environments, from states whose keys are hidden and actions [B]."""
    starts = jax.vmap(source.sample_starts)(keys)
    first, key = jax.tree.map(lambda x: x[0], (starts, keys))
    like = jax.eval_shape(lambda: source.auto_resetting(first).reset(key)[0])

    def advance(starts: Any, state: Any, action: chex.Array) -> tuple[Any, base.TimeStep]:
        state, timestep = source.auto_resetting(starts).step(show_keys(state, like), action)
        return hide_keys(state), timestep

    return lambda state, action: jax.vmap(advance)(starts, state, action)


def is_success(reward: chex.Array, discount: chex.Array, last: chex.Array) -> chex.Array:
    """Returns, as a float32, whether an episode terminates in a step with a reward above 0."""
    return (last & (discount == 0) & (reward > 0)).astype(jnp.float32)


def hide_keys(tree: Any) -> Any:
    """Replaces typed random keys by their data, for arrays can be saved, split and compared."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, tree)


def show_keys(tree: Any, like: Any) -> Any:
    """Undoes `hide_keys` where a tree of shapes and dtypes has keys."""
    return jax.tree.map(
        lambda x, spec: jax.random.wrap_key_data(x) if _is_key(spec) else x, tree, like
    )


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
