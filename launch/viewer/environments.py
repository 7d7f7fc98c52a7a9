"""The worlds that can be played: how they look, what is told beside the picture, how they end.

Glossary of shapes:
  H, W: rows and columns of a picture, a pixel a square.
"""

import types
from typing import NamedTuple

import numpy as np

from launch.agents import boxworld_config, mini_pacman_config
from tasks import base
from tasks.environments import boxworld, mini_pacman

# The programs that train in them: their flags, presets and titles.
WORLDS: dict[str, types.ModuleType] = {
    module.PROGRAM.name: module for module in (boxworld_config, mini_pacman_config)
}
World = boxworld.BoxWorld | mini_pacman.MiniPacman


class Scene(NamedTuple):
    """What there is to show of a state."""

    picture: np.ndarray  # [H, W, 3] uint8, of the whole world
    seen: np.ndarray  # [H, W] bool, what of it is in the agent's view
    status: str
    color: np.ndarray | None = None  # [3] uint8, shown before the status


def look(world: World, state: boxworld.State | mini_pacman.State) -> Scene:
    """Returns what there is to show of a world's state."""
    if isinstance(world, boxworld.BoxWorld):
        assert isinstance(state, boxworld.State)
        return _look_at_boxes(world, state)
    assert isinstance(state, mini_pacman.State)
    return _look_at_maze(world, state)


def ending(world: World, seen: base.TimeStep) -> str:
    """Returns how the episode ended, '' if it has not, from what was seen last."""
    if not seen.last:
        return ''
    if seen.discount > 0:
        return 'the time is up'
    if isinstance(world, mini_pacman.MiniPacman):
        return 'eaten by a ghost'
    return 'the gem is taken' if seen.reward > 0 else 'a distractor box is opened'


def window(shape: tuple[int, int], position: tuple[int, int], viewport: int | None) -> np.ndarray:
    """Returns which squares of a picture are in the window round a position.

    Args:
      shape: H and W.
      position: a row and a column.
      viewport: squares of the window's side, None if all is seen.

    Returns:
      [H, W] bool.
    """
    if viewport is None:
        return np.ones(shape, bool)
    rows, columns = np.indices(shape)
    away = np.maximum(abs(rows - position[0]), abs(columns - position[1]))
    return away <= viewport // 2


def _look_at_boxes(world: boxworld.BoxWorld, state: boxworld.State) -> Scene:
    """Returns a scene of BoxWorld; the key in hand, at the corner, is always seen."""
    picture = world.render(state, scale=1)
    row, column = np.asarray(state.position).tolist()
    seen = window(picture.shape[:2], (row, column), world.viewport)
    seen[0, 0] = True
    if state.held == boxworld.WALL:
        return Scene(picture, seen, 'no key in hand')
    return Scene(picture, seen, 'the key in hand', picture[0, 0])


def _look_at_maze(world: mini_pacman.MiniPacman, state: mini_pacman.State) -> Scene:
    """Returns a scene of Mini PacMan; the power bar, if there is one, is always seen."""
    picture = world.render(state, scale=1)
    place = divmod(int(state.pacman), mini_pacman.WIDTH)
    seen = window(picture.shape[:2], place, world.viewport)
    seen[mini_pacman.HEIGHT :] = True
    return Scene(picture, seen, f'level {int(state.level)}   power {int(state.power)}')
