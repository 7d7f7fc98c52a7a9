"""What happens in a step of Mini PacMan; `environment` states the rules.

Squares, directions and random words are as in `levels`. All functions are of one episode, and of
the random words of the step.

Glossary of shapes:
  G: ghosts a state has room for; H, W: rows and columns of the maze.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tasks.environments.mini_pacman import ghosts as ghosts_lib
from tasks.environments.mini_pacman import levels

POWER = {'paper': 19, 'released': 20}  # that a pill gives


class Mode(NamedTuple):
    """What is rewarded, and what clears a level."""

    step: float
    food: float
    pill: float
    ghost: float  # eaten
    death: float
    cleared_by: str  # eating all 'food', 'pills' or 'ghosts'; '' if only time does
    limit: int  # steps after which a level is cleared anyway; 0 for none


_PAPER = {
    'regular': Mode(0, 1, 2, 5, 0, 'food', 0),
    'avoid': Mode(0.1, -0.1, -5, -10, -20, '', 128),
    'hunt': Mode(0, 0, 1, 10, -20, 'ghosts', 80),
    'ambush': Mode(0, -0.1, 0, 10, -20, 'ghosts', 80),
    'rush': Mode(0, -0.1, 10, 0, 0, 'pills', 0),
}
_CHANGED = {
    'avoid': _PAPER['avoid']._replace(cleared_by='food'),
    'hunt': _PAPER['hunt']._replace(limit=0),
    'ambush': _PAPER['ambush']._replace(limit=0),
}
MODES = {'paper': _PAPER, 'released': {**_PAPER, **_CHANGED}}


class State(NamedTuple):
    """The state of an episode."""

    food: jax.Array  # [H, W] bool
    num_food: jax.Array  # [] int32, how much of it there is
    pills: jax.Array  # [2] int32, squares; NOWHERE once eaten
    pacman: jax.Array  # [] int32, a square
    ghosts: jax.Array  # [G] int32, squares; NOWHERE where there is none, or none any more
    directions: jax.Array  # [G] int32, of the ghosts
    power: jax.Array  # [] int32, counts the steps down
    level: jax.Array  # [] int32, from 1
    timer: jax.Array  # [] int32, steps of the level
    steps: jax.Array  # [] int32, of the episode
    score: jax.Array  # [] float32, the rewards of the episode
    key: jax.Array  # [], of all that is random in the episode


class Eaten(NamedTuple):
    """What Pacman ate in a step, [] int32 each."""

    food: jax.Array
    pills: jax.Array
    ghosts: jax.Array


def num_words(rules: str) -> int:
    """Returns how many random words a step takes: those of a level, then any of the ghosts."""
    return levels.NUM_WORDS + (levels.MAX_GHOSTS if rules == 'released' else 0)


def reset(rules: str, key: jax.Array, words: jax.Array) -> State:
    """Returns the initial state of an episode.

    Args:
      rules: one of `levels.RULES`.
      key: of the episode.
      words: [levels.NUM_WORDS] uint32, random.
    """
    zero = jnp.int32(0)
    fresh = _fresh(rules, zero, words)
    return State(**fresh, steps=zero, score=jnp.float32(0), key=key)


def step(
    rules: str, mode: str, state: State, action: jax.Array, words: jax.Array
) -> tuple[State, jax.Array, jax.Array]:
    """Returns what a step leads to.

    Args:
      rules: one of `levels.RULES`.
      mode: one of `MODES[rules]`.
      state: before the step.
      action: [] int32.
      words: [`num_words`] uint32, random.

    Returns:
      state: after the step.
      reward: [] float32.
      dead: [] bool, whether Pacman was eaten.
    """
    goal = MODES[rules][mode]
    path = move(rules, state, action)
    fed, eaten = eat(rules, state, path)
    powered = fed.power > 0
    if rules == 'paper':
        powered |= state.power > 0
    ghosts, met = move_ghosts(rules, fed, path, powered, words)
    met &= ~is_cleared(goal, fed)
    dead = jnp.any(met) & ~powered
    caught = met & powered
    reward = reward_of(goal, eaten._replace(ghosts=jnp.sum(caught, dtype=jnp.int32)), dead)
    after = fed._replace(
        ghosts=jnp.where(caught, levels.NOWHERE, ghosts.squares),
        directions=ghosts.directions,
        steps=state.steps + 1,
        score=state.score + reward,
    )
    cleared = is_cleared(goal, after)
    if goal.limit:
        cleared |= after.timer >= goal.limit
    return _next_level(rules, after, cleared & ~dead, words), reward, dead


def move(rules: str, state: State, action: jax.Array) -> ghosts_lib.Path:
    """Returns where Pacman goes with an action [] int32."""
    steps = jnp.asarray(levels.steps())
    end = middle = steps[state.pacman, action]
    if rules == 'paper':
        end = jnp.where(state.power > 0, steps[middle, action], middle)
    return ghosts_lib.Path(state.pacman, middle, end)


def eat(rules: str, state: State, path: ghosts_lib.Path) -> tuple[State, Eaten]:
    """Moves Pacman, who eats food and pills, and advances the timers.

    Returns:
      state: with Pacman at the path's end; the ghosts have not moved.
      eaten: no ghosts yet.
    """
    food = state.food.reshape(-1)
    num_food = food[path.middle].astype(jnp.int32)
    if rules == 'paper':
        num_food += food[path.end] & (path.end != path.middle)
        pills = (state.pills == path.middle) | (state.pills == path.end)
    else:  # one pill a step
        pills = state.pills == path.end
        pills &= jnp.stack([jnp.array(True), ~pills[0]])
    num_pills = jnp.sum(pills, dtype=jnp.int32)
    squares = np.arange(levels.NUM_SQUARES, dtype=np.int32)
    food &= (squares != path.middle) & (squares != path.end)
    fed = state._replace(
        food=food.reshape(state.food.shape),
        num_food=state.num_food - num_food,
        pills=jnp.where(pills, levels.NOWHERE, state.pills),
        pacman=path.end,
        power=jnp.where(num_pills > 0, POWER[rules], jnp.maximum(state.power - 1, 0)),
        timer=state.timer + 1,
    )
    return fed, Eaten(num_food, num_pills, jnp.int32(0))


def move_ghosts(
    rules: str,
    state: State,
    path: ghosts_lib.Path,
    powered: jax.Array,
    words: jax.Array,
) -> tuple[ghosts_lib.Ghosts, jax.Array]:
    """Returns the ghosts after their move, and [G] bool, which Pacman met; see there."""
    ghosts = ghosts_lib.Ghosts(state.ghosts, state.directions)
    if rules == 'paper':
        return ghosts_lib.chase(ghosts, path, powered)
    words = words[levels.NUM_WORDS :]
    return ghosts_lib.wander(ghosts, path.end, state.level, powered, words)


def is_cleared(goal: Mode, state: State) -> jax.Array:
    """Returns whether all that clears a level is eaten, [] bool."""
    if goal.cleared_by == 'food':
        return state.num_food == 0
    if goal.cleared_by in ('pills', 'ghosts'):
        return jnp.all(getattr(state, goal.cleared_by) == levels.NOWHERE)
    return jnp.array(False)


def reward_of(goal: Mode, eaten: Eaten, dead: jax.Array) -> jax.Array:
    """Returns the reward of a step, [] float32, in which Pacman ate, and died if `dead` [] bool."""
    reward = jnp.float32(goal.step)
    for count, one in zip(eaten, (goal.food, goal.pill, goal.ghost), strict=True):
        reward += count * jnp.float32(one)
    return jnp.where(dead, reward + goal.death, reward)


def _next_level(rules: str, state: State, cleared: jax.Array, words: jax.Array) -> State:
    """Returns the initial state of the next level if `cleared` [] bool, else the state."""
    fresh = _fresh(rules, state.level, words)
    chosen = {name: jnp.where(cleared, new, getattr(state, name)) for name, new in fresh.items()}
    return state._replace(**chosen)


def _fresh(rules: str, level: jax.Array, words: jax.Array) -> dict[str, jax.Array]:
    """Returns the fields of a state that the level after this one resets."""
    start = levels.new_level(rules, level + 1, words[: levels.NUM_WORDS])
    zero = jnp.int32(0)
    return {
        **start._asdict(),
        'food': jnp.asarray(~levels.WALLS),
        'num_food': jnp.int32(len(levels.CORRIDORS)),
        'power': zero,
        'level': level + 1,
        'timer': zero,
    }
