"""The vocabulary that all tasks share.

Glossary of shapes:
  T: time steps (or words of a window); B: batch size.
"""

from typing import Any, NamedTuple, Protocol, TypeAlias

import jax
import numpy as np

AnyArray: TypeAlias = jax.Array | np.ndarray  # of a device, or of the host


class Batch(NamedTuple):
    """One time-major batch of a supervised task."""

    inputs: AnyArray  # [T, B, ...]
    targets: AnyArray  # [T, B] or [B], class or word ids
    weights: AnyArray  # like targets; 0 where there is nothing to predict
    resets: AnyArray | None = None  # [T, B] bool, True at the first step of an episode


class TimeStep(NamedTuple):
    """What an environment returns after a reset or a step; under `jax.vmap` with an axis [B]."""

    observation: Any  # an array, or a tree of arrays
    reward: jax.Array  # [] float32, of the step; 0 after a reset
    discount: jax.Array  # [] float32, 0 where the episode is terminated, else 1
    last: jax.Array  # [] bool: the episode is over, terminated or truncated


class Environment(Protocol):
    """An environment of pure functions of its state, to be used under `jax.jit` and `jax.vmap`.

    A state is a `NamedTuple` of arrays and holds the key of all randomness to come, so `step` is a
    function of state and action alone. A state after the last time step of an episode must not be
    stepped: `tasks.environments.grid.AutoReset` resets by itself.
    """

    num_actions: int  # actions are int32 in [0, num_actions)
    action_names: tuple[str, ...]

    @property
    def observation_spec(self) -> Any:
        """The shapes and dtypes of an observation, a tree of `jax.ShapeDtypeStruct`."""

    def reset(self, key: jax.Array) -> tuple[Any, TimeStep]:
        """Returns the initial state of an episode, and its first time step."""

    def step(self, state: Any, action: jax.Array) -> tuple[Any, TimeStep]:
        """Returns the state after an action [] int32, and the time step."""

    def render(self, state: Any) -> np.ndarray:
        """Returns a picture of a state, uint8 [height, width, 3]."""


class Progress(Protocol):
    """Receives reports of what takes long; `SILENT` leaves them alone."""

    def say(self, line: str) -> None:
        """Reports something that happens once, such as waiting for another process."""

    def update(self, title: str, done: int, total: int | None, unit: str) -> None:
        """Reports how far a pass is, again and again while it lasts.

        Args:
          title: the pass, for example 'gutenberg train: counted'.
          done: how much is done since its beginning.
          total: about how much there is to do, at least `done`; None if that is not known.
          unit: what is counted, for example 'words'.
        """


class _Silent:
    def say(self, line: str) -> None:
        pass

    def update(self, title: str, done: int, total: int | None, unit: str) -> None:
        pass


SILENT: Progress = _Silent()


class DataError(Exception):
    """Data that cannot be used; the one-line message names path, reason and remedy (exit 65)."""
