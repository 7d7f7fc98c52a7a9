"""The flags of `mini_pacman`, what they may be, and the settings that have a name.

Santoro et al. 2018, "Relational recurrent neural networks", sections 4.3 and 5.3,
https://arxiv.org/abs/1806.01822, do not state the agent of this game: `--preset=paper` and those
whose names begin so take the one of their BoxWorld.
"""

from collections.abc import Mapping
import dataclasses
from typing import Literal

from launch.agents import acting, agent_config, agent_run
from launch.runs import flags
from tasks.environments import grid
from tasks.environments.mini_pacman import mini_pacman

# Returns of an episode that the paper states, of curves that go on to rise.
_THEIRS = {
    5: {"the paper's RMC": 677, "the paper's LSTM": 550},
    0: {"the paper's RMC": 1159, "the paper's LSTM": 598},
}


@dataclasses.dataclass(frozen=True)
class Config(agent_config.Config):
    """Mini PacMan; see --preset=paper for the agent of Santoro et al. 2018, appendix A.3."""

    preset: str = flags.flag('cpu', 'defaults of the other flags', 'free')
    game: Literal['regular', 'avoid', 'hunt', 'ambush', 'rush'] = flags.flag(
        'regular', 'what is rewarded', 'fixed'
    )
    rules: Literal['paper', 'released'] = flags.flag(
        'paper', 'of ghosts and power: as in the paper or in the released code', 'fixed'
    )
    viewport: int = flags.flag(
        5, 'squares of a side that are seen around Pacman, odd; 0 for all', 'fixed', 0
    )
    observation: Literal['rgb', 'planes'] = flags.flag(
        'rgb', 'colours, or planes, one a thing', 'fixed'
    )
    max_steps: int = flags.flag(0, 'of an episode; 0 for what the rules say', 'fixed', minimum=0)

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        super().__post_init__()
        self.environment()

    def environment(self) -> mini_pacman.MiniPacman:
        """Returns the world; raises a ValueError if there is none such."""
        return mini_pacman.MiniPacman(
            mode=self.game,
            rules=self.rules,
            viewport=self.viewport or None,
            observation=self.observation,
            max_steps=self.max_steps or None,
        )


# The step sizes are BoxWorld's, and 2e9 environment steps are what the stated returns took.
PRESETS = {
    'cpu': Config(preset='cpu', **agent_config.CPU, reward_scale=0.2, num_steps=20_000),
    **{
        name: Config(preset=name, **{**values, 'num_steps': 1_600_000})
        for name, values in agent_config.PAPER.items()
    },
}


def make_world(config: Config) -> acting.World:
    """Returns where the agent learns; its levels are drawn as the game goes."""
    environment = config.environment()
    endless = grid.AutoReset(environment)
    return acting.World(environment, lambda key: (), lambda drawn: endless)


def title(config: Config) -> str:
    """Returns what game it is."""
    window = f'window of {config.viewport}' if config.viewport else 'full view'
    return f'Mini PacMan {config.game}, rules {config.rules}, {window}'


def levels(config: Config) -> Mapping[str, float]:
    """Returns what the paper's agents scored where the game is theirs; else nothing."""
    theirs = config.game == 'regular' and config.rules == 'paper'
    return _THEIRS.get(config.viewport, {}) if theirs else {}


PROGRAM = agent_run.Program('mini_pacman', PRESETS, 'return', make_world, title, levels)
