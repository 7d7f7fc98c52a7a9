"""Levels of BoxWorld: which boxes there are, and where they stand.

A level is a chain of boxes. One key lies loose; it opens the first box, what is in that opens the
second, and so on to the last, which holds the gem: the solution. Every distractor branch begins
with a box that a key of the solution opens too; its content opens only the next box of that branch,
and the content of the last box of a branch opens nothing. So there is one way to the gem.

A box is two squares of a row, on its left its content and on its right its lock. Boxes and the
loose key are placed one after the other, each uniformly over the places left: all that keep a free
square around the box and around all others, diagonally too. The way around a box is therefore never
blocked, which makes every level solvable. The agent starts on any free square.

An example of solution length 2 with 1 distractor, in colours A, B, C: loose A; box (B, lock A); box
(gem, lock B); the distractor (C, lock B). An agent that opens the third box with B instead of the
second one holds C, which no lock takes.

Zambaldi et al. 2018, "Relational deep reinforcement learning", section 4.1,
https://arxiv.org/abs/1806.01830, and their public generator in pycolab,
https://github.com/google-deepmind/pycolab/tree/master/pycolab/examples/research/box_world. Done
differently from that:

- A place is sampled uniformly where there is room, instead of up to 200 guesses. If there is none
  left, which is rare, only the places are sampled again. There the whole level is, so that long
  levels are rarer than wanted.
- No two boxes hold the same colour, and all colours may occur. There two distractors may hold the
  same one, and the last colour of the order never occurs in a distractor.
- Boxes may stand up to the right end, and the agent anywhere. There one column more stays free on
  the right, and the agent is never in the first row or the last column.
- There are no boxes that a distractor opens into the solution ('backward'; there off by default).

Glossary of shapes:
  S: squares of a side, without the walls; C: colours; K: the loose key and the boxes, as many as a
  level of the setting can have; D: distractor branches, E: boxes of a branch; P: places for a box.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

EMPTY, WALL, GEM, FIRST_KEY = range(4)  # from here: keys, locks, and locks of distractors
MAX_COLORS = 80  # so that the codes of all things are bytes


@dataclasses.dataclass(frozen=True)
class Setting:
    """What levels are like; raises ValueError if there are no such levels."""

    size: int = 14  # squares of a side, without the walls around
    num_colors: int = 20
    solution_length: tuple[int, int] = (1, 5)  # boxes up to the gem: least and most, uniform
    num_distractors: tuple[int, int] = (0, 5)  # branches: least and most, uniform
    distractor_length: int = 1  # boxes of a branch

    def __post_init__(self) -> None:
        for name, least in (('solution_length', 1), ('num_distractors', 0)):
            pair = getattr(self, name)
            if len(pair) != 2 or not least <= pair[0] <= pair[1]:
                raise ValueError(
                    f'wanted {name} as (least, most), at least {least}, got {tuple(pair)}'
                )
        if self.distractor_length < 1:
            raise ValueError(f'wanted distractor_length of 1 or more, got {self.distractor_length}')
        if not self.num_boxes <= self.num_colors <= MAX_COLORS:
            raise ValueError(
                f'wanted a colour for each of up to {self.num_boxes} boxes and at most '
                f'{MAX_COLORS}, got num_colors {self.num_colors}'
            )
        room = self._room()
        if 1 + self.num_boxes > room:
            raise ValueError(
                f'wanted at most {room} boxes and loose keys on a grid of size {self.size}, got '
                f'{1 + self.num_boxes}'
            )

    @property
    def num_boxes(self) -> int:
        """K - 1: the boxes of the largest level."""
        return self.solution_length[1] + self.num_distractors[1] * self.distractor_length

    @property
    def first_lock(self) -> int:
        """The code of the first colour's lock on a box of the solution."""
        return FIRST_KEY + self.num_colors

    @property
    def first_distractor(self) -> int:
        """The code of the first colour's lock on a distractor box."""
        return FIRST_KEY + 2 * self.num_colors

    def _room(self) -> int:
        """Returns half of what fits in the closest packing: so many find places at random."""
        rows, columns = max(self.size - 2, 0), max(self.size - 3, 0)
        return ((rows + 1) // 2) * ((columns + 2) // 3) // 2


class Level(NamedTuple):
    """A level in its initial state."""

    grid: jax.Array  # [S + 2, S + 2] uint8, what is on a square, without the agent; walls around
    position: jax.Array  # [2] int32, row and column of the agent in the grid


class Boxes(NamedTuple):
    """The loose key, the solution from its first box to its last, and branch after branch."""

    contents: jax.Array  # [K] uint8, codes
    locks: jax.Array  # [K] uint8, codes; EMPTY for the loose key
    present: jax.Array  # [K] bool, whether it is in this level


def sample(setting: Setting, key: jax.Array) -> Level:
    """Samples a level, a function of the key alone."""
    for_boxes, for_places, for_agent = jax.random.split(key, 3)
    boxes = sample_boxes(setting, for_boxes)
    grid = put(setting, boxes, sample_places(setting, boxes.present, for_places))
    order = jax.random.bits(for_agent, (grid.size,)) | 1
    square = jnp.argmax(jnp.where(grid.ravel() == EMPTY, order, 0))
    position = jnp.stack(jnp.divmod(square.astype(jnp.int32), grid.shape[1]))
    return Level(grid, position)


def has_choice(setting: Setting, grid: jax.Array) -> jax.Array:
    """Returns whether a key opens two boxes that both hold a key, of which one is a distractor.

    Which of them leads on shows only in the locks of other boxes. Elsewhere it is enough to prefer
    the gem.

    Args:
      setting: gives the codes.
      grid: [S + 2, S + 2], of a level in its initial state.

    Returns:
      [] bool.
    """
    colors = jnp.arange(setting.num_colors, dtype=jnp.uint8)[None, None]
    contents, locks = grid[:, :-1, None], grid[:, 1:, None]
    leads_on = (locks == setting.first_lock + colors) & (contents != GEM)
    distracts = locks == setting.first_distractor + colors
    return jnp.any(jnp.any(leads_on, (0, 1)) & jnp.any(distracts, (0, 1)))


def has_distractor(setting: Setting, grid: jax.Array) -> jax.Array:
    """Returns whether there is a distractor, [] bool, in a level's initial grid [S + 2, S + 2]."""
    return jnp.any(grid >= setting.first_distractor)


def sample_boxes(setting: Setting, key: jax.Array) -> Boxes:
    """Samples lengths, colours, and where branches leave the solution."""
    for_length, for_branches, for_colors, for_roots = jax.random.split(key, 4)
    length = _between(for_length, setting.solution_length)
    num_branches = _between(for_branches, setting.num_distractors)
    colors = jax.random.permutation(for_colors, jnp.arange(setting.num_colors, dtype=jnp.uint8))
    most, branches = setting.solution_length[1], setting.num_distractors[1]
    roots = jax.random.randint(for_roots, (branches,), 0, length)  # uniform over its keys

    box = jnp.arange(most)
    next_keys = FIRST_KEY + jnp.roll(colors, -1)[:most]
    chain = jnp.where(box == length - 1, jnp.uint8(GEM), next_keys)
    found = colors[most : setting.num_boxes].reshape(branches, setting.distractor_length)
    opened_by = jnp.concatenate([colors[roots][:, None], found[:, :-1]], axis=1)
    return Boxes(
        jnp.concatenate([FIRST_KEY + colors[:1], chain, FIRST_KEY + found.ravel()]),
        jnp.concatenate(
            [
                jnp.full(1, EMPTY, jnp.uint8),
                setting.first_lock + colors[:most],
                setting.first_distractor + opened_by.ravel(),
            ]
        ),
        jnp.concatenate(
            [
                jnp.full(1, True),
                box < length,
                jnp.repeat(jnp.arange(branches) < num_branches, setting.distractor_length),
            ]
        ),
    )


def sample_places(setting: Setting, present: jax.Array, key: jax.Array) -> jax.Array:
    """Samples where boxes stand, again and again until there is room for all.

    Args:
      setting: gives the size.
      present: [K] bool, which boxes there are.
      key: a key.

    Returns:
      [K, 2] int32, row and column in the grid of a box's left square.
    """
    num_places = (setting.size - 2) * (setting.size - 3)

    def attempt(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple:
        key, for_order = jax.random.split(carry[0])
        order = jax.random.bits(for_order, (num_places,)) | 1
        found, places = pack(order, setting.size - 3, present)
        return key, jnp.all(found | ~present), places

    nowhere = jnp.zeros((present.shape[0], 2), jnp.int32)
    start = key, jnp.array(False), nowhere
    return 2 + jax.lax.while_loop(lambda carry: ~carry[1], attempt, start)[2]


def put(setting: Setting, boxes: Boxes, places: jax.Array) -> jax.Array:
    """Returns the grid [S + 2, S + 2] with boxes at their places [K, 2]."""
    inside = jnp.full((setting.size, setting.size), EMPTY, jnp.uint8)
    grid = jnp.pad(inside, 1, constant_values=WALL)
    rows, columns = places.T
    empty = jnp.uint8(EMPTY)  # the least code, so that an absent box leaves what is there
    grid = grid.at[rows, columns].max(jnp.where(boxes.present, boxes.contents, empty))
    return grid.at[rows, columns + 1].max(jnp.where(boxes.present, boxes.locks, empty))


def pack(order: jax.Array, num_columns: int, present: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Places box after box at the first free place of one random order.

    That is uniform over the free places: given the places of the boxes before, all orders of the
    free ones are equally likely.

    Args:
      order: [P] a random number above 0 for each place, row by row; the highest is first.
      num_columns: places of a row.
      present: [K] bool, which boxes there are; others take no place.

    Returns:
      found: [K] bool, whether there was a free place.
      places: [K, 2] int32, row and column among the places.
    """
    rows, columns = jnp.divmod(jnp.arange(order.shape[0]), num_columns)

    def add(order: jax.Array, present: jax.Array) -> tuple:
        place = jnp.argmax(order)
        row, column = rows[place], columns[place]
        near = (abs(rows - row) <= 1) & (abs(columns - column) <= 2)
        taken = jnp.where(near & present, 0, order)
        return taken, (order[place] > 0, jnp.stack([row, column]))

    return jax.lax.scan(add, order, present)[1]


def _between(key: jax.Array, pair: tuple[int, int]) -> jax.Array:
    """Samples an integer [] uniformly, from the first to the last of a pair."""
    return jax.random.randint(key, (), pair[0], pair[1] + 1)
