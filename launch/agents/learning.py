"""Learning from a rollout: V-trace, a policy gradient, the values' error, and the entropy.

The loss is a mean over environment steps. Espeholt et al. 2018, "IMPALA", sections 3 and 4,
https://arxiv.org/abs/1802.01561. A truncated episode has not terminated: what its last step led to
is not observed, so that step is left out, and the one before bootstraps from the last observation.

Glossary of shapes:
  T: steps of a rollout; B: batch of environments; A: actions.
"""

from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp

from launch.agents import configuration
from launch.agents import network as network_lib
from launch.agents import rollout as rollout_lib
from launch.training import task as task_lib
from relational_rnn import losses, vtrace


def make_task(
    config: configuration.Config,
    source: rollout_lib.Source,
    network: network_lib.Network,
    evaluate: Callable[[chex.ArrayTree], Mapping[str, float]],
    test: Callable[[chex.ArrayTree, bool], dict[str, Any]],
) -> task_lib.Task:
    """Returns what the training loop needs.

    Args:
      config: the flags.
      source: where the episodes come from.
      network: the agent's network.
      evaluate: as in `task.Task`.
      test: as in `task.Task`.
    """

    def sample(
        params: chex.ArrayTree, state: rollout_lib.ActorState, keys: chex.PRNGKey
    ) -> tuple[rollout_lib.Rollout, rollout_lib.ActorState]:
        return rollout_lib.collect(config.unroll, source, network, params, state, keys)

    def loss(
        params: chex.ArrayTree,
        rollout: rollout_lib.Rollout,
        state: rollout_lib.ActorState,
        keys: chex.PRNGKey,
    ) -> tuple[task_lib.Metrics, rollout_lib.ActorState]:
        del keys  # nothing in learning is random
        metrics = learn(config, network, params, rollout)
        return {**metrics, **episodes(source, rollout)}, state

    return task_lib.Task(
        network.init,
        loss,
        evaluate,
        test,
        'frames',
        ('frames', config.frames),
        network.core_parameters,
        sample=sample,
        initial_carry=lambda: rollout_lib.initial_state(config, source, network),
    )


def learn(
    config: configuration.Config,
    network: network_lib.Network,
    params: chex.ArrayTree,
    rollout: rollout_lib.Rollout,
) -> dict[str, losses.WeightedSum]:
    """Returns the loss of a rollout and its parts, over T x B steps.

    Args:
      config: the flags.
      network: the network.
      params: the parameters to learn.
      rollout: what was observed and done.

    Returns:
      'loss', 'policy_loss', 'value_error', squared, and 'entropy', in nats.
    """
    core = jax.tree.map(lambda x: x[0], rollout.core)
    output, _ = network.unroll(params, rollout.observations, rollout.resets, core)
    policy = jax.nn.log_softmax(output.logits[:-1])
    chosen = _pick(policy, rollout.actions)
    acted = _pick(jax.nn.log_softmax(rollout.logits), rollout.actions)
    truncated = rollout.last & (rollout.discounts > 0)
    targets = vtrace.vtrace(
        output.value,
        config.reward_scale * rollout.rewards,
        config.discount * rollout.discounts,
        jnp.exp(chosen - acted) * ~truncated,
        config.rho_bar,
        config.c_bar,
        config.trace_lambda,
    )
    policy_loss = -jnp.sum(chosen * targets.advantages)
    value_error = jnp.sum(jnp.square(targets.values - output.value[:-1]))
    entropy = -jnp.sum(jnp.exp(policy) * policy)
    loss = policy_loss + 0.5 * config.value_cost * value_error - config.entropy_cost * entropy
    sums = {
        'loss': loss,
        'policy_loss': policy_loss,
        'value_error': value_error,
        'entropy': entropy,
    }
    return {name: losses.WeightedSum(x, jnp.float32(chosen.size)) for name, x in sums.items()}


def episodes(
    source: rollout_lib.Source, rollout: rollout_lib.Rollout
) -> dict[str, losses.WeightedSum]:
    """Returns sums over the episodes that ended in a rollout, weighted by their number."""
    last = rollout.last.astype(jnp.float32)
    sums = {
        'training_return': jnp.sum(last * rollout.episode_returns),
        'training_length': jnp.sum(last * rollout.episode_lengths),
    }
    if source.has_success:
        success = rollout_lib.is_success(rollout.rewards, rollout.discounts, rollout.last)
        sums['training_success'] = jnp.sum(success)
    return {name: losses.WeightedSum(x, jnp.sum(last)) for name, x in sums.items()}


def _pick(scores: chex.Array, actions: chex.Array) -> chex.Array:
    """Returns the score of the chosen action, [T, B, A] and [T, B] -> [T, B]."""
    return jnp.take_along_axis(scores, actions[..., None], axis=-1)[..., 0]
