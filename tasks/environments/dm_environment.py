"""Any environment of `tasks` as one of dm_env, one episode at a time.

  env = dm_environment.DmEnvironment(boxworld.BoxWorld(), seed=1)
  timestep = env.reset()
  timestep = env.step(env.action_spec().generate_value())

dm_env is no requirement of this package: `pip install dm-env`,
https://github.com/google-deepmind/dm_env. The episodes are those of `grid.AutoReset` for
`jax.random.key(seed)`, except that both the last observation of each and the first one of the next
are returned. A truncated episode ends with discount 1, a terminated one with discount 0. Every step
is a call into a compiled function and a copy to the host; for fast training, use the environments
under `jax.vmap` as they are.
"""

from typing import Any

import jax
import numpy as np

from tasks import base
from tasks.environments import grid

try:
    import dm_env
    from dm_env import specs
except ModuleNotFoundError as error:
    reason = f'tasks.environments.dm_environment wants dm_env: pip install dm-env ({error})'
    raise ModuleNotFoundError(reason, name=error.name) from None


class DmEnvironment(dm_env.Environment):
    """An environment with the interface of dm_env."""

    def __init__(
        self,
        environment: base.Environment,
        seed: int = 0,
        bounds: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        """Wraps an environment.

        Args:
          environment: it is hashable, as frozen dataclasses are.
          seed: of all episodes.
          bounds: the least and the greatest number of an observation; those of the environments of
            this package are 0 and 1.
        """
        self.environment = environment
        self._bounds = bounds
        self._key = jax.random.key(seed)
        self._episodes = 0
        self._state: Any = None
        self._over = True

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode and returns its first time step, without reward and discount."""
        key = jax.random.fold_in(self._key, self._episodes)
        self._state, timestep = grid.reset(self.environment, key)
        self._episodes += 1
        self._over = False
        return dm_env.restart(jax.tree.map(np.array, timestep.observation))

    def step(self, action: Any) -> dm_env.TimeStep:
        """Takes a step, or resets if the last episode is over.

        Args:
          action: [] an integer, as `action_spec` says, of Python, NumPy or JAX; ignored if the last
            episode is over.

        Returns:
          The time step, NumPy arrays as the specs say.

        Raises:
          ValueError: there is no such action.
        """
        if self._over:
            return self.reset()
        number = grid.action_number(self.environment, action)
        self._state, timestep = grid.step(self.environment, self._state, number)
        self._over = bool(timestep.last)
        return dm_env.TimeStep(
            dm_env.StepType.LAST if self._over else dm_env.StepType.MID,
            np.float32(timestep.reward),
            np.float32(timestep.discount),
            jax.tree.map(np.array, timestep.observation),
        )

    def observation_spec(self) -> Any:
        """Returns the shapes, dtypes and bounds of an observation."""

        def bounded(part: jax.ShapeDtypeStruct) -> specs.BoundedArray:
            return specs.BoundedArray(part.shape, part.dtype, *self._bounds, name='observation')

        return jax.tree.map(bounded, self.environment.observation_spec)

    def action_spec(self) -> specs.DiscreteArray:
        """Returns how many actions there are."""
        return specs.DiscreteArray(self.environment.num_actions, np.int32, name='action')

    def reward_spec(self) -> specs.Array:
        """Returns that a reward is one number."""
        return specs.Array((), np.float32, name='reward')

    def discount_spec(self) -> specs.BoundedArray:
        """Returns that a discount is 0 at the end of an episode, else 1."""
        return specs.BoundedArray((), np.float32, 0.0, 1.0, name='discount')
