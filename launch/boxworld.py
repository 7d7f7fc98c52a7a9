"""BoxWorld: trains an agent to find keys, open boxes in the right order and take the gem.

  python -m launch.boxworld                                what 2 cores can do
  python -m launch.boxworld --preset=paper                 as the paper trained, for a GPU
  python -m launch.boxworld --preset=paper-conv-lstm       its baseline
  python -m launch.boxworld --viewport=0                   the whole grid is observed
  python -m launch.boxworld --mode=evaluate --run_dir=RUN

The preset `cpu` with --num_steps=60000 has success in 91.4 +- 0.9 % of held-out levels of 9 x 9
squares with one or two boxes after 76.8 M environment steps, 49 minutes on one core of an AMD EPYC
(one run, seed 0; the uniformly random policy 4.5 %), and in 52 +- 3 % of those with a choice of
keys (`tasks/environments/boxworld/levels.py`; 290 of 2,000), as if it guessed. Evaluations use
held-out levels. The same command resumes a run that was stopped. New levels are sampled for every
update, `--levels` for each environment, and each episode that starts in it takes one of them.
Santoro et al. 2018, "Relational recurrent neural networks", section 4.2 and appendix A.3,
https://arxiv.org/abs/1806.01822.
"""

from collections.abc import Mapping
import dataclasses
import functools
from typing import Any, ClassVar

import chex

from launch.agents import configuration, results, rollout
from launch.reports import comparable, settings
from launch.runs import flags
from launch.training import experiment, task
from tasks import base
from tasks.environments import boxworld, grid


@dataclasses.dataclass(frozen=True)
class Config(configuration.Config):
    """BoxWorld; see --preset=paper for Santoro et al. 2018, appendix A.3."""

    GROUPS: ClassVar = {'data': '*'}

    size: int = flags.flag(14, 'squares of a side', 'fixed', 3, 100)
    num_colors: int = flags.flag(20, 'of keys and locks', 'fixed', 1)
    min_solution: int = flags.flag(1, 'boxes on the way to the gem, at least', 'fixed', 1)
    max_solution: int = flags.flag(5, 'boxes on the way to the gem, at most', 'fixed', 1)
    min_distractors: int = flags.flag(0, 'distractor branches, at least', 'fixed', 0)
    max_distractors: int = flags.flag(5, 'distractor branches, at most', 'fixed', 0)
    distractor_length: int = flags.flag(1, 'boxes of a distractor branch', 'fixed', 1)
    viewport: int = flags.flag(
        5, 'squares of a side of the window around the agent, odd; 0 for all', 'fixed', 0, 205
    )
    max_steps: int = flags.flag(240, 'after which an episode is truncated', 'fixed', 1, 100_000)
    levels: int = flags.flag(
        2,
        'new levels an update for each environment; with more episodes some repeat',
        'fixed',
        1,
        1000,
    )

    def __post_init__(self) -> None:
        """Raises a ValueError for the first flag that does not fit."""
        super().__post_init__()
        self.environment()

    def environment(self) -> boxworld.BoxWorld:
        """Returns the environment; raises a ValueError if there is none such."""
        return boxworld.BoxWorld(
            size=self.size,
            num_colors=self.num_colors,
            solution_length=(self.min_solution, self.max_solution),
            num_distractors=(self.min_distractors, self.max_distractors),
            distractor_length=self.distractor_length,
            viewport=self.viewport or None,
            max_steps=self.max_steps,
        )


PRESETS = {
    'cpu': configuration.derive(
        Config,
        configuration.CPU,
        size=9,
        num_colors=6,
        max_solution=2,
        max_distractors=1,
        max_steps=120,
        reward_scale=0.3,
        num_steps=20_000,
    ),
    'paper': configuration.derive(Config, configuration.PAPER),
    'paper-lstm': configuration.derive(Config, configuration.PAPER_LSTM),
    'paper-conv-lstm': configuration.derive(Config, configuration.PAPER_CONV_LSTM),
}


# Levels that evaluations measure apart. With a distractor it is of use to remember the box with the
# gem, with a choice of keys its lock, too.
KINDS = {
    'no_distractor': 'without a distractor',
    'no_choice': 'distractor, no choice',
    'choice': 'with a choice of keys',
}


def make_source(config: Config) -> rollout.Source:
    """Returns where the agent's episodes come from."""
    environment = config.environment()

    def sample_starts(key: chex.PRNGKey) -> Any:
        return environment.sample_levels(key, config.levels)

    def auto_resetting(levels: Any) -> base.Environment:
        return grid.AutoReset(environment, environment.reset_from(levels))

    distracts, choice = environment.has_distractor, environment.has_choice
    kinds = {
        'no_distractor': lambda state: ~distracts(state),
        'no_choice': lambda state: distracts(state) & ~choice(state),
        'choice': choice,
    }
    return rollout.Source(environment, sample_starts, auto_resetting, has_success=True, kinds=kinds)


def build(config: Config) -> task.Task:
    """Returns the task of a configuration."""
    return results.build(config, make_source(config), EXPERIMENT.measure)


def title(config: Config) -> str:
    """Returns what levels there are."""
    return settings.task(EXPERIMENT.name, dataclasses.asdict(config))


def published_levels(config: Config) -> Mapping[str, float]:
    """Returns what the paper reached on its levels; nothing on others."""
    return comparable.levels(EXPERIMENT.name, dataclasses.asdict(config))


EXPERIMENT = experiment.Experiment(
    name='boxworld',
    config=Config,
    presets=PRESETS,
    measure='success',
    build=build,
    title=title,
    describe=functools.partial(results.describe, kinds=KINDS),
    draw=results.drawer('success', title, published_levels),
)


def run(config: Config) -> experiment.Evaluation:
    """Trains or evaluates.

    Args:
      config: the flags.

    Returns:
      'return', 'length' and 'success', means over episodes, with 'return_error' and so on, their
      standard errors; as 'choice_return' and so on those of each kind of `KINDS`, of which there
      are 'choice_episodes'; as 'random_return' and so on those of a uniformly random policy.
    """
    return experiment.run(EXPERIMENT, config)


if __name__ == '__main__':
    experiment.main(EXPERIMENT)
