"""Any world of `tasks` as an environment of gymnasium, one episode at a time.

  env = gymnasium_env.GymnasiumEnv(boxworld.BoxWorld(), render_mode='rgb_array')
  observation, info = env.reset(seed=1)
  observation, reward, terminated, truncated, info = env.step(env.action_space.sample())

gymnasium is no requirement of this package: `pip install gymnasium`, https://gymnasium.farama.org.
Its `np_random`, which `reset(seed=...)` seeds, draws the key of each episode. An episode whose time
is up is truncated, any other that is over is terminated. Every step is a call into a compiled
function and a copy to the host; to learn fast, use the worlds under `jax.vmap` as they are.
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
    """A world as gymnasium wants it; `spec.make()` makes another one, with gymnasium's checks."""

    metadata: dict[str, Any] = {'render_modes': ['rgb_array'], 'render_fps': 8}  # noqa: RUF012

    def __init__(
        self,
        environment: base.Environment,
        render_mode: str | None = None,
        bounds: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        """Wraps a world.

        Args:
          environment: the world; it is hashable, as frozen dataclasses are.
          render_mode: 'rgb_array', for pictures of it, or None.
          bounds: the least and the greatest number of an observation; those of the worlds of this
            package are 0 and 1.

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
        """Begins an episode.

        Args:
          seed: of all episodes from this one on; they go on as they would have if None.
          options: none are known, and all are left alone.

        Returns:
          observation: NumPy arrays, as `observation_space` says.
          info: nothing.
        """
        super().reset(seed=seed)
        key = jax.random.key(int(self.np_random.integers(2**31)))
        self._state, seen = grid.reset(self.environment, key)
        self._over = False
        return jax.tree.map(np.array, seen.observation), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Plays a step.

        Args:
          action: an integer, as `action_space` says.

        Returns:
          observation: NumPy arrays, as `observation_space` says.
          reward: of the step.
          terminated: whether the episode has come to its end.
          truncated: whether its time is up, though it has not.
          info: nothing.

        Raises:
          ValueError: there is no such action.
          gymnasium.error.ResetNeeded: no episode is on.
        """
        if self._over:
            raise gymnasium.error.ResetNeeded('wanted a reset before a step, as no episode is on')
        if not self.action_space.contains(action):
            raise ValueError(f'wanted an action of {self.action_space}, got {action!r}')
        self._state, seen = grid.step(self.environment, self._state, np.int32(action))
        last, ended = bool(seen.last), float(seen.discount) == 0
        self._over = last
        observation = jax.tree.map(np.array, seen.observation)
        return observation, float(seen.reward), last and ended, last and not ended, {}

    def render(self) -> np.ndarray | None:
        """Returns a picture of the world, uint8 [height, width, 3]; None without a render mode."""
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
