"""Reinforcement learning in the loop of `loop`: a batch is played, then learned from.

An update plays every row of the batch on for `--unroll` steps, with the parameters of the moment,
and learns from what came of it, as IMPALA's learner does: V-trace, a policy gradient, the error of
the values, and the entropy, all summed over the steps, so that the loop's loss is a mean over
environment steps. Espeholt et al. 2018, sections 3 and 4, https://arxiv.org/abs/1802.01561.
Deviation: it acts and learns in turn, so the policy that plays is the one that learns, and the
same run gives the same bytes.

Where a row stands, in its episode and in the core's memory, is the loop's `carry`, so checkpoints
hold it. An episode whose time is up has not come to its end: what its last step led to is not
seen, so that step is left out, and the one before counts on the value of what was seen last.

Glossary of shapes:
  T: steps of a rollout; B: rows, each an environment; A: actions; ...: what an observation is.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from launch.agents import agent_config, agent_model
from launch.training import update
from relational_rnn import losses, vtrace
from tasks import base


class World(NamedTuple):
    """Where an agent learns, as rows that are played without end."""

    environment: base.Environment  # one episode at a time
    # key -> what one row's next episodes may begin with, for a rollout; () if they need nothing
    draw: Callable[[chex.PRNGKey], Any]
    # what was drawn -> the environment, beginning the next episode by itself; states are alike
    endless: Callable[[Any], base.Environment]
    solves: bool = False  # whether an episode that ends with a reward above 0 counts as solved


class Row(NamedTuple):
    """Where the rows stand between two rollouts; keys among the states are their data."""

    environment: Any  # [B, ...]
    observation: chex.Array  # [B, ...], not yet answered
    reset: chex.Array  # [B] bool, whether it is the first of an episode
    core: Any  # [B, ...]
    returned: chex.Array  # [B] float32, rewards of the episode so far
    length: chex.Array  # [B] int32, its steps so far


class Rollout(NamedTuple):
    """What was seen and done."""

    observations: chex.Array  # [T + 1, B, ...], the last one not yet answered
    resets: chex.Array  # [T + 1, B] bool
    actions: chex.Array  # [T, B] int32
    logits: chex.Array  # [T, B, A], of the policy that played
    rewards: chex.Array  # [T, B] float32
    discounts: chex.Array  # [T, B] float32, the environment's: 0 at the end of an episode
    last: chex.Array  # [T, B] bool, the end, or the time is up
    returned: chex.Array  # [T, B] float32, of the episode with this step
    lengths: chex.Array  # [T, B] int32, likewise


def make_task(
    config: agent_config.Config,
    world: World,
    model: agent_model.Model,
    evaluate: Callable[[chex.ArrayTree], Mapping[str, float]],
) -> update.Task:
    """Returns what the training loop needs.

    Args:
      config: the flags.
      world: where the agent learns.
      model: its network.
      evaluate: parameters -> metrics.
    """

    def sample(keys: chex.PRNGKey, step: chex.Array) -> Any:
        del step
        drawn = jax.vmap(world.draw)(keys)
        rows = jnp.zeros((len(keys),))  # the loop counts rows by the first array of a batch
        return jax.tree.map(lambda x: x[None], (rows, drawn))

    def loss(params: chex.ArrayTree, batch: Any, row: Row, keys: chex.PRNGKey) -> tuple:
        drawn = jax.tree.map(lambda x: x[0], batch[1])
        play = config.unroll, world, model
        fixed = jax.lax.stop_gradient(params)
        rollout, after = collect(*play, fixed, drawn, row, keys)
        value, sums = learn(config, model, params, rollout, row.core)
        return value, after, {**sums, **episodes(world, rollout)}

    ratios = {name: (name, 'episodes') for name in ('training_return', 'training_length')}
    if world.solves:
        ratios['training_solved'] = 'training_solved', 'episodes'
    names = ('policy_loss', 'value_error', 'entropy')
    row = initial_row(config, world, model)
    return update.Task(
        model.init, row, loss, evaluate, 'frames', sample=sample, names=names, ratios=ratios
    )


def initial_row(config: agent_config.Config, world: World, model: agent_model.Model) -> Row:
    """Returns where all rows begin, host arrays [B, ...]."""
    size = config.batch_size
    seed = jax.random.fold_in(jax.random.key(config.seed), 2)  # 0 and 1 are the loop's

    @jax.jit
    def begin(key: chex.PRNGKey) -> Row:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(size))
        state, seen = jax.vmap(lambda key: world.endless(world.draw(key)).reset(key))(keys)
        nothing = jnp.zeros(size), jnp.zeros(size, jnp.int32)
        observation, core = seen.observation, model.initial_state(size)
        return Row(hide_keys(state), observation, jnp.ones(size, bool), core, *nothing)

    return jax.tree.map(np.asarray, begin(seed))


def collect(
    num_steps: int,
    world: World,
    model: agent_model.Model,
    params: chex.ArrayTree,
    drawn: Any,
    row: Row,
    keys: chex.PRNGKey,
) -> tuple[Rollout, Row]:
    """Plays all rows on.

    Args:
      num_steps: T.
      world: where.
      model: the network.
      params: its parameters.
      drawn: what episodes may begin with, [B, ...].
      row: where the rows stand.
      keys: [B], of their actions.

    Returns:
      What was seen and done, and where the rows stand now.
    """
    advance = _make_advance(world, drawn, keys)
    sizes = num_steps, world.environment.num_actions
    noise = jax.vmap(lambda key: jax.random.gumbel(key, sizes), out_axes=1)(keys)

    def step(row: Row, noise: chex.Array) -> tuple[Row, tuple]:
        output, core = model.step(params, row.observation, row.reset, row.core)
        action = jnp.argmax(output.logits + noise, axis=-1).astype(jnp.int32)
        environment, seen = advance(row.environment, action)
        returned, length = row.returned + seen.reward, row.length + 1
        done = row.observation, row.reset, action, output.logits
        rest = seen.reward, seen.discount, seen.last, returned, length
        kept = jnp.where(seen.last, 0, returned), jnp.where(seen.last, 0, length)
        return Row(environment, seen.observation, seen.last, core, *kept), (*done, *rest)

    after, (observations, resets, *rest) = jax.lax.scan(step, row, noise)
    observations = jnp.concatenate([observations, after.observation[None]])
    resets = jnp.concatenate([resets, after.reset[None]])
    return Rollout(observations, resets, *rest), after


def _make_advance(world: World, drawn: Any, keys: chex.PRNGKey) -> Callable[..., Any]:
    """Returns a step of the rows' environments, states whose keys are hidden and actions [B]."""
    first, key = jax.tree.map(lambda x: x[0], (drawn, keys))
    like = jax.eval_shape(lambda: world.endless(first).reset(key)[0])

    def advance(drawn: Any, state: Any, action: chex.Array) -> tuple[Any, base.TimeStep]:
        state, seen = world.endless(drawn).step(show_keys(state, like), action)
        return hide_keys(state), seen

    return lambda state, action: jax.vmap(advance)(drawn, state, action)


def learn(
    config: agent_config.Config,
    model: agent_model.Model,
    params: chex.ArrayTree,
    rollout: Rollout,
    core: Any,
) -> tuple[losses.WeightedSum, dict[str, chex.Array]]:
    """Returns the loss of a rollout, and sums of what is shown beside it, over its steps.

    Args:
      config: the flags.
      model: the network.
      params: the parameters to learn.
      rollout: what was seen and done.
      core: the core's state at its beginning, [B, ...].

    Returns:
      The loss, with a weight of T x B; 'policy_loss', 'value_error', squared, and 'entropy'.
    """
    output, _ = model.unroll(params, rollout.observations, rollout.resets, core)
    policy = jax.nn.log_softmax(output.logits[:-1])
    chosen = _pick(policy, rollout.actions)
    played = _pick(jax.nn.log_softmax(rollout.logits), rollout.actions)
    # Of a step in which the time is up it is not known what came of it.
    seen = ~(rollout.last & (rollout.discounts > 0))
    discounts = config.discount * rollout.discounts
    limits = config.rho_bar, config.c_bar, config.trace_lambda
    targets = vtrace.vtrace(
        output.value,
        config.reward_scale * rollout.rewards,
        discounts,
        jnp.exp(chosen - played) * seen,
        *limits,
    )
    policy_loss = -jnp.sum(chosen * targets.advantages)
    value_error = jnp.sum(jnp.square(targets.values - output.value[:-1]))
    entropy = -jnp.sum(jnp.exp(policy) * policy)
    total = policy_loss + 0.5 * config.value_cost * value_error - config.entropy_cost * entropy
    sums = {'policy_loss': policy_loss, 'value_error': value_error, 'entropy': entropy}
    return losses.WeightedSum(total, jnp.float32(chosen.size)), sums


def episodes(world: World, rollout: Rollout) -> dict[str, chex.Array]:
    """Returns how many episodes ended in a rollout, and sums over them."""
    last = rollout.last.astype(jnp.float32)
    sums = {
        'episodes': jnp.sum(last),
        'training_return': jnp.sum(last * rollout.returned),
        'training_length': jnp.sum(last * rollout.lengths),
    }
    if world.solves:
        sums['training_solved'] = jnp.sum(
            is_solved(rollout.rewards, rollout.discounts, rollout.last)
        )
    return sums


def is_solved(reward: chex.Array, discount: chex.Array, last: chex.Array) -> chex.Array:
    """Returns, as a float32, whether an episode ends in a step with a reward above 0."""
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


def _pick(scores: chex.Array, actions: chex.Array) -> chex.Array:
    """Returns the score of the chosen action, [T, B, A] and [T, B] -> [T, B]."""
    return jnp.take_along_axis(scores, actions[..., None], axis=-1)[..., 0]
