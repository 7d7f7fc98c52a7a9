"""Levels of Mini PacMan: the maze, where things start in it, and where moves lead.

A square is a number, 19 x row + column. The maze is always the same; food lies on every square of
its corridors. What is random in a level is where Pacman, 2 pills and the ghosts start, and which
way the ghosts face. On level k there are 1 + (k - 1) // 2 ghosts, at most 8 (from level 15 on: the
sources have no limit, but a state has its size).

Two sets of rules, 'paper' and 'released', whose sources `environment` names:

- paper: all start on different squares, sampled uniformly. (It says 'at random', no more.)
- released: each square is sampled independently, so that pills may lie on each other or under
  Pacman. No ghost starts near Pacman, that is from 5 rows above to 4 below and from 5 columns to
  the left to 4 to the right. At first a ghost faces right, or up, or nowhere: the released code
  numbers directions from 0 where it samples them, and from 2 where it uses them.

All randomness comes as words of 32 random bits, so that the same words can be given to another
program. A word picks one of m things by its remainder of m.

Glossary of shapes:
  S: squares, 285; C: squares of corridors, 138; G: ghosts, 8.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

RULES = ('paper', 'released')
MAX_GHOSTS = 8
NUM_PILLS = 2
NUM_WORDS = 1 + NUM_PILLS + MAX_GHOSTS + 1  # of a level: squares, and all directions
MAZE = """
###################
#   #         #   #
# # # ####### # # #
#                 #
# # # ####### # # #
# #             # #
# #### ##### #### #
#      #####      #
# #### ##### #### #
# #             # #
# # # ####### # # #
#                 #
# # # ####### # # #
#   #         #   #
###################
"""
WALLS = np.array([[sign == '#' for sign in row] for row in MAZE.strip('\n').split('\n')])
HEIGHT, WIDTH = WALLS.shape
NUM_SQUARES = HEIGHT * WIDTH
NOWHERE = NUM_SQUARES  # the square of what is eaten, or not there
CORRIDORS = np.flatnonzero(~WALLS).astype(np.int32)  # [C]
ACTIONS: tuple[str, ...] = ('stay', 'right', 'up', 'left', 'down')
MOVES = np.array([0, 1, -WIDTH, -1, WIDTH], np.int32)  # of these, between squares
RIGHT, UP, LEFT, DOWN = range(4)  # directions, 1 less than the actions
NOT_RIGHT, NOT_UP = 4, 5  # to face nowhere, but not to turn right, or up, at a junction
_STARTS = {'paper': (RIGHT, UP, LEFT, DOWN), 'released': (NOT_RIGHT, NOT_UP, RIGHT, UP)}
_NEAR = 5


class Level(NamedTuple):
    """Where things start."""

    pacman: jax.Array  # [] int32, a square
    pills: jax.Array  # [2] int32
    ghosts: jax.Array  # [G] int32, NOWHERE from the number of the level's ghosts on
    directions: jax.Array  # [G] int32


def num_ghosts(level: jax.Array) -> jax.Array:
    """Returns how many ghosts a level [] int32, from 1, has."""
    return jnp.minimum(1 + (level - 1) // 2, MAX_GHOSTS)


def new_level(rules: str, level: jax.Array, words: jax.Array) -> Level:
    """Returns the initial state of a level.

    Args:
      rules: one of `RULES`.
      level: [] int32, from 1.
      words: [NUM_WORDS] uint32, random: of Pacman, of the pills, of the ghosts; 2 bits of the last
        one, from the lowest on, are of a ghost's direction.
    """
    ranks = _different(words[:-1]) if rules == 'paper' else _apart(words[:-1])
    squares = jnp.asarray(CORRIDORS)[ranks]
    pacman, pills, ghosts = squares[0], squares[1 : 1 + NUM_PILLS], squares[1 + NUM_PILLS :]
    numbers = np.arange(MAX_GHOSTS, dtype=np.uint32)
    choices = (words[-1] >> (2 * numbers)) & 3
    directions = jnp.asarray(_STARTS[rules], jnp.int32)[choices]
    return Level(pacman, pills, jnp.where(numbers < num_ghosts(level), ghosts, NOWHERE), directions)


def _different(words: jax.Array) -> jax.Array:
    """Samples different numbers of squares of corridors, one for each word.

    It is a Fisher-Yates shuffle of all C numbers, of which only the first are wanted: the n-th one
    swaps with a place from n on. What lies at a place is found by following the swaps back.
    """
    places = [words[n] % (len(CORRIDORS) - n) + n for n in range(len(words))]
    found = []
    for n, place in enumerate(places):
        for earlier in reversed(range(n)):
            place = jnp.where(place == places[earlier], jnp.uint32(earlier), place)
        found.append(place)
    return jnp.stack(found).astype(jnp.int32)


def _apart(words: jax.Array) -> jax.Array:
    """Samples numbers of squares of corridors, those of the ghosts far from the first one."""
    far, counts = (jnp.asarray(table) for table in _far())
    free = words[: 1 + NUM_PILLS] % len(CORRIDORS)
    pacman = free[0]
    ghosts = far[pacman, words[1 + NUM_PILLS :] % counts[pacman]]
    return jnp.concatenate([free.astype(jnp.int32), ghosts])


@functools.cache
def _far() -> tuple[np.ndarray, np.ndarray]:
    """Returns, for every Pacman, the squares of corridors not near, in order, and their count.

    Returns:
      numbers: [C, C] int32, of such squares; filled up with 0.
      counts: [C] uint32.
    """
    rows, columns = (x[:, None] - x[None] for x in np.divmod(CORRIDORS, WIDTH))
    near = [(away > -_NEAR) & (away <= _NEAR) for away in (rows, columns)]  # Pacman - ghost
    far = ~(near[0] & near[1])
    numbers = np.zeros(far.shape, np.int32)
    for row, squares in zip(numbers, far, strict=True):
        row[: squares.sum()] = np.flatnonzero(squares)
    return numbers, far.sum(axis=1).astype(np.uint32)


@functools.cache
def steps() -> np.ndarray:
    """Returns where each action leads from each square, with walls on the way: [S, 5] int32."""
    squares = np.arange(NUM_SQUARES)[:, None]
    targets = np.clip(squares + MOVES, 0, NUM_SQUARES - 1)
    return np.where(WALLS.flat[targets], squares, targets).astype(np.int32)
