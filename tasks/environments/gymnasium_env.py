"""Any environment of `tasks` as one of gymnasium, one episode at a time.

  env = gymnasium_env.GymnasiumEnv(boxworld.BoxWorld(), render_mode='rgb_array')
  observation, info = env.reset(seed=1)
  observation, reward, terminated, truncated, info = env.step(env.action_space.sample())

gymnasium is no requirement of this package: `pip install gymnasium`, https://gymnasium.farama.org.
The key of each episode comes from its `np_random`, which `reset(seed=...)` seeds. Every step is a
call into a compiled function and a copy to the host; for fast training, use the environments under
`jax.vmap` as they are.
"""

from typing import Any

import chex
import jax
import numpy as np

from tasks import base
from tasks.environments import grid

try:
    import gymnasium
    from gymnasium.envs import registration
except ModuleNotFoundError as error:
    reason = f'tasks.environments.gymnasium_env wants gymnasium: pip install gymnasium ({error})'
    raise ModuleNotFoundError(reason, name=error.name) from None


class GymnasiumEnv(gymnasium.Env[Any, Any]):
    """An environment with the interface of gymnasium; `spec.make()` makes another, with checks."""

    metadata: dict[str, Any] = {'render_modes': ['rgb_array'], 'render_fps': 8}  # noqa: RUF012

    def __init__(
        self,
        environment: base.Environment,
        render_mode: str | None = None,
        bounds: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        """Wraps an environment.

        Args:
          environment: it is hashable, as frozen dataclasses are.
          render_mode: 'rgb_array', for pictures, or None.
          bounds: the least and the greatest number of an observation; those of the environments of
            this package are 0 and 1.

        Raises:
          ValueError: there is no such render mode.
        """
        modes = self.metadata['render_modes']
        if render_mode not in (None, *modes):
            raise ValueError(f'wanted render_mode {modes} or None, got {render_mode!r}')
        self.environment = environment
        self.render_mode = render_mode
        self.observation_space = _space(environment.observation_spec, bounds)
        self.action_space = gymnasium.spaces.Discrete(environment.num_actions)
        self.spec = registration.EnvSpec(
            f'{type(environment).__name__}-v0',
            entry_point='tasks.environments.gymnasium_env:GymnasiumEnv',
            kwargs={'environment': environment, 'bounds': bounds},
        )
        self._state: Any = None
        self._over = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode.

        Args:
          seed: of all episodes from this one on; None to continue with the generator as it is.
          options: ignored.

        Returns:
          observation: NumPy arrays, as `observation_space` says.
          info: empty.
        """
        super().reset(seed=seed)
        key = jax.random.key(int(self.np_random.integers(2**31)))
        self._state, timestep = grid.reset(self.environment, key)
        self._over = False
        return jax.tree.map(np.array, timestep.observation), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Takes a step.

        Args:
          action: an integer, as `action_space` says.

        Returns:
          observation: NumPy arrays, as `observation_space` says.
          reward: of the step.
          terminated: whether the episode has come to an end of its own.
          truncated: whether it is over all the same.
          info: empty.

        Raises:
          ValueError: there is no such action.
          gymnasium.error.ResetNeeded: the episode is over.
        """
        if self._over:
            raise gymnasium.error.ResetNeeded('wanted a reset: the episode is over')
        if not self.action_space.contains(action):
            raise ValueError(f'wanted an action of {self.action_space}, got {action!r}')
        self._state, timestep = grid.step(self.environment, self._state, np.int32(action))
        last, terminated = bool(timestep.last), float(timestep.discount) == 0
        self._over = last
        observation = jax.tree.map(np.array, timestep.observation)
        return observation, float(timestep.reward), last and terminated, last and not terminated, {}

    def render(self) -> np.ndarray | None:
        """Returns a picture, uint8 [height, width, 3]; None without a render mode."""
        if self.render_mode is None:
            return None
        if self._state is None:
            raise gymnasium.error.ResetNeeded('wanted a reset before a picture')
        return self.environment.render(self._state)


def _space(spec: chex.ArrayTree, bounds: tuple[float, float]) -> gymnasium.Space[Any]:
    """Returns the space of a tree of `jax.ShapeDtypeStruct`: of dicts, tuples and boxes."""
    if isinstance(spec, dict):
        return gymnasium.spaces.Dict({name: _space(part, bounds) for name, part in spec.items()})
    if isinstance(spec, tuple):
        return gymnasium.spaces.Tuple([_space(part, bounds) for part in spec])
    return gymnasium.spaces.Box(*bounds, spec.shape, spec.dtype.type)
