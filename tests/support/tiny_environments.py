"""Small environments to learn in, whose best scores are known."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from launch.agents import rollout
from tasks import base
from tasks.environments import grid

# Of an environment of three actions: too large, too small, or no integer.
BAD_ACTIONS = (
    *(3, -1, 0.5, 'left', None),
    *(np.array([0]), np.zeros((2, 2)), np.float32(1)),
    *(jnp.array([0]), jnp.float32(1), jnp.int32(3)),
)


class State(NamedTuple):
    """The state of an episode."""

    key: Any  # [], of all that is random later
    cue: Any  # [] int32
    steps: Any  # [] int32
    place: Any  # [] int32


@dataclasses.dataclass(frozen=True)
class Recall:
    """A cue is observed at the first step and answered at the last: without memory by guessing.

    All steps but the first have the same observation; the right answer earns 1, all else nothing.
    """

    num_steps: int = 3
    num_actions = 2
    action_names = 'left', 'right'

    @property
    def observation_spec(self):
        return jax.ShapeDtypeStruct((2, 3, 2), jnp.float32)

    def reset(self, key):
        key, own = jax.random.split(key)
        state = State(key, jax.random.randint(own, (), 0, 2), jnp.int32(0), jnp.int32(0))
        return state, self._timestep(state, jnp.float32(0))

    def step(self, state, action):
        state = state._replace(steps=state.steps + 1)
        right = (state.steps == self.num_steps) & (action == state.cue)
        return state, self._timestep(state, right.astype(jnp.float32))

    def render(self, state):
        return np.zeros((2, 3, 3), np.uint8)

    def _timestep(self, state, reward):
        shown = jax.nn.one_hot(state.cue, 2) * (state.steps == 0)
        over = state.steps == self.num_steps
        picture = jnp.broadcast_to(shown, (2, 3, 2))
        return base.TimeStep(picture, reward, 1 - over.astype(jnp.float32), over)


@dataclasses.dataclass(frozen=True)
class Corridor:
    """Places 0 to 4; right of 4 is the goal, which earns 2, and left of 0 a pit, which costs 1.

    It starts at a random place, staying earns 0.125, and after `max_steps` it is truncated.
    """

    max_steps: int = 7
    num_actions = 3
    action_names = 'stay', 'right', 'left'

    @property
    def observation_spec(self):
        return jax.ShapeDtypeStruct((2, 5, 1), jnp.float32)

    def reset(self, key):
        key, own = jax.random.split(key)
        state = State(key, jnp.int32(0), jnp.int32(0), jax.random.randint(own, (), 0, 5))
        return state, self._timestep(state, jnp.float32(0))

    def step(self, state, action):
        place = state.place + jnp.array([0, 1, -1])[action]
        state = state._replace(place=place, steps=state.steps + 1)
        reward = 2.0 * (place == 5) - 1.0 * (place == -1) + 0.125 * (action == 0)
        return state, self._timestep(state, reward.astype(jnp.float32))

    def render(self, state):
        return np.zeros((2, 5, 3), np.uint8)

    def _timestep(self, state, reward):
        picture = jnp.broadcast_to(jax.nn.one_hot(state.place, 5)[:, None], (2, 5, 1))
        ends = (state.place < 0) | (state.place > 4)
        over = ends | (state.steps >= self.max_steps)
        return base.TimeStep(picture, reward, 1 - ends.astype(jnp.float32), over)


def traced_corridor():
    """Returns a class of corridors, and the actions with which their steps were traced so far."""
    traced = []

    class Traced(Corridor):
        def step(self, state, action):
            traced.append(action)
            return super().step(state, action)

    return Traced, traced


def source(environment, has_success=False):
    """Returns where an agent's episodes come from; nothing is sampled ahead."""
    resetting = grid.AutoReset(environment)
    return rollout.Source(environment, lambda key: (), lambda starts: resetting, has_success)


def source_of_starts():
    """Returns a source of corridors with places that are sampled for every rollout.

    All episodes of a batch element that start in a rollout start at one place.
    """
    corridor = Corridor()

    def auto_resetting(place):
        def reset(key):
            state = corridor.reset(key)[0]._replace(place=place)
            return state, corridor._timestep(state, jnp.float32(0))

        return grid.AutoReset(corridor, reset)

    sample = lambda key: jax.random.randint(key, (), 0, 5)  # noqa: E731
    return rollout.Source(corridor, sample, auto_resetting, has_success=True)
