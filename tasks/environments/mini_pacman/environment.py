"""Mini PacMan: eat what lies in a maze, and do not be eaten.

In a step Pacman moves and eats food and pills, then the ghosts move, and where they meet one is
eaten: Pacman, or a ghost while the power of a pill lasts. Actions are stay, right, up, left and
down; to move against a wall is to stay. The mode determines the rewards, and what clears a level:
`rules.MODES`. The next level starts at once, with all food and, from the third on, more ghosts:
`levels`. An episode is terminated when Pacman is eaten and truncated after `max_steps`, with a
discount of 1. Observations are described in `view`.

Rules 'paper': Weber et al. 2017, "Imagination-augmented agents for deep reinforcement learning",
supplement C, https://arxiv.org/abs/1707.06203. The window of 5 x 5 squares is that of Santoro et
al. 2018, "Relational recurrent neural networks", section 4.2, https://arxiv.org/abs/1806.01822.

- In each of the 19 steps after a pill Pacman has power, and moves 2 squares. Ghosts always move 1.
- Ghosts turn at junctions only, and never back: to the way most in Pacman's direction or, while he
  has power, least. To meet is to end on the same square, or to pass each other.

Rules 'released': S. Racanière's code, as common/deepmind.py of
https://github.com/higgsfield/Imagination-Augmented-Agents.

- Power lasts for the 19 steps after a pill too, but Pacman moves 1 square.
- On level k a ghost moves with probability 0.5 + 0.1 (k - 1), or half of it while there is power;
  at a junction it goes a random way but back in 5 % of cases, if there is no power.
- To meet is to be on the same square before a ghost moves or after. Only the first ghost is eaten
  in a step, and the later ones stay where they are.
- No time clears a level of 'hunt' or 'ambush', and the last food clears one of 'avoid'.

Chosen here, where the sources are silent or differ:

- Power holds in the step of the pill already, to meet ghosts. Ghosts see where Pacman has moved.
  Of ways that are equal the first of right, up, left, down is taken.
- 2 squares are two moves: both are eaten from, and a wall stops Pacman at the first. To pass each
  other is to make, as one of these moves, the reverse of the ghost's move.
- A level that Pacman clears by eating food or pills is over before its ghosts move. In the released
  code the new level then starts within the step.
- The step that kills costs the penalty once; there, once for each ghost that caught Pacman.
- Truncation is after 3,000 steps, as in the released code, or 10,000 by the paper's rules, which
  are silent: at 138 squares of food that is ample for dozens of levels. There its discount is 0.

Glossary of shapes:
  V: squares of the viewport's side; C: 3 for colours, 6 for planes.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from tasks import base
from tasks.environments import grid
from tasks.environments.mini_pacman import levels, view
from tasks.environments.mini_pacman import rules as rules_lib

_MAX_STEPS = {'paper': 10_000, 'released': 3_000}


@dataclasses.dataclass(frozen=True)
class MiniPacman:
    """The environment; raises ValueError if there is no such environment."""

    mode: str = 'regular'  # or avoid, hunt, ambush, rush
    rules: str = 'paper'  # or released
    viewport: int | None = 5  # odd; None to observe the whole maze
    observation: str = 'rgb'  # or planes
    power_bar: bool = True  # a row below the colours that shows how much power is left
    max_steps: int | None = None  # until truncation; None for the default of the rules

    num_actions = len(levels.MOVES)
    action_names = levels.ACTIONS

    def __post_init__(self) -> None:
        choices = {
            'mode': tuple(rules_lib.MODES['paper']),
            'rules': levels.RULES,
            'observation': view.OBSERVATIONS,
        }
        for name, valid in choices.items():
            value = getattr(self, name)
            if value not in valid:
                raise ValueError(f'wanted {name} one of {", ".join(valid)}, got {value!r}')
        grid.check_limits(self.viewport, self.max_steps)

    @property
    def observation_spec(self) -> jax.ShapeDtypeStruct:
        """[V, V, C] float32, or [15, 19, C] without a viewport; for the bar, one row more."""
        state = jax.eval_shape(self.reset, jax.random.key(0))[0]
        return jax.eval_shape(self.observe, state)

    def reset(self, key: jax.Array) -> tuple[rules_lib.State, base.TimeStep]:
        """Returns the initial state of an episode, and its first time step."""
        words = self.sample_words(key, 0)[: levels.NUM_WORDS]
        state = rules_lib.reset(self.rules, key, words)
        step = base.TimeStep(self.observe(state), jnp.float32(0), jnp.float32(1), jnp.array(False))
        return state, step

    def step(
        self, state: rules_lib.State, action: jax.Array
    ) -> tuple[rules_lib.State, base.TimeStep]:
        """Returns the state after an action [] int32, and the time step."""
        words = self.sample_words(state.key, state.steps + 1)
        state, reward, dead = rules_lib.step(self.rules, self.mode, state, action, words)
        max_steps = _MAX_STEPS[self.rules] if self.max_steps is None else self.max_steps
        discount = 1 - dead.astype(jnp.float32)
        last = dead | (state.steps >= max_steps)
        return state, base.TimeStep(self.observe(state), reward, discount, last)

    def sample_words(self, key: jax.Array, step: jax.typing.ArrayLike) -> jax.Array:
        """Returns the random words [any] uint32 of a step of an episode; step 0 is the reset."""
        count = rules_lib.num_words(self.rules)
        return jax.random.bits(jax.random.fold_in(key, step), (count,))

    def observe(self, state: rules_lib.State) -> jax.Array:
        """Returns an observation, as `observation_spec` says."""
        if self.observation == 'planes':
            return view.planes(state, self.rules, self.viewport)
        return view.colors(state, self.rules, self.viewport, self.power_bar)

    def render(self, state: rules_lib.State, scale: int = 8) -> np.ndarray:
        """Returns the whole maze, `scale` pixels a square: uint8 [height, width, 3]."""
        whole = dataclasses.replace(self, viewport=None, observation='rgb')
        return grid.enlarge(whole.observe(state), scale)
