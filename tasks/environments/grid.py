"""What environments on a grid share: a window around the agent, and episodes that reset themselves.

Glossary of shapes:
  H, W: squares of a picture; C: channels of a square; V: squares of the window's side.
"""

from collections.abc import Callable
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tasks import base


def check_limits(viewport: int | None, max_steps: int | None) -> None:
    """Raises a ValueError unless there are such windows and such episodes; None is for all."""
    if viewport is not None and (viewport < 3 or viewport % 2 == 0):
        raise ValueError(f'wanted an odd viewport of 3 or more or None, got {viewport}')
    if max_steps is not None and max_steps < 1:
        raise ValueError(f'wanted max_steps of 1 or more, got {max_steps}')


def viewport(
    picture: jax.Array, position: jax.Array, size: int, fill: jax.typing.ArrayLike
) -> jax.Array:
    """Returns the squares around a position, with the position in the middle.

    Args:
      picture: [H, W, C].
      position: [2] integers, a row and a column of the picture.
      size: V, odd.
      fill: [C] or [], what is shown outside of the picture.

    Returns:
      The window, [V, V, C], of the picture's dtype.

    Raises:
      ValueError: the size is not odd, or below 1.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f'wanted an odd size of 1 or more, got {size}')
    height, width, channels = picture.shape
    offsets = np.arange(size) - size // 2
    rows, columns = position[0] + offsets[:, None], position[1] + offsets[None]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    window = picture[jnp.clip(rows, 0, height - 1), jnp.clip(columns, 0, width - 1)]
    outside = jnp.broadcast_to(jnp.asarray(fill, picture.dtype), (size, size, channels))
    return jnp.where(inside[..., None], window, outside)


def enlarge(colors: jax.Array, scale: int) -> np.ndarray:
    """Returns colours [H, W, 3] from 0 to 1 as a picture, uint8 [scale H, scale W, 3]."""
    squares = np.round(255 * np.asarray(colors))
    return np.kron(squares, np.ones((scale, scale, 1))).astype(np.uint8)


def action_number(environment: base.Environment, action: Any) -> np.int32:
    """Returns an action, [] an integer of Python, NumPy or JAX, as the environment takes it.

    Raises:
      ValueError: there is no such action.
    """
    try:
        number = operator.index(action)
    except TypeError:  # no integer, or several
        number = -1
    if not 0 <= number < environment.num_actions:
        most = environment.num_actions - 1
        raise ValueError(f'wanted an action from 0 to {most}, got {" ".join(repr(action).split())}')
    return np.int32(number)


# One episode at a time, compiled; equal environments, which are hashable, share the program.
reset = jax.jit(lambda environment, key: environment.reset(key), static_argnums=0)
step = jax.jit(lambda environment, *rest: environment.step(*rest), static_argnums=0)


class AutoResetState(NamedTuple):
    """The state of an `AutoReset`."""

    state: Any  # of the episode
    key: jax.Array  # [], of all episodes
    episodes: jax.Array  # [] int32, ended so far


class AutoReset:
    """An environment that resets itself when an episode is over.

    After the last step of an episode the state is the initial one of the next episode. So is the
    observation; reward, discount and `last` are those of the episode that has ended. The key of an
    episode is folded from the key of `reset` and the number of episodes before.

    Under `jax.vmap` every environment computes a reset in every step, whether its episode is over
    or not, so the reset has to be cheap.
    """

    def __init__(
        self,
        environment: base.Environment,
        reset: Callable[[jax.Array], tuple[Any, base.TimeStep]] | None = None,
    ) -> None:
        """Wraps an environment.

        Args:
          environment: one episode at a time.
          reset: key -> initial state and first time step; the environment's own if None. Where it
            is expensive, another one may pick from states that were made in advance.
        """
        self.environment = environment
        self._reset = environment.reset if reset is None else reset
        self.num_actions = environment.num_actions
        self.action_names = environment.action_names

    @property
    def observation_spec(self) -> Any:
        """The environment's."""
        return self.environment.observation_spec

    def reset(self, key: jax.Array) -> tuple[AutoResetState, base.TimeStep]:
        """Returns the initial state of the first episode, and its first time step."""
        state, timestep = self._reset(jax.random.fold_in(key, 0))
        return AutoResetState(state, key, jnp.int32(0)), timestep

    def step(
        self, state: AutoResetState, action: jax.Array
    ) -> tuple[AutoResetState, base.TimeStep]:
        """Returns the state after an action [] int32, and the time step."""
        stepped, timestep = self.environment.step(state.state, action)
        episodes = state.episodes + timestep.last.astype(jnp.int32)

        def next_episode() -> tuple[Any, Any]:
            initial, first = self._reset(jax.random.fold_in(state.key, episodes))
            return initial, first.observation

        kept = stepped, timestep.observation
        inner, observation = jax.lax.cond(timestep.last, next_episode, lambda: kept)
        after = AutoResetState(inner, state.key, episodes)
        return after, timestep._replace(observation=observation)

    def render(self, state: AutoResetState) -> np.ndarray:
        """Returns a picture of a state, uint8 [height, width, 3]."""
        return self.environment.render(state.state)
