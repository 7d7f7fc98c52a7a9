"""The flags of `boxworld`, what they may be, its levels, and the settings that have a name.

Santoro et al. 2018, "Relational recurrent neural networks", section 4.3 and appendix A.3,
https://arxiv.org/abs/1806.01822, is `--preset=paper` and those whose names begin so, one a core.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import chex

from launch.agents import acting, agent_config, agent_run
from launch.runs import flags
from tasks import base
from tasks.environments import grid
from tasks.environments.boxworld import boxworld

_EASY: dict[str, Any] = {
    'size': 9,
    'num_colors': 6,
    'min_solution': 1,
    'max_solution': 2,
    'max_distractors': 1,
    'max_steps': 120,
}


@dataclasses.dataclass(frozen=True)
class Config(agent_config.Config):
    """BoxWorld; see --preset=paper for Santoro et al. 2018, appendix A.3."""

    preset: str = flags.flag('cpu', 'defaults of the other flags', 'free')
    size: int = flags.flag(14, 'squares of a side', 'fixed', minimum=3)
    num_colors: int = flags.flag(20, 'of keys and locks', 'fixed', minimum=1)
    min_solution: int = flags.flag(1, 'boxes on the way to the gem, at least', 'fixed', 1)
    max_solution: int = flags.flag(5, 'boxes on the way to the gem, at most', 'fixed', 1)
    min_distractors: int = flags.flag(0, 'distractor branches, at least', 'fixed', 0)
    max_distractors: int = flags.flag(5, 'distractor branches, at most', 'fixed', 0)
    distractor_length: int = flags.flag(1, 'boxes of a distractor branch', 'fixed', minimum=1)
    viewport: int = flags.flag(
        5, 'squares of a side that are seen around the agent, odd; 0 for all', 'fixed', 0
    )
    max_steps: int = flags.flag(240, 'of an episode', 'fixed', minimum=1)
    levels: int = flags.flag(
        2, 'drawn anew for each row in an update; if more begin, some come twice', 'fixed', 1
    )

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        super().__post_init__()
        self.environment()

    def environment(self) -> boxworld.BoxWorld:
        """Returns the world; raises a ValueError if there is none such."""
        return boxworld.BoxWorld(
            size=self.size,
            num_colors=self.num_colors,
            solution_length=(self.min_solution, self.max_solution),
            num_distractors=(self.min_distractors, self.max_distractors),
            distractor_length=self.distractor_length,
            viewport=self.viewport or None,
            max_steps=self.max_steps,
        )


# Small levels with up to two boxes on the way for 2 cores, and the paper's.
PRESETS = {
    'cpu': Config(preset='cpu', **agent_config.CPU, **_EASY, num_steps=10_000),
    **{name: Config(preset=name, **values) for name, values in agent_config.PAPER.items()},
}


def make_world(config: Config) -> acting.World:
    """Returns where the agent learns."""
    environment = config.environment()

    def draw(key: chex.PRNGKey) -> Any:
        return environment.levels(key, config.levels)

    def endless(levels: Any) -> base.Environment:
        return grid.AutoReset(environment, environment.begin(levels))

    return acting.World(environment, draw, endless, solves=True)


def title(config: Config) -> str:
    """Returns what levels there are."""
    lengths = f'{config.min_solution} to {config.max_solution} boxes'
    distractors = f'{config.min_distractors} to {config.max_distractors} distractors'
    window = f'window of {config.viewport}' if config.viewport else 'full view'
    return f'BoxWorld {config.size} x {config.size}, {lengths}, {distractors}, {window}'


def levels(config: Config) -> Mapping[str, float]:
    """Returns what the paper reached on its levels; nothing on others."""
    theirs = boxworld.BoxWorld()
    if dataclasses.replace(config.environment(), max_steps=theirs.max_steps) != theirs:
        return {}
    return {"the paper's RMC": 0.98, "the paper's ConvLSTM": 0.73}


PROGRAM = agent_run.Program('boxworld', PRESETS, 'solved', make_world, title, levels)
