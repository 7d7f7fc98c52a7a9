"""Observations of Mini PacMan, as colours or as planes, of the whole maze or of a window.

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

import jax
import jax.numpy as jnp
import numpy as np

from tasks.environments.mini_pacman import levels
from tasks.environments.mini_pacman import rules as rules_lib

OBSERVATIONS = ('rgb', 'planes')
# Codes of what is on a square, the higher the more it covers; to that of a ghost power is added.
_BLACK, _FOOD, _PILL, _GHOST = range(4)
_PINK = np.array([1, 0.4, 0.7], np.float32)


def colors(state: rules_lib.State, rules: str, viewport: int | None, power_bar: bool) -> jax.Array:
    """Returns the colours in view, [H, W, 3] float32, one row more with a power bar.

    Args:
      state: of the episode.
      rules: 'paper' or 'released'.
      viewport: V, or None for the whole.
      power_bar: whether there is a bar.
    """
    codes = code(state, rules, viewport)
    squares = jnp.asarray(_palette(rules))[codes]
    if not power_bar:
        return squares
    width = codes.shape[1]
    left = _share(state, rules) * width - np.arange(width, dtype=np.float32)
    bar = jnp.clip(left, 0, 1)[None, :, None] * _PINK[None, None]
    return jnp.concatenate([squares, bar])


def code(state: rules_lib.State, rules: str, viewport: int | None) -> jax.Array:
    """Returns a code of what covers each square, [H, W] uint8; arguments as in `colors`.

    All is written into one map of bytes, so that the colours cost no more than to look them up.
    """
    wall, pacman = (jnp.uint8(thing) for thing in (_wall(rules), _wall(rules) - 1))
    ghost = (_GHOST + state.power).astype(jnp.uint8)
    things = (state.pills, jnp.uint8(_PILL)), (state.ghosts, ghost), (state.pacman[None], pacman)
    occupied = jnp.concatenate([where for where, _ in things])
    codes = jnp.concatenate([jnp.full(where.shape, thing) for where, thing in things])
    ground = jnp.where(state.food, jnp.uint8(_FOOD), jnp.uint8(_BLACK))
    ground = jnp.where(jnp.asarray(levels.WALLS), wall, ground)
    whole = ground.reshape(-1).at[occupied].max(codes, mode='drop')  # what is NOWHERE is left out
    if viewport is None:
        return whole.reshape(levels.WALLS.shape)
    squares, walls = _window(state.pacman, viewport)
    return jnp.where(walls, wall, whole[squares])


def planes(state: rules_lib.State, rules: str, viewport: int | None) -> jax.Array:
    """Returns the planes in view, [H, W, 6] float32; the arguments are as in `colors`."""
    squares, walls = _window(state.pacman, viewport)
    # One comparison after the other is faster than all at once and a reduction.
    ghosts = functools.reduce(jnp.logical_or, [squares == ghost for ghost in state.ghosts])
    pills = functools.reduce(jnp.logical_or, [squares == pill for pill in state.pills])
    food = state.food if viewport is None else state.food.reshape(-1)[squares]
    pacman = squares == state.pacman
    ordered = walls, *(things & ~walls for things in (food, pacman, ghosts, ghosts, pills))
    bits = functools.reduce(
        jnp.bitwise_or, [things.astype(jnp.int32) << i for i, things in enumerate(ordered)]
    )
    channels = np.arange(len(ordered), dtype=np.int32)
    share = _share(state, rules)
    weights = jnp.where(channels == 3, 1 - share, jnp.where(channels == 4, share, 1))
    present = (bits[..., None] >> channels[None, None]) & 1
    return present.astype(jnp.float32) * weights[None, None]


def _share(state: rules_lib.State, rules: str) -> jax.Array:
    """Returns which share of a pill's power is left, [] float32."""
    return state.power.astype(jnp.float32) / rules_lib.POWER[rules]


def _wall(rules: str) -> int:
    """Returns the code of a wall; Pacman's is 1 less."""
    return _GHOST + rules_lib.POWER[rules] + 2


@functools.cache
def _palette(rules: str) -> np.ndarray:
    """Returns the colours of all codes, [codes, 3] float32."""
    most = rules_lib.POWER[rules]
    # Times the reciprocal, as XLA divides by a constant: so the planes' shares are the same bits.
    share = np.arange(most + 1, dtype=np.float32) * (np.float32(1) / np.float32(most))
    yellow = share if rules == 'released' else np.sign(share)
    ghosts = [(1, green, 0) for green in yellow]
    black, blue, green, cyan, white = (0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 1, 1)
    return np.array([black, blue, cyan, *ghosts, green, white], np.float32)


def _window(pacman: jax.Array, size: int | None) -> tuple[jax.Array, jax.Array]:
    """Returns the squares around Pacman, [V, V] int32, and where walls are, [V, V] bool; or all.

    Outside of the maze the squares are numbers of others: there are walls.
    """
    if size is None:
        squares = np.arange(levels.NUM_SQUARES, dtype=np.int32).reshape(levels.WALLS.shape)
        return jnp.asarray(squares), jnp.asarray(levels.WALLS)
    offsets = np.arange(size, dtype=np.int32) - size // 2
    squares = pacman + (levels.WIDTH * offsets[:, None] + offsets[None])
    walls = jnp.asarray(_windows(size))[pacman]
    return jnp.clip(squares, 0, levels.NUM_SQUARES - 1), walls


@functools.cache
def _windows(size: int) -> np.ndarray:
    """Returns the walls around each square of the maze: [squares, V, V] bool."""
    padded = np.pad(levels.WALLS, size // 2, constant_values=True)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    return windows.reshape(levels.NUM_SQUARES, size, size)
