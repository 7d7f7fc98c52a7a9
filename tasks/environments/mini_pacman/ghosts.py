"""How the ghosts of Mini PacMan move; `environment` states the rules.

Squares, directions and random words are as in `levels`.

Glossary of shapes:
  G: ghosts a state has room for; S: squares; D: codes of directions, 6.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tasks.environments.mini_pacman import levels

CHANCES = 4096  # what chances of the released rules are multiples of, as 12 bits sample them
STRAYS = 205  # of these, how often a ghost goes a random way: 5 %
# What each direction forbids at a junction, [D].
_BACK = (levels.LEFT, levels.DOWN, levels.RIGHT, levels.UP, levels.RIGHT, levels.UP)


class Path(NamedTuple):
    """Where Pacman was in a step; the same square twice where he did not move."""

    start: jax.Array  # [] int32
    middle: jax.Array  # [] int32
    end: jax.Array  # [] int32


class Ghosts(NamedTuple):
    """Where ghosts are, and which way they face."""

    squares: jax.Array  # [G] int32, NOWHERE where there is none, or none any more
    directions: jax.Array  # [G] int32


def chase(ghosts: Ghosts, path: Path, powered: jax.Array) -> tuple[Ghosts, jax.Array]:
    """Moves the ghosts by the paper's rules.

    Args:
      ghosts: before they move.
      path: of Pacman, who has moved.
      powered: [] bool, whether he has power.

    Returns:
      ghosts: after their move.
      met: [G] bool, which Pacman met.
    """
    directions = _straightest(ghosts, path.end, powered)
    after = _ahead(ghosts.squares, directions)
    met = after == path.end
    for here, there in ((path.start, path.middle), (path.middle, path.end)):
        met |= (ghosts.squares == there) & (after == here)
    return Ghosts(after, directions), met


def wander(
    ghosts: Ghosts, pacman: jax.Array, level: jax.Array, powered: jax.Array, words: jax.Array
) -> tuple[Ghosts, jax.Array]:
    """Moves the ghosts by the released rules.

    Args:
      ghosts: before they move.
      pacman: [] int32, his square, after his move.
      level: [] int32.
      powered: [] bool, whether he has power.
      words: [G] uint32, random: their lowest 12 bits say whether a ghost moves, the next 12 whether
        it goes a random way, and the highest 8 which one.

    Returns:
      ghosts: after their move.
      met: [G] bool, which Pacman met; with power it is the first at most.
    """
    squares = ghosts.squares
    moves = (words % CHANCES).astype(jnp.int32) < speed(level, powered)
    strays = ~powered & ((words >> 12) % CHANCES < STRAYS)
    straightest = _straightest(ghosts, pacman, powered)
    directions = jnp.where(strays, _random_way(ghosts, words >> 24), straightest)
    after = _ahead(squares, directions)

    caught = squares == pacman
    met = caught | (moves & (after == pacman))
    numbers = np.arange(levels.MAX_GHOSTS, dtype=np.int32)
    first = jnp.min(jnp.where(met, numbers, levels.MAX_GHOSTS))
    acts = ~powered | (numbers <= first)
    moves &= acts
    moved = Ghosts(
        jnp.where(moves, after, squares), jnp.where(moves, directions, ghosts.directions)
    )
    return moved, met & acts


def speed(level: jax.Array, powered: jax.Array) -> jax.Array:
    """Returns how often a ghost moves by the released rules, of `CHANCES`: [] int32, rounded."""
    tenths, parts = jnp.minimum(4 + level, 10), jnp.where(powered, 20, 10)
    return (CHANCES * tenths + parts // 2) // parts


def _straightest(ghosts: Ghosts, pacman: jax.Array, powered: jax.Array) -> jax.Array:
    """Returns the first way that leads most to Pacman or, if he has power, least: [G] int32."""
    width = jnp.int32(levels.WIDTH)
    rows = jax.lax.div(pacman, width) - jax.lax.div(ghosts.squares, width)
    columns = jax.lax.rem(pacman, width) - jax.lax.rem(ghosts.squares, width)
    sign = jnp.where(powered, -1, 1)
    ways = jnp.asarray(_ways())[ghosts.squares, ghosts.directions]
    best = jnp.full_like(ways, -levels.NUM_SQUARES)
    found = jnp.zeros_like(ways)
    # The way to Pacman is not made 1 long: that does not change which product is greatest.
    for way, product in enumerate((columns, -rows, -columns, rows)):
        better = (ways >> way & 1 > 0) & (sign * product > best)
        best = jnp.where(better, sign * product, best)
        found = jnp.where(better, way, found)
    return found


def _random_way(ghosts: Ghosts, words: jax.Array) -> jax.Array:
    """Returns a way that is open, chosen uniformly by words [G] of 8 bits: [G] int32."""
    ways = jnp.asarray(_ways())[ghosts.squares, ghosts.directions]
    is_open = [ways >> way & 1 for way in range(4)]
    left = words.astype(jnp.int32) * sum(is_open) >> 8
    found = jnp.zeros_like(ways)
    for way, counts in enumerate(is_open):
        found = jnp.where((counts > 0) & (left == 0), way, found)
        left -= counts
    return found


def _ahead(squares: jax.Array, directions: jax.Array) -> jax.Array:
    """Returns the squares next to squares [G], NOWHERE next to NOWHERE."""
    ahead = squares + jnp.asarray(levels.MOVES)[1 + directions]
    return jnp.where(squares == levels.NOWHERE, levels.NOWHERE, ahead)


@functools.cache
def _ways() -> np.ndarray:
    """Returns where a ghost may go on: bits 1, 2, 4, 8 for right, up, left, down.

    Where a square has two ways out, a corridor or a bend, a ghost goes where it faces or, if there
    is a wall, the first way that does not lead back. At a junction it may go anywhere but back.

    Returns:
      [S + 1, D] int32, by square and direction; no ways from NOWHERE.
    """
    table = np.zeros((levels.NUM_SQUARES + 1, len(_BACK)), np.int32)
    for square in levels.CORRIDORS:
        out = [way for way in range(4) if not levels.WALLS.flat[square + levels.MOVES[1 + way]]]
        for direction, back in enumerate(_BACK):
            onward = [way for way in out if way != back]
            if len(out) == 2:
                onward = [direction] if direction in out else onward[:1]
            table[square, direction] = sum(1 << way for way in onward)
    return table
