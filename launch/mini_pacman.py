"""Mini PacMan: trains an agent to eat its way through mazes with ghosts.

  python -m launch.mini_pacman                             what 2 cores can do
  python -m launch.mini_pacman --preset=paper              the paper's BoxWorld agent, for a GPU
  python -m launch.mini_pacman --game=hunt --rules=released --viewport=0
  python -m launch.mini_pacman --mode=evaluate --run_dir=RUN

The preset `cpu` with --num_steps=80000 reaches an episode return of 604.6 +- 6.7 after 102.4 M
environment steps, 70 minutes on one core of an AMD EPYC (one run, seed 0; the LSTM 655.6 +- 7.2,
the uniformly random policy 6.1). Evaluations use held-out episodes. The same
command resumes a run that was stopped. Santoro et al. 2018, "Relational recurrent neural networks",
sections 4.2 and 5.3, https://arxiv.org/abs/1806.01822, do not state the agent of this game: the
presets whose names start with `paper` use the agent of their BoxWorld.
"""

from collections.abc import Mapping
import dataclasses
from typing import ClassVar, Literal

from launch.agents import configuration, results, rollout
from launch.reports import comparable, settings
from launch.runs import flags
from launch.training import experiment, task
from tasks.environments import grid, mini_pacman


@dataclasses.dataclass(frozen=True)
class Config(configuration.Config):
    """Mini PacMan; see --preset=paper for the agent of Santoro et al. 2018, appendix A.3."""

    GROUPS: ClassVar = {'data': '*'}

    game: Literal['regular', 'avoid', 'hunt', 'ambush', 'rush'] = flags.flag(
        'regular', 'what is rewarded', 'fixed'
    )
    rules: Literal['paper', 'released'] = flags.flag(
        'paper', 'of ghosts and power: paper, or released, as in the released code', 'fixed'
    )
    viewport: int = flags.flag(
        5, 'squares of a side of the window around Pacman, odd; 0 for all', 'fixed', 0, 205
    )
    observation: Literal['rgb', 'planes'] = flags.flag(
        'rgb', 'rgb, colours, or planes, one for each kind of thing', 'fixed'
    )
    max_steps: int = flags.flag(
        0, "after which an episode is truncated; 0 for the rules' own number", 'fixed', 0, 100_000
    )

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        super().__post_init__()
        self.environment()

    def environment(self) -> mini_pacman.MiniPacman:
        """Returns the environment; raises a ValueError if there is none such."""
        return mini_pacman.MiniPacman(
            mode=self.game,
            rules=self.rules,
            viewport=self.viewport or None,
            observation=self.observation,
            max_steps=self.max_steps or None,
        )


# The step sizes are BoxWorld's, and 2e9 environment steps are what the stated returns took.
PRESETS = {
    'cpu': configuration.derive(Config, configuration.CPU, reward_scale=0.05, num_steps=20_000),
    'paper': configuration.derive(Config, configuration.PAPER, num_steps=1_600_000),
    'paper-lstm': configuration.derive(Config, configuration.PAPER_LSTM, num_steps=1_600_000),
    'paper-conv-lstm': configuration.derive(
        Config, configuration.PAPER_CONV_LSTM, num_steps=1_600_000
    ),
}


def make_source(config: Config) -> rollout.Source:
    """Returns where the agent's episodes come from; levels are sampled as the game proceeds."""
    environment = config.environment()
    resetting = grid.AutoReset(environment)
    return rollout.Source(environment, lambda key: (), lambda starts: resetting)


def build(config: Config) -> task.Task:
    """Returns the task of a configuration."""
    return results.build(config, make_source(config), EXPERIMENT.measure)


def title(config: Config) -> str:
    """Returns what game it is."""
    return settings.task(EXPERIMENT.name, dataclasses.asdict(config))


def published_levels(config: Config) -> Mapping[str, float]:
    """Returns what the paper's agents scored where the game is theirs; else nothing."""
    return comparable.levels(EXPERIMENT.name, dataclasses.asdict(config))


EXPERIMENT = experiment.Experiment(
    name='mini_pacman',
    config=Config,
    presets=PRESETS,
    measure='return',
    build=build,
    title=title,
    describe=results.describe,
    draw=results.drawer('return', title, published_levels),
)


def run(config: Config) -> experiment.Evaluation:
    """Trains or evaluates.

    Args:
      config: the flags.

    Returns:
      'return' and 'length', means over episodes, with 'return_error' and so on, their standard
      errors; as 'random_return' and so on those of a uniformly random policy.
    """
    return experiment.run(EXPERIMENT, config)


if __name__ == '__main__':
    experiment.main(EXPERIMENT)
