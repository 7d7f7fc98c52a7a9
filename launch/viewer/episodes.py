"""Episodes of a world, step by step, and who may choose what is done in them.

Glossary of shapes:
  A: actions; ...: what an observation is.
"""

from collections.abc import Callable, Iterator
import itertools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from launch.agents import agent_model
from tasks import base

_SALT = 5  # tells apart the keys of what is shown from those of training


class Game(NamedTuple):
    """The functions of a world, compiled."""

    reset: Callable[[chex.PRNGKey], tuple[Any, base.TimeStep]]
    step: Callable[[Any, chex.Array], tuple[Any, base.TimeStep]]


class Moment(NamedTuple):
    """Where an episode is."""

    state: Any
    seen: base.TimeStep  # on the host
    returned: float  # the sum of the rewards
    length: int


class Policy(NamedTuple):
    """Who chooses; what is remembered is the policy's own."""

    begin: Callable[[], Any]
    # memory, observation [...], whether it is the first of an episode, key -> action [], memory
    act: Callable[[Any, chex.Array, bool, chex.PRNGKey], tuple[chex.Array, Any]]


def make_game(environment: base.Environment) -> Game:
    """Returns the functions of a world, compiled, for a person does not wait in the game."""
    game = Game(jax.jit(environment.reset), jax.jit(environment.step))
    warm_up(game, dice(environment.num_actions))
    return game


def warm_up(game: Game, policy: Policy) -> None:
    """Compiles what a policy does in a game, by two steps of an episode."""
    for _ in itertools.islice(episode(game, policy, 0, 0), 3):
        pass


def begin(game: Game, key: chex.PRNGKey) -> Moment:
    """Returns the begin of the episode of a key."""
    state, seen = game.reset(key)
    return Moment(state, jax.device_get(seen), 0.0, 0)


def advance(game: Game, moment: Moment, action: chex.Numeric) -> Moment:
    """Returns where the episode is after an action []."""
    state, seen = game.step(moment.state, jnp.int32(action))
    seen = jax.device_get(seen)
    return Moment(state, seen, moment.returned + float(seen.reward), moment.length + 1)


def keys(seed: int, number: int) -> tuple[chex.PRNGKey, chex.PRNGKey]:
    """Returns the keys of an episode, by its number, and of what is done in it."""
    salted = jax.random.fold_in(jax.random.key(seed), _SALT)
    own, actions = jax.random.split(jax.random.fold_in(salted, number))
    return own, actions


def episode(game: Game, policy: Policy, seed: int, number: int) -> Iterator[Moment]:
    """Yields the begin of an episode, and where it is after every step up to its last.

    Args:
      game: the world.
      policy: who plays.
      seed: of all episodes.
      number: which of them.
    """
    own, actions = keys(seed, number)
    moment, memory = begin(game, own), policy.begin()
    yield moment
    while not moment.seen.last:
        key = jax.random.fold_in(actions, moment.length)
        shown = moment.seen.observation, moment.length == 0
        action, memory = policy.act(memory, *shown, key)
        moment = advance(game, moment, action)
        yield moment


def dice(num_actions: int) -> Policy:
    """Returns who does anything, all of A actions alike."""
    draw = jax.jit(lambda key: jax.random.randint(key, (), 0, num_actions))
    return Policy(lambda: (), lambda memory, observation, first, key: (draw(key), memory))


def agent(model: agent_model.Model, params: chex.ArrayTree, greedy: bool) -> Policy:
    """Returns a trained network as who plays.

    Args:
      model: the network.
      params: its parameters.
      greedy: whether it takes the likeliest action, instead of drawing from its policy.
    """

    @jax.jit
    def act(
        params: chex.ArrayTree, memory: Any, observation: chex.Array, first: Any, key: chex.PRNGKey
    ) -> tuple[chex.Array, Any]:
        output, memory = model.step(params, observation[None], first[None], memory)
        logits = output.logits[0]  # [A]
        return jnp.argmax(logits) if greedy else jax.random.categorical(key, logits), memory

    return Policy(
        lambda: model.initial_state(1),
        lambda memory, observation, first, key: act(
            params, memory, observation, np.asarray(first), key
        ),
    )
