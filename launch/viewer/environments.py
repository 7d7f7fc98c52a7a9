"""The environments that can be played: their pictures, what is shown besides, how they end.

Glossary of shapes:
  H, W: rows and columns of a picture, a pixel a square.
"""

from typing import Any, NamedTuple

import numpy as np

from tasks import base
from tasks.environments import boxworld, mini_pacman

Environment = boxworld.BoxWorld | mini_pacman.MiniPacman


class Scene(NamedTuple):
    """What there is to show of a state."""

    picture: np.ndarray  # [H, W, 3] uint8, of the whole environment
    visible: np.ndarray  # [H, W] bool, what of it the agent sees
    status: str
    color: np.ndarray | None = None  # [3] uint8, shown before the status


def scene(environment: Environment, state: Any) -> Scene:
    """Returns what there is to show of an environment's state."""
    picture = environment.render(state, scale=1)
    if isinstance(state, boxworld.State):
        position = state.position
        always: Any = (0, 0)  # the key in hand
        holds = state.held != boxworld.WALL
        status = 'the key in hand' if holds else 'no key in hand'
        color = picture[0, 0] if holds else None
    else:
        position = divmod(int(state.pacman), mini_pacman.WIDTH)
        always = slice(mini_pacman.HEIGHT, None)  # the power bar, if there is one
        status, color = f'level {int(state.level)}   power {int(state.power)}', None
    visible = window(picture.shape[:2], np.asarray(position), environment.viewport)
    visible[always] = True
    return Scene(picture, visible, status, color)


def window(shape: tuple[int, int], position: np.ndarray, viewport: int | None) -> np.ndarray:
    """Returns which squares of a picture are in the window round a position.

    Args:
      shape: H and W.
      position: [2], a row and a column.
      viewport: squares of the window's side, None if all is visible.

    Returns:
      [H, W] bool.
    """
    if viewport is None:
        return np.ones(shape, bool)
    distances = np.max(np.abs(np.indices(shape) - np.reshape(position, (2, 1, 1))), axis=0)
    return distances <= viewport // 2


def ending(environment: Environment, timestep: base.TimeStep) -> str:
    """Returns how an episode ended, from its last timestep; '' if it has not."""
    if not timestep.last:
        return ''
    if timestep.discount > 0:
        return 'truncated'
    if isinstance(environment, mini_pacman.MiniPacman):
        return 'eaten by a ghost'
    return 'the gem is taken' if timestep.reward > 0 else 'a distractor box is opened'
