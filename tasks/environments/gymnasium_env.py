"""Any environment of `tasks` as one of gymnasium, one episode at a time.

  env = gymnasium_env.GymnasiumEnv(boxworld.BoxWorld(), render_mode='rgb_array')
  observation, info = env.reset(seed=1)
  observation, reward, terminated, truncated, info = env.step(env.action_space.sample())

Importing this file registers `relational_rnn/BoxWorld-v0` and `relational_rnn/MiniPacman-v0`:

  env = gymnasium.make('relational_rnn/BoxWorld-v0', environment=boxworld.BoxWorld(size=9))
  envs = gymnasium.make_vec(
      'relational_rnn/BoxWorld-v0', 4, 'async', vector_kwargs={'context': 'spawn'}
  )

Environments in other processes want `context='spawn'` (or 'forkserver'): JAX, once it has computed,
does not survive a fork, by which processes start on Linux before Python 3.14.

gymnasium is no requirement of this package: `pip install gymnasium`, https://gymnasium.farama.org.
The key of each episode comes from its `np_random`, which `reset(seed=...)` seeds. Every step is a
call into a compiled function and a copy to the host; for fast training, use the environments under
`jax.vmap` as they are.
"""

import os
from typing import Any

import jax
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
_PROCESS = os.getpid()  # another one where it was forked after this import


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
        self._return, self._length = 0.0, 0  # of the episode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode.

        Args:
          seed: of all episodes from this one on; None to continue with the generator as it is.
          options: ignored.

        Returns:
          observation: NumPy arrays, as `observation_space` says.
          info: `discount` 1, and `episode_return` and `episode_length`, 0 so far.

        Raises:
          RuntimeError: the process was forked from one that had imported this file; nothing public
            says whether JAX has computed there.
        """
        if os.getpid() != _PROCESS:
            raise RuntimeError(
                'this process was forked, and JAX may wait for ever in it: '
                "make the environments with context='spawn'"
            )
        super().reset(seed=seed)
        key = jax.random.key(int(self.np_random.integers(2**31)))
        self._state, timestep = grid.reset(self.environment, key)
        self._over, self._return, self._length = False, 0.0, 0
        return jax.tree.map(np.array, timestep.observation), self._info(1.0)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Takes a step.

        Args:
          action: an integer, as `action_space` says, of Python, NumPy or JAX.

        Returns:
          observation: NumPy arrays, as `observation_space` says.
          reward: of the step.
          terminated: whether the episode has come to an end of its own.
          truncated: whether it is over all the same.
          info: `discount`, 0 where the episode is terminated, else 1; `episode_return` and
            `episode_length`, the rewards' sum and the number of steps of the episode so far.

        Raises:
          ValueError: there is no such action.
          gymnasium.error.ResetNeeded: the episode is over.
        """
        if self._over:
            raise gymnasium.error.ResetNeeded('wanted a reset: the episode is over')
        number = grid.action_number(self.environment, action)
        self._state, timestep = grid.step(self.environment, self._state, number)
        reward, discount = float(timestep.reward), float(timestep.discount)
        self._over, terminated = bool(timestep.last), discount == 0
        self._return, self._length = self._return + reward, self._length + 1
        observation = jax.tree.map(np.array, timestep.observation)
        ends = self._over and terminated, self._over and not terminated
        return observation, reward, *ends, self._info(discount)

    def _info(self, discount: float) -> dict[str, Any]:
        return {
            'discount': discount,
            'episode_return': self._return,
            'episode_length': self._length,
        }

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


for _environment in (boxworld.BoxWorld(), mini_pacman.MiniPacman()):
    registration.register(
        f'{_NAMESPACE}/{type(_environment).__name__}-v0',
        entry_point=_ENTRY_POINT,
        kwargs={'environment': _environment},
    )
