"""Any environment of `tasks` as one of gymnasium, one episode at a time.

  env = gymnasium_env.GymnasiumEnv(boxworld.BoxWorld(), render_mode='rgb_array')
  observation, info = env.reset(seed=1)
  observation, reward, terminated, truncated, info = env.step(env.action_space.sample())

Importing this file registers `relational_rnn/BoxWorld-v0` and `relational_rnn/MiniPacman-v0`:

  env = gymnasium.make('relational_rnn/BoxWorld-v0', environment=boxworld.BoxWorld(size=9))
  envs = gymnasium.make_vec(
      'relational_rnn/BoxWorld-v0', 4, 'async', vector_kwargs={'context': 'spawn'}
  )

Environments in other processes want `context='spawn'`: JAX, once it has computed, does not survive
a fork, by which processes start on Linux by default.

gymnasium is no requirement of this package: `pip install gymnasium`, https://gymnasium.farama.org.
The key of each episode comes from its `np_random`, which `reset(seed=...)` seeds. Every step is a
call into a compiled function and a copy to the host; for fast training, use the environments under
`jax.vmap` as they are.
"""

import operator
import os
from typing import Any

import jax
from jax._src import xla_bridge  # nothing public says whether JAX has started
import numpy as np

from tasks import base
from tasks.environments import boxworld, grid, mini_pacman

try:
    import gymnasium
    from gymnasium.envs import registration
except ModuleNotFoundError as error:
    reason = f'tasks.environments.gymnasium_env wants gymnasium: pip install gymnasium ({error})'
    raise ModuleNotFoundError(reason, name=error.name) from None


_NAMESPACE = 'relational_rnn'
_ENTRY_POINT = 'tasks.environments.gymnasium_env:GymnasiumEnv'


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
            f'{_NAMESPACE}/{type(environment).__name__}-v0',
            entry_point=_ENTRY_POINT,
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

        Raises:
          RuntimeError: the process was forked from one in which JAX had computed.
        """
        if _Process.is_broken:
            raise RuntimeError(
                'JAX had computed before this process was forked, and would wait for ever here: '
                "make the environments with context='spawn'"
            )
        super().reset(seed=seed)
        key = jax.random.key(int(self.np_random.integers(2**31)))
        self._state, timestep = grid.reset(self.environment, key)
        self._over = False
        return jax.tree.map(np.array, timestep.observation), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Takes a step.

        Args:
          action: an integer, as `action_space` says, of Python, NumPy or JAX.

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
        self._state, timestep = grid.step(self.environment, self._state, self._number(action))
        last, terminated = bool(timestep.last), float(timestep.discount) == 0
        self._over = last
        observation = jax.tree.map(np.array, timestep.observation)
        return observation, float(timestep.reward), last and terminated, last and not terminated, {}

    def _number(self, action: Any) -> np.int32:
        try:
            number = operator.index(action)
        except TypeError:  # no integer, or several
            number = -1
        if not 0 <= number < self.environment.num_actions:
            raise ValueError(f'wanted an action of {self.action_space}, got {action!r}')
        return np.int32(number)

    def render(self) -> np.ndarray | None:
        """Returns a picture, uint8 [height, width, 3]; None without a render mode."""
        if self.render_mode is None:
            return None
        if self._state is None:
            raise gymnasium.error.ResetNeeded('wanted a reset before a picture')
        return self.environment.render(self._state)


def _space(spec: Any, bounds: tuple[float, float]) -> gymnasium.Space[Any]:
    """Returns the space of a tree of `jax.ShapeDtypeStruct`: of dicts, tuples and boxes."""
    if isinstance(spec, dict):
        return gymnasium.spaces.Dict({name: _space(part, bounds) for name, part in spec.items()})
    if isinstance(spec, tuple):
        return gymnasium.spaces.Tuple([_space(part, bounds) for part in spec])
    return gymnasium.spaces.Box(*bounds, spec.shape, spec.dtype.type)


class _Process:
    """Of the process: whether it was forked after JAX had started."""

    is_broken = False


def _note_fork() -> None:
    _Process.is_broken = xla_bridge.backends_are_initialized()


if hasattr(os, 'register_at_fork'):  # not on Windows
    os.register_at_fork(after_in_child=_note_fork)

for _environment in (boxworld.BoxWorld(), mini_pacman.MiniPacman()):
    registration.register(
        f'{_NAMESPACE}/{type(_environment).__name__}-v0',
        entry_point=_ENTRY_POINT,
        kwargs={'environment': _environment},
    )
