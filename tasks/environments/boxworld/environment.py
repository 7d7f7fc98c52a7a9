"""BoxWorld: find the key, open the right boxes, one after the other, and take the gem.

The agent moves up, down, left or right over a grid with walls around. It takes a loose key by
walking on it, and holds one key at a time: another one replaces it. A box is two squares of a row,
on its left its content, a key or the gem, and on its right its lock. The agent walks on a lock only
with the key of its colour; key and lock vanish then, and the content of the box lies loose. A move
that is blocked (by a wall, a lock of another colour, the content of a locked box) changes nothing.

The rewards are 10 for the gem, 1 for a box on the way to it, -1 for a distractor box; gem and
distractors terminate the episode. Which boxes there are, and where, is sampled in `levels`.

Observations are colours between 0 and 1: the agent is dark grey, empty squares are light grey,
walls black, the gem white; keys and locks have `num_colors` colours. With a viewport of V the
observation is [V, V, 6]: in the first 3 channels the squares around the agent, black outside of the
grid, and in the last 3 everywhere the colour of the key that is held, black if there is none (the
paper's 'extra frame', as channels). Without, it is [S + 2, S + 2, 3], the whole with its walls; the
key that is held is shown in the top left corner.

Santoro et al. 2018, "Relational recurrent neural networks", section 4.2 and appendix A.3,
https://arxiv.org/abs/1806.01822; rules, and greys, as in the public BoxWorld in pycolab, which
`levels` names. Chosen here, where the sources are silent or differ:

- Colours are 10 hues in a bright and a dark tone; there they are 20 hues of one tone.
- An episode is truncated after 240 steps, twice as many as there: that grid is seen whole, this one
  through a window. The shortest solutions take 36 moves on average and at most 70, of 150 levels
  of the default setting. Truncation leaves the discount at 1; there it sets it to 0.

Glossary of shapes:
  S: squares of a side, without the walls; V: squares of the viewport's side; N: levels of a pool.
"""

from collections.abc import Callable
import colorsys
import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tasks import base
from tasks.environments import grid as grid_lib
from tasks.environments.boxworld import levels

_MOVES = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)], np.int32)  # rows and columns, per action
_ACTION_NAMES: tuple[str, ...] = ('up', 'down', 'left', 'right')
_GREYS = 0.8, 0.0, 1.0  # EMPTY, WALL, GEM
_AGENT = 0.5
_TONES = 1.0, 0.55


class State(NamedTuple):
    """The state of an episode; nothing in it is random any more."""

    grid: jax.Array  # [S + 2, S + 2] uint8, codes of what is on the squares, see `levels`
    position: jax.Array  # [2] int32, row and column of the agent
    held: jax.Array  # [] uint8, the code of the key that is held, that of a wall if none is
    steps: jax.Array  # [] int32


@dataclasses.dataclass(frozen=True)
class BoxWorld(levels.Setting):
    """The environment and its levels; raises ValueError if there is no such environment."""

    viewport: int | None = 5  # odd; None to observe the whole grid
    max_steps: int = 240  # after which an episode is truncated
    gem_reward: float = 10.0
    box_reward: float = 1.0
    distractor_reward: float = -1.0

    num_actions = len(_MOVES)
    action_names = _ACTION_NAMES

    def __post_init__(self) -> None:
        super().__post_init__()
        grid_lib.check_limits(self.viewport, self.max_steps)

    @property
    def observation_spec(self) -> jax.ShapeDtypeStruct:
        """[V, V, 6] float32 with a viewport, [S + 2, S + 2, 3] without."""
        side, channels = (self.viewport, 6) if self.viewport else (self.size + 2, 3)
        return jax.ShapeDtypeStruct((side, side, channels), jnp.float32)

    def reset(self, key: jax.Array) -> tuple[State, base.TimeStep]:
        """Returns the initial state of a new level, and its first time step."""
        return self.reset_to(levels.sample(self, key))

    def reset_to(self, level: levels.Level) -> tuple[State, base.TimeStep]:
        """Returns the initial state of a given level, and its first time step."""
        nothing = jnp.full_like(level.grid[0, 0], levels.WALL)
        state = State(level.grid, level.position, nothing, jnp.int32(0))
        observation = observe(self, state)
        return state, base.TimeStep(observation, jnp.float32(0), jnp.float32(1), jnp.array(False))

    def sample_levels(self, key: jax.Array, count: int) -> levels.Level:
        """Returns a pool of N = `count` levels, each field with a first axis [N]."""
        sample = functools.partial(levels.sample, self)
        return jax.vmap(sample)(jax.random.split(key, count))

    def reset_from(self, pool: levels.Level) -> Callable[[jax.Array], tuple]:
        """Returns a function like `reset` that samples its levels uniformly from a pool.

        It is the `reset` of `grid.AutoReset`. A large pool is an argument of what is jitted, with
        `reset_from` called within; otherwise it becomes a constant of the compiled program.
        """

        def reset(key: jax.Array) -> tuple[State, base.TimeStep]:
            index = jax.random.randint(key, (), 0, pool.grid.shape[0])
            return self.reset_to(jax.tree.map(lambda x: jnp.asarray(x)[index], pool))

        return reset

    def step(self, state: State, action: jax.Array) -> tuple[State, base.TimeStep]:
        """Returns the state after an action [] int32, and the time step."""
        state, thing = move(self, state, action)
        takes_gem = thing == levels.GEM
        opens_distractor = thing >= self.first_distractor
        opens_box = (thing >= self.first_lock) & ~opens_distractor
        reward = (
            self.gem_reward * takes_gem
            + self.box_reward * opens_box
            + self.distractor_reward * opens_distractor
        )
        terminated = takes_gem | opens_distractor
        return state, base.TimeStep(
            observe(self, state),
            reward.astype(jnp.float32),
            1 - terminated.astype(jnp.float32),
            terminated | (state.steps >= self.max_steps),
        )

    def has_choice(self, state: State) -> jax.Array:
        """Returns whether a level, in its initial state, is one of those of `levels.has_choice`."""
        return levels.has_choice(self, state.grid)

    def has_distractor(self, state: State) -> jax.Array:
        """Returns whether there is a distractor in a level, in its initial state."""
        return levels.has_distractor(self, state.grid)

    def render(self, state: State, scale: int = 8) -> np.ndarray:
        """Returns a picture of the whole grid, uint8, [scale (S + 2), scale (S + 2), 3]."""
        return grid_lib.enlarge(_whole(self, state), scale)


def move(setting: levels.Setting, state: State, action: jax.Array) -> tuple[State, jax.Array]:
    """Moves the agent.

    Args:
      setting: gives the codes.
      state: before the move.
      action: [] int32.

    Returns:
      state: after it.
      thing: [] uint8, the code of what the agent walked on: a key, the gem or a lock that is gone
        now. EMPTY if there was nothing, or if the move is blocked.
    """
    target = state.position + jnp.asarray(_MOVES)[action]
    row, column = target
    there, right = state.grid[row, column], state.grid[row, column + 1]
    is_lock = there >= setting.first_lock
    is_key = (there >= levels.FIRST_KEY) & ~is_lock
    locked_in = (there >= levels.GEM) & (right >= setting.first_lock)
    fits = state.held == key_of(setting, there)
    blocked = (there == levels.WALL) | jnp.where(is_lock, ~fits, locked_in)

    nothing, empty = jnp.uint8(levels.WALL), jnp.uint8(levels.EMPTY)
    held = jnp.where(is_key, there, jnp.where(is_lock, nothing, state.held))
    after = State(
        state.grid.at[row, column].set(jnp.where(blocked, there, empty)),
        jnp.where(blocked, state.position, target),
        jnp.where(blocked, state.held, held),
        state.steps + 1,
    )
    return after, jnp.where(blocked, empty, there)


def key_of(setting: levels.Setting, lock: jax.Array) -> jax.Array:
    """Returns the code of the key that opens a lock, given by its code."""
    return levels.FIRST_KEY + (lock - levels.FIRST_KEY) % setting.num_colors


def observe(environment: BoxWorld, state: State) -> jax.Array:
    """Returns an observation, as `observation_spec` says."""
    if environment.viewport is None:
        return _whole(environment, state)
    side = environment.viewport
    window = grid_lib.viewport(state.grid[..., None], state.position, side, levels.WALL)[..., 0]
    palette = jnp.asarray(_palette(environment.num_colors))
    squares = palette[window].at[side // 2, side // 2].set(_AGENT)
    held = jnp.broadcast_to(palette[state.held], squares.shape)
    return jnp.concatenate([squares, held], axis=-1)


def _whole(setting: levels.Setting, state: State) -> jax.Array:
    """Returns the colours of the whole grid [S + 2, S + 2, 3], the held key in its corner."""
    palette = jnp.asarray(_palette(setting.num_colors))
    row, column = state.position
    grid = state.grid.at[0, 0].set(state.held)
    return palette[grid].at[row, column].set(_AGENT)


@functools.cache
def _palette(num_colors: int) -> np.ndarray:
    """Returns the colours of all codes, [codes, 3] float32."""
    colors = key_colors(num_colors)
    greys = np.repeat(np.array(_GREYS, np.float32)[:, None], 3, axis=1)
    return np.concatenate([greys, colors, colors, colors])


def key_colors(num_colors: int) -> np.ndarray:
    """Returns colours [num_colors, 3] float32: equidistant hues, each in two tones."""
    hues = [index // 2 / ((num_colors + 1) // 2) for index in range(num_colors)]
    tones = [_TONES[index % 2] for index in range(num_colors)]
    return np.array(
        [colorsys.hsv_to_rgb(hue, 1, tone) for hue, tone in zip(hues, tones, strict=True)],
        np.float32,
    )
