"""Plays whole episodes and says how they went, of a network and of a policy that rolls dice.

Every episode is the first of a world of its own, so that short ones, of which more end in a given
time, do not count more often. Actions are drawn from the policy, as in training.

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

from launch.agents import acting, agent_model
from relational_rnn.networks import actor_critic
from tasks import base

_HELD_OUT = 2018  # the seed of the episodes of evaluations, whatever the run's
_CHUNK = 50  # steps between looks at signals, and at whether all episodes are over
_SHRINK = 4  # when so small a share of the rows still plays, the others are dropped

# parameters (None for the dice), N, what is called between chunks and may raise -> results
Evaluation = Callable[[chex.ArrayTree | None, int], dict[str, float]]


class Game(NamedTuple):
    """Where N episodes are; one that is over is left as it is, however long others are played."""

    number: chex.Array  # [N] int32, which episode it is
    state: Any  # [N, ...]
    observation: chex.Array  # [N, ...]
    reset: chex.Array  # [N] bool, whether nothing has been done yet
    core: Any  # [N, ...]
    over: chex.Array  # [N] bool
    returned: chex.Array  # [N] float32, the sum of the rewards
    length: chex.Array  # [N] int32
    solved: chex.Array  # [N] float32


def make_evaluation(
    world: acting.World, model: agent_model.Model, chunk: int = _CHUNK
) -> Evaluation:
    """Returns what plays episodes to their ends.

    Args:
      world: where; its episodes have to end.
      model: the network.
      chunk: T; the episodes are the same for one T.

    Returns:
      Parameters and N to 'return' and 'length', means of an episode, in worlds that can be solved
      'solved', the share that was, and of each the standard error, such as 'return_error'. The
      episodes begin alike in all runs, and no run trains on their keys.
    """
    begin = jax.jit(functools.partial(_begin, world.environment, model))
    play = jax.jit(functools.partial(_play, world.environment, model, chunk))

    def evaluate(params: chex.ArrayTree | None, size: int) -> dict[str, float]:
        game, first = begin(jnp.arange(size)), 0
        ended: dict[str, np.ndarray] = {
            name: np.zeros(size) for name in ('returned', 'length', 'solved')
        }
        while not bool(jnp.all(game.over)):
            game, first = play(params, game, first), first + chunk
            for name, values in ended.items():
                values[np.asarray(game.number)] = np.asarray(getattr(game, name))
            game = _drop(game)
        return _summarise(ended, world.solves)

    return evaluate


def _begin(environment: base.Environment, model: agent_model.Model, number: chex.Array) -> Game:
    """Returns the begin of the episodes of these numbers [N]."""
    keys = jax.vmap(lambda n: jax.random.fold_in(_key(n), 0))(number)
    state, seen = jax.vmap(environment.reset)(keys)
    size = len(number)
    yes, zero = jnp.ones(size, bool), jnp.zeros(size)
    core, length = model.initial_state(size), jnp.zeros(size, jnp.int32)
    return Game(number, state, seen.observation, yes, core, ~yes, zero, length, zero)


def _play(
    environment: base.Environment,
    model: agent_model.Model,
    num_steps: int,
    params: chex.ArrayTree | None,
    game: Game,
    first: chex.Array,
) -> Game:
    """Plays T steps; `first` [] is the number of the first of them."""
    shape = num_steps, environment.num_actions
    noise = jax.vmap(
        lambda n: jax.random.gumbel(jax.random.fold_in(_key(n), first + 1), shape), out_axes=1
    )(game.number)

    def step(game: Game, noise: chex.Array) -> tuple[Game, None]:
        output, core = _act(model, params, noise.shape, game)
        action = jnp.argmax(output.logits + noise, axis=-1).astype(jnp.int32)
        state, seen = jax.vmap(environment.step)(game.state, action)
        after = Game(
            game.number,
            state,
            seen.observation,
            jnp.zeros_like(game.reset),
            core,
            seen.last,
            game.returned + seen.reward,
            game.length + 1,
            acting.is_solved(seen.reward, seen.discount, seen.last),
        )
        keep = jax.vmap(lambda over, a, b: jax.tree.map(functools.partial(jnp.where, over), a, b))
        return keep(game.over, game, after), None

    return jax.lax.scan(step, game, noise)[0]


def _act(
    model: agent_model.Model,
    params: chex.ArrayTree | None,
    shape: tuple[int, ...],
    game: Game,
) -> tuple[actor_critic.Output, Any]:
    """Returns what the network says [N, ...] and the core's state; of the dice, all the same."""
    if params is None:
        return actor_critic.Output(jnp.zeros(shape), jnp.zeros(shape[:1])), game.core
    return model.step(params, game.observation, game.reset, game.core)


def _key(number: chex.Array) -> chex.PRNGKey:
    """Returns the key of an episode."""
    return jax.random.fold_in(jax.random.key(_HELD_OUT), number)


def _drop(game: Game) -> Game:
    """Keeps the rows that still play, in a smaller game once they are few."""
    playing = np.flatnonzero(~np.asarray(game.over))
    size = len(game.over) // _SHRINK
    if not 0 < len(playing) <= size:
        return game
    rows = np.concatenate([playing, np.flatnonzero(game.over)])[:size]
    return jax.tree.map(lambda x: x[rows], game)


def _summarise(ended: dict[str, np.ndarray], solves: bool) -> dict[str, float]:
    """Returns means and standard errors of what is known of every episode, [N] each."""
    names = {'return': 'returned', 'length': 'length', **({'solved': 'solved'} if solves else {})}
    results = {}
    for name, column in names.items():
        values = ended[column]
        results[name] = float(np.mean(values))
        results[f'{name}_error'] = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return results
