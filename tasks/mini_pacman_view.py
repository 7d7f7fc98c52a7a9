"""What is seen of Mini PacMan, as colours or as planes, of the whole maze or of a window.

Colours, from what covers to what is covered: Pacman green, ghosts red, pills cyan, food blue; walls
white, corridors black. Ghosts that may be eaten are yellow, by the released rules the more so the
more power is left. The power bar is a row below, of window and maze alike: pink from the left, as
much of it as there is power left. A square that is reached in part is dimmed; the bar of the whole
maze has a square for each of the 19 steps of the paper's rules. The released code has no bar.

Planes, as in the released code: walls, food, Pacman, ghosts, ghosts that may be eaten, pills. What
is there is 1; a ghost is the share of power left in the fifth plane, and the rest in the fourth.

Pacman is in the middle of a window. Outside of the maze it shows walls.

Glossary of shapes:
  V: squares of the viewport's side; H, W: rows and columns in view; C: colours or planes.
"""

import functools
from typing import NamedTuple

import chex
import jax.numpy as jnp
import numpy as np

from tasks import mini_pacman_levels as levels
from tasks import mini_pacman_rules as dynamics

OBSERVATIONS = ('rgb', 'planes')
_RED, _GREEN, _BLUE = 1, 2, 4
_CYAN, _WHITE = 6, 7
_GHOST = 8 + _RED  # may be yellow in part
_BAR = 16
_PINK = np.array([1, 0.4, 0.7], np.float32)


class View(NamedTuple):
    """What is where."""

    walls: chex.Array  # [H, W] bool
    food: chex.Array  # [H, W] bool
    pacman: chex.Array  # [H, W] bool
    ghosts: chex.Array  # [H, W] bool
    pills: chex.Array  # [H, W] bool


def look(state: dynamics.State, viewport: int | None) -> View:
    """Returns what is in view of a window of V squares, or of the whole if that is None."""
    if viewport is None:
        squares = np.arange(levels.NUM_SQUARES, dtype=np.int32).reshape(levels.WALLS.shape)
        walls, food = jnp.asarray(levels.WALLS), state.food
    else:
        offsets = np.arange(viewport, dtype=np.int32) - viewport // 2
        # Outside of the maze these are numbers of other squares, or of none: there are walls.
        squares = state.pacman + (levels.WIDTH * offsets[:, None] + offsets[None])
        walls = jnp.asarray(_windows(viewport))[state.pacman]
        food = state.food.reshape(-1)[jnp.clip(squares, 0, levels.NUM_SQUARES - 1)]
    # One comparison after the other is faster than all at once and a reduction.
    ghosts = functools.reduce(jnp.logical_or, [squares == ghost for ghost in state.ghosts])
    pills = functools.reduce(jnp.logical_or, [squares == pill for pill in state.pills])
    found = food, squares == state.pacman, ghosts, pills
    return View(walls, *(things & ~walls for things in found))


def colors(state: dynamics.State, rules: str, viewport: int | None, power_bar: bool) -> chex.Array:
    """Returns the colours in view, [H, W, 3] float32, one row more with a power bar.

    Args:
      state: of the game.
      rules: 'paper' or 'released'.
      viewport: V, or None for the whole.
      power_bar: whether there is a bar.
    """
    view = look(state, viewport)
    things = (
        (view.food, _BLUE),
        (view.pills, _CYAN),
        (view.ghosts, _GHOST),
        (view.pacman, _GREEN),
        (view.walls, _WHITE),
    )
    picture = jnp.zeros(view.walls.shape, jnp.int32)
    for where, color in things:
        picture = jnp.where(where, color, picture)
    width = picture.shape[1]
    if power_bar:
        picture = jnp.concatenate([picture, jnp.full((1, width), _BAR, jnp.int32)])

    share = _share(state, rules)
    yellow = share if rules == 'released' else jnp.sign(share)
    picture = picture[..., None]
    channels = np.arange(3, dtype=np.int32)[None, None]
    seen = ((picture >> channels) & 1).astype(jnp.float32)
    seen = jnp.where((picture == _GHOST) & (channels == 1), yellow, seen)
    bar = jnp.clip(share * width - np.arange(width, dtype=np.float32), 0, 1)
    return jnp.where(picture == _BAR, bar[None, :, None] * _PINK[None, None], seen)


def planes(state: dynamics.State, rules: str, viewport: int | None) -> chex.Array:
    """Returns the planes in view, [H, W, 6] float32; the arguments are as in `colors`."""
    view = look(state, viewport)
    ordered = view.walls, view.food, view.pacman, view.ghosts, view.ghosts, view.pills
    bits = functools.reduce(
        jnp.bitwise_or, [things.astype(jnp.int32) << i for i, things in enumerate(ordered)]
    )
    channels = np.arange(len(ordered), dtype=np.int32)
    share = _share(state, rules)
    weights = jnp.where(channels == 3, 1 - share, jnp.where(channels == 4, share, 1))
    seen = (bits[..., None] >> channels[None, None]) & 1
    return seen.astype(jnp.float32) * weights[None, None]


def _share(state: dynamics.State, rules: str) -> chex.Array:
    """Returns which share of a pill's power is left, [] float32."""
    return state.power.astype(jnp.float32) / dynamics.POWER[rules]


@functools.cache
def _windows(size: int) -> np.ndarray:
    """Returns the walls round each square of the maze: [squares, V, V] bool."""
    padded = np.pad(levels.WALLS, size // 2, constant_values=True)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    return windows.reshape(levels.NUM_SQUARES, size, size)
