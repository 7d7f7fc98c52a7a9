"""What worlds of squares share: a window round the agent, and episodes without end.

Glossary of shapes:
  H, W: squares of a picture; C: what is known of a square; V: squares of the window's side.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from tasks import base


def viewport(
    picture: chex.Array, position: chex.Array, size: int, fill: chex.Numeric
) -> chex.Array:
    """Returns the squares round a position, the position in the middle.

    Args:
      picture: [H, W, C].
      position: [2] integers, a row and a column of the picture.
      size: V, odd.
      fill: [C] or [], what is seen outside of the picture.

    Returns:
      The window, [V, V, C], of the picture's dtype.

    Raises:
      ValueError: the size is not odd, or no size.
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


# One episode at a time, compiled; equal worlds, which are hashable, share what is compiled.
reset = jax.jit(lambda environment, key: environment.reset(key), static_argnums=0)
step = jax.jit(lambda environment, *rest: environment.step(*rest), static_argnums=0)


class Chain(NamedTuple):
    """Where a chain of episodes is."""

    state: Any  # of the episode
    key: chex.PRNGKey  # [], of all episodes
    episodes: chex.Array  # [] int32, ended so far


class AutoReset:
    """An environment that begins the next episode by itself.

    After the step that is the last of an episode the state is that of the next one. So is the
    observation; reward, discount and `last` are the ended one's. Each episode has a key of its
    own, drawn from the key of the chain and the number of episodes before.

    Under `jax.vmap` a next episode is made ready for every environment in every step, whether its
    episode ends or not, so `begin` had better be cheap.
    """

    def __init__(
        self,
        environment: base.Environment,
        begin: Callable[[chex.PRNGKey], tuple[Any, base.TimeStep]] | None = None,
    ) -> None:
        """Wraps an environment.

        Args:
          environment: one episode at a time.
          begin: key -> state and what is seen of it, to begin an episode with; the environment's
            `reset` if None. A world whose levels are dear to make may pick one made ahead.
        """
        self.environment = environment
        self.begin = environment.reset if begin is None else begin
        self.num_actions = environment.num_actions
        self.action_names = environment.action_names

    @property
    def observation_spec(self) -> Any:
        """What the environment's is."""
        return self.environment.observation_spec

    def reset(self, key: chex.PRNGKey) -> tuple[Chain, base.TimeStep]:
        """Returns the begin of the first episode, and what is seen of it."""
        state, seen = self.begin(jax.random.fold_in(key, 0))
        return Chain(state, key, jnp.int32(0)), seen

    def step(self, chain: Chain, action: chex.Array) -> tuple[Chain, base.TimeStep]:
        """Returns where the chain is after an action [] int32, and what is seen of it."""
        state, seen = self.environment.step(chain.state, action)
        episodes = chain.episodes + seen.last.astype(jnp.int32)

        def next_episode() -> tuple[Any, Any]:
            state, seen = self.begin(jax.random.fold_in(chain.key, episodes))
            return state, seen.observation

        kept = state, seen.observation
        state, observation = jax.lax.cond(seen.last, next_episode, lambda: kept)
        return Chain(state, chain.key, episodes), seen._replace(observation=observation)

    def render(self, chain: Chain) -> np.ndarray:
        """Returns a picture of a state, uint8 [height, width, 3]."""
        return self.environment.render(chain.state)
